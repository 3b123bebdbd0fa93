//! `vtplan apply`: makes a cluster what a spec says.

use std::path::{Path, PathBuf};

use clap::Args;
use owo_colors::OwoColorize as _;
use vtplan_agent::submit::{self, Approval};
use vtplan_planner::desired::Desired;
use vtplan_planner::plan::Plan;
use vtplan_planner::spec::{self, ProcessSecrets};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::ActivePlan;

use super::Outcome;
use crate::args::{Format, Global, PlanFormat};
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::{ask, can_ask, err, out, who};
use crate::plan_file::PlanFile;
use crate::planning::{self, Planned};
use crate::progress::{self, Ending, submit_error};
use crate::render::step::describe;
use crate::render::table::count;
use crate::render::{self, when};

const EXAMPLES: &str = "\
Examples:
  vtplan apply shop.yaml
  vtplan apply shop.plan                    A plan that was saved with `plan --out`
  vtplan apply shop.yaml --auto-approve     Without asking (CI); nothing destructive is done
  vtplan apply --attach                     Watch the plan that runs

Ctrl-C asks whether to detach, to stop after the running steps, or to go on.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ApplyArgs {
    /// Spec files or folders (together one spec), or one plan file
    #[arg(value_name = "SPEC|PLANFILE", required_unless_present = "attach")]
    pub inputs: Vec<PathBuf>,
    /// Do not ask; destructive steps still need --approve-destructive
    #[arg(long)]
    pub auto_approve: bool,
    /// Approve the destructive steps too
    #[arg(long)]
    pub approve_destructive: bool,
    /// Start it and return; the agents carry it out
    #[arg(long, conflicts_with = "attach")]
    pub detach: bool,
    /// Watch the plan that runs
    #[arg(long)]
    pub attach: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: ApplyArgs, global: &Global) -> Outcome {
    let json = args.format == Format::Json;
    if args.attach {
        return attach_to_running(json, global).await;
    }
    let (desired, file) = read_input(&args.inputs, global)?;
    let spec_digest = spec::digest(&desired);
    if let Some(cluster) = existing(global, &desired.cluster).await?
        && let Some(active) = running(&cluster).await?
    {
        let stored = submit::load(&cluster, &active.id)
            .await
            .map_err(|e| submit_error(e, cluster.name()))?;
        if stored.plan.spec_digest != spec_digest {
            return Err(already_running(&active, cluster.name()));
        }
        say(
            json,
            global,
            &format!(
                "This spec is being applied already (plan {}, started by {} {}). Attached to it.\n",
                active.id,
                active.by,
                when::ago(active.since, when::now())
            ),
        );
        return carried_out(&cluster, &active.id, json, global).await;
    }

    let planned = planning::plan_desired(global, desired).await?;
    if let Some((path, file)) = &file {
        check_fresh(path, file, &planned)?;
    }
    let Some(cluster) = planned.cluster.clone() else {
        if planned.plan.is_empty() {
            print_plan(&planned.plan, json, global);
            return Ok(Exit::Done);
        }
        return Err(no_agent(&planned.desired.cluster));
    };
    if planned.plan.is_empty() {
        print_plan(&planned.plan, json, global);
        submit::record_spec(&cluster, &planned.desired, &planned.plan, &who())
            .await
            .map_err(|e| submit_error(e, cluster.name()))?;
        return Ok(Exit::Done);
    }
    if planned.live.records.hosts.is_empty() {
        return Err(no_agent(cluster.name()));
    }
    print_plan(&planned.plan, json, global);
    let approval = Asking {
        auto_approve: args.auto_approve,
        approve_destructive: args.approve_destructive,
        question: "Apply these changes?",
        word: "yes",
    };
    let Some(destructive) = approve(&planned.plan, &approval)? else {
        err("Nothing was changed.\n");
        return Ok(Exit::Failed);
    };
    let approval = Approval {
        desired: &planned.desired,
        plan: &planned.plan,
        who: &who(),
        destructive,
        destroy: false,
        operation: None,
    };
    start(&cluster, approval, args.detach, json, global).await
}

/// Makes an approved plan the active one and, unless `detach`, sees it through.
pub async fn start(
    cluster: &Cluster,
    approval: Approval<'_>,
    detach: bool,
    json: bool,
    global: &Global,
) -> Outcome {
    let agents = context::agents(cluster).await?;
    let handle = submit::submit(cluster, &agents, approval)
        .await
        .map_err(|e| submit_error(e, cluster.name()))?;
    if detach {
        if json {
            result(&handle.id, "detached", None);
        } else {
            out(&format!(
                "Plan {} is being carried out. Watch it with `vtplan apply --attach`.\n",
                handle.id
            ));
        }
        return Ok(Exit::Done);
    }
    if !json && !global.quiet {
        err("\n");
    }
    carried_out(cluster, &handle.id, json, global).await
}

/// A spec, or what a plan file leads to.
#[allow(clippy::type_complexity, reason = "read once, by the caller")]
fn read_input(
    inputs: &[PathBuf],
    global: &Global,
) -> Result<(Desired, Option<(PathBuf, PlanFile)>), CliError> {
    if let [path] = inputs
        && let Some(file) = PlanFile::read(path)
    {
        let file = file?;
        return Ok((file.desired.clone(), Some((path.clone(), file))));
    }
    let loaded = planning::load_spec(global, inputs, &ProcessSecrets)?;
    Ok((loaded.desired, None))
}

/// The cluster, if the store has it.
async fn existing(global: &Global, name: &str) -> Result<Option<Cluster>, CliError> {
    let Some(store) = context::store_if_there(global).await? else {
        return Ok(None);
    };
    context::check_spec_cluster(global, Some(&store), name).await?;
    context::of(store, name).map(Some)
}

async fn running(cluster: &Cluster) -> Result<Option<ActivePlan>, CliError> {
    submit::active(cluster)
        .await
        .map_err(|e| context::store_error(&e))
}

fn already_running(active: &ActivePlan, cluster: &str) -> CliError {
    CliError::new(
        "plan-running",
        format!(
            "plan {} of another spec is being carried out in cluster {cluster}, started by {} {}, since {}",
            active.id,
            active.by,
            when::ago(active.since, when::now()),
            when::utc(active.since)
        ),
    )
    .help("watch it with `vtplan apply --attach` (Ctrl-C there can stop it), then apply again")
}

pub fn no_agent(cluster: &str) -> CliError {
    CliError::new(
        "no-agent",
        format!("no agent is alive in cluster {cluster}, so nobody can carry out a plan"),
    )
    .help(
        "start one with `vtplan up SPEC` on a single machine, or `vtplan agent` on each database \
         host; `vtplan plan` works without",
    )
}

/// A plan file is only good for the live state it was made from.
fn check_fresh(path: &Path, file: &PlanFile, now: &Planned) -> Result<(), CliError> {
    if file.plan.live_digest == now.plan.live_digest {
        return Ok(());
    }
    Err(CliError::new(
        "stale-plan",
        format!(
            "the plan file `{}` is stale: the cluster has changed since it was made {}",
            path.display(),
            when::ago(file.made_at, when::now())
        ),
    )
    .help("make a new one with `vtplan plan SPEC --out FILE`, and review that"))
}

pub fn print_plan(plan: &Plan, json: bool, global: &Global) {
    if json {
        let mut plan = serde_json::to_value(plan).expect("a plan serializes");
        render::json::redact(&mut plan);
        out(&format!(
            "{}\n",
            serde_json::json!({ "format": 1, "type": "plan", "plan": plan })
        ));
    } else if !global.quiet {
        super::plan::print(plan, PlanFormat::Text, global);
    }
}

/// How an approval is asked for.
pub struct Asking {
    pub auto_approve: bool,
    pub approve_destructive: bool,
    pub question: &'static str,
    /// The only answer that approves.
    pub word: &'static str,
}

/// Asks for the approval of a plan. `None`: it was not given. Else whether the destructive steps
/// were approved too.
pub fn approve(plan: &Plan, asking: &Asking) -> Result<Option<bool>, CliError> {
    let destructive: Vec<String> = plan.destructive().map(describe).collect();
    let needs_terminal = !asking.auto_approve || !destructive.is_empty();
    if !asking.auto_approve && !can_ask() {
        return Err(CliError::new(
            "needs-approval",
            "the plan needs an approval, and there is no terminal to ask on",
        )
        .help(
            "review it with `vtplan plan`, then give `--auto-approve`; or save it with \
             `vtplan plan --out FILE` and apply exactly that with `vtplan apply FILE --auto-approve`",
        ));
    }
    if !destructive.is_empty() && !asking.approve_destructive && (asking.auto_approve || !can_ask())
    {
        return Err(CliError::new(
            "destructive-not-approved",
            format!(
                "the plan deletes data in {}, which was not approved: nothing was done",
                count(destructive.len(), "step")
            ),
        )
        .details(list(&destructive))
        .help("approve it with `--approve-destructive`"));
    }
    if needs_terminal && !asking.auto_approve {
        let question = format!(
            "\n{} Only `{}` is accepted: ",
            asking.question.bold(),
            asking.word
        );
        if ask(&question).as_deref() != Some(asking.word) {
            return Ok(None);
        }
    }
    if !destructive.is_empty() && !asking.approve_destructive {
        let question = format!(
            "\n{}\n{}Delete this data? Only `{}` is accepted: ",
            "This deletes data:".red().bold(),
            list(&destructive),
            asking.word
        );
        if ask(&question).as_deref() != Some(asking.word) {
            return Ok(None);
        }
    }
    Ok(Some(!destructive.is_empty()))
}

fn list(lines: &[String]) -> String {
    lines.iter().map(|l| format!("  ! {l}\n")).collect()
}

async fn attach_to_running(json: bool, global: &Global) -> Outcome {
    let cluster = context::cluster(global).await?;
    match running(&cluster).await? {
        Some(active) => {
            say(
                json,
                global,
                &format!(
                    "Plan {}, started by {} {}.\n",
                    active.id,
                    active.by,
                    when::ago(active.since, when::now())
                ),
            );
            carried_out(&cluster, &active.id, json, global).await
        }
        None => Err(CliError::new(
            "no-plan-running",
            format!("no plan is being carried out in cluster {}", cluster.name()),
        )
        .help("`vtplan show plan` shows the last one")),
    }
}

/// Sees a plan to its end and says how it ended.
async fn carried_out(cluster: &Cluster, id: &str, json: bool, global: &Global) -> Outcome {
    let started = std::time::Instant::now();
    let mut show = progress::show::pick(json, global.quiet);
    let ending = progress::follow(cluster, id, show.as_mut()).await?;
    let name = cluster.name();
    match ending {
        Ending::Done { steps, destroyed } => {
            if json {
                result(id, "done", None);
            } else {
                let now = if destroyed {
                    "is empty"
                } else {
                    "is what the spec says"
                };
                out(&format!(
                    "{} {} in {}. Cluster {} {now}.\n",
                    "Done:".green().bold(),
                    count(steps, "step"),
                    when::duration(started.elapsed()),
                    name.bold()
                ));
            }
            Ok(Exit::Done)
        }
        Ending::Stopped { done, steps } => {
            if json {
                result(id, "stopped", None);
            } else {
                out(&format!(
                    "{} after {done} of {}. Apply again to go on.\n",
                    "Stopped".yellow().bold(),
                    count(steps, "step")
                ));
            }
            Ok(Exit::Interrupted)
        }
        Ending::Detached => {
            if json {
                result(id, "detached", None);
            } else {
                err(&format!(
                    "Detached: plan {id} goes on. `vtplan apply --attach` shows it again.\n"
                ));
            }
            Ok(Exit::Interrupted)
        }
        Ending::Failed { message, steps } => {
            if json {
                result(id, "failed", Some(&message));
            }
            let mut details = String::new();
            for step in &steps {
                // The plan's message may tell it already.
                if !message.contains(step.message.trim()) || step.message.trim().is_empty() {
                    details.push_str(&format!("  step {}: {}\n", step.step, step.message));
                }
            }
            let says_what_to_do = message.contains("run `vtplan apply` again");
            let mut error =
                CliError::new("plan-failed", format!("plan {id} of cluster {name} failed"))
                    .cause(message);
            if !says_what_to_do {
                error = error.help(
                    "what is done stays done: mend the cause and apply again, which goes on from here",
                );
            }
            Err(if details.is_empty() {
                error
            } else {
                error.details(details)
            })
        }
    }
}

fn result(id: &str, status: &str, message: Option<&str>) {
    let line =
        serde_json::json!({ "type": "result", "plan": id, "status": status, "message": message });
    out(&format!("{line}\n"));
}

fn say(json: bool, global: &Global, text: &str) {
    if !json && !global.quiet {
        err(text);
    }
}
