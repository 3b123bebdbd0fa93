//! The model of a vtplan cluster and the stores that keep it.
//!
//! - [`model`]: the records, as types. Pure: no IO, no clock.
//! - [`vindex`]: the functions that map a column's value to a keyspace id. Pure.
//! - [`store`]: where records live (SQLite, etcd), with transactions, watches, leases and locks.
//! - [`cluster`]: one cluster's records in a store, read and watched as types.

pub mod cluster;
pub mod model;
pub mod store;
pub mod vindex;
