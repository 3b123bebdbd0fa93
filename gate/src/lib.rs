//! The gate: speaks the MySQL protocol to applications and routes their statements to shards.

pub mod plan;
