//! A drift report for an issue or a chat: a table, then what each finding needs, folded.

use std::fmt::Write as _;

use super::{Report, since};
use crate::render::markdown::escape::{block, code, sentence, text as cell};
use crate::render::table::count;
use crate::render::when;

/// Findings beyond these are counted only: comments have limits.
const SHOWN: usize = 200;

pub fn report(report: &Report) -> String {
    let mut text = format!(
        "<!-- vtplan drift: {0} -->\n### vtplan drift: cluster `{0}`\n\n",
        report.cluster
    );
    if report.findings.is_empty() {
        text.push_str("**No drift** in what was seen.\n");
    } else {
        let _ = writeln!(
            text,
            "**{}**\n\n| Kind | Object | Expected | Found | Mended by |\n|---|---|---|---|---|",
            count(report.findings.len(), "finding")
        );
        for told in report.findings.iter().take(SHOWN) {
            let f = &told.finding;
            let by = serde_json::to_value(f.mended_by).unwrap_or_default();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                f.kind,
                code(&f.object),
                cell(&f.expected),
                cell(&f.found),
                by.as_str().unwrap_or_default()
            );
        }
        if report.findings.len() > SHOWN {
            let _ = writeln!(text, "\n... and {} more.", report.findings.len() - SHOWN);
        }
        text.push_str("\n<details><summary>How to mend</summary>\n\n");
        for told in report.findings.iter().take(SHOWN) {
            let f = &told.finding;
            let _ = write!(
                text,
                "- {} {}: {}",
                f.kind,
                code(&f.object),
                sentence(&f.mend)
            );
            if let Some(at) = since(f.since) {
                let _ = write!(text, " (since {})", when::utc(at));
            }
            if let Some(change) = &told.last_change {
                let action = change.action.split(':').next().unwrap_or_default();
                let _ = write!(
                    text,
                    "; last changed by {}, {action}, {}",
                    cell(&change.who),
                    when::utc(change.at)
                );
            }
            text.push('\n');
            if let Some(diff) = &f.diff {
                let _ = writeln!(text, "\n{}", block("diff", diff.trim_end()));
            }
        }
        text.push_str("\n</details>\n");
    }
    for (title, lines) in [
        (
            "Ignored",
            report
                .ignored
                .iter()
                .map(|i| {
                    let f = &i.finding;
                    format!("{} {}: {}", f.kind, code(&f.object), cell(&i.reason))
                })
                .collect::<Vec<_>>(),
        ),
        (
            "Under way",
            report.under_way.iter().map(|u| cell(u)).collect(),
        ),
        (
            "Could not be seen",
            report
                .unseen
                .iter()
                .map(|u| format!("host {}: {}", code(&u.host), cell(&u.why)))
                .collect(),
        ),
    ] {
        if !lines.is_empty() {
            let _ = writeln!(text, "\n**{title}**\n");
            for line in lines {
                let _ = writeln!(text, "- {line}");
            }
        }
    }
    text
}
