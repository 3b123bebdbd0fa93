//! A plan for programs: what `plan --format json` prints.
//!
//! It has a format of its own, [`DOCUMENT_FORMAT`], and a JSON Schema ([`schema`]), so that what a
//! plan is inside can change without those who read it noticing. Fields are added within a
//! format; what a field means changes with its number only.
//!
//! It is written step by step and never stands in memory as a whole: the plan of a large cluster
//! has hundreds of thousands of steps.
//!
//! - [`change`]: the object of a step, before and after it.
//! - [`policy`]: approvals, waits, and what the change of the spec was taken to mean.
//! - [`totals`]: sums over all steps.

pub mod change;
pub mod policy;
pub mod schema;
pub mod totals;

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use serde_json::Value;
use vtplan_state::model::Revision;

use crate::fit::Fit;
use crate::plan::{Action, Origin, Plan, Step};
use crate::words::describe;
use crate::workload::Report;

/// The format of documents that this version writes.
pub const DOCUMENT_FORMAT: u32 = 1;

/// What stands in the place of a verifier. It does not give the password away, but who has one can
/// try passwords against it.
pub const SENSITIVE: &str = "(sensitive)";

/// What a plan was made against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Against {
    /// The cluster, as it was when planning.
    Live,
    /// An exported live state.
    Export {
        /// The revision of the store that it was taken at.
        revision: Revision,
    },
    /// Another spec, as if it had just been applied.
    Spec {
        /// Of that spec.
        digest: String,
    },
}

/// A plan as a document. Equal plans give equal bytes.
#[derive(Debug)]
pub struct Document<'a> {
    pub plan: &'a Plan,
    pub against: Against,
    /// What the plan does to a workload, if one was given.
    pub workload: Option<&'a Report>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plan = self.plan;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("format", &DOCUMENT_FORMAT)?;
        map.serialize_entry("cluster", &plan.cluster)?;
        map.serialize_entry("against", &self.against)?;
        map.serialize_entry("spec_digest", &plan.spec_digest)?;
        map.serialize_entry("base_revision", &plan.base_revision)?;
        map.serialize_entry("live_digest", &plan.live_digest)?;
        map.serialize_entry("summary", &totals::Summary::of(plan))?;
        map.serialize_entry("inferred", &policy::inferred(plan))?;
        map.serialize_entry("approvals", &policy::approvals(plan))?;
        map.serialize_entry("waits", &policy::waits(plan))?;
        map.serialize_entry("notes", &plan.notes)?;
        map.serialize_entry("fit", &FitDocument(&plan.fit))?;
        if let Some(workload) = self.workload {
            map.serialize_entry("workload", workload)?;
        }
        map.serialize_entry("steps", &Steps(&plan.steps))?;
        map.end()
    }
}

/// Both lists, also where they are empty.
struct FitDocument<'a>(&'a Fit);

impl Serialize for FitDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("disks", &self.0.disks)?;
        map.serialize_entry("connections", &self.0.connections)?;
        map.end()
    }
}

struct Steps<'a>(&'a [Step]);

impl Serialize for Steps<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for step in self.0 {
            list.serialize_element(&StepDocument(step))?;
        }
        list.end()
    }
}

struct StepDocument<'a>(&'a Step);

impl Serialize for StepDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let step = self.0;
        let mut fields = fields(&step.action);
        let change = change::of(&step.action);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &step.id)?;
        map.serialize_entry("kind", &fields.remove("kind"))?;
        map.serialize_entry("text", &describe(step))?;
        map.serialize_entry("reason", &step.reason)?;
        map.serialize_entry("risk", &step.risk)?;
        if step.origin == Origin::Drift {
            map.serialize_entry("origin", &step.origin)?;
        }
        map.serialize_entry("needs_approval", &policy::needs_approval(step))?;
        map.serialize_entry("depends_on", &step.after)?;
        map.serialize_entry("estimate", &step.estimate)?;
        map.serialize_entry("object", &change.object)?;
        map.serialize_entry("change", &change.verb)?;
        map.serialize_entry("before", &change.before)?;
        map.serialize_entry("after", &change.after)?;
        for (name, value) in &fields {
            if !matches!(name.as_str(), "before" | "after") {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// The action's own fields, without verifiers.
fn fields(action: &Action) -> serde_json::Map<String, Value> {
    // Our own types with string keys.
    let value = serde_json::to_value(action).expect("an action serializes");
    let Value::Object(mut fields) = value else {
        unreachable!("an action is an object")
    };
    if let Some(verifier) = fields.get_mut("verifier").filter(|v| !v.is_null()) {
        *verifier = SENSITIVE.into();
    }
    fields
}
