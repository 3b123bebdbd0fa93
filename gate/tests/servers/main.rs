//! The gate in front of real servers, MariaDB and MySQL: what a client gets is what it would get
//! from one server, and what it leaves behind is nothing.

mod connections;
mod equality;
mod lab;
mod lookups;
mod moves;
mod sharded;
mod wire;
