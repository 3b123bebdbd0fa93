//! What gates recorded, as a document: kinds of statements with how often they ran, how long, and over
//! how many shards. It holds no values.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use vtplan_gate::http::workload::Page;
use vtplan_gate::plan::KindCounts;

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
    /// Gates that did not answer: what they counted is missing.
    pub unseen: Vec<String>,
    /// When the first of them began to count, milliseconds since 1970.
    pub since: u64,
    /// Statements of kinds that gates had no room for.
    pub left_out: u64,
    /// Sorted by target and statement.
    pub kinds: Vec<KindCounts>,
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
    /// What several gates counted, as one: statements of a kind are added up.
    ///
    /// # Errors
    /// The clusters, when they are of more than one.
    pub fn merge(pages: Vec<Page>, unseen: Vec<String>) -> Result<Self, Vec<String>> {
        let clusters: BTreeSet<String> = pages.iter().map(|page| page.cluster.clone()).collect();
        if clusters.len() > 1 {
            return Err(clusters.into_iter().collect());
        }
        let mut digest = Self {
            vtplan_workload: DIGEST_FORMAT,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: clusters.into_iter().next().unwrap_or_default(),
            gates: pages.iter().map(|page| page.gate.clone()).collect(),
            unseen,
            since: pages
                .iter()
                .map(|page| page.since)
                .min()
                .unwrap_or_default(),
            left_out: pages.iter().map(|page| page.left_out).sum(),
            kinds: Vec::new(),
        };
        digest.gates.sort();
        digest.unseen.sort();
        let mut kinds: BTreeMap<(String, String), KindCounts> = BTreeMap::new();
        for kind in pages.into_iter().flat_map(|page| page.kinds) {
            let key = (kind.target.clone(), kind.statement.clone());
            match kinds.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(kind);
                }
                Entry::Occupied(mut entry) => add(entry.get_mut(), &kind),
            }
        }
        digest.kinds = kinds.into_values().collect();
        Ok(digest)
    }

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

fn add(sum: &mut KindCounts, other: &KindCounts) {
    sum.count += other.count;
    sum.errors += other.errors;
    sum.total_us += other.total_us;
    sum.max_us = sum.max_us.max(other.max_us);
    sum.rows += other.rows;
    sum.shards += other.shards;
    sum.first_seen = sum.first_seen.min(other.first_seen);
    sum.last_seen = sum.last_seen.max(other.last_seen);
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
                "unseen",
                json!({ "type": "array", "items": { "type": "string" }, "description": "Gates that did not answer: what they counted is missing." }),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn page(cluster: &str, gate: &str, kinds: &[(&str, u64, u64)]) -> Page {
        let kinds = kinds.iter().map(|(statement, count, seen)| KindCounts {
            statement: (*statement).to_owned(),
            target: "shop".to_owned(),
            count: *count,
            errors: 1,
            total_us: 10 * count,
            max_us: *seen,
            rows: 2 * count,
            shards: *count,
            first_seen: *seen,
            last_seen: *seen,
        });
        Page {
            format: 1,
            cluster: cluster.to_owned(),
            gate: gate.to_owned(),
            since: kinds.len() as u64,
            left_out: 3,
            kinds: kinds.collect(),
        }
    }

    #[test]
    fn what_gates_counted_is_added_up_in_whatever_order_they_answer() {
        let one = page("c", "g1", &[("b", 5, 100), ("a", 1, 50)]);
        let two = page("c", "g2", &[("b", 7, 200)]);
        let sum = Digest::merge(vec![one.clone(), two.clone()], vec!["g3".to_owned()]);
        let sum = sum.expect("one cluster");
        assert_eq!(
            Ok(sum.clone()),
            Digest::merge(vec![two, one.clone()], vec!["g3".to_owned()])
        );
        let kinds: Vec<_> = sum
            .kinds
            .iter()
            .map(|k| (k.statement.as_str(), k.count))
            .collect();
        assert_eq!(kinds, [("a", 1), ("b", 12)]);
        let b = &sum.kinds[1];
        assert_eq!(
            (b.errors, b.total_us, b.max_us, b.rows, b.shards),
            (2, 120, 200, 24, 12)
        );
        assert_eq!((b.first_seen, b.last_seen), (100, 200));
        assert_eq!((sum.since, sum.left_out), (1, 6));
        let other = page("d", "g9", &[]);
        assert_eq!(
            Digest::merge(vec![one, other], Vec::new()),
            Err(vec!["c".to_owned(), "d".to_owned()])
        );
    }

    #[test]
    fn a_document_reads_as_it_was_written() {
        let digest =
            Digest::merge(vec![page("c", "g", &[("a", 1, 2)])], Vec::new()).expect("one cluster");
        let mut text = Vec::new();
        digest.write(&mut text).expect("memory is written");
        assert_eq!(Digest::parse(&text).expect("it is one"), digest);
    }
}
