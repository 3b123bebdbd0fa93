//! The steps of a workflow but for the switches of traffic, which are in [`super::switch`].
//!
//! - [`start`]: record and routing rules, then the streams.
//! - [`copy`]: waits for every row to be copied; [`streams`] is what agents tell of streams.
//! - [`vdiff`]: a full comparison that must find no difference.
//! - [`policy`]: what waits for a person, for time or for a window.
//! - [`ending`]: Complete and Cancel.
//! - [`rates`]: what is kept of how fast copies and comparisons were.
//! - [`routing`]: where gates send what a workflow is about, as its record says.
//! - [`record`]: the record itself, read and written under the lock.
//! - [`vt`]: what stands of it in `_vt`.

pub mod copy;
pub mod ending;
pub mod policy;
pub mod rates;
pub mod record;
pub mod routing;
pub mod start;
pub mod streams;
pub mod vdiff;
pub mod vt;

#[cfg(test)]
pub mod tests {
    use vtplan_state::model::{
        ShardName, Side, StreamsWanted, TableName, WorkflowKind, WorkflowRecord, WorkflowSide,
    };

    fn side(keyspace: &str) -> WorkflowSide {
        WorkflowSide {
            keyspace: keyspace.parse().unwrap(),
            shards: vec![ShardName::unsharded()],
        }
    }

    /// The record of a MoveTables that has just started.
    pub fn move_tables(source: &str, target: &str, tables: &[&str]) -> WorkflowRecord {
        WorkflowRecord {
            name: format!("{source}2{target}").parse().unwrap(),
            kind: WorkflowKind::MoveTables,
            source: side(source),
            target: side(target),
            tables: tables
                .iter()
                .map(|table| table.parse::<TableName>().unwrap())
                .collect(),
            throttle_max_lag_seconds: 5,
            created_at: 1,
            paused: false,
            streams: StreamsWanted {
                epoch: 1,
                from: Side::Source,
                running: false,
                start: Default::default(),
            },
            copied: false,
            reads_switched: Default::default(),
            writes: Side::Source,
            switch: None,
            switch_failure: None,
            switched_at: None,
            vdiff_passed: false,
            approved: Default::default(),
            soaked: false,
            ending: None,
        }
    }
}
