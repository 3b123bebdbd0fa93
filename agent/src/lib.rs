//! The host agent: one runs on each database host. It supervises that host's tablets (mysqld
//! processes), reports what it sees of them, and takes part in electing the conductor that carries
//! out approved plans.

pub mod proto;
