//! Readers: from text to tree, a file for each spelling.

pub mod kdl;
pub mod yaml;
