//! libtorch through `tch` and the shim: the only room that names them.
