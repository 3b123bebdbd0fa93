//! The model of a vtplan cluster and the stores that keep it.
//!
//! - [`model`]: the records, as types. Pure: no IO, no clock.
//! - [`vindex`]: the functions that map a column's value to a keyspace id. Pure.
//! - [`store`]: where records live (SQLite, etcd), with transactions, watches, leases and locks.
//! - [`cluster`]: one cluster's records in a store, read and watched as types.
//! - [`export`]: all of a cluster's records as one document, and putting them back.

pub mod cluster;
pub mod export;
pub mod model;
pub mod store;
pub mod vindex;
