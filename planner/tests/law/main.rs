//! What holds of every plan, over generated cases: the same ones in every run, others with
//! `VTPLAN_TEST_SEED=N`.

mod cluster_cases;
mod clusters;
mod move_cases;
mod moves;

use std::collections::HashSet;

use proptest::test_runner::TestCaseError;
use vtplan_planner::desired::Desired;
use vtplan_planner::live::Live;
use vtplan_planner::plan::Step;
use vtplan_planner::{make_steps, simulate};

type Checked = Result<(), TestCaseError>;

/// Planning after `done` gives the steps that are left, with the dependencies that are left.
fn left_after(desired: &Desired, live: &Live, steps: &[Step], done: &[&Step]) -> Checked {
    let mut after = live.clone();
    simulate::apply_all(&mut after, done.iter().copied());
    let ids: HashSet<&str> = done.iter().map(|s| s.id.as_str()).collect();
    let mut left: Vec<Step> = steps
        .iter()
        .filter(|s| !ids.contains(s.id.as_str()))
        .cloned()
        .collect();
    for step in &mut left {
        step.after.retain(|id| !ids.contains(id.as_str()));
    }
    let again = make_steps(desired, &after);
    let Ok((again, _)) = again else {
        return Err(TestCaseError::fail(format!(
            "no plan after {ids:?}: {again:?}"
        )));
    };
    if again != left {
        let show = |steps: &[Step]| {
            let lines = steps.iter().map(|s| serde_json::to_string(s).unwrap());
            lines.collect::<Vec<_>>().join("\n")
        };
        let (left, again) = (show(&left), show(&again));
        let diff = similar::TextDiff::from_lines(&left, &again);
        let diff = diff.unified_diff().context_radius(0).to_string();
        let done: Vec<&str> = done.iter().map(|s| s.id.as_str()).collect();
        return Err(TestCaseError::fail(format!("after {done:?}:\n{diff}")));
    }
    Ok(())
}

/// Numbers that follow from a seed.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }
}

/// Some of the steps in an order that their dependencies allow.
pub fn some_in_any_order<'a>(steps: &'a [Step], numbers: &mut Numbers) -> Vec<&'a Step> {
    let count = numbers.below(steps.len() + 1);
    let mut done: Vec<&Step> = Vec::new();
    let mut ids = std::collections::HashSet::new();
    let mut left: Vec<&Step> = steps.iter().collect();
    while done.len() < count {
        let ready: Vec<usize> = (0..left.len())
            .filter(|i| left[*i].after.iter().all(|id| ids.contains(id.as_str())))
            .collect();
        let Some(at) = ready.get(numbers.below(ready.len())) else {
            break;
        };
        let step = left.remove(*at);
        ids.insert(step.id.as_str());
        done.push(step);
    }
    done
}
