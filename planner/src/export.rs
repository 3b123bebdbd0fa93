//! The live state as a file, so that a plan can be made where neither the store nor an agent can be
//! reached, as in CI. It holds no secrets: no verifiers of passwords, and no messages of servers, which
//! may quote rows.

use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vtplan_state::model::{HostName, Revision};

use crate::live::{Live, ObservedRole, ServerState};

/// The format of exports that this version writes.
pub const EXPORT_FORMAT: u32 = 1;

/// The largest export that is read, bytes. One of 100,000 tablets has some 150 MiB.
pub const MAX_EXPORT_BYTES: u64 = 2 << 30;

/// What stands for the messages of servers.
const NOT_EXPORTED: &str = "the message is not part of an export; `vtplan show` has it";

/// An exported live state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Marks the file, and is its format's number.
    pub vtplan_export: u32,
    /// vtplan's version.
    pub made_by: String,
    pub cluster: String,
    /// Of the store's records.
    pub revision: Revision,
    /// Hosts whose agents did not answer: nothing is known of their servers.
    pub unseen: Vec<HostName>,
    pub live: Live,
}

/// Why a file is no export that can be read.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error("it is not an export of a live state: {0}")]
    NotOne(String),
    #[error("its format is {found}, this vtplan knows {EXPORT_FORMAT}; it was made by vtplan {by}")]
    Format { found: u64, by: String },
    #[error("it has {mib} MiB, more than the {} MiB that are read", MAX_EXPORT_BYTES >> 20)]
    TooLarge { mib: u64 },
    #[error("it is cut off or damaged: {0}")]
    Damaged(String),
}

impl Export {
    /// An export of `live`, without what nobody else should see.
    pub fn new(cluster: &str, mut live: Live, unseen: Vec<HostName>) -> Self {
        without_secrets(&mut live);
        Self {
            vtplan_export: EXPORT_FORMAT,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: cluster.to_owned(),
            revision: live.records.revision,
            unseen,
            live,
        }
    }

    /// Whether a text may be meant as an export: JSON, as neither YAML nor KDL specs are written.
    pub fn looks_like_one(text: &[u8]) -> bool {
        text.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
    }

    /// Reads an export.
    ///
    /// # Errors
    /// Another format, another file, a part of one.
    pub fn parse(text: &[u8]) -> Result<Self, ExportError> {
        if text.len() as u64 > MAX_EXPORT_BYTES {
            return Err(ExportError::TooLarge {
                mib: text.len() as u64 >> 20,
            });
        }
        let head = head(text)?;
        if head.format != u64::from(EXPORT_FORMAT) {
            return Err(ExportError::Format {
                found: head.format,
                by: head.made_by,
            });
        }
        serde_json::from_slice(text).map_err(|e| ExportError::Damaged(e.to_string()))
    }

    /// Writes it, with a line's end.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, writer: &mut dyn io::Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *writer, self).map_err(io::Error::from)?;
        writer.write_all(b"\n")
    }
}

struct Head {
    format: u64,
    made_by: String,
}

/// The first fields, which also a file that is cut off still has.
fn head(text: &[u8]) -> Result<Head, ExportError> {
    #[derive(Deserialize)]
    struct Whole {
        vtplan_export: Option<u64>,
        made_by: Option<String>,
    }
    match serde_json::from_slice::<Whole>(text) {
        Ok(Whole {
            vtplan_export: Some(format),
            made_by,
        }) => Ok(Head {
            format,
            made_by: made_by.unwrap_or_else(|| "of another version".to_owned()),
        }),
        Ok(_) => Err(ExportError::NotOne(
            "the field `vtplan_export` is missing".to_owned(),
        )),
        // Ours, as far as it goes?
        Err(e) => {
            let start = &text[..text.len().min(200)];
            let start = String::from_utf8_lossy(start);
            if start.contains("\"vtplan_export\"") {
                Err(ExportError::Damaged(e.to_string()))
            } else {
                Err(ExportError::NotOne(e.to_string()))
            }
        }
    }
}

fn without_secrets(live: &mut Live) {
    for user in live.records.users.values_mut() {
        user.native_verifier.clear();
        user.sha2_verifier.clear();
    }
    let desired = live.records.spec.as_mut().map(|spec| &mut spec.desired);
    let users = desired.and_then(|desired| desired.get_mut("users"));
    for user in users
        .and_then(serde_json::Value::as_object_mut)
        .into_iter()
        .flat_map(|users| users.values_mut())
    {
        if let Some(user) = user.as_object_mut() {
            user.remove("verifier");
        }
    }
    for workflow in live.records.workflows.values_mut() {
        for record in workflow.values_mut() {
            if record.switch_failure.is_some() {
                record.switch_failure = Some(NOT_EXPORTED.to_owned());
            }
        }
    }
    for backup in live.records.backups.values_mut() {
        if !backup.reason.is_empty() {
            backup.reason = NOT_EXPORTED.to_owned();
        }
    }
    for tablet in live.observed.tablets.values_mut() {
        let message = match &mut tablet.server {
            ServerState::Creating { message } | ServerState::Down { message } => message,
            ServerState::Running(server) => match &mut server.role {
                ObservedRole::Replica { error, .. } => error,
                _ => continue,
            },
        };
        if !message.is_empty() {
            NOT_EXPORTED.clone_into(message);
        }
    }
}
