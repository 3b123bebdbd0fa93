//! The host agent: one runs on each database host. It supervises that host's tablets (mysqld
//! processes), reports what it sees of them, and takes part in electing the conductor that carries
//! out approved plans.
//!
//! - [`run`]: an agent's life; [`run_agent`] is what the binary calls.
//! - [`backup`]: backups of servers' data.
//! - [`mysqld`]: servers as processes.
//! - [`tablets`], [`tablet`]: what the records say of this host's tablets, made so.
//! - [`flavor`]: what differs between MariaDB and MySQL.
//! - [`fence`]: who may write while data moves. [`vdiff`]: full comparisons of moved data.
//! - [`service`]: the gRPC service; its messages are in [`proto`], [`client`] calls it.
//! - [`stream`]: workflows' streams, which copy rows and follow their changes.
//! - [`conductor`]: carries out approved plans, in one agent at a time.
//! - [`stream`]: rows on their way between shards: copying and following.
//! - [`look`]: the same, looked at closely for drift.
//! - [`observe`]: the live state, from records and agents; [`submit`]: approved plans in the store.

pub mod address;
pub mod backup;
pub mod client;
pub mod conductor;
pub mod config;
pub mod disk;
pub mod error;
pub mod fence;
pub mod flavor;
pub mod host;
pub mod look;
pub mod lookup;
pub mod mysqld;
pub mod observe;
pub mod plain;
pub mod proto;
pub mod records_copy;
pub mod register;
pub mod room;
pub mod run;
pub mod service;
pub mod sql;
pub mod stream;
pub mod submit;
pub mod tablet;
pub mod tablets;
mod turns;
pub mod vdiff;

pub use config::{AgentConfig, ServerSettings};
pub use error::AgentError;
pub use mysqld::stop_servers;
pub use run::{Agent, run_agent};
