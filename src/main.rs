//! `cresset`: parse, call the library, map an error to an exit code.

fn main() {}
