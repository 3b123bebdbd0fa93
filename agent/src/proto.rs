//! The agent's gRPC service, generated from `proto/`: messages, client and server.

/// Version 1. Within it fields and calls are only added.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("vtplan.agent.v1");
}
