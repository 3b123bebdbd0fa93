//! One pass for each concern; together they make a plan.
//!
//! They run in a fixed order: what moves, which shards there are, which tablets each keeps, gets and loses, which
//! uid, host and port the new ones have; then the steps. What a pass decides follows from what the
//! spec says and what is there, and comes out the same when part of the plan is done already: each
//! pass says how.

mod alteration;
mod backups;
mod cells;
mod definitions;
pub mod digest;
mod draft;
mod estimates;
mod fit;
pub(crate) mod foreign_keys;
mod gates;
mod keyspaces;
mod left;
mod lookups;
mod moves;
mod operation;
mod origin;
mod placement;
mod policy;
mod previous;
mod primaries;
mod removal;
mod sequences;
mod servers;
mod shards;
mod tables;
mod tablets;
mod texts;
mod uids;
mod users;
mod view;
mod vschema;

pub(crate) use definitions::diff;
pub use operation::make_operation_plan;

use std::collections::BTreeMap;

use crate::desired::{ChangePolicy, Desired, DriftPolicy, Policy};
use crate::fit::Fit;
use crate::live::Live;
use crate::plan::{Note, PLAN_FORMAT, Plan, PlanError, Step};

/// The ordered plan that leads from `live` to `desired`. A pure function: equal inputs give
/// byte-equal plans. All problems are reported at once, sorted; whether a plan fits is looked at
/// when there is one.
pub fn make_plan(desired: &Desired, live: &Live) -> Result<Plan, Vec<PlanError>> {
    let view = view::View::new(desired, live);
    let mut plan = plan(&view, false)?;
    let (fit, notes) = fit::judge(&view, &plan.steps)?;
    plan.fit = fit;
    plan.notes.extend(notes);
    plan.notes.sort();
    Ok(plan)
}

/// The plan that deletes everything of a cluster, data included: `vtplan destroy`. As with
/// [`make_plan`], making it again after some steps gives the steps that are left. Tablets that
/// cannot be seen are deleted too; their hosts' agents clear up when they come back.
pub fn make_destroy_plan(cluster: &str, live: &Live) -> Result<Plan, Vec<PlanError>> {
    plan(&view::View::new(&nothing(cluster), live), true)
}

/// The steps and notes of [`make_plan`] alone, without the digests, which cost more than the rest
/// when the state is large, and whether or not they fit: what a plan that was begun has left is done.
pub fn make_steps(
    desired: &Desired,
    live: &Live,
) -> Result<(Vec<Step>, Vec<Note>), Vec<PlanError>> {
    steps(&view::View::new(desired, live), false)
}

fn plan(view: &view::View, destroy: bool) -> Result<Plan, Vec<PlanError>> {
    let (desired, live) = (view.desired, view.live);
    let (steps, notes) = steps(view, destroy)?;
    Ok(Plan {
        format: PLAN_FORMAT,
        cluster: desired.cluster.clone(),
        spec_digest: crate::spec::digest(desired),
        base_revision: live.records.revision,
        live_digest: digest::live_digest(live),
        steps,
        notes,
        fit: Fit::default(),
    })
}

fn nothing(cluster: &str) -> Desired {
    Desired {
        cluster: cluster.to_owned(),
        cells: Vec::new(),
        keyspaces: BTreeMap::new(),
        changes: ChangePolicy::default(),
        drift: DriftPolicy::default(),
        backups: None,
        gates: BTreeMap::new(),
        users: BTreeMap::new(),
        policy: Policy::default(),
    }
}

/// All that planning finds: the steps, and the problems for which there can be no plan.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    pub steps: Vec<Step>,
    pub notes: Vec<Note>,
    pub errors: Vec<PlanError>,
}

/// As [`make_steps`], where problems do not hide what else there is.
pub fn survey(desired: &Desired, live: &Live) -> Survey {
    find(&view::View::new(desired, live), false)
}

fn steps(view: &view::View, destroy: bool) -> Result<(Vec<Step>, Vec<Note>), Vec<PlanError>> {
    let found = find(view, destroy);
    if found.errors.is_empty() {
        Ok((found.steps, found.notes))
    } else {
        Err(found.errors)
    }
}

fn find(view: &view::View, destroy: bool) -> Survey {
    let desired = view.desired;
    let previous = previous::Previous::new(view);
    let mut draft = draft::Draft::default();

    cells::create(view, &mut draft);
    keyspaces::create(view, &mut draft);
    let moves = moves::inference::infer(view, &mut draft, &previous, destroy);
    let mut shards = shards::create(view, &mut draft, &moves);
    tablets::match_places(view, &mut draft, &mut shards);
    uids::choose(view, &mut draft, &mut shards);
    placement::choose(view, &mut draft, &mut shards);
    tablets::steps(view, &mut draft, &shards);
    keyspaces::set_durability(view, &mut draft, &shards);
    let has_primary = primaries::steps(view, &mut draft, &shards);
    tables::steps(view, &mut draft, &moves, &previous, &shards, &has_primary);
    moves::leftovers::steps(view, &mut draft, &moves, &shards);
    moves::one_sided::steps(view, &mut draft, &moves);
    sequences::steps(view, &mut draft, &moves, &previous, &shards, &has_primary);
    vschema::steps(view, &mut draft, &moves, &previous, &shards);
    if !destroy {
        lookups::refuse(view, &mut draft, &moves);
        lookups::steps(view, &mut draft, &moves, &previous);
    }
    if destroy {
        moves::workflow_steps::end_all(view, &mut draft, &moves);
    } else {
        moves::workflow_steps::steps(view, &mut draft, &moves, &shards);
        servers::steps(view, &mut draft, &shards);
        left::steps(view, &mut draft, &shards);
    }
    gates::steps(view, &mut draft);
    backups::steps(view, &mut draft);
    users::steps(view, &mut draft);
    removal::steps(view, &mut draft, &moves, &previous, &shards, destroy);
    policy::check(desired, &mut draft);
    let (mut steps, notes, errors) = draft.finish();
    if !destroy {
        origin::mark(&mut steps, desired, &previous);
    }
    Survey {
        steps,
        notes,
        errors,
    }
}
