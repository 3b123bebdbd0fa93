//! Every format, held against snapshots.

use vtplan_planner::drift::{Finding, Ignored, Kind, Mender};
use vtplan_state::model::HistoryRecord;

use super::{DRIFT_FORMAT, Report, Told, UnseenHost, json, markdown, prometheus, text};

const NOW: u64 = 1_790_000_000_000;

fn finding(kind: Kind, object: &str, expected: &str, found: &str, by: (Mender, &str)) -> Finding {
    Finding {
        kind,
        object: object.into(),
        expected: expected.into(),
        found: found.into(),
        diff: None,
        since: None,
        mended_by: by.0,
        mend: by.1.into(),
        step: None,
    }
}

fn nothing() -> Report {
    Report {
        format: DRIFT_FORMAT,
        cluster: "shop".into(),
        checked_at: NOW,
        spec_digest: "d".repeat(64),
        revision: 42,
        hosts_seen: 3,
        tablets_seen: 9,
        findings: Vec::new(),
        ignored: Vec::new(),
        under_way: Vec::new(),
        unseen: Vec::new(),
    }
}

fn much() -> Report {
    let apply = (Mender::Apply, "vtplan apply shop.yaml");
    let mut differs = finding(
        Kind::TableDiffers,
        "commerce/0:product",
        "the definition of the spec",
        "another definition",
        apply,
    );
    differs.diff = Some(
        "--- live commerce/0:product\n+++ spec commerce/0:product\n@@ -1,2 +1,1 @@\n `sku` varbinary(128)\n-`note` text\n"
            .into(),
    );
    differs.since = Some(NOW / 1000 - 7200);
    differs.step = Some("alter-table:commerce/0:product".into());
    let mut report = nothing();
    report.findings = vec![
        Told {
            finding: differs,
            last_change: Some(HistoryRecord {
                at: NOW - 86_400_000,
                who: "ada@desk".into(),
                plan: None,
                action: "create-table:commerce/0:product".into(),
                object: "commerce/0:product".into(),
                summary: "the spec has the table commerce.product".into(),
                outcome: "done".into(),
            }),
        },
        Told {
            finding: finding(
                Kind::Variable,
                "zone1-0000000100:sync_binlog",
                "1",
                "0",
                apply,
            ),
            last_change: None,
        },
        Told {
            finding: finding(
                Kind::Replication,
                "zone1-0000000101",
                "it replicates from zone1-0000000100",
                "applying: Error 'a | b' on \"x\"\nin two lines",
                (Mender::Person, "put right what the error names"),
            ),
            last_change: None,
        },
        Told {
            finding: finding(
                Kind::ReadOnly,
                "zone1-0000000102",
                "read_only on",
                "read_only off",
                (Mender::Agent, "the agent of host db1 does by itself"),
            ),
            last_change: None,
        },
    ];
    report.ignored = vec![Ignored {
        reason: "a copy for the auditors".into(),
        finding: finding(
            Kind::StrayTable,
            "commerce/0:audit",
            "no such table",
            "it is there",
            (Mender::Person, "drop it"),
        ),
    }];
    report.under_way = vec!["workflow customer.commerce2customer".into()];
    report.unseen = vec![UnseenHost {
        host: "db7".into(),
        why: "agent of host db7 (http://db7:15999): no answer within 5s".into(),
    }];
    report
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn a_report_as_text() {
    insta::assert_snapshot!("text", plain(&text::report(&much())));
    insta::assert_snapshot!("text-nothing", plain(&text::report(&nothing())));
}

#[test]
fn a_report_as_json() {
    insta::assert_snapshot!("json", json(&much()));
}

#[test]
fn a_report_as_markdown() {
    insta::assert_snapshot!("markdown", markdown::report(&much()));
    insta::assert_snapshot!("markdown-nothing", markdown::report(&nothing()));
}

#[test]
fn a_report_for_prometheus_names_every_kind() {
    let text = prometheus::report(&much());
    for kind in Kind::ALL {
        assert!(text.contains(&format!("kind=\"{kind}\"}}")), "{kind}");
    }
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !(line.contains("_findings{") && line.ends_with(" 0")))
        .collect();
    insta::assert_snapshot!("prometheus", lines.join("\n"));
}
