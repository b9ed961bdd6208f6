//! Declared pre- and post-processing.
