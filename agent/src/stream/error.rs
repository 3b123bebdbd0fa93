//! Why a stream cannot go on, and whether trying again can help.

use thiserror::Error;

/// `server` is in all of them what [`super::ServerAddress`] prints: the tablet's alias.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StreamError {
    #[error("cannot connect to {server}: {why}")]
    Connect { server: String, why: String },

    /// The connection is gone, or of no more use: nothing is known of what was last asked for.
    #[error("the connection to {server} broke while {what}: {why}")]
    Broken {
        server: String,
        what: String,
        why: String,
    },

    #[error("{what} failed on {server}: {message} (error {code})")]
    Sql {
        server: String,
        what: String,
        code: u16,
        message: String,
    },

    /// The server has not come as far yet as the position to follow from. If it stays so on a
    /// shard's primary, transactions that were followed are lost there.
    #[error("{server} is at {has} and does not have {position} yet")]
    Behind {
        server: String,
        position: String,
        has: String,
    },

    /// The binlogs to follow from are gone.
    #[error(
        "{server} no longer has the binlogs after {position} ({why}): the stream cannot go on from there; cancel the workflow and start it again to copy anew"
    )]
    Purged {
        server: String,
        position: String,
        why: String,
    },

    /// A table is not what the stream was begun with.
    #[error(
        "the definition of table `{table}` changed on {server} while its rows move: {why}; cancel the workflow and start it again to copy anew"
    )]
    DefinitionChanged {
        server: String,
        table: String,
        why: String,
    },

    /// What a server sends cannot be understood.
    #[error("{server} sent what cannot be read at {position}: {why}")]
    Unreadable {
        server: String,
        position: String,
        why: String,
    },

    /// Another has taken the stream over on a target.
    #[error("the stream on {server} is not this agent's any more: {why}")]
    Superseded { server: String, why: String },

    /// The agent's own disk is full, or broken.
    #[error(
        "a long transaction of the source cannot be kept in {folder} until all of it is there: {why}; make room there, the stream goes on by itself"
    )]
    NoRoom { folder: String, why: String },

    /// It cannot be done, for a reason that stands until somebody changes something.
    #[error("{0}")]
    Refused(String),
}

impl StreamError {
    /// Whether the same may go well later, or with another server of the shard. If not, the
    /// stream stops until somebody acts.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Behind { .. }
            | Self::Superseded { .. }
            | Self::NoRoom { .. } => true,
            Self::Sql { code, message, .. } => PASSING.contains(code) || no_room(message),
            Self::Purged { .. }
            | Self::DefinitionChanged { .. }
            | Self::Unreadable { .. }
            | Self::Refused(_) => false,
        }
    }

    /// The server's error number, when a statement failed.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Sql { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Whether a disk is full: servers tell that of files of all kinds, each by an error of its own
/// (`EE_WRITE`, `ER_GET_ERRNO`, `ER_ERROR_ON_WRITE` and more), with what the system said.
fn no_room(message: &str) -> bool {
    message.contains("No space left on device") || message.contains("Disk quota exceeded")
}

/// Errors of servers that pass: disk full, too many connections, out of memory, shutdown, table full,
/// lock wait timeout, deadlock, read-only, interrupted, killed, query timeout, and the like.
const PASSING: [u16; 22] = [
    1021, 1037, 1040, 1041, 1053, 1105, 1114, 1158, 1159, 1160, 1161, 1205, 1213, 1290, 1317, 1792,
    1836, 1927, 1969, 3024, 3100, 3169,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_stays() {
        let sql = |code| StreamError::Sql {
            server: "zone1-0000000100".into(),
            what: "reading rows".into(),
            code,
            message: String::new(),
        };
        assert!(sql(1205).is_retriable());
        assert!(!sql(1146).is_retriable());
        let full = |code, message: &str| StreamError::Sql {
            server: "zone1-0000000100".into(),
            what: "copying rows of `note`".into(),
            code,
            message: message.to_owned(),
        };
        // A temporary file of MariaDB, a table of MySQL.
        let file = "Error writing file '/tmp/#sql/fd=61' (Errcode: 28 \"No space left on device\")";
        let table = "Got error 28 - 'No space left on device' from storage engine";
        assert!(full(3, file).is_retriable());
        assert!(full(1030, table).is_retriable());
        assert!(!full(1030, "Got error 122 from storage engine").is_retriable());
        let purged = StreamError::Purged {
            server: "zone1-0000000100".into(),
            position: "0-1-5".into(),
            why: "error 1236".into(),
        };
        assert!(!purged.is_retriable());
        assert!(purged.to_string().contains("copy anew"), "{purged}");
    }
}
