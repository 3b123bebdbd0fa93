//! A plan in one line.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vtplan_planner::plan::{Action, Plan, Risk, Step};

use vtplan_state::model::{KeyspaceName, TableName};

use super::step::workflow_of;
use super::table::{self, count};
use super::text::bytes_text;
use super::when;

/// What a step's work counts as: a verb and the noun it is done to.
fn work(step: &Step) -> (&'static str, &'static str) {
    match &step.action {
        Action::CreateCell { .. } => ("create", "cell"),
        Action::DeleteCell { .. } => ("delete", "cell"),
        Action::CreateKeyspace { .. } => ("create", "keyspace"),
        Action::SetDurability { .. } => ("change", "keyspace"),
        Action::DeleteKeyspace { .. } => ("delete", "keyspace"),
        Action::CreateShard { .. } => ("create", "shard"),
        Action::DeleteShard { .. } => ("delete", "shard"),
        Action::CreateTablet { .. } => ("create", "tablet"),
        Action::DeleteTablet { .. } => ("delete", "tablet"),
        Action::ChangeTabletType { .. } => ("change", "tablet"),
        Action::InitPrimary { .. } => ("initialise", "primary"),
        Action::Reparent { .. } => ("move", "primary"),
        Action::CreateTable { .. } => ("create", "table"),
        Action::AlterTable { .. } => ("change", "table"),
        Action::DropTable { .. } => ("drop", "table"),
        Action::InitSequence { .. } => ("initialise", "sequence"),
        Action::ApplyVschema { before: None, .. } => ("create", "VSchema"),
        Action::ApplyVschema { .. } => ("change", "VSchema"),
        Action::StartWorkflow { .. } => ("start", "workflow"),
        Action::WaitForCopy { .. } => ("finish", "copy"),
        Action::Vdiff { .. } => ("run", "VDiff"),
        Action::WaitForApproval { .. } => ("await", "approval"),
        Action::SwitchTraffic { .. } => ("make", "traffic switch"),
        Action::Soak { .. } => ("await", "soak"),
        Action::CompleteWorkflow { .. } => ("complete", "workflow"),
        Action::CancelWorkflow { .. } => ("cancel", "workflow"),
        Action::CreateUser { .. } => ("create", "user"),
        Action::AlterUser { .. } => ("change", "user"),
        Action::DeleteUser { .. } => ("delete", "user"),
        Action::ConfigureGates { .. } => ("set", "gate configuration"),
        Action::RemoveGates { .. } => ("delete", "gate configuration"),
    }
}

/// `14 steps: 1 keyspace, 1 shard, 3 tablets to create; 1 primary to initialise; about 40 s;
/// nothing is deleted.` A table is counted once, in however many shards it is made.
pub fn summary(plan: &Plan) -> String {
    // Verbs and nouns in the order in which the plan first has them.
    let mut verbs: Vec<(&str, Vec<(&str, usize)>)> = Vec::new();
    let mut tables = BTreeSet::new();
    for step in &plan.steps {
        let (verb, noun) = work(step);
        if let Some(table) = table_of(step)
            && !tables.insert((verb, noun, table))
        {
            continue;
        }
        let at = match verbs.iter().position(|(v, _)| *v == verb) {
            Some(at) => at,
            None => {
                verbs.push((verb, Vec::new()));
                verbs.len() - 1
            }
        };
        let nouns = &mut verbs[at].1;
        match nouns.iter_mut().find(|(n, _)| *n == noun) {
            Some((_, n)) => *n += 1,
            None => nouns.push((noun, 1)),
        }
    }
    let mut parts: Vec<String> = verbs
        .iter()
        .map(|(verb, nouns)| {
            let nouns: Vec<String> = nouns.iter().map(|(noun, n)| count(*n, noun)).collect();
            format!("{} to {verb}", nouns.join(", "))
        })
        .collect();
    let (rows, bytes) = to_copy(plan);
    if rows > 0 {
        let bytes = match bytes {
            0 => String::new(),
            bytes => format!(" ({})", bytes_text(bytes)),
        };
        parts.push(format!("about {}{bytes} to copy", table::rows(rows)));
    }
    let seconds = duration(plan);
    if seconds > 0 {
        parts.push(format!(
            "about {}",
            when::duration(Duration::from_secs(seconds))
        ));
    }
    let pause = write_pause(plan);
    if pause > 0 {
        parts.push(format!(
            "writes pause for up to {}",
            when::duration(Duration::from_millis(pause))
        ));
    }
    let destructive = plan.destructive().count();
    parts.push(if destructive > 0 {
        let verb = if destructive == 1 {
            "deletes"
        } else {
            "delete"
        };
        format!("{} {verb} data", count(destructive, "step"))
    } else if verbs.iter().any(|(v, _)| matches!(*v, "delete" | "drop")) {
        "no data is deleted".to_owned()
    } else {
        "nothing is deleted".to_owned()
    });
    format!("{}: {}.", count(plan.steps.len(), "step"), parts.join("; "))
}

/// Rows and bytes that workflows copy, as far as that is known. A workflow's start and its wait for
/// the copy tell the same.
fn to_copy(plan: &Plan) -> (u64, u64) {
    let mut copies = BTreeMap::new();
    for step in &plan.steps {
        if let Action::StartWorkflow { .. } | Action::WaitForCopy { .. } = &step.action {
            let most: &mut (u64, u64) = copies.entry(workflow_of(step)).or_default();
            most.0 = most.0.max(step.estimate.rows.unwrap_or(0));
            most.1 = most.1.max(step.estimate.bytes.unwrap_or(0));
        }
    }
    let sum = |of: fn(&(u64, u64)) -> u64| copies.values().map(of).sum();
    (sum(|c| c.0), sum(|c| c.1))
}

/// The table that a step works on, in whichever shard.
fn table_of(step: &Step) -> Option<(&KeyspaceName, &TableName)> {
    match &step.action {
        Action::CreateTable {
            keyspace, table, ..
        }
        | Action::AlterTable {
            keyspace, table, ..
        }
        | Action::DropTable {
            keyspace, table, ..
        }
        | Action::InitSequence {
            keyspace, table, ..
        } => Some((keyspace, table)),
        _ => None,
    }
}

/// How long the plan takes when steps that do not wait for each other run side by side: the
/// longest way through the steps, seconds.
pub fn duration(plan: &Plan) -> u64 {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    let mut last = 0;
    for step in &plan.steps {
        let start = step
            .after
            .iter()
            .filter_map(|id| ends.get(id.as_str()))
            .max()
            .copied()
            .unwrap_or(0);
        let end = start + step.estimate.seconds;
        last = last.max(end);
        ends.insert(&step.id, end);
    }
    last
}

/// The longest pause of writes that one step causes, milliseconds.
pub fn write_pause(plan: &Plan) -> u64 {
    let pauses = plan.steps.iter().filter_map(|s| s.estimate.write_pause_ms);
    pauses.max().unwrap_or(0)
}

/// How a risk is written beside a step; a safe one is not mentioned.
pub fn risk_word(risk: Risk) -> Option<&'static str> {
    match risk {
        Risk::Safe => None,
        Risk::Disruptive => Some("disruptive"),
        Risk::Destructive => Some("destructive"),
    }
}
