//! A directory of models in Triton's layout.
