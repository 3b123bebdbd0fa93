//! A drift report for Prometheus' textfile collector (node_exporter): a number for each kind, also
//! where it is zero, so that alerts end, and one line for each finding.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use vtplan_planner::drift::Kind;

use super::Report;

/// Series cost memory wherever they are kept: findings beyond these are counted only.
const SERIES: usize = 500;

pub fn report(report: &Report) -> String {
    let cluster = label(&report.cluster);
    let mut text = String::new();
    let head = |text: &mut String, name: &str, help: &str| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    };
    head(
        &mut text,
        "vtplan_drift_findings",
        "How many differences there are between a cluster and its spec, by kind.",
    );
    let mut by_kind: BTreeMap<Kind, usize> = BTreeMap::new();
    for told in &report.findings {
        *by_kind.entry(told.finding.kind).or_default() += 1;
    }
    for kind in Kind::ALL {
        let _ = writeln!(
            text,
            "vtplan_drift_findings{{cluster=\"{cluster}\",kind=\"{kind}\"}} {}",
            by_kind.get(&kind).copied().unwrap_or(0)
        );
    }
    head(
        &mut text,
        "vtplan_drift_finding",
        "One difference; 500 at most are listed.",
    );
    for told in report.findings.iter().take(SERIES) {
        let f = &told.finding;
        let by = serde_json::to_value(f.mended_by).unwrap_or_default();
        let _ = writeln!(
            text,
            "vtplan_drift_finding{{cluster=\"{cluster}\",kind=\"{}\",object=\"{}\",mended_by=\"{}\"}} 1",
            f.kind,
            label(&f.object),
            by.as_str().unwrap_or_default()
        );
    }
    for (name, help, value) in [
        (
            "vtplan_drift_ignored",
            "How many differences the spec says to ignore.",
            report.ignored.len() as u64,
        ),
        (
            "vtplan_drift_unseen_hosts",
            "How many hosts could not be looked at in full.",
            report.unseen.len() as u64,
        ),
        (
            "vtplan_drift_tablets_seen",
            "How many tablets were looked at.",
            report.tablets_seen as u64,
        ),
        (
            "vtplan_drift_checked_timestamp_seconds",
            "When it was looked at.",
            report.checked_at / 1000,
        ),
    ] {
        head(&mut text, name, help);
        let _ = writeln!(text, "{name}{{cluster=\"{cluster}\"}} {value}");
    }
    text
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
