//! What `up` and `down` keep on this machine: where it lies, and the processes in the background.
//!
//! - [`home`]: the folder `.vtplan/`.
//! - [`process`]: processes, told apart from later ones with the same id.
//! - [`service`]: an agent or a gate that was started in the background.
//! - [`servers`]: the tablets' MySQL servers.

pub mod home;
pub mod process;
pub mod servers;
pub mod service;
