//! Reads specs.
