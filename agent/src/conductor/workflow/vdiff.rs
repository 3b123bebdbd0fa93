//! Asks for a full comparison, waits for it, and takes its result.

use std::time::Duration;

use vtplan_state::model::{
    KeyspaceName, StepWork, VDiffRecord, VDiffSample, VDiffState, VDiffTable, WorkflowName,
    WorkflowRecord,
};
use vtplan_state::store::{Compare, Op, Txn};

use super::record::Loaded;
use super::{policy, rates, record, streams};
use crate::conductor::step::{Outcome, Progress};
use crate::conductor::write::Fenced;

/// Streams that are farther behind are waited for before a comparison is asked for, which itself
/// waits for them.
const MAX_LAG: Duration = Duration::from_secs(60);

/// One look. `plan`: the id of the plan, which names the comparison, so that each plan makes its own
/// and a conductor that takes over goes on with it. `first`: of this step.
pub async fn compare(
    to: Fenced<'_>,
    plan: &str,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    every_value: bool,
    first: bool,
) -> Result<(), Outcome> {
    let loaded = record::load_existing(to, keyspace, workflow).await?;
    let record = &loaded.record;
    if record.vdiff_passed {
        return Ok(());
    }
    policy::refuse_paused(record)?;
    let id = format!("{plan}-{}", record.streams.epoch);
    let key = to.world.cluster().keys().vdiff(keyspace, workflow, &id);
    let Some(entry) = to.world.cluster().store().get(&key).await? else {
        let vdiff = VDiffRecord {
            id,
            keyspace: keyspace.clone(),
            workflow: workflow.clone(),
            epoch: record.streams.epoch,
            requested_at: to.world.now(),
            state: VDiffState::Requested,
            every_value,
            tables: Default::default(),
            message: String::new(),
            ended_at: None,
            started_at: None,
        };
        return request(to, record, vdiff, key, first).await;
    };
    let vdiff: VDiffRecord = entry.json()?;
    match vdiff.state {
        VDiffState::Requested | VDiffState::Running => Err(Outcome::Going(progress(&vdiff))),
        VDiffState::Failed => Err(Outcome::Impossible(format!(
            "the comparison {id} of workflow {} could not be done: {}",
            record.full_name(),
            vdiff.message
        ))),
        VDiffState::Done if vdiff.passed() => passed(to, loaded, &vdiff).await,
        VDiffState::Done => Err(Outcome::Impossible(report(record, &vdiff))),
    }
}

async fn request(
    to: Fenced<'_>,
    record: &WorkflowRecord,
    vdiff: VDiffRecord,
    key: String,
    first: bool,
) -> Result<(), Outcome> {
    let records = to.world.cluster().load_records().await?;
    let seen = streams::look_for_errors(to, &records, record, first).await?;
    if let Some(why) = seen.not_close(MAX_LAG) {
        return Err(Outcome::Going(Progress {
            message: format!("it is compared when the streams are close: {why}"),
            work: None,
        }));
    }
    let keys = to.world.cluster().keys();
    let of_workflow = keys.workflow(&vdiff.keyspace, &vdiff.workflow);
    let txn = Txn::new()
        .when(Compare::Absent(key.clone()))
        .when(Compare::Exists(of_workflow))
        .then(Op::put(key, &vdiff));
    to.txn(txn, "the comparison was asked for meanwhile")
        .await?;
    Err(Outcome::Going(Progress {
        message: format!(
            "the comparison {} waits for an agent to take it up",
            vdiff.id
        ),
        work: None,
    }))
}

async fn passed(to: Fenced<'_>, mut loaded: Loaded, vdiff: &VDiffRecord) -> Result<(), Outcome> {
    let mut next = loaded.record.clone();
    if next.streams.epoch != vdiff.epoch {
        return Err(Outcome::Retry(
            "the streams began another epoch meanwhile".to_owned(),
        ));
    }
    next.vdiff_passed = true;
    let rates = rates::of_vdiff(to, &loaded.record, vdiff).await?;
    loaded.write(to, next, rates).await?;
    Err(Outcome::Worked(work(vdiff)))
}

fn work(vdiff: &VDiffRecord) -> StepWork {
    let mut work = StepWork::default();
    for table in vdiff.tables.values() {
        work.rows_done += table.rows_compared;
        work.rows_total += table.rows_total.max(table.rows_compared);
    }
    work
}

fn progress(vdiff: &VDiffRecord) -> Progress {
    let work = work(vdiff);
    let differing: u64 = vdiff.tables.values().map(found).sum();
    let mut message = match vdiff.state {
        VDiffState::Requested => {
            format!(
                "the comparison {} waits for an agent to take it up",
                vdiff.id
            )
        }
        // The rows are told as numbers.
        _ if differing > 0 => format!("{differing} differences"),
        _ => String::new(),
    };
    if !vdiff.message.is_empty() {
        if !message.is_empty() {
            message.push_str("; ");
        }
        message.push_str(&vdiff.message);
    }
    Progress {
        message,
        work: Some(work),
    }
}

fn found(table: &VDiffTable) -> u64 {
    table.missing + table.extra + table.differing + table.misplaced
}

/// What differs: each table with its counts and some keys.
fn report(record: &WorkflowRecord, vdiff: &VDiffRecord) -> String {
    const KEYS: usize = 3;
    let (from, to) = (record.reads_from(), record.writes_to());
    let mut tables = Vec::new();
    for (name, table) in vdiff.tables.iter().filter(|(_, t)| !t.is_equal()) {
        let counts: Vec<String> = [
            (table.missing, "missing"),
            (table.extra, "extra"),
            (table.differing, "differing"),
            (table.misplaced, "on the wrong shard"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        let keys: Vec<String> = (table.samples.iter().take(KEYS))
            .map(|VDiffSample { found, key, .. }| format!("{found} {key}"))
            .collect();
        let mut line = format!(
            "table {name}: {} of {} rows",
            counts.join(", "),
            table.rows_compared
        );
        if !keys.is_empty() {
            line = format!("{line} (such as {})", keys.join(", "));
        }
        tables.push(line);
    }
    format!(
        "{} differs from {} in {}; see `vtplan workflow vdiff {} --show {}`, find out who wrote there, and cancel the workflow if its copy cannot be trusted",
        to.keyspace,
        from.keyspace,
        tables.join("; "),
        record.full_name(),
        vdiff.id
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conductor::workflow::tests::move_tables;

    #[test]
    fn a_report_names_tables_counts_and_keys() {
        let record = move_tables("commerce", "customer", &["corder"]);
        let sample = VDiffSample {
            found: "missing".into(),
            key: "order_id=5".into(),
            source: None,
            target: None,
        };
        let table = VDiffTable {
            rows_compared: 10,
            missing: 2,
            differing: 1,
            samples: vec![sample],
            ..VDiffTable::default()
        };
        let vdiff = VDiffRecord {
            id: "p-1".into(),
            keyspace: "customer".parse().unwrap(),
            workflow: "commerce2customer".parse().unwrap(),
            epoch: 1,
            requested_at: 0,
            state: VDiffState::Done,
            every_value: false,
            tables: [("corder".parse().unwrap(), table)].into(),
            message: String::new(),
            ended_at: None,
            started_at: None,
        };
        let text = report(&record, &vdiff);
        for part in [
            "customer differs from commerce",
            "table corder: 2 missing, 1 differing of 10 rows",
            "missing order_id=5",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
