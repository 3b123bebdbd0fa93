//! What planning would correct.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use vtplan_state::model::{RoutingRule, RoutingRules};

use super::{Drift, Finding, Input, Kind};
use crate::passes::Survey;
use crate::plan::{Action, Origin, Step};
use crate::seen::Deviation;
use crate::words;

pub(super) fn find(input: &Input<'_>, survey: &Survey, found: &mut Drift) {
    let mut not_applied: Vec<&Step> = Vec::new();
    let mut running = 0;
    // Steps of workflows that there are, and what comes after them.
    let mut under_way: HashSet<&str> = HashSet::new();
    for step in &survey.steps {
        if input.active.is_some_and(|active| active.contains(&step.id)) {
            running += 1;
            continue;
        }
        let follows = || step.after.iter().any(|id| under_way.contains(id.as_str()));
        if step.origin == Origin::Drift {
            of_step(input, step, found);
        } else if is_of_workflow(input, step) || follows() {
            under_way.insert(&step.id);
        } else {
            not_applied.push(step);
        }
    }
    if let Some(active) = input.active {
        found.under_way.push(format!(
            "a plan of {} steps, of which {running} are left",
            active.len()
        ));
    }
    if !not_applied.is_empty() {
        found.findings.push(not_applied_yet(input, &not_applied));
    }
    // A spec's policy is about the spec: `vtplan lint` tells of it.
    for error in survey.errors.iter().filter(|e| e.code != "policy") {
        let kind = match error.code.as_str() {
            "table-differs" => Kind::TableDiffers,
            _ => Kind::NoPlan,
        };
        let mut finding = Finding::new(
            kind,
            error.object.clone(),
            "what the spec says",
            error.problem.clone(),
        )
        .by_person(error.help.clone());
        finding.diff.clone_from(&error.diff);
        found.findings.push(finding);
    }
}

/// The spec's changes are one finding: `vtplan plan` shows them.
fn not_applied_yet(input: &Input<'_>, steps: &[&Step]) -> Finding {
    const SHOWN: usize = 3;
    let mut ids: Vec<&str> = steps.iter().map(|s| s.id.as_str()).take(SHOWN).collect();
    let more = format!("{} more", steps.len().saturating_sub(SHOWN));
    if steps.len() > SHOWN {
        ids.push(&more);
    }
    let was = match &input.live.records.spec {
        None => "no spec was applied to its end yet".to_owned(),
        Some(spec) if spec.begun.is_some() => {
            "another spec was begun since the last one that was applied to its end".to_owned()
        }
        Some(_) => "the spec has changed since it was applied".to_owned(),
    };
    let mut finding = Finding::new(
        Kind::NotApplied,
        input.desired.cluster.clone(),
        "the spec is applied",
        format!("{was}; left to do: {}", ids.join(", ")),
    )
    .by_step(&steps[0].id);
    finding.step = None;
    finding
}

/// Whether a step goes on with a workflow that there is.
fn is_of_workflow(input: &Input<'_>, step: &Step) -> bool {
    let begins = matches!(step.action, Action::StartWorkflow { .. });
    let is_there = |(keyspace, workflow)| input.live.records.workflow(keyspace, workflow).is_some();
    !begins && words::workflow_of(step).is_some_and(is_there)
}

fn of_step(input: &Input<'_>, step: &Step, found: &mut Drift) {
    // A step's id names its object.
    let object = step.id.split_once(':').map_or("", |(_, object)| object);
    let finding =
        |kind, expected: &str, is: &str| Finding::new(kind, object, expected, is).by_step(&step.id);
    let there = "it is there";
    let missing = "it is missing";
    let one = match &step.action {
        Action::CreateCell { .. } | Action::CreateKeyspace { .. } | Action::CreateShard { .. } => {
            finding(Kind::RecordMissing, "a record of it", "there is none")
        }
        Action::DeleteCell { .. } | Action::DeleteKeyspace { .. } | Action::DeleteShard { .. } => {
            finding(Kind::RecordExtra, "no record of it", there)
        }
        Action::CreateTablet {
            keyspace,
            shard,
            tablet_type,
            ..
        } => finding(
            Kind::TabletMissing,
            &format!(
                "a {tablet_type} tablet of {keyspace}/{shard} ({})",
                step.reason
            ),
            missing,
        ),
        Action::DeleteTablet {
            keyspace, shard, ..
        } => finding(
            Kind::TabletExtra,
            "no such tablet",
            &format!("a tablet of {keyspace}/{shard} that the spec has no place for"),
        ),
        Action::ChangeTabletType { alias, from, to } => {
            let mut one = finding(Kind::TabletType, to.as_str(), from.as_str());
            one.object = alias.to_string();
            one
        }
        Action::InitPrimary { primary, .. } => finding(
            Kind::Primary,
            "a primary",
            &format!("none that takes writes; it would be {primary}"),
        ),
        Action::Reparent {
            keyspace,
            shard,
            from,
            to,
        } => {
            let mut one = finding(Kind::Primary, &to.to_string(), &from.to_string());
            one.object = format!("{keyspace}/{shard}");
            one
        }
        Action::SetDurability { from, to, .. } => {
            finding(Kind::Durability, to.as_str(), from.as_str())
        }
        Action::CreateTable { .. } => finding(Kind::TableMissing, "the table", missing),
        Action::AlterTable { before, after, .. } => {
            let mut one = finding(
                Kind::TableDiffers,
                "the definition of the spec",
                "another definition",
            );
            let (live, spec) = (format!("live {object}"), format!("spec {object}"));
            one.diff = Some(crate::passes::diff(before, after, &live, &spec));
            one
        }
        Action::DropTable { .. } => finding(Kind::StrayTable, "no such table", there),
        Action::InitSequence { .. } => {
            finding(Kind::Sequence, "a row that numbers are taken from", missing)
        }
        Action::BackfillLookup { .. } => {
            finding(Kind::Vschema, "an open lookup", "one that is `write_only`")
        }
        Action::ApplyVschema { before, after, .. } => {
            let mut one = match before {
                None => finding(Kind::Vschema, "the spec's VSchema", missing),
                Some(_) => finding(Kind::Vschema, "the spec's VSchema", "another one"),
            };
            if let (Some(before), Ok(after)) = (before, serde_json::to_string_pretty(after)) {
                let before = serde_json::to_string_pretty(before).unwrap_or_default();
                let (live, spec) = (format!("live {object}"), format!("spec {object}"));
                one.diff = Some(crate::passes::diff(&before, &after, &live, &spec));
            }
            one
        }
        Action::CreateUser { .. } => finding(Kind::User, "the user", missing),
        Action::AlterUser { .. } => finding(Kind::User, "the spec's password", "another one"),
        Action::DeleteUser { .. } => finding(Kind::User, "no such user", there),
        Action::ConfigureGates { .. } => finding(
            Kind::GateConfig,
            "what the spec says",
            "another configuration, or none",
        ),
        Action::RemoveGates { .. } => finding(Kind::GateConfig, "no gates", "a configuration"),
        Action::SetBackups { .. } => finding(
            Kind::BackupConfig,
            "what the spec says",
            "another configuration, or none",
        ),
        Action::MendServer { deviations, .. } => {
            for deviation in deviations {
                found.findings.push(of_deviation(step, object, deviation));
            }
            return;
        }
        Action::MendRouting { before, after } => {
            routing(step, before, after, found);
            return;
        }
        Action::MendShard { fenced, .. } => finding(
            Kind::OrphanShardState,
            "a shard that no workflow switches is not fenced, and serves reads and writes alike",
            if *fenced {
                "it is fenced"
            } else {
                "its reads are routed apart from its writes"
            },
        ),
        Action::EndHold { since, .. } => {
            // What is carried out has holds of its own.
            if input.active.is_some() {
                return;
            }
            let mut one = finding(
                Kind::OrphanHold,
                "no writes are held back",
                "gates hold writes back",
            );
            one.since = Some(since / 1000);
            one
        }
        // Never drift.
        Action::StartWorkflow { .. }
        | Action::WaitForCopy { .. }
        | Action::Vdiff { .. }
        | Action::WaitForApproval { .. }
        | Action::SwitchTraffic { .. }
        | Action::Soak { .. }
        | Action::CompleteWorkflow { .. }
        | Action::CancelWorkflow { .. } => return,
    };
    found.findings.push(one);
}

fn of_deviation(step: &Step, object: &str, deviation: &Deviation) -> Finding {
    super::servers::of_deviation(object, deviation).by_step(&step.id)
}

/// A finding for each rule that is another one.
fn routing(step: &Step, before: &RoutingRules, after: &RoutingRules, found: &mut Drift) {
    let by_name = |rules: &RoutingRules| -> BTreeMap<String, String> {
        let pair = |rule: &RoutingRule| (rule.from_table.clone(), rule.to_tables.join(", "));
        rules.rules.iter().map(pair).collect()
    };
    let (wanted, there) = (by_name(after), by_name(before));
    let none = "no rule";
    let names: BTreeSet<&String> = wanted.keys().chain(there.keys()).collect();
    for name in names {
        let (expected, is) = (wanted.get(name), there.get(name));
        if expected == is {
            continue;
        }
        let expected = expected.map_or(none, String::as_str);
        let is = is.map_or(none, String::as_str);
        let finding = Finding::new(Kind::RoutingRules, name.as_str(), expected, is);
        found.findings.push(finding.by_step(&step.id));
    }
}
