//! A plan in one line.

use std::collections::BTreeSet;
use std::time::Duration;

use vtplan_planner::document::totals::{duration, to_copy, write_pause};
use vtplan_planner::plan::{Action, Plan, Risk, Step};
use vtplan_state::model::{KeyspaceName, TableName};

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
        Action::CreateTablet { adopt: Some(_), .. } => ("adopt", "server"),
        Action::DeleteTablet {
            release: Some(_), ..
        } => ("release", "server"),
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
        Action::BackfillLookup { .. } => ("fill", "lookup"),
        Action::StartWorkflow { .. } => ("start", "workflow"),
        Action::WaitForCopy { .. } => ("finish", "copy"),
        Action::Vdiff { .. } => ("run", "VDiff"),
        Action::WaitForApproval { .. } => ("await", "approval"),
        Action::SwitchTraffic { .. } => ("make", "traffic switch"),
        Action::Soak { .. } => ("await", "soak"),
        Action::CompleteWorkflow { .. } => ("complete", "workflow"),
        Action::CancelWorkflow { .. } => ("cancel", "workflow"),
        Action::MendServer { .. } => ("mend", "server"),
        Action::MendRouting { .. } => ("set back", "set of routing rules"),
        Action::MendShard { .. } => ("mend", "shard"),
        Action::EndHold { .. } => ("end", "hold"),
        Action::CreateUser { .. } => ("create", "user"),
        Action::AlterUser { .. } => ("change", "user"),
        Action::DeleteUser { .. } => ("delete", "user"),
        Action::ConfigureGates { .. } => ("set", "gate configuration"),
        Action::RemoveGates { .. } => ("delete", "gate configuration"),
        Action::SetBackups { after: None, .. } => ("delete", "backup configuration"),
        Action::SetBackups { .. } => ("set", "backup configuration"),
    }
}

/// What one verb does to how many objects of each kind.
#[derive(Debug)]
pub struct Row {
    pub verb: &'static str,
    nouns: Vec<(&'static str, usize)>,
    /// The highest of its steps.
    pub risk: Risk,
}

impl Row {
    /// `1 keyspace, 3 tablets`.
    pub fn nouns(&self) -> String {
        let nouns: Vec<String> = self.nouns.iter().map(|(noun, n)| count(*n, noun)).collect();
        nouns.join(", ")
    }
}

/// Verbs and nouns in the order in which the plan first has them. A table is counted once, in
/// however many shards it is made.
pub fn changes(plan: &Plan) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut tables = BTreeSet::new();
    for step in &plan.steps {
        let (verb, noun) = work(step);
        let at = match rows.iter().position(|row| row.verb == verb) {
            Some(at) => at,
            None => {
                rows.push(Row {
                    verb,
                    nouns: Vec::new(),
                    risk: Risk::Safe,
                });
                rows.len() - 1
            }
        };
        let row = &mut rows[at];
        row.risk = row.risk.max(step.risk);
        if let Some(table) = table_of(step)
            && !tables.insert((verb, noun, table))
        {
            continue;
        }
        match row.nouns.iter_mut().find(|(n, _)| *n == noun) {
            Some((_, n)) => *n += 1,
            None => row.nouns.push((noun, 1)),
        }
    }
    rows
}

/// `14 steps: 1 keyspace, 1 shard, 3 tablets to create; 1 primary to initialise; about 40 s;
/// nothing is deleted.`
pub fn summary(plan: &Plan) -> String {
    let rows = changes(plan);
    let parts = rows
        .iter()
        .map(|row| format!("{} to {}", row.nouns(), row.verb))
        .collect();
    sum(plan, parts, &rows)
}

/// The summary without what is done to what.
pub fn totals(plan: &Plan) -> String {
    sum(plan, Vec::new(), &changes(plan))
}

fn sum(plan: &Plan, mut parts: Vec<String>, rows: &[Row]) -> String {
    let (copied, bytes) = to_copy(plan);
    if copied > 0 {
        let bytes = match bytes {
            0 => String::new(),
            bytes => format!(" ({})", bytes_text(bytes)),
        };
        parts.push(format!("about {}{bytes} to copy", table::rows(copied)));
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
    } else if rows.iter().any(|row| matches!(row.verb, "delete" | "drop")) {
        "no data is deleted".to_owned()
    } else {
        "nothing is deleted".to_owned()
    });
    format!("{}: {}.", count(plan.steps.len(), "step"), parts.join("; "))
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

/// How a risk is written beside a step; a safe one is not mentioned.
pub fn risk_word(risk: Risk) -> Option<&'static str> {
    match risk {
        Risk::Safe => None,
        Risk::Disruptive => Some("disruptive"),
        Risk::Destructive => Some("destructive"),
    }
}
