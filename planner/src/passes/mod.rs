//! One pass for each concern; together they make a plan.

use crate::desired::Desired;
use crate::live::Live;
use crate::plan::{Plan, PlanError};

/// The ordered plan that leads from `live` to `desired`. A pure function: equal inputs give
/// byte-equal plans. All problems are reported at once.
pub fn make_plan(_desired: &Desired, _live: &Live) -> Result<Plan, Vec<PlanError>> {
    Err(Vec::new())
}
