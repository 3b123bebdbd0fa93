//! Generates the gRPC code of `proto/` with protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    tonic_prost_build::configure()
        .compile_protos(&["proto/vtplan/agent/v1/agent.proto"], &["proto"])?;
    Ok(())
}
