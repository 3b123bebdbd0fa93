//! Drift: how a cluster has left what its spec and records say. A pure function of the spec, the live
//! state and what agents see when they look closely ([`crate::seen`]); a file for each kind of object.
//!
//! What planning would correct is found by planning ([`steps`]), so a finding that `vtplan apply` mends
//! is one that it really mends. What is under way (an active plan, a workflow with its streams, fences
//! and parked rows) is not drift. Three mend: agents what they keep right by themselves, so that it is
//! only found while it lasts; `vtplan apply`, after an approval; and people, who are told the command.

mod backups;
mod finding;
mod gates;
mod leftovers;
mod servers;
mod steps;
mod tables;
mod tablets;

use std::collections::{BTreeMap, BTreeSet};

use vtplan_state::model::{Revision, TabletAlias};

use crate::desired::Desired;
use crate::live::Live;
use crate::moving::Moving;
use crate::passes;
use crate::seen::Seen;

pub use finding::{Finding, Ignored, Kind, Mender};

/// What drift is looked for in.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub desired: &'a Desired,
    pub live: &'a Live,
    /// Servers that were looked at closely. One that is missing was not seen.
    pub seen: &'a BTreeMap<TabletAlias, Seen>,
    /// The revision that gates should serve by.
    pub serving_revision: Revision,
    /// Ids of the steps of the plan that is being carried out.
    pub active: Option<&'a BTreeSet<String>>,
    /// Seconds since 1970: backups become overdue by themselves.
    pub now: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Drift {
    /// Sorted by object, then kind.
    pub findings: Vec<Finding>,
    /// Findings that the spec says to ignore.
    pub ignored: Vec<Ignored>,
    /// What is under way, and therefore no drift.
    pub under_way: Vec<String>,
}

/// Compares.
pub fn find(input: &Input<'_>) -> Drift {
    let moving = Moving::new(&input.live.records);
    let mut found = Drift::default();
    let survey = passes::survey(input.desired, input.live);
    steps::find(input, &survey, &mut found);
    tables::find(input, &moving, &mut found);
    tablets::find(input, &mut found);
    servers::find(input, &moving, &mut found);
    leftovers::find(input, &mut found);
    gates::find(input, &mut found);
    backups::find(input, &mut found);
    for workflow in input.live.records.all_workflows() {
        found
            .under_way
            .push(format!("workflow {}", workflow.full_name()));
    }
    let mut findings = std::mem::take(&mut found.findings);
    findings.sort_by(|a, b| (&a.object, a.kind, &a.found).cmp(&(&b.object, b.kind, &b.found)));
    findings.dedup();
    for finding in findings {
        match input.desired.drift.reason_for(&finding) {
            Some(reason) => found.ignored.push(Ignored {
                reason: reason.to_owned(),
                finding,
            }),
            None => found.findings.push(finding),
        }
    }
    found
}
