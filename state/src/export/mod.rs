//! All of a cluster's records as one document, and putting them back.
//!
//! An [`Export`] is what `vtplan state export` writes: every record of a cluster as it stood at one
//! revision, but those that belong to running processes (hosts, gates, locks), which write them
//! anew by themselves. [`restore`] puts it into a store, of either kind.

mod copy;
mod document;
mod restore;

pub use document::{EXPORT_FORMAT, Export, ExportError, MAX_BYTES};
pub use restore::{Mode, RestoreError, Restored, restore};

/// Whether a record, by its key without the cluster's prefix, belongs to a running process.
fn is_of_a_process(key: &str) -> bool {
    ["hosts/", "gates/", "locks/"]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}
