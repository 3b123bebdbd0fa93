//! Workflows as text.

use std::time::Duration;

use owo_colors::OwoColorize as _;
use vtplan_state::model::{ShardName, Side, SwitchPhase, UnixMillis, WorkflowKind, WorkflowSide};

use super::table::{Table, number, rows};
use super::text::bytes_text;
use super::{vdiff, when};
use crate::workflows::document::{State, StreamDocument, WholeDocument, WorkflowDocument};

/// A line for each workflow.
pub fn list(workflows: &[WorkflowDocument]) -> String {
    let mut table = Table::new([
        "WORKFLOW", "KIND", "FROM", "TO", "STATE", "REVERSE", "TRAFFIC",
    ]);
    for w in workflows {
        table.row([
            w.name.clone(),
            kind(w.kind).to_owned(),
            side(&w.source, w.kind),
            side(&w.target, w.kind),
            state(w.state),
            w.reverse_workflow.clone().unwrap_or_default(),
            w.traffic_state.clone(),
        ]);
    }
    table.render(0)
}

/// All that is known of one workflow.
pub fn whole(document: &WholeDocument, now: UnixMillis) -> String {
    let w = &document.workflow;
    let mut text = format!("Workflow {}   {}\n", w.name.bold(), what(w));
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("  {name:<9} {value}\n"));
    };
    let copied = if w.copied {
        ", all rows are copied"
    } else {
        ""
    };
    line("state", &format!("{}{copied}", state(w.state)));
    line("traffic", &w.traffic_state);
    if let Some(reverse) = &w.reverse_workflow {
        line("reverse", reverse);
    }
    line("started", &when::ago(w.created_at, now));
    if let Some(at) = w.switched_at {
        line("switched", &when::ago(at, now));
    }
    if !w.approved.is_empty() {
        line("approved", &w.approved.join(", "));
    }
    if let Some(switch) = &w.switch {
        let to = match switch.to {
            Side::Source => "source",
            Side::Target => "target",
        };
        let took = Duration::from_millis(now.saturating_sub(switch.started_at));
        line(
            "switch",
            &format!(
                "of writes to the {to}: {}, for {}",
                phase(switch.phase),
                when::duration(took)
            ),
        );
    }
    if let Some(why) = &w.switch_failure {
        let why = why.trim_end().replace('\n', "\n            ");
        line("undone", &format!("the last switch: {}", why.red()));
    }
    for step in &document.steps {
        let message = match step.message.lines().next() {
            Some(message) if !message.is_empty() => format!(": {message}"),
            _ => String::new(),
        };
        line("now", &format!("{}{message}", step.what));
    }
    for wait in &document.waits {
        let how = match wait.point {
            Some(point) => format!(": `vtplan apply SPEC --approve {point}`"),
            None => ": then `vtplan apply SPEC` goes on".to_owned(),
        };
        line("waits", &format!("{}{how}", wait.text));
    }
    if !document.streams.is_empty() {
        text.push_str(&format!(
            "\n{}\n{}",
            "Streams".bold(),
            streams(&document.streams)
        ));
    }
    if !document.routing_rules.is_empty() {
        let mut table = Table::new(["FROM", "TO"]);
        for rule in &document.routing_rules {
            table.row([rule.from_table.clone(), rule.to_tables.join(", ")]);
        }
        let heading = format!("{} routing rules", document.routing_rules.len());
        text.push_str(&format!("\n{}\n{}", heading.bold(), table.render(2)));
    }
    if let Some(report) = &document.vdiff {
        text.push('\n');
        text.push_str(&vdiff::report(report, now));
    }
    text
}

fn streams(streams: &[StreamDocument]) -> String {
    let mut table = Table::new([
        "FROM", "HOST", "READS", "STATE", "ROWS", "BYTES", "RATE", "LEFT", "LAG",
    ]);
    for s in streams {
        // A stream back copies nothing, and of one that nobody runs nothing is known.
        let copies = s.rows_total > 0 || s.state == "copying";
        let of = |done: String, all: String| match copies {
            true => format!("{done} of {all}"),
            false => String::new(),
        };
        table.row([
            s.from.clone(),
            s.host.clone().unwrap_or_default(),
            s.source_tablet.clone().unwrap_or_default(),
            stream_state(&s.state),
            of(number(s.rows_copied), number(s.rows_total)),
            of(bytes_text(s.bytes_copied), bytes_text(s.bytes_total)),
            match s.rows_per_second {
                0 => String::new(),
                rate => format!("{}/s", rows(rate)),
            },
            s.seconds_left
                .filter(|_| s.state == "copying")
                .map(|left| when::duration(Duration::from_secs(left)))
                .unwrap_or_default(),
            s.lag_ms
                .map(|lag| when::duration(Duration::from_millis(lag)))
                .unwrap_or_default(),
        ]);
    }
    let mut text = table.render(2);
    for s in streams {
        let several = s.tables.len() > 1 && s.state == "copying";
        for t in s.tables.iter().filter(|_| several) {
            let state = if t.copied { ", copied" } else { "" };
            text.push_str(&format!(
                "  {} {}: {} of {} rows, {} of {}{state}\n",
                s.from,
                t.table,
                number(t.rows_copied),
                number(t.rows_total),
                bytes_text(t.bytes_copied),
                bytes_text(t.bytes_total),
            ));
        }
        for t in &s.targets {
            let tablet = t.tablet.as_deref().unwrap_or("no primary");
            text.push_str(&format!(
                "  {} → {} ({tablet}) at {}\n",
                s.from, t.shard, t.position
            ));
        }
        if let Some(why) = &s.throttled {
            text.push_str(&format!("  {} is slowed down: {why}\n", s.from));
        }
        if let Some(message) = &s.message {
            let message = message.trim_end().replace('\n', "\n    ");
            let message = if s.state == "error" {
                message.red().to_string()
            } else {
                message
            };
            text.push_str(&format!("  {}: {message}\n", s.from));
        }
    }
    text
}

fn stream_state(state: &str) -> String {
    match state {
        "following" => state.green().to_string(),
        "error" | "unseen" => state.red().bold().to_string(),
        _ => state.yellow().to_string(),
    }
}

/// `MoveTables of corder, customer: commerce → customer`.
pub fn what(w: &WorkflowDocument) -> String {
    let tables: Vec<&str> = w.tables.iter().map(|t| t.as_str()).collect();
    let (from, to) = (side(&w.source, w.kind), side(&w.target, w.kind));
    match w.kind {
        WorkflowKind::MoveTables => {
            format!("MoveTables of {}: {from} → {to}", tables.join(", "))
        }
        WorkflowKind::Reshard => format!("Reshard: {from} → {to}"),
    }
}

pub const fn kind(kind: WorkflowKind) -> &'static str {
    match kind {
        WorkflowKind::MoveTables => "MoveTables",
        WorkflowKind::Reshard => "Reshard",
    }
}

/// `commerce`; for a Reshard `customer/-80,80-`.
pub fn side(side: &WorkflowSide, kind: WorkflowKind) -> String {
    match kind {
        WorkflowKind::MoveTables => side.keyspace.to_string(),
        WorkflowKind::Reshard => {
            let shards: Vec<String> = side.shards.iter().map(ShardName::to_string).collect();
            format!("{}/{}", side.keyspace, shards.join(","))
        }
    }
}

pub fn state(state: State) -> String {
    let word = state.word();
    match state {
        State::Following => word.green().to_string(),
        State::Paused | State::Stopped => word.red().to_string(),
        State::Copying | State::Switching | State::Completing | State::Cancelling => {
            word.yellow().to_string()
        }
    }
}

const fn phase(phase: SwitchPhase) -> &'static str {
    match phase {
        SwitchPhase::Holding => "gates hold writes",
        SwitchPhase::Fencing => "the side that has them is being fenced",
        SwitchPhase::Fenced => "fenced, streams catch up",
        SwitchPhase::Flipped => "switched, gates acknowledge",
    }
}
