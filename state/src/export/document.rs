//! The document: made from a store, written, read and checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::is_of_a_process;
use crate::cluster::Cluster;
use crate::model::keys::Keys;
use crate::model::{ClusterRecord, RECORD_FORMAT, Records, Revision};
use crate::store::{Entry, Listing, StoreError};

/// The format of the documents that this version writes.
pub const EXPORT_FORMAT: u32 = 1;

/// The largest document that is read, bytes.
pub const MAX_BYTES: u64 = 1 << 30;

/// All records of a cluster at one revision. Equal records give equal documents, byte for byte.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Marks the document, and is its format's number.
    vtplan_state_export: u32,
    cluster: String,
    /// vtplan's version.
    made_by: String,
    revision: Revision,
    /// SHA-256, hex, of what stands above and below.
    digest: String,
    /// By key, without the cluster's prefix.
    records: BTreeMap<String, Value>,
}

/// Passwords are among the records.
impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export")
            .field("cluster", &self.cluster)
            .field("revision", &self.revision)
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

/// Why a document cannot be used. The messages say what is wrong with it.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error("it is cut off after {0} lines: the copy is not whole")]
    CutOff(usize),
    #[error("it is not JSON ({0})")]
    NotJson(serde_json::Error),
    #[error("it is JSON, but no export of vtplan's records: it has no `vtplan_state_export`")]
    NotAnExport,
    #[error("its format is {found}, this vtplan knows {EXPORT_FORMAT}; it was made by vtplan {by}")]
    OtherFormat { found: u64, by: String },
    #[error(
        "the records in it have format {found}, this vtplan knows {RECORD_FORMAT}; they were written by a newer version"
    )]
    NewerRecords { found: u32 },
    #[error("it is damaged: its digest is not that of its records")]
    Damaged,
    #[error("it is not whole: {0}")]
    Incomplete(String),
}

impl Export {
    /// Reads all records of a cluster at one revision. `None` if the store holds nothing of it.
    ///
    /// # Errors
    /// Those of the store, and [`StoreError::Restoring`].
    pub async fn take(cluster: &Cluster) -> Result<Option<Self>, StoreError> {
        let (store, keys) = (cluster.store(), cluster.keys());
        let listing = store.list(keys.prefix()).await?;
        let has = |key: &str| listing.entries.iter().any(|entry| entry.key == key);
        if has(&keys.restoring()) {
            return Err(StoreError::Restoring {
                url: store.url().to_owned(),
                name: cluster.name().to_owned(),
            });
        }
        if !has(&keys.cluster()) {
            return Ok(None);
        }
        Self::of_listing(keys, &listing).map(Some)
    }

    fn of_listing(keys: &Keys, listing: &Listing) -> Result<Self, StoreError> {
        let mut records = BTreeMap::new();
        for entry in &listing.entries {
            if let Some(key) = entry.key.strip_prefix(keys.prefix())
                && !is_of_a_process(key)
            {
                records.insert(key.to_owned(), entry.json()?);
            }
        }
        Ok(Self::of(keys.cluster_name(), listing.revision, records))
    }

    /// The document of these records, by key without the cluster's prefix.
    pub fn of(cluster: &str, revision: Revision, records: BTreeMap<String, Value>) -> Self {
        let mut export = Self {
            vtplan_state_export: EXPORT_FORMAT,
            cluster: cluster.to_owned(),
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            revision,
            digest: String::new(),
            records,
        };
        export.digest = export.compute_digest();
        export
    }

    fn compute_digest(&self) -> String {
        use sha2::Digest as _;
        let what = (
            self.vtplan_state_export,
            &self.cluster,
            &self.made_by,
            self.revision,
            &self.records,
        );
        let json = serde_json::to_vec(&what).expect("JSON values serialize");
        hex::encode(sha2::Sha256::digest(json))
    }

    /// The document as text, a record a line.
    pub fn to_text(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let mut text = format!(
            "{{\n\"vtplan_state_export\": {},\n\"cluster\": {},\n\"made_by\": {},\n\"revision\": {},\n\"digest\": {},\n\"records\": {{",
            self.vtplan_state_export,
            quoted(&self.cluster),
            quoted(&self.made_by),
            self.revision,
            quoted(&self.digest)
        );
        for (number, (key, value)) in self.records.iter().enumerate() {
            text.push_str(if number == 0 { "\n" } else { ",\n" });
            text.push_str(&format!("{}: {value}", quoted(key)));
        }
        text.push_str("\n}\n}\n");
        text
    }

    /// Reads a document and checks all of it.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, ExportError> {
        #[derive(Deserialize)]
        struct Head {
            vtplan_state_export: Option<u64>,
            made_by: Option<String>,
        }
        let head: Head = serde_json::from_slice(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof if !text.trim_ascii().is_empty() => {
                ExportError::CutOff(text.iter().filter(|&&byte| byte == b'\n').count())
            }
            serde_json::error::Category::Data => ExportError::NotAnExport,
            _ => ExportError::NotJson(error),
        })?;
        let found = head.vtplan_state_export.ok_or(ExportError::NotAnExport)?;
        if found != u64::from(EXPORT_FORMAT) {
            let by = head.made_by.unwrap_or_else(|| "of another version".into());
            return Err(ExportError::OtherFormat { found, by });
        }
        let export: Self = serde_json::from_slice(text).map_err(ExportError::NotJson)?;
        if export.digest != export.compute_digest() {
            return Err(ExportError::Damaged);
        }
        export.check()?;
        Ok(export)
    }

    /// Whether this version understands every record that it knows by name.
    fn check(&self) -> Result<(), ExportError> {
        let incomplete = |why: String| ExportError::Incomplete(why);
        let own = self.records.get("cluster");
        let own = own.ok_or_else(|| incomplete("it has no record of the cluster itself".into()))?;
        let format = own.get("format").and_then(Value::as_u64);
        let format = format.and_then(|f| u32::try_from(f).ok());
        match format {
            Some(found) if found > RECORD_FORMAT => {
                return Err(ExportError::NewerRecords { found });
            }
            Some(_) => {}
            None => return Err(incomplete("the cluster's record has no format".into())),
        }
        let records = self.records().map_err(|e| incomplete(e.to_string()))?;
        match records.cluster {
            Some(record) if record.name == self.cluster => {}
            _ => {
                return Err(incomplete(format!(
                    "its cluster record is not that of `{}`",
                    self.cluster
                )));
            }
        }
        Cluster::check_name(&self.cluster).map_err(|e| incomplete(e.to_string()))
    }

    /// The records as types.
    ///
    /// # Errors
    /// A record that this version cannot read.
    pub fn records(&self) -> Result<Records, StoreError> {
        let keys = Keys::new(&self.cluster);
        let entries = self.records.iter().map(|(key, value)| Entry {
            key: format!("{}{key}", keys.prefix()),
            value: value.to_string().into_bytes(),
            create_revision: self.revision,
            mod_revision: self.revision,
        });
        let listing = Listing {
            entries: entries.collect(),
            revision: self.revision,
        };
        crate::cluster::decode(&keys, &listing, "of the copy")
    }

    /// The record of the cluster itself.
    pub fn identity(&self) -> Option<ClusterRecord> {
        let record = self.records.get("cluster")?.clone();
        serde_json::from_value(record).ok()
    }

    pub fn cluster(&self) -> &str {
        &self.cluster
    }
    /// The store's revision at which the records stood so.
    pub fn revision(&self) -> Revision {
        self.revision
    }
    /// SHA-256, hex: names the document.
    pub fn digest(&self) -> &str {
        &self.digest
    }
    /// By key, without the cluster's prefix.
    pub fn entries(&self) -> &BTreeMap<String, Value> {
        &self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn export() -> Export {
        let cluster = json!({
            "name": "shop", "format": 1, "created_at": 1, "created_by": "0.1.0",
        });
        let keyspace = json!({ "name": "commerce", "durability": "semi_sync" });
        let records = [
            ("cluster".to_owned(), cluster),
            ("keyspaces/commerce".to_owned(), keyspace),
            ("history/1-2".to_owned(), json!({ "summary": "\"ü\n" })),
        ];
        Export::of("shop", 57, records.into())
    }

    fn refused(text: &[u8]) -> String {
        Export::parse(text).expect_err("it is refused").to_string()
    }

    #[test]
    fn a_document_is_read_back_as_it_was_written() {
        let export = export();
        let text = export.to_text();
        assert_eq!(text.lines().count(), 12, "{text}");
        let read = Export::parse(text.as_bytes()).unwrap();
        assert_eq!(read, export);
        assert_eq!(read.to_text(), text);
        assert_eq!(read.records().unwrap().keyspaces.len(), 1);
        assert!(!format!("{read:?}").contains("semi_sync"));
    }

    #[test]
    fn a_document_that_is_cut_anywhere_is_refused() {
        let text = export().to_text();
        let whole = text.trim_end().len();
        for end in 0..whole {
            let why = refused(&text.as_bytes()[..end]);
            assert!(
                why.contains("cut off") || why.contains("not JSON"),
                "{end}: {why}"
            );
        }
        assert!(refused(&text.as_bytes()[..whole - 5]).contains("cut off after 9 lines"));
    }

    #[test]
    fn what_was_changed_by_hand_or_is_no_export_is_refused_and_told_why() {
        let text = export().to_text();
        assert!(refused(text.replace("semi_sync", "none").as_bytes()).contains("digest"));
        assert!(refused(text.replace("57", "58").as_bytes()).contains("digest"));
        for (text, hint) in [
            ("{}", "no export"),
            ("[1]", "no export"),
            ("vtplan: 1\n", "not JSON"),
            ("\0\u{1}\u{7f}ELF", "not JSON"),
            ("", "not JSON"),
            (r#"{"vtplan_plan_file": 1}"#, "no export"),
            (
                r#"{"vtplan_state_export": 2, "made_by": "9.0.0", "new": 1}"#,
                "format is 2, this vtplan knows 1; it was made by vtplan 9.0.0",
            ),
        ] {
            assert!(refused(text.as_bytes()).contains(hint), "{text}");
        }
    }

    #[test]
    fn records_that_this_version_does_not_understand_are_refused() {
        let with = |key: &str, value: Value| {
            let mut records = export().records;
            records.insert(key.to_owned(), value);
            refused(Export::of("shop", 57, records).to_text().as_bytes())
        };
        let newer = json!({ "name": "shop", "format": 2 });
        assert!(with("cluster", newer).contains("format 2"));
        let odd = with("keyspaces/commerce", json!({ "new": 1 }));
        assert!(odd.contains("keyspaces/commerce"), "{odd}");
        let other = json!({ "name": "shop2", "format": 1, "created_at": 1, "created_by": "" });
        assert!(with("cluster", other).contains("not that of `shop`"));
        let none = Export::of("shop", 57, BTreeMap::new()).to_text();
        assert!(refused(none.as_bytes()).contains("no record of the cluster"));
    }
}
