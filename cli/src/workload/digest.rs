//! What gates recorded, as a document: kinds of statements with how often they ran, how long, and over
//! how many shards. It holds no values.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

/// The format of documents that this version writes.
pub const DIGEST_FORMAT: u32 = 1;

/// The largest document that is read, bytes.
pub const MAX_DIGEST_BYTES: u64 = 512 << 20;

/// What gates recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// Marks the file, and is its format's number.
    pub vtplan_workload: u32,
    /// vtplan's version.
    pub made_by: String,
    pub cluster: String,
    /// The gates that were asked.
    pub gates: Vec<String>,
    /// When the first of them began to count, milliseconds since 1970.
    pub since: u64,
    /// Statements of kinds that gates had no room for.
    pub left_out: u64,
    /// Sorted by keyspace, tablet type and statement.
    pub kinds: Vec<DigestKind>,
}

/// A kind of statements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestKind {
    /// Without values.
    pub statement: String,
    /// What sessions use: `customer`, `customer@replica`; empty: nothing.
    pub target: String,
    pub count: u64,
    pub errors: u64,
    /// Microseconds of all statements together.
    pub total_us: u64,
    /// Microseconds of the longest.
    pub max_us: u64,
    /// Rows that were given or changed.
    pub rows: u64,
    /// Shards that were asked, of all statements together.
    pub shards: u64,
    /// Milliseconds since 1970.
    pub first_seen: u64,
    pub last_seen: u64,
}

/// Why a file is no such document.
#[derive(Debug, Error)]
pub enum DigestError {
    #[error("it is JSON, but not what `vtplan workload export` writes: {0}")]
    NotOne(String),
    #[error("its format is {found}, this vtplan knows {DIGEST_FORMAT}; it was made by vtplan {by}")]
    Format { found: u64, by: String },
    #[error("it has {mib} MiB, more than the {} MiB that are read", MAX_DIGEST_BYTES >> 20)]
    TooLarge { mib: u64 },
    #[error("it is cut off or damaged: {0}")]
    Damaged(String),
}

impl Digest {
    /// Reads a document.
    ///
    /// # Errors
    /// Another format, another file, a part of one.
    pub fn parse(text: &[u8]) -> Result<Self, DigestError> {
        #[derive(Deserialize)]
        struct Head {
            vtplan_workload: Option<u64>,
            made_by: Option<String>,
        }
        let head: Head = serde_json::from_slice(text).map_err(|e| {
            let start = String::from_utf8_lossy(&text[..text.len().min(200)]);
            match start.contains("\"vtplan_workload\"") {
                true => DigestError::Damaged(e.to_string()),
                false => DigestError::NotOne(e.to_string()),
            }
        })?;
        match head.vtplan_workload {
            None => Err(DigestError::NotOne(
                "the field `vtplan_workload` is missing".to_owned(),
            )),
            Some(found) if found != u64::from(DIGEST_FORMAT) => Err(DigestError::Format {
                found,
                by: head
                    .made_by
                    .unwrap_or_else(|| "of another version".to_owned()),
            }),
            Some(_) => {
                serde_json::from_slice(text).map_err(|e| DigestError::Damaged(e.to_string()))
            }
        }
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

/// The JSON Schema of the document.
pub fn json_schema() -> Value {
    let count = |text: &str| json!({ "type": "integer", "minimum": 0, "description": text });
    let text = |text: &str| json!({ "type": "string", "description": text });
    let kind = [
        ("statement", text("Without values; can be planned.")),
        (
            "target",
            text("What the sessions use: `customer`, `customer@replica`; empty: nothing."),
        ),
        ("count", count("How often it ran.")),
        ("errors", count("How often it failed.")),
        ("total_us", count("Microseconds of all together.")),
        ("max_us", count("Microseconds of the longest.")),
        ("rows", count("Rows given or changed.")),
        ("shards", count("Shards that were asked, of all together.")),
        ("first_seen", count("Milliseconds since 1970.")),
        ("last_seen", count("Milliseconds since 1970.")),
    ];
    let object = |fields: Vec<(&str, Value)>, about: &str| {
        let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let properties: serde_json::Map<String, Value> = fields
            .iter()
            .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
            .collect();
        json!({
            "type": "object", "description": about, "properties": properties,
            "required": required, "additionalProperties": false,
        })
    };
    let kind = object(kind.to_vec(), "A kind of statements.");
    let mut schema = object(
        vec![
            (
                "vtplan_workload",
                json!({ "enum": [DIGEST_FORMAT], "description": "The format." }),
            ),
            ("made_by", text("vtplan's version.")),
            ("cluster", text("The cluster's name.")),
            (
                "gates",
                json!({ "type": "array", "items": { "type": "string" }, "description": "Those that were asked." }),
            ),
            (
                "since",
                count("When the first of them began to count, milliseconds since 1970."),
            ),
            (
                "left_out",
                count("Statements of kinds that gates had no room for."),
            ),
            (
                "kinds",
                json!({ "type": "array", "items": kind, "description": "Sorted by target and statement." }),
            ),
        ],
        "What `vtplan workload export` prints: kinds of statements that gates recorded.",
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("vtplan workload");
    schema
}
