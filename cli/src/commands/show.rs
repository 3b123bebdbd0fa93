//! `vtplan show`: the cluster, a part of it, or a plan.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use owo_colors::OwoColorize as _;
use serde::Serialize;
use serde_json::Value;
use vtplan_agent::{observe, submit};
use vtplan_planner::document::{Against, Document};
use vtplan_planner::spec::diag::closest;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{PlanStatus, Records, ShardName, StepState};

use super::Outcome;
use super::plan::How;
use crate::args::{Global, PlanFormat};
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::out;
use crate::picture::Picture;
use crate::plan_file::PlanFile;
use crate::progress::submit_error;
use crate::render::table::{Table, count};
use crate::render::{self, when};
use crate::workflows::look;

const EXAMPLES: &str = "\
Examples:
  vtplan show                          The cluster
  vtplan show commerce                 A keyspace, its VSchema too
  vtplan show customer/-80             A shard
  vtplan show zone1-0000000100         A tablet
  vtplan show customer.cust2cust       A workflow
  vtplan show plan                     The plan that runs, or the last one
  vtplan show shop.plan                A saved plan
  vtplan show spec --format json       The spec that was applied last";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ShowArgs {
    /// A keyspace, `KEYSPACE/SHARD`, a tablet, workflow, host, gate or cell, `spec`, `routing`, `users`,
    /// `plan`, a plan's id, or a plan file
    #[arg(value_name = "OBJECT")]
    pub object: Option<String>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: PlanFormat,
}

pub async fn run(args: ShowArgs, global: &Global) -> Outcome {
    if let Some(object) = &args.object
        && let Some(file) = PlanFile::read(Path::new(object))
    {
        super::plan::print(&file?.plan, args.format, &How::default(), global);
        return Ok(Exit::Done);
    }
    let cluster = context::cluster(global).await?;
    let object = args.object.as_deref();
    if let Some(id) = plan_id(object, &cluster).await? {
        return show_plan(&cluster, &id, args.format, global).await;
    }
    let json = match args.format {
        PlanFormat::Text => false,
        PlanFormat::Json => true,
        PlanFormat::Markdown | PlanFormat::Dot => {
            return Err(CliError::new(
                "bad-format",
                "only plans can be shown as Markdown or Graphviz",
            )
            .help("use `--format text` or `--format json`"));
        }
    };
    if object == Some("plans") {
        return show_plans(&cluster, json).await;
    }
    let agents = context::agents(&cluster).await?;
    let gathered = observe::gather(&cluster, &agents, None)
        .await
        .map_err(|observe::ObserveError::Store(e)| context::store_error(&e))?;
    let active = submit::active(&cluster)
        .await
        .map_err(|e| context::store_error(&e))?;
    let records = &gathered.live.records;
    if let Some(name) = object
        && let Some(workflow) = records.all_workflows().find(|w| w.full_name() == name)
    {
        let whole = look::whole(&cluster, records, workflow).await?;
        out(&if json {
            format!("{:#}\n", to_json(&whole))
        } else {
            render::workflow::whole(&whole, when::now())
        });
        return Ok(Exit::Done);
    }
    let workflows = look::pictures(&cluster, records).await?;
    let picture = Picture::new(cluster.name(), &gathered, active, workflows);
    if object == Some("spec") && records.spec.is_none() {
        return Err(CliError::new(
            "no-spec",
            format!("no spec was applied in cluster {} yet", cluster.name()),
        ));
    }
    let (text, value) = match object {
        None => (whole(&picture, records), to_json(&picture)),
        Some(object) => {
            part(object, &picture, records).ok_or_else(|| unknown(object, &picture, records))?
        }
    };
    if json {
        out(&format!("{value:#}\n"));
    } else {
        out(&text);
    }
    Ok(Exit::Done)
}

/// The plan that is meant, if one is.
async fn plan_id(object: Option<&str>, cluster: &Cluster) -> Result<Option<String>, CliError> {
    match object {
        Some("plan") => {}
        // As `20261121-145033-3f2a`. Names of other things may look like it too, so it must exist.
        Some(id) if id.len() == 20 && id.starts_with("20") => {
            let plan = cluster.plan(id).await;
            let plan = plan.map_err(|e| context::store_error(&e))?;
            return Ok(plan.map(|p| p.id));
        }
        _ => return Ok(None),
    }
    let plans = submit::list(cluster)
        .await
        .map_err(|e| context::store_error(&e))?;
    match plans.last() {
        Some(last) => Ok(Some(last.id.clone())),
        None => Err(CliError::new(
            "no-such-plan",
            format!("nothing was applied in cluster {} yet", cluster.name()),
        )),
    }
}

async fn show_plan(cluster: &Cluster, id: &str, format: PlanFormat, global: &Global) -> Outcome {
    let stored = submit::load(cluster, id)
        .await
        .map_err(|e| submit_error(e, cluster.name()))?;
    let view = cluster
        .plan_view(id)
        .await
        .map_err(|e| context::store_error(&e))?;
    let steps = view.map(|v| v.steps).unwrap_or_default();
    let record = &stored.record;
    match format {
        PlanFormat::Json => {
            let plan = render::json::value(&Document {
                plan: &stored.plan,
                against: Against::Live,
                workload: None,
            });
            let document = serde_json::json!({
                "format": 1,
                "id": record.id,
                "approved_by": record.approved_by,
                "approved_at": record.approved_at,
                "status": record.status,
                "steps": steps.values().collect::<Vec<_>>(),
                "plan": plan,
            });
            out(&format!("{document:#}\n"));
        }
        PlanFormat::Text => {
            super::plan::print(&stored.plan, format, &How::default(), global);
            let (status, why) = status_words(&record.status);
            let mut text = format!(
                "\n{} {}, approved by {} {}: {status}\n",
                "Plan".bold(),
                record.id,
                record.approved_by,
                when::utc(record.approved_at)
            );
            if let Some(why) = why {
                text.push_str(&format!("  {}\n", why.replace('\n', "\n  ")));
            }
            let mut table = Table::new(["STEP", "STATE", "TOOK", "MESSAGE"]);
            for step in &stored.plan.steps {
                let Some(progress) = steps.get(&step.id) else {
                    continue;
                };
                let took = progress
                    .ended_at
                    .map(|end| end.saturating_sub(progress.started_at));
                table.row([
                    step.id.clone(),
                    match progress.state {
                        StepState::Running => "running".yellow().to_string(),
                        StepState::Done => "done".green().to_string(),
                        StepState::Failed => "failed".red().bold().to_string(),
                    },
                    took.map(|ms| when::duration(Duration::from_millis(ms)))
                        .unwrap_or_default(),
                    progress
                        .message
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_owned(),
                ]);
            }
            if !table.is_empty() {
                text.push_str(&format!("\n{}", table.render(2)));
            }
            out(&text);
        }
        PlanFormat::Markdown | PlanFormat::Dot => {
            super::plan::print(&stored.plan, format, &How::default(), global);
        }
    }
    Ok(Exit::Done)
}

async fn show_plans(cluster: &Cluster, json: bool) -> Outcome {
    let plans = submit::list(cluster)
        .await
        .map_err(|e| context::store_error(&e))?;
    if json {
        let plans: Vec<_> = plans
            .iter()
            .map(|p| {
                serde_json::json!({
                    "id": p.id, "approved_by": p.approved_by, "approved_at": p.approved_at,
                    "status": p.status,
                })
            })
            .collect();
        let document = serde_json::json!({ "format": 1, "plans": plans });
        out(&format!("{document:#}\n"));
    } else if plans.is_empty() {
        out(&format!(
            "Nothing was applied in cluster {} yet.\n",
            cluster.name()
        ));
    } else {
        let mut table = Table::new(["PLAN", "APPROVED BY", "AT", "STATUS"]);
        for plan in &plans {
            table.row([
                plan.id.clone(),
                plan.approved_by.clone(),
                when::utc(plan.approved_at),
                status_words(&plan.status).0.to_owned(),
            ]);
        }
        out(&table.render(0));
    }
    Ok(Exit::Done)
}

fn status_words(status: &PlanStatus) -> (&'static str, Option<&str>) {
    match status {
        PlanStatus::Running => ("is being carried out", None),
        PlanStatus::Done { .. } => ("done", None),
        PlanStatus::Waiting { message, .. } => ("waiting", Some(message)),
        PlanStatus::Stopped { .. } => ("stopped", None),
        PlanStatus::Failed { message, .. } => ("failed", Some(message)),
    }
}

fn to_json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("records serialize")
}

/// The whole cluster: what runs, and what gates go by.
fn whole(picture: &Picture, records: &Records) -> String {
    let mut text = render::picture::text(picture, when::now());
    for (keyspace, vschema) in &records.vschemas {
        let tables = vschema.tables.keys().cloned().collect::<Vec<_>>();
        if !tables.is_empty() {
            text.push_str(&format!("\nTables of {keyspace}: {}\n", tables.join(", ")));
        }
    }
    if !records.users.is_empty() {
        let users: Vec<&str> = records.users.keys().map(String::as_str).collect();
        text.push_str(&format!("\nUsers: {}\n", users.join(", ")));
    }
    if !records.routing.rules.is_empty() {
        text.push_str(&format!("\n{}", routing(records)));
    }
    text
}

fn routing(records: &Records) -> String {
    let mut table = Table::new(["FROM", "TO"]);
    for rule in &records.routing.rules {
        table.row([rule.from_table.clone(), rule.to_tables.join(", ")]);
    }
    if table.is_empty() {
        "No routing rules.\n".to_owned()
    } else {
        table.render(0)
    }
}

/// A part of the cluster by its name, as text and as JSON.
fn part(object: &str, picture: &Picture, records: &Records) -> Option<(String, Value)> {
    match object {
        "spec" => {
            let spec = records.spec.as_ref()?;
            let mut value = to_json(spec);
            render::json::redact(&mut value);
            let text = format!(
                "Spec {}, applied by {} {}\n{:#}\n",
                spec.digest,
                spec.applied_by,
                when::utc(spec.applied_at),
                value["desired"]
            );
            return Some((text, value));
        }
        "routing" => return Some((routing(records), to_json(&records.routing))),
        "users" => {
            let users: Vec<&str> = records.users.keys().map(String::as_str).collect();
            let text = if users.is_empty() {
                "No users.\n".to_owned()
            } else {
                format!("{}\n", users.join("\n"))
            };
            return Some((text, to_json(&users)));
        }
        _ => {}
    }
    if let Some((keyspace, shard)) = object.split_once('/') {
        let keyspace = picture
            .keyspaces
            .iter()
            .find(|k| k.name.as_str() == keyspace)?;
        let name: ShardName = shard.parse().ok()?;
        let shard = keyspace.shards.iter().find(|s| s.name == name)?;
        let text = format!(
            "Shard {}   term {}\n{}",
            format!("{}/{}", keyspace.name, shard.name).bold(),
            shard.term,
            render::picture::shards(std::iter::once(shard))
        );
        return Some((text, to_json(shard)));
    }
    if let Some(keyspace) = picture.keyspaces.iter().find(|k| k.name.as_str() == object) {
        let mut text = render::picture::keyspace(keyspace);
        let mut value = to_json(keyspace);
        if let Some(vschema) = records.vschemas.get(&keyspace.name) {
            text.push_str(&format!("\nVSchema\n{:#}\n", to_json(vschema)));
            value["vschema"] = to_json(vschema);
        }
        return Some((text, value));
    }
    for keyspace in &picture.keyspaces {
        for shard in &keyspace.shards {
            if let Some(tablet) = shard.tablets.iter().find(|t| t.alias.to_string() == object) {
                let place = format!("of {}/{}", keyspace.name, shard.name);
                return Some((render::picture::tablet(tablet, &place), to_json(tablet)));
            }
        }
    }
    if let Some(host) = picture.hosts.iter().find(|h| h.name.as_str() == object) {
        return Some(lines("Host", object, to_json(host)));
    }
    if let Some(gate) = picture.gates.iter().find(|g| g.name.as_str() == object) {
        return Some(lines("Gate", object, to_json(gate)));
    }
    let (_, cell) = records.cells.iter().find(|(c, _)| c.as_str() == object)?;
    let hosts: Vec<_> = picture
        .hosts
        .iter()
        .filter(|h| h.cell == cell.name)
        .collect();
    let gates: Vec<_> = picture
        .gates
        .iter()
        .filter(|g| g.cell == cell.name)
        .collect();
    let text = format!(
        "Cell {}   {}, {}\n",
        object.bold(),
        count(hosts.len(), "host"),
        count(gates.len(), "gate")
    );
    Some((
        text,
        serde_json::json!({ "name": cell.name, "hosts": hosts, "gates": gates }),
    ))
}

/// A record, a line for each of its fields.
fn lines(kind: &str, name: &str, value: Value) -> (String, Value) {
    let mut text = format!("{kind} {}\n", name.bold());
    for (key, field) in value.as_object().into_iter().flatten() {
        let shown = match field {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Number(at) if key.ends_with("_at") => {
                at.as_u64().map(when::utc).unwrap_or_default()
            }
            other => other.to_string(),
        };
        if key != "name" {
            text.push_str(&format!("  {:<16} {shown}\n", key.replace('_', " ")));
        }
    }
    (text, value)
}

fn unknown(object: &str, picture: &Picture, records: &Records) -> CliError {
    let mut names: Vec<String> = Vec::new();
    for keyspace in &picture.keyspaces {
        names.push(keyspace.name.to_string());
        for shard in &keyspace.shards {
            names.push(format!("{}/{}", keyspace.name, shard.name));
            names.extend(shard.tablets.iter().map(|t| t.alias.to_string()));
        }
    }
    names.extend(picture.workflows.iter().map(|w| w.document.name.clone()));
    names.extend(picture.hosts.iter().map(|h| h.name.to_string()));
    names.extend(picture.gates.iter().map(|g| g.name.to_string()));
    names.extend(records.cells.keys().map(ToString::to_string));
    let others = ["spec", "routing", "users", "plan", "plans"].map(str::to_owned);
    names.extend(others);
    let error = CliError::new(
        "no-such-object",
        format!("there is no `{object}` in cluster {}", picture.cluster),
    );
    match closest(object, names.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help("`vtplan show` without a name shows all that there is"),
    }
}
