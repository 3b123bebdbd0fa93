//! A cluster's picture for a terminal.

use std::time::Duration;

use owo_colors::OwoColorize as _;
use vtplan_state::model::{Side, TabletType, UnixMillis};

use crate::picture::{Keyspace, Picture, Shard, Tablet, TabletState, Workflow};
use crate::workflows::document::State;

use super::table::{Table, count, number, rows};
use super::when;
use super::workflow::side;

/// The whole picture. `now` is for ages.
pub fn text(picture: &Picture, now: UnixMillis) -> String {
    let mut text = format!("Cluster {}", picture.cluster.bold());
    match &picture.spec {
        Some(spec) => text.push_str(&format!(
            "   spec {} applied by {} {}\n",
            short(&spec.digest),
            spec.by,
            when::ago(spec.at, now)
        )),
        None => text.push_str("   no spec was applied yet\n"),
    }
    if let Some(plan) = &picture.plan {
        text.push_str(&format!(
            "{} {} is being carried out, started by {} {}\n",
            "Plan".yellow().bold(),
            plan.id,
            plan.by,
            when::ago(plan.since, now)
        ));
    }
    text.push('\n');
    text.push_str(&hosts(picture));
    text.push('\n');
    text.push_str(&gates(picture, now));
    for keyspace in &picture.keyspaces {
        text.push('\n');
        text.push_str(&self::keyspace(keyspace));
    }
    if picture.keyspaces.is_empty() {
        text.push_str("\nNo keyspaces.\n");
    }
    if !picture.workflows.is_empty() {
        text.push_str(&format!("\n{}", workflows(&picture.workflows)));
    }
    let problems = problems(picture);
    if !problems.is_empty() {
        text.push_str(&format!("\n{}\n", "Problems:".red().bold()));
        for problem in problems {
            text.push_str(&format!("  {problem}\n"));
        }
    }
    text
}

fn hosts(picture: &Picture) -> String {
    if picture.hosts.is_empty() {
        return "No agent is alive. `vtplan up` starts one here.\n".to_owned();
    }
    let mut table = Table::new(["HOST", "CELL", "ADDRESS", "SERVER", "TABLETS", "AGENT"]);
    for host in &picture.hosts {
        table.row([
            host.name.to_string(),
            host.cell.to_string(),
            host.address.clone(),
            host.server.clone(),
            host.tablets.to_string(),
            match host.problem {
                None => "alive".green().to_string(),
                Some(_) => "unseen".red().bold().to_string(),
            },
        ]);
    }
    table.render(0)
}

fn gates(picture: &Picture, now: UnixMillis) -> String {
    let mut text = String::new();
    if !picture.gates.is_empty() {
        let mut table = Table::new(["GATE", "CELL", "MYSQL", "HTTP", "STARTED"]);
        for gate in &picture.gates {
            table.row([
                gate.name.to_string(),
                gate.cell.to_string(),
                gate.mysql_address.clone(),
                gate.http_url.clone(),
                when::ago(gate.started_at, now),
            ]);
        }
        text.push_str(&table.render(0));
    } else if picture.missing_gates.is_empty() {
        text.push_str("No gate is alive.\n");
    }
    for missing in &picture.missing_gates {
        text.push_str(&format!(
            "{} of {} in {} alive\n",
            missing.alive,
            count(missing.wanted as usize, "gate"),
            missing.cell
        ));
    }
    text
}

/// Each workflow with an arrow from where it reads to where it writes, and how far it is.
fn workflows(workflows: &[Workflow]) -> String {
    let mut table = Table::new(["WORKFLOW", "KIND", "DATA", "STATE", "TRAFFIC"]);
    for workflow in workflows {
        let w = &workflow.document;
        // While writes are at the target, data flows back.
        let arrow = match w.writes {
            Side::Source => "──▶",
            Side::Target => "◀──",
        };
        let (from, to) = (side(&w.source, w.kind), side(&w.target, w.kind));
        let mut state = super::workflow::state(w.state);
        if w.state == State::Copying && workflow.rows_total > 0 {
            let percent = workflow.rows_copied * 100 / workflow.rows_total;
            state.push_str(&format!(
                " {} of {} ({percent}%)",
                number(workflow.rows_copied),
                rows(workflow.rows_total)
            ));
        } else if let (State::Following, Some(lag)) = (w.state, workflow.lag_ms) {
            let lag = when::duration(Duration::from_millis(lag));
            state.push_str(&format!(", lag {lag}"));
        }
        table.row([
            w.name.clone(),
            super::workflow::kind(w.kind).to_owned(),
            format!("{from} {arrow} {to}"),
            state,
            w.traffic_state.clone(),
        ]);
    }
    table.render(0)
}

/// A keyspace with its shards and tablets.
pub fn keyspace(keyspace: &Keyspace) -> String {
    let kind = if keyspace.sharded {
        "sharded"
    } else {
        "unsharded"
    };
    let mut text = format!(
        "Keyspace {}   {kind}, durability {}\n",
        keyspace.name.bold(),
        keyspace.durability
    );
    text.push_str(&shards(keyspace.shards.iter()));
    text
}

pub fn shards<'a>(shards: impl Iterator<Item = &'a Shard>) -> String {
    let mut table = Table::new([
        "SHARD",
        "TABLET",
        "TYPE",
        "PLACE",
        "STATE",
        "LAG",
        "SERVER",
        "NEWEST BACKUP",
    ]);
    for shard in shards {
        let mut name = shard.name.to_string();
        if let Some(what) = serving(shard) {
            name.push_str(&format!(" ({what})"));
        }
        if shard.tablets.is_empty() {
            table.row([
                name.clone(),
                "none".dimmed().to_string(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
        for (i, tablet) in shard.tablets.iter().enumerate() {
            table.row([
                if i == 0 { name.clone() } else { String::new() },
                tablet.alias.to_string(),
                match tablet.tablet_type {
                    TabletType::Primary => "primary".bold().to_string(),
                    other => other.to_string(),
                },
                match &tablet.adopted {
                    Some(server) => format!("{server} ({})", tablet.host),
                    None => format!("{}:{}", tablet.host, tablet.mysql_port),
                },
                state(tablet.state),
                tablet
                    .lag_seconds
                    .map_or_else(String::new, |s| format!("{s} s")),
                tablet.version.clone(),
                match &shard.newest_backup {
                    Some(backup) if i == 0 => when::utc(backup.begun_at),
                    _ => String::new(),
                },
            ]);
        }
    }
    if table.is_empty() {
        return "  no shards\n".to_owned();
    }
    table.render(2)
}

/// What a shard serves, where that is not everything.
fn serving(shard: &Shard) -> Option<String> {
    let of = |serving: bool| {
        let types = shard.serving_reads.iter();
        let types = types.filter(|(_, serves)| **serves == serving);
        let types: Vec<&str> = types.map(|(t, _)| t.as_str()).collect();
        (!types.is_empty()).then_some(types)
    };
    match (shard.serving, of(!shard.serving)) {
        (true, Some(types)) if types.len() > 1 => Some("writes only".to_owned()),
        (true, Some(types)) => Some(format!("not reads of {}", types.join(", "))),
        (true, None) if shard.fenced => Some("fenced".to_owned()),
        (true, None) => None,
        (false, Some(types)) if types.len() > 1 => Some("reads only".to_owned()),
        (false, Some(types)) => Some(format!("reads of {} only", types.join(", "))),
        (false, None) => Some("not serving".to_owned()),
    }
}

/// One tablet, a line for each thing known.
pub fn tablet(tablet: &Tablet, place_in: &str) -> String {
    let mut text = format!("Tablet {}   {place_in}\n", tablet.alias.bold());
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<10} {value}\n"));
        }
    };
    line("type", tablet.tablet_type.as_str());
    line("host", tablet.host.as_str());
    line("port", &tablet.mysql_port.to_string());
    let adopted = tablet.adopted.as_ref().map(ToString::to_string);
    line("adopted", &adopted.unwrap_or_default());
    line("state", &state(tablet.state));
    let lag = tablet.lag_seconds.map(|s| format!("{s} s"));
    line("lag", &lag.unwrap_or_default());
    line("server", &tablet.version);
    line("position", &tablet.position);
    line(
        "message",
        &tablet.message.trim_end().replace('\n', "\n             "),
    );
    text
}

fn state(state: TabletState) -> String {
    let word = state.word();
    match state {
        TabletState::Serving | TabletState::Replicating => word.green().to_string(),
        TabletState::Fenced | TabletState::Idle | TabletState::Creating => {
            word.yellow().to_string()
        }
        TabletState::Wrong | TabletState::Down | TabletState::Unseen => {
            word.red().bold().to_string()
        }
    }
}

fn problems(picture: &Picture) -> Vec<String> {
    let mut problems = Vec::new();
    for host in &picture.hosts {
        if let Some(problem) = &host.problem {
            problems.push(format!("host {}: {problem}", host.name));
        }
    }
    for tablet in picture.tablets() {
        let unseen_host = tablet.state == TabletState::Unseen
            && picture
                .hosts
                .iter()
                .any(|h| h.name == tablet.host && h.problem.is_some());
        if !tablet.message.is_empty() && !unseen_host {
            let message = tablet.message.trim_end().replace('\n', "\n    ");
            problems.push(format!("tablet {}: {message}", tablet.alias));
        }
    }
    for workflow in &picture.workflows {
        let name = &workflow.document.name;
        let errors = workflow.errors.iter();
        problems.extend(errors.map(|e| format!("workflow {name}: {e}")));
        if let Some(why) = &workflow.document.switch_failure {
            problems.push(format!(
                "workflow {name}: the last switch was undone: {why}"
            ));
        }
    }
    for keyspace in &picture.keyspaces {
        for shard in &keyspace.shards {
            if shard.serving && shard.primary.is_none() {
                problems.push(format!(
                    "shard {}/{}: it has no primary",
                    keyspace.name, shard.name
                ));
            }
        }
    }
    problems
}

/// The beginning of a digest, enough to tell two apart.
pub fn short(digest: &str) -> &str {
    digest.get(..10).unwrap_or(digest)
}
