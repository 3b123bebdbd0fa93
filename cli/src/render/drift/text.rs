//! A drift report for a terminal.

use owo_colors::OwoColorize as _;
use vtplan_planner::drift::Mender;

use super::{Report, Told, since};
use crate::render::table::count;
use crate::render::text::indent_diff;
use crate::render::when;

/// The whole report; its last line sums it up.
pub fn report(report: &Report) -> String {
    let mut text = String::new();
    for told in &report.findings {
        text.push_str(&finding(told, report.checked_at));
    }
    if !report.ignored.is_empty() {
        text.push_str(&format!("{}\n", "Ignored, as the spec says:".bold()));
        for ignored in &report.ignored {
            let f = &ignored.finding;
            text.push_str(&format!("  {} {}: {}\n", f.kind, f.object, ignored.reason));
        }
        text.push('\n');
    }
    if !report.under_way.is_empty() {
        text.push_str(&format!("{}\n", "Under way, and no drift:".bold()));
        for what in &report.under_way {
            text.push_str(&format!("  {what}\n"));
        }
        text.push('\n');
    }
    if !report.unseen.is_empty() {
        text.push_str(&format!("{}\n", "Could not be seen:".yellow().bold()));
        for unseen in &report.unseen {
            text.push_str(&format!("  host {}: {}\n", unseen.host.bold(), unseen.why));
        }
        text.push('\n');
    }
    text.push_str(&sum(report));
    text
}

fn finding(told: &Told, now: u64) -> String {
    let f = &told.finding;
    let mut text = format!(
        "{} {}  {}\n",
        "~".yellow().bold(),
        f.object.bold(),
        f.kind.dimmed()
    );
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!(
            "    {:<9} {}\n",
            format!("{name}:"),
            value.trim_end().replace('\n', "\n              ")
        ));
    };
    line("expected", &f.expected);
    line("found", &f.found);
    if let Some(at) = since(f.since) {
        line(
            "since",
            &format!("{} ({})", when::utc(at), when::ago(at, now)),
        );
    }
    if let Some(change) = &told.last_change {
        let action = change.action.split(':').next().unwrap_or_default();
        line(
            "last",
            &format!("{action} by {}, {}", change.who, when::utc(change.at)),
        );
    }
    let who = match f.mended_by {
        Mender::Agent => "",
        Mender::Apply => "run `",
        Mender::Person => "by hand: ",
    };
    let close = if f.mended_by == Mender::Apply {
        "`"
    } else {
        ""
    };
    line("mend", &format!("{who}{}{close}", f.mend));
    if let Some(diff) = &f.diff {
        text.push_str(&indent_diff(diff, "      "));
    }
    text.push('\n');
    text
}

fn sum(report: &Report) -> String {
    let seen = format!(
        "{} and {} seen",
        count(report.hosts_seen, "host"),
        count(report.tablets_seen, "tablet")
    );
    let unseen = match report.unseen.len() {
        0 => String::new(),
        n => format!("; {} could not be seen in full", count(n, "host")),
    };
    let cluster = report.cluster.bold();
    if report.findings.is_empty() {
        let found = if report.unseen.is_empty() {
            "No drift.".green().bold().to_string()
        } else {
            "No drift in what was seen.".yellow().bold().to_string()
        };
        return format!("{found} Cluster {cluster}: {seen}{unseen}.\n");
    }
    let by = |mender| {
        let with = report.findings.iter();
        with.filter(|t| t.finding.mended_by == mender).count()
    };
    let mut menders = Vec::new();
    for (mender, words) in [
        (Mender::Apply, "mended by `vtplan apply`"),
        (Mender::Agent, "by agents"),
        (Mender::Person, "by hand"),
    ] {
        if by(mender) > 0 {
            menders.push(format!("{} {words}", by(mender)));
        }
    }
    format!(
        "{} Cluster {cluster}: {} ({}); {seen}{unseen}.\n",
        "Drift.".red().bold(),
        count(report.findings.len(), "finding"),
        menders.join(", ")
    )
}
