//! Plans of statements over a small catalog, and of Vitess's own planner test queries.

mod corpus;
mod moves;
mod routes;
mod sharded;
mod support;
mod unsharded;
