//! Servers as processes: which program, its data folder, starting, adopting and stopping it. What
//! differs between MariaDB and MySQL stands in [`crate::flavor`]; who replicates from whom in
//! [`crate::tablet`].

pub mod folder;
pub mod process;
pub mod program;
pub mod template;

pub use folder::{Marker, TabletDir};
pub use process::{Process, stop_servers};
pub use program::Program;
pub use template::Templates;
