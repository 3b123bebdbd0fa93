//! Generates the gRPC client of the agents' service from its `.proto`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(
            &["../agent/proto/vtplan/agent/v1/agent.proto"],
            &["../agent/proto"],
        )?;
    Ok(())
}
