//! `vtplan apply`: makes a cluster what a spec says.
//!
//! A spec is applied in rounds: plan, approval, the agents carry it out. When what is left waits for
//! an approval, a soak or a window, and that comes while somebody watches, another round begins.
//!
//! - [`approve`]: asking for approvals. [`ending`]: seeing a plan through. [`supersede`]: a plan of
//!   another spec that is in the way.

pub mod approve;
pub mod ending;
mod supersede;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use vtplan_agent::submit::{self, Approval};
use vtplan_planner::desired::{ApprovePoint, Desired};
use vtplan_planner::document::{Against, Document};
use vtplan_planner::plan::{Action, Plan};
use vtplan_planner::spec::{self, ProcessSecrets};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::ActivePlan;

use self::approve::Asking;
use self::ending::{Ended, Paused, result, say_waiting, see_through};
pub use self::supersede::stop;
use super::Outcome;
use crate::args::{Format, Global, PlanFormat};
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::{can_ask, err, out, who};
use crate::plan_file::PlanFile;
use crate::planning::{self, Planned};
use crate::progress::{interrupted, or_interrupted, submit_error};
use crate::render::{self, when};
use crate::waits::{Wait, What};

const EXAMPLES: &str = "\
Examples:
  vtplan apply shop.yaml
  vtplan apply shop.plan                    A plan that was saved with `plan --out`
  vtplan apply shop.yaml --auto-approve     Without asking (CI); nothing destructive is done
  vtplan apply shop.yaml --approve switch_writes
                                            Let a workflow go on that waits for this approval
  vtplan apply old.yaml --supersede         Stop the plan that runs and go back, while it copies too
  vtplan apply --attach                     Watch the plan that runs

Ctrl-C asks whether to detach, to stop after the running steps, or to go on.
With 3 it exits when what is left waits for an approval, a soak or a window; applying again goes on.";

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
    /// Approve the steps that take back what was changed by hand (drift) too
    #[arg(long)]
    pub approve_drift: bool,
    /// Approve a point at which the spec makes workflows wait (`changes.approve`); repeatable
    #[arg(long, value_name = "POINT", value_parser = points(), conflicts_with = "attach")]
    pub approve: Vec<ApprovePoint>,
    /// Stay until soaks are over and windows open, rather than exit with 3
    #[arg(long, conflicts_with_all = ["detach", "attach"])]
    pub wait: bool,
    /// Stop a plan of another spec that is being carried out, and plan anew from there
    #[arg(long, conflicts_with = "attach")]
    pub supersede: bool,
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

const POINTS: [ApprovePoint; 3] = [
    ApprovePoint::SwitchReads,
    ApprovePoint::SwitchWrites,
    ApprovePoint::Complete,
];

fn points() -> impl clap::builder::TypedValueParser<Value = ApprovePoint> {
    PossibleValuesParser::new(POINTS.map(ApprovePoint::as_str)).map(|name| {
        let point = POINTS.into_iter().find(|p| p.as_str() == name);
        point.expect("it is one of the possible values")
    })
}

pub async fn run(args: ApplyArgs, global: &Global) -> Outcome {
    let json = args.format == Format::Json;
    if args.attach {
        return attach_to_running(json, global).await;
    }
    let (desired, file) = read_input(&args.inputs, global)?;
    let mut apply = Apply {
        spec_digest: spec::digest(&desired),
        desired,
        file,
        args: &args,
        global,
        json,
        approved: None,
        given: BTreeSet::new(),
    };
    loop {
        let paused = match apply.round().await? {
            Ended::Over(exit) => return Ok(exit),
            Ended::Waiting(paused) => paused,
        };
        match apply.go_on(&paused).await? {
            Next::Round => {}
            Next::Exit(exit) => return Ok(exit),
        }
    }
}

/// One spec on its way.
struct Apply<'a> {
    desired: Desired,
    spec_digest: String,
    /// The plan file that it came from.
    file: Option<(PathBuf, PlanFile)>,
    args: &'a ApplyArgs,
    global: &'a Global,
    json: bool,
    /// What was approved in an earlier round.
    approved: Option<Approved>,
    /// Approvals of points that were written for workflows.
    given: BTreeSet<(String, &'static str)>,
}

struct Approved {
    steps: BTreeSet<String>,
    destructive: bool,
}

impl Approved {
    /// Whether nothing is in the plan that was not in the approved one.
    fn covers(&self, plan: &Plan) -> bool {
        plan.steps.iter().all(|s| self.steps.contains(&s.id))
            && (self.destructive || plan.destructive().next().is_none())
    }
}

enum Next {
    Round,
    Exit(Exit),
}

impl Apply<'_> {
    /// Attaches to the plan of this spec that runs, or makes one, has it approved, and sees it
    /// through.
    async fn round(&mut self) -> Result<Ended, CliError> {
        if let Some(cluster) = existing(self.global, &self.desired.cluster).await?
            && let Some(active) = running(&cluster).await?
            && self.is_attached_to(&cluster, &active).await?
        {
            return self.see_through(&cluster, &active.id).await;
        }
        let planned = or_interrupted(self.plan()).await?;
        let plan = &planned.plan;
        let Some(cluster) = &planned.cluster.clone() else {
            if plan.is_empty() {
                print_plan(plan, self.json, self.global);
                return Ok(Ended::Over(Exit::Done));
            }
            return Err(no_agent(&self.desired.cluster));
        };
        if plan.is_empty() {
            print_plan(plan, self.json, self.global);
            submit::record_spec(cluster, &planned.desired, plan, &who())
                .await
                .map_err(|e| submit_error(e, cluster.name()))?;
            return Ok(Ended::Over(Exit::Done));
        }
        if planned.live.records.hosts.is_empty() {
            return Err(no_agent(cluster.name()));
        }
        let Some(destructive) = self.approval(plan).await? else {
            err("Nothing was changed.\n");
            return Ok(Ended::Over(Exit::Failed));
        };
        let planned = if self.approve_ahead(cluster, plan).await? {
            or_interrupted(self.plan_again()).await?
        } else {
            planned
        };
        let approval = Approval {
            desired: &planned.desired,
            plan: &planned.plan,
            who: &who(),
            destructive,
            destroy: false,
            operation: None,
        };
        let goal = self.goal();
        let ways = Ways {
            detach: self.args.detach,
            json: self.json,
            global: self.global,
        };
        start(cluster, approval, &goal, &ways).await
    }

    fn goal(&self) -> String {
        format!("Cluster {} is what the spec says.", self.desired.cluster)
    }

    async fn see_through(&self, cluster: &Cluster, id: &str) -> Result<Ended, CliError> {
        see_through(cluster, id, &self.goal(), self.json, self.global).await
    }

    /// Whether the plan that runs is of this spec. One of another spec is refused, or stopped.
    async fn is_attached_to(
        &self,
        cluster: &Cluster,
        active: &ActivePlan,
    ) -> Result<bool, CliError> {
        let stored = submit::load(cluster, &active.id)
            .await
            .map_err(|e| submit_error(e, cluster.name()))?;
        let same = stored.plan.spec_digest == self.spec_digest;
        if same && stored.operation.is_none() {
            let text = format!(
                "This spec is being applied already (plan {}, started by {} {}). Attached to it.\n",
                active.id,
                active.by,
                when::ago(active.since, when::now())
            );
            say(self.json, self.global, &text);
            return Ok(true);
        }
        if !self.args.supersede {
            return Err(supersede::refusal(active, &stored, cluster.name()));
        }
        supersede::stop(cluster, active, self.json, self.global).await?;
        Ok(false)
    }

    async fn plan(&self) -> Result<Planned, CliError> {
        let planned = planning::plan_desired(self.global, self.desired.clone()).await?;
        if self.approved.is_none()
            && let Some((path, file)) = &self.file
        {
            check_fresh(path, file, &planned)?;
        }
        Ok(planned)
    }

    /// After approvals were written: the same plan without what waited for them.
    async fn plan_again(&self) -> Result<Planned, CliError> {
        let planned = planning::plan_desired(self.global, self.desired.clone()).await?;
        match &self.approved {
            Some(approved) if approved.covers(&planned.plan) => Ok(planned),
            _ => Err(changed_meanwhile(&self.desired.cluster)),
        }
    }

    /// Shows the plan and asks for its approval, unless what is left was approved in an earlier
    /// round. `None`: it was not given. Else whether that of destructive steps was given too.
    async fn approval(&mut self, plan: &Plan) -> Result<Option<bool>, CliError> {
        if let Some(approved) = &self.approved {
            if approved.covers(plan) {
                return Ok(Some(approved.destructive));
            }
            if self.args.auto_approve {
                // It was said of another plan.
                return Err(changed_meanwhile(&self.desired.cluster));
            }
        }
        print_plan(plan, self.json, self.global);
        let asking = Asking {
            auto_approve: self.args.auto_approve,
            approve_destructive: self.args.approve_destructive,
            approve_drift: self.args.approve_drift,
            question: "Apply these changes?",
            word: "yes",
        };
        let given = approve::approve(plan, &asking).await?;
        self.approved = given.map(|destructive| Approved {
            steps: plan.steps.iter().map(|s| s.id.clone()).collect(),
            destructive,
        });
        Ok(given)
    }

    /// Writes the approvals that the command line gives for workflows that exist already. Whether
    /// any was written.
    async fn approve_ahead(&mut self, cluster: &Cluster, plan: &Plan) -> Result<bool, CliError> {
        let mut written = false;
        for step in &plan.steps {
            if let Action::WaitForApproval {
                keyspace,
                workflow,
                point,
            } = &step.action
            {
                let wait = Wait {
                    keyspace: keyspace.clone(),
                    workflow: workflow.clone(),
                    what: What::Approval(*point),
                };
                written |= self.give(cluster, &wait).await?;
            }
        }
        Ok(written)
    }

    /// Writes an approval that the command line gives, once. Whether it was written.
    async fn give(&mut self, cluster: &Cluster, wait: &Wait) -> Result<bool, CliError> {
        let Some(point) = wait.point().filter(|p| self.args.approve.contains(p)) else {
            return Ok(false);
        };
        self.write(cluster, wait, point).await
    }

    async fn write(
        &mut self,
        cluster: &Cluster,
        wait: &Wait,
        point: ApprovePoint,
    ) -> Result<bool, CliError> {
        let key = (wait.full_name(), point.as_str());
        if self.given.contains(&key) || !approve::write_point(cluster, wait, point).await? {
            return Ok(false);
        }
        let text = format!("Approved {} of {}.\n", point.as_str(), wait.full_name());
        say(self.json, self.global, &text);
        self.given.insert(key);
        Ok(true)
    }

    /// Whether what a plan waits for comes now: given with the command, asked for on a terminal,
    /// or, with `--wait`, by itself.
    async fn go_on(&mut self, paused: &Paused) -> Result<Next, CliError> {
        let Some(cluster) = existing(self.global, &self.desired.cluster).await? else {
            return Ok(Next::Exit(Exit::Waiting));
        };
        let mut given = false;
        for wait in &paused.waits {
            given |= self.give(&cluster, wait).await?;
        }
        if !given && can_ask() && !self.json && !self.args.auto_approve {
            for wait in &paused.waits {
                if let Some(point) = wait.point()
                    && approve::approve_point(wait, point).await?
                {
                    given |= self.write(&cluster, wait, point).await?;
                }
            }
        }
        if given {
            return Ok(Next::Round);
        }
        if self.args.wait && paused.waits.iter().any(|w| w.point().is_none()) {
            return self.pass_time(&cluster, paused).await;
        }
        let exit = say_waiting(&cluster, paused, &self.command(), self.json).await?;
        Ok(Next::Exit(exit))
    }

    /// The command that goes on.
    fn command(&self) -> String {
        // A plan file is stale as soon as part of it was done.
        let inputs = if self.file.is_some() {
            "SPEC".to_owned()
        } else {
            let inputs: Vec<_> = self.args.inputs.iter().map(|p| shell(p)).collect();
            inputs.join(" ")
        };
        format!("vtplan apply {inputs}")
    }

    /// Sleeps until the first of the waits may be over.
    async fn pass_time(&self, cluster: &Cluster, paused: &Paused) -> Result<Next, CliError> {
        /// Clocks differ, and an opening that cannot be told is asked about again.
        const LEAST: Duration = Duration::from_secs(2);
        const UNKNOWN: Duration = Duration::from_secs(60);
        let records = cluster.load_records().await;
        let records = records.map_err(|e| context::store_error(&e))?;
        let now = when::now();
        let mut sleep = None;
        for wait in paused.waits.iter().filter(|w| w.point().is_none()) {
            let text = format!("{}. Ctrl-C leaves.\n", wait.sentence(&records, now));
            say(self.json, self.global, &text);
            let left = wait
                .until(&records, now)
                .map_or(UNKNOWN, |at| Duration::from_millis(at - now));
            sleep = Some(sleep.map_or(left, |s: Duration| s.min(left)));
        }
        tokio::select! {
            () = tokio::time::sleep(sleep.unwrap_or(UNKNOWN).max(LEAST)) => Ok(Next::Round),
            () = interrupted() => {
                say_waiting(cluster, paused, &self.command(), self.json).await?;
                Ok(Next::Exit(Exit::Interrupted))
            }
        }
    }
}

/// A path as a shell takes it.
fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn changed_meanwhile(cluster: &str) -> CliError {
    CliError::new(
        "stale-plan",
        format!(
            "cluster {cluster} has changed since the plan was approved, and other steps are needed"
        ),
    )
    .help("review it with `vtplan plan`, and apply again")
}

/// How a plan is started.
pub struct Ways<'a> {
    /// Return as soon as it is started.
    pub detach: bool,
    pub json: bool,
    pub global: &'a Global,
}

/// Makes an approved plan the active one and, unless detached, sees it through. `goal`: what is
/// said when it is done.
pub async fn start(
    cluster: &Cluster,
    approval: Approval<'_>,
    goal: &str,
    ways: &Ways<'_>,
) -> Result<Ended, CliError> {
    let agents = context::agents(cluster).await?;
    let handle = submit::submit(cluster, &agents, approval)
        .await
        .map_err(|e| submit_error(e, cluster.name()))?;
    if ways.detach {
        if ways.json {
            result(&handle.id, "detached", None);
        } else {
            out(&format!(
                "Plan {} is being carried out. Watch it with `vtplan apply --attach`.\n",
                handle.id
            ));
        }
        return Ok(Ended::Over(Exit::Done));
    }
    if !ways.json && !ways.global.quiet {
        err("\n");
    }
    see_through(cluster, &handle.id, goal, ways.json, ways.global).await
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

/// The plan that is being carried out.
pub async fn running(cluster: &Cluster) -> Result<Option<ActivePlan>, CliError> {
    submit::active(cluster)
        .await
        .map_err(|e| context::store_error(&e))
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
    let made = std::fs::metadata(path).and_then(|file| file.modified());
    let made = match made {
        Ok(at) => format!(" {}", when::ago(when::millis(at), when::now())),
        Err(_) => String::new(),
    };
    Err(CliError::new(
        "stale-plan",
        format!(
            "the plan file `{}` is stale: the cluster has changed since it was made{made}",
            path.display(),
        ),
    )
    .help("make a new one with `vtplan plan SPEC --out FILE`, and review that"))
}

pub fn print_plan(plan: &Plan, json: bool, global: &Global) {
    if json {
        let plan = render::json::value(&Document {
            plan,
            against: Against::Live,
            workload: None,
        });
        out(&format!(
            "{}\n",
            serde_json::json!({ "format": 1, "type": "plan", "plan": plan })
        ));
    } else if !global.quiet {
        super::plan::print(plan, PlanFormat::Text, &super::plan::How::default(), global);
    }
}

async fn attach_to_running(json: bool, global: &Global) -> Outcome {
    let cluster = context::cluster(global).await?;
    let Some(active) = running(&cluster).await? else {
        return Err(CliError::new(
            "no-plan-running",
            format!("no plan is being carried out in cluster {}", cluster.name()),
        )
        .help("`vtplan show plan` shows the last one"));
    };
    let text = format!(
        "Plan {}, started by {} {}.\n",
        active.id,
        active.by,
        when::ago(active.since, when::now())
    );
    say(json, global, &text);
    let stored = submit::load(&cluster, &active.id)
        .await
        .map_err(|e| submit_error(e, cluster.name()))?;
    let goal = match &stored.operation {
        Some(operation) => format!(
            "`vtplan workflow list` shows what became of {}.{}.",
            operation.keyspace, operation.workflow
        ),
        None => format!("Cluster {} is what the spec says.", cluster.name()),
    };
    match see_through(&cluster, &active.id, &goal, json, global).await? {
        Ended::Over(exit) => Ok(exit),
        Ended::Waiting(paused) => say_waiting(&cluster, &paused, "vtplan apply SPEC", json).await,
    }
}

/// Says something of no account for the result.
pub fn say(json: bool, global: &Global, text: &str) {
    if !json && !global.quiet {
        err(text);
    }
}
