//! What differs between MariaDB and MySQL, behind one trait with one file each.

pub mod version;

pub use version::ServerVersion;
