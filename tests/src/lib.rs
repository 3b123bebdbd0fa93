//! The lab: starts real servers, agents, gates and etcd in a temporary folder on free ports, and
//! leaves nothing behind. Used by the end-to-end tests in `tests/tests/`.

pub mod etcd;
pub mod fake_agent;
pub mod fleet;
pub mod handmade;
pub mod inside;
pub mod lab;
pub mod net;
pub mod ports;
pub mod prober;
pub mod process;
pub mod servers;
pub mod switching;
pub mod tmpfs;
pub mod writer;

pub use etcd::Etcd;
pub use inside::Inside;
pub use lab::{Lab, Output};
pub use process::Proc;
pub use servers::{Server, skip};
pub use tmpfs::Tmpfs;
