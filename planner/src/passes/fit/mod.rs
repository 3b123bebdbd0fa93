//! Judges whether a plan fits: see [`crate::fit`].

mod connections;
mod disk;
mod share;

use vtplan_state::model::{HostName, TabletAlias};

use super::draft::number;
use super::view::View;
use crate::desired::FitPolicy;
use crate::fit::{Cause, ConnectionFit, DiskFit, DiskNeed, Fit, Verdict};
use crate::plan::{Note, PlanError, Step};
use crate::words::bytes;

/// What a plan of these steps needs, and what is to be said of it.
///
/// # Errors
/// It does not fit, and the spec does not say that this is only to be said.
pub(crate) fn judge(view: &View, steps: &[Step]) -> Result<(Fit, Vec<Note>), Vec<PlanError>> {
    let fit = Fit {
        disks: disk::judge(view, steps),
        connections: connections::judge(view, steps),
    };
    let mut said = Said {
        policy: view.desired.changes.fit,
        notes: Vec::new(),
        errors: Vec::new(),
    };
    for disk in &fit.disks {
        said.of_disk(disk);
    }
    for server in &fit.connections {
        said.of_connections(server);
    }
    if said.errors.is_empty() {
        Ok((fit, said.notes))
    } else {
        said.errors.sort();
        Err(said.errors)
    }
}

struct Said {
    policy: FitPolicy,
    notes: Vec<Note>,
    errors: Vec<PlanError>,
}

impl Said {
    fn of_disk(&mut self, disk: &DiskFit) {
        let Some(free) = disk.free_bytes else {
            return;
        };
        let hosts = names(&disk.hosts);
        let needs: Vec<String> = disk.needs.iter().map(in_words).collect();
        let (needed, free) = (bytes(disk.needed_bytes), bytes(free));
        match disk.verdict {
            Verdict::DoesNotFit => self.does_not_fit(
                hosts.clone(),
                format!(
                    "the plan needs about {needed} on its disk, which has {free} free: {}",
                    needs.join("; ")
                ),
                format!(
                    "make room on {hosts}, bring other hosts (`vtplan agent` there), or ask for fewer \
                     tablets or less at once"
                ),
            ),
            Verdict::Tight => self.note(
                hosts,
                format!(
                    "the plan needs about {needed} of the {free} that its disk has free, and sizes \
                     are estimates: {}",
                    needs.join("; ")
                ),
            ),
            Verdict::Fits | Verdict::Unknown => {}
        }
    }

    fn of_connections(&mut self, server: &ConnectionFit) {
        let (tablet, limit) = (server.tablet.to_string(), server.limit);
        let needed = server.needed;
        match server.verdict {
            Verdict::DoesNotFit => self.does_not_fit(
                tablet,
                format!(
                    "streams and agents would need {needed} connections to its server, whose \
                     `max_connections` is {limit}"
                ),
                "raise `max_connections` of the server (an option of its agent), or move less at once"
                    .to_owned(),
            ),
            Verdict::Tight => self.note(
                tablet,
                format!(
                    "gates may open up to {} connections to its server, and streams and agents \
                     {needed}: its `max_connections` is {limit}",
                    server.gates
                ),
            ),
            Verdict::Fits | Verdict::Unknown => {}
        }
    }

    fn does_not_fit(&mut self, object: String, problem: String, help: String) {
        match self.policy {
            FitPolicy::Refuse => self.errors.push(PlanError {
                code: "does-not-fit".to_owned(),
                object,
                problem,
                help: format!(
                    "{help}; what is needed is an estimate: with `changes: {{ fit: warn }}` in the \
                     spec the plan goes ahead all the same"
                ),
                diff: None,
            }),
            FitPolicy::Warn => self.note(
                object,
                format!("it does not fit, and `changes.fit` lets it go ahead: {problem}"),
            ),
        }
    }

    fn note(&mut self, object: String, text: String) {
        self.notes.push(Note { object, text });
    }
}

/// `db1`, `db1, db2`.
fn names(hosts: &[HostName]) -> String {
    let names: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
    names.join(", ")
}

fn in_words(need: &DiskNeed) -> String {
    let size = bytes(need.bytes);
    let tablets = tablets(&need.tablets);
    match &need.cause {
        Cause::NewTablets => format!(
            "{size} for {} ({tablets})",
            number(need.tablets.len() as u32, "new tablet")
        ),
        Cause::Copy(workflow) => format!("{size} for what {workflow} copies to {tablets}"),
        Cause::RunningCopy(workflow) => {
            format!("{size} for what {workflow}, which runs, has yet to copy to {tablets}")
        }
        Cause::RebuiltTable(table) => {
            format!("{size} for a second copy of {table} on {tablets}")
        }
    }
}

fn tablets(aliases: &[TabletAlias]) -> String {
    const SHOWN: usize = 4;
    let mut text: Vec<String> = aliases
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    if let Some(more @ 1..) = aliases.len().checked_sub(SHOWN) {
        text.push(format!("{more} more"));
    }
    text.join(", ")
}
