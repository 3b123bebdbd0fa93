//! The MySQL client/server protocol: packets and their framing, the handshake, authentication,
//! TLS, prepared-statement parameters, and the boundaries of results that are passed through.
//!
//! Everything here works on byte buffers; whoever calls it does the IO (but for [`framing`]'s two
//! read helpers and the server's [`handshake`]). Sources: the protocol pages of the MySQL internals
//! manual and of MariaDB's knowledge base.

pub mod auth;
pub mod codec;
pub mod constants;
pub mod error;
pub mod framing;
pub mod handshake;
pub mod messages;
pub mod params;
pub mod prepare;
pub mod scan;
pub mod stream;
pub mod tls;

pub use error::SqlError;
pub use stream::Stream;
