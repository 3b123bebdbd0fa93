//! Comparisons as text.

use owo_colors::OwoColorize as _;
use vtplan_state::model::{UnixMillis, VDiffState};

use super::table::{Table, number, rows};
use super::when;
use crate::workflows::document::VDiffDocument;

/// A comparison with its tables and samples of what it found.
pub fn report(vdiff: &VDiffDocument, now: UnixMillis) -> String {
    let mut text = format!(
        "{} {} of {}: {}\n",
        "VDiff".bold(),
        vdiff.id,
        vdiff.workflow,
        verdict(vdiff)
    );
    if !vdiff.message.is_empty() && vdiff.state != VDiffState::Done {
        let message = vdiff.message.trim_end().replace('\n', "\n  ");
        text.push_str(&format!("  {message}\n"));
    }
    let mut table = Table::new([
        "TABLE",
        "ROWS COMPARED",
        "MATCHING",
        "MISMATCHED",
        "EXTRA",
        "MISSING",
        "MISPLACED",
    ]);
    let found = |n: u64| match n {
        0 => "0".to_owned(),
        n => number(n).red().bold().to_string(),
    };
    for t in &vdiff.tables {
        table.row([
            t.table.clone(),
            if t.done {
                number(t.rows_compared)
            } else {
                format!("{} of {}", number(t.rows_compared), number(t.rows_total))
            },
            number(t.matching),
            found(t.mismatched),
            found(t.extra),
            found(t.missing),
            found(t.misplaced),
        ]);
    }
    if !table.is_empty() {
        text.push_str(&table.render(2));
    }
    for t in &vdiff.tables {
        for sample in &t.samples {
            text.push_str(&format!(
                "  {} {} {}\n",
                sample.found.red(),
                t.table,
                sample.key
            ));
            for (side, row) in [("source", &sample.source), ("target", &sample.target)] {
                if let Some(row) = row {
                    text.push_str(&format!("    {side}  {row}\n"));
                }
            }
        }
    }
    if let Some(at) = vdiff.ended_at {
        text.push_str(&format!("  ended {}\n", when::ago(at, now)));
    }
    text
}

/// `10 rows compared, no difference`.
pub fn verdict(vdiff: &VDiffDocument) -> String {
    match (vdiff.state, vdiff.has_mismatch) {
        (VDiffState::Done, Some(false)) => format!(
            "{} compared, {}",
            rows(vdiff.rows_compared),
            "no difference".green()
        ),
        (VDiffState::Done, _) => format!(
            "{} compared, {}",
            rows(vdiff.rows_compared),
            "they differ".red().bold()
        ),
        (VDiffState::Failed, _) => "failed".red().bold().to_string(),
        (VDiffState::Requested, _) => "not begun yet".to_owned(),
        (VDiffState::Running, mismatch) => {
            let differ = match mismatch {
                Some(true) => format!(", {}", "rows differ".red().bold()),
                _ => String::new(),
            };
            format!(
                "running, {} of {} compared{differ}",
                number(vdiff.rows_compared),
                rows(vdiff.rows_total())
            )
        }
    }
}
