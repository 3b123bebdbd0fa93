//! Servers as processes: which program, its data folder, starting, adopting and stopping it. What
//! differs between MariaDB and MySQL stands in [`crate::flavor`]; who replicates from whom in
//! [`crate::tablet`].

pub mod program;

pub use program::Program;
