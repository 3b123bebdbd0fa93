//! Errors as a MySQL client sees them.

use std::fmt;

/// An ERR packet's content: code, SQLSTATE and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    pub code: u16,
    pub state: [u8; 5],
    pub message: String,
}

impl SqlError {
    pub fn new(code: u16, state: &[u8; 5], message: impl Into<String>) -> Self {
        Self {
            code,
            state: *state,
            message: message.into(),
        }
    }

    /// `ER_UNKNOWN_ERROR` (1105), Vitess's code for what has no better one.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(1105, b"HY000", message)
    }

    /// `ER_NOT_SUPPORTED_YET` (1235).
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(
            1235,
            b"42000",
            format!("vtplan's gate does not support {what}"),
        )
    }

    /// `ER_MALFORMED_PACKET` (1835).
    pub fn malformed(what: impl fmt::Display) -> Self {
        Self::new(
            1835,
            b"HY000",
            format!("Malformed communication packet: {what}"),
        )
    }

    /// `ER_HANDSHAKE_ERROR` (1043).
    pub fn handshake(what: impl fmt::Display) -> Self {
        Self::new(1043, b"08S01", format!("Bad handshake: {what}"))
    }

    /// `ER_NET_PACKET_TOO_LARGE` (1153).
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            1153,
            b"08S01",
            format!("Got a packet bigger than 'max_allowed_packet' bytes ({limit})"),
        )
    }

    /// `ER_NET_PACKETS_OUT_OF_ORDER` (1156).
    pub fn out_of_order() -> Self {
        Self::new(1156, b"08S01", "Got packets out of order")
    }

    /// `CR_SERVER_LOST` (2013): what happened to the statement is not known.
    pub fn server_lost(tablet: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(
            2013,
            b"HY000",
            format!("Lost connection to MySQL server of tablet {tablet} during query: {why}"),
        )
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (errno {}) (sqlstate {})",
            self.message,
            self.code,
            String::from_utf8_lossy(&self.state)
        )
    }
}

impl std::error::Error for SqlError {}
