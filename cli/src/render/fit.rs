//! What a plan needs of disks, in one line. What does not fit, or fits barely, is said by the plan's
//! notes and errors.

use vtplan_planner::fit::{Cause, DiskFit, Verdict};
use vtplan_planner::plan::Plan;

use super::text::bytes_text;

/// How many disks are named.
const SHOWN: usize = 5;

/// `needs about 12.4 GiB on db2 (80.0 GiB free).` `None`: the plan copies nothing, and there is room for
/// its tablets.
pub fn disks(plan: &Plan) -> Option<String> {
    let mut disks: Vec<&DiskFit> = plan.fit.disks.iter().collect();
    if !disks.iter().any(|disk| is_worth_a_word(disk)) {
        return None;
    }
    // The one with the least left of it first. What is unknown comes last.
    disks.sort_by_key(|disk| match disk.free_bytes {
        Some(free) => (false, i128::from(free) - i128::from(disk.needed_bytes)),
        None => (true, -i128::from(disk.needed_bytes)),
    });
    let mut parts: Vec<String> = disks.iter().take(SHOWN).map(|disk| one(disk)).collect();
    if let Some(more @ 1..) = disks.len().checked_sub(SHOWN) {
        parts.push(format!(
            "{} with more room",
            super::table::count(more, "disk")
        ));
    }
    Some(format!("needs about {}.", parts.join(", ")))
}

fn is_worth_a_word(disk: &DiskFit) -> bool {
    let copies = |cause: &Cause| matches!(cause, Cause::Copy(_) | Cause::RunningCopy(_));
    let close = matches!(disk.verdict, Verdict::Tight | Verdict::DoesNotFit);
    close || disk.needs.iter().any(|need| copies(&need.cause))
}

fn one(disk: &DiskFit) -> String {
    let hosts: Vec<&str> = disk.hosts.iter().map(|host| host.as_str()).collect();
    let free = match disk.free_bytes {
        Some(free) => format!("{} free", bytes_text(free)),
        None => "nobody knows how much is free".to_owned(),
    };
    let needed = bytes_text(disk.needed_bytes);
    format!("{needed} on {} ({free})", hosts.join(" + "))
}
