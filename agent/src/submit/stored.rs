//! Plans as they stand in the store: reading them, listing them, and cutting large ones into
//! pieces.

use std::collections::BTreeMap;

use serde_json::Value;
use vtplan_planner::desired::Desired;
use vtplan_planner::plan::{Plan, WorkflowOperation};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{ActivePlan, PlanRecord, PlanStatus, Revision, UnixMillis};
use vtplan_state::store::{Op, StoreError, Txn};

use super::SubmitError;

/// An approved plan with all that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPlan {
    /// As it stands in the store: of a large plan `desired` and `plan` are null in it.
    pub record: PlanRecord,
    pub desired: Desired,
    pub plan: Plan,
    /// What the plan is, when it is an operation on a workflow.
    pub operation: Option<WorkflowOperation>,
    /// Of the plan's record.
    pub mod_revision: Revision,
}

/// What a list of plans shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSummary {
    pub id: String,
    pub approved_by: String,
    pub approved_at: UnixMillis,
    pub status: PlanStatus,
}

/// The plan under way, if there is one.
pub async fn active(cluster: &Cluster) -> Result<Option<ActivePlan>, StoreError> {
    match cluster.store().get(&cluster.keys().active_plan()).await? {
        Some(entry) => Ok(Some(entry.json()?)),
        None => Ok(None),
    }
}

/// All plans, the oldest first.
pub async fn list(cluster: &Cluster) -> Result<Vec<PlanSummary>, StoreError> {
    let prefix = cluster.keys().plans();
    let listing = cluster.store().list(&prefix).await?;
    let plans = listing.entries.iter().filter(|entry| {
        let name = &entry.key[prefix.len()..];
        !name.contains('/') && entry.key != cluster.keys().active_plan()
    });
    plans
        .map(|entry| {
            let record: PlanRecord = entry.json()?;
            Ok(PlanSummary {
                id: record.id,
                approved_by: record.approved_by,
                approved_at: record.approved_at,
                status: record.status,
            })
        })
        .collect()
}

/// One plan, put together again when it was cut into pieces.
pub async fn load(cluster: &Cluster, id: &str) -> Result<StoredPlan, SubmitError> {
    let Some(entry) = cluster.store().get(&cluster.keys().plan(id)).await? else {
        return Err(no_such_plan(cluster, id));
    };
    let record: PlanRecord = entry.json()?;
    let unreadable = |why: String| SubmitError::Unreadable {
        id: id.to_owned(),
        why,
    };
    let (desired, plan) = if record.chunks == 0 {
        (record.desired.clone(), record.plan.clone())
    } else {
        let mut text = String::new();
        for number in 0..record.chunks {
            let key = cluster.keys().plan_chunk(id, number);
            let piece = cluster.store().get(&key).await?;
            let piece = piece.ok_or_else(|| unreadable(format!("its piece {key} is missing")))?;
            text.push_str(&piece.json::<String>()?);
        }
        let mut parts: BTreeMap<String, Value> =
            serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
        let mut part = |name: &str| parts.remove(name).unwrap_or_default();
        (part("desired"), part("plan"))
    };
    Ok(StoredPlan {
        desired: serde_json::from_value(desired).map_err(|e| unreadable(e.to_string()))?,
        plan: serde_json::from_value(plan).map_err(|e| unreadable(e.to_string()))?,
        operation: (record.operation.clone())
            .map(serde_json::from_value)
            .transpose()
            .map_err(|e| unreadable(e.to_string()))?,
        record,
        mod_revision: entry.mod_revision,
    })
}

/// A plan's record alone.
pub(super) async fn load_record(cluster: &Cluster, id: &str) -> Result<PlanRecord, SubmitError> {
    match cluster.store().get(&cluster.keys().plan(id)).await? {
        Some(entry) => Ok(entry.json()?),
        None => Err(no_such_plan(cluster, id)),
    }
}

fn no_such_plan(cluster: &Cluster, id: &str) -> SubmitError {
    SubmitError::NoSuchPlan {
        id: id.to_owned(),
        cluster: cluster.name().to_owned(),
    }
}

/// The most that `desired` and `plan` may have together, in bytes of JSON, to stand in the
/// record itself. The transaction that ends a plan writes the record and the spec's record.
const MAX_INLINE: usize = 400 << 10;
/// Size of a piece in bytes before it is written as a JSON string, which at most doubles it.
const PIECE: usize = 600 << 10;

/// Writes a large plan's pieces and gives the record that refers to them; a small plan's record
/// comes back as it is. The pieces mean nothing until the record is written.
pub(super) async fn write_chunks(
    cluster: &Cluster,
    mut record: PlanRecord,
) -> Result<PlanRecord, StoreError> {
    let both = BTreeMap::from([("desired", &record.desired), ("plan", &record.plan)]);
    // Values made by serializing; strings as cluster.keys().
    let text = serde_json::to_string(&both).expect("JSON values serialize");
    if text.len() <= MAX_INLINE {
        return Ok(record);
    }
    for piece in pieces(&text, PIECE) {
        let op = Op::put(cluster.keys().plan_chunk(&record.id, record.chunks), &piece);
        cluster.store().txn(Txn::new().then(op)).await?;
        record.chunks += 1;
    }
    record.desired = Value::Null;
    record.plan = Value::Null;
    Ok(record)
}

/// Cuts a text into pieces of at most `size` bytes, between characters.
fn pieces(mut text: &str, size: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let mut end = size.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, rest) = text.split_at(end);
        pieces.push(piece);
        text = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_together_are_the_text() {
        let text = "aäöü€x".repeat(100);
        for size in [4, 5, 7, 64, 10_000] {
            let pieces = pieces(&text, size);
            assert!(pieces.iter().all(|p| p.len() <= size));
            assert_eq!(pieces.concat(), text);
        }
    }
}
