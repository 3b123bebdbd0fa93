//! The gate: speaks the MySQL protocol to applications and routes their statements to shards.
//!
//! A client's bytes come in by [`protocol`], its [`session`] plans each statement with [`plan`] by
//! the snapshot of [`topology`], and [`exec`] carries the plan out over connections of [`backend`]
//! that [`pool`] shares between sessions. [`http`] shows what goes on. [`gate`] puts it together.

pub mod backend;
pub mod exec;
pub mod gate;
pub mod http;
pub mod plan;
pub mod pool;
pub mod protocol;
pub mod session;
pub mod topology;

/// The agents' gRPC service, generated from `agent/proto`.
pub mod agent_api {
    #![allow(clippy::all, clippy::pedantic)]
    tonic::include_proto!("vtplan.agent.v1");
}

pub use gate::{Gate, GateAddresses, GateConfig, GateError, run_gate};
pub use protocol::tls::TlsConfig;
