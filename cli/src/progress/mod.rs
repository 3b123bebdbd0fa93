//! Watches a plan being carried out, and shows it.
//!
//! [`follow`] sees the plan to its end, or to the wish of the person who watches to leave it:
//! the agents carry it out, so nothing here is needed for it to go on. [`show`] has the ways to
//! show it: moving on a terminal, as lines, as JSON.

pub mod show;

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use vtplan_agent::submit::{self, PlanUpdate, SubmitError};
use vtplan_planner::plan::Plan;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{PlanStatus, StepProgress, StepState};

use crate::error::CliError;
use crate::output;
use crate::waits::{self, Wait};
use show::Show;

/// How watching a plan ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Done {
        steps: usize,
        /// Whether it was a plan to destroy the cluster.
        destroyed: bool,
    },
    Failed {
        message: String,
        /// The steps that failed.
        steps: Vec<StepProgress>,
    },
    /// All that can be done now is done; the rest waits for a person or for time.
    Waiting {
        message: String,
        /// As the plan's steps tell it.
        waits: Vec<Wait>,
        done: usize,
        steps: usize,
    },
    /// Somebody asked to stop it.
    Stopped { done: usize, steps: usize },
    /// It goes on without being watched.
    Detached,
}

/// What a person who pressed Ctrl-C wants.
enum Wish {
    Detach,
    Stop,
    GoOn,
}

/// Follows plan `id` to its end.
pub async fn follow(cluster: &Cluster, id: &str, show: &mut dyn Show) -> Result<Ending, CliError> {
    let mut updates = submit::attach(cluster, id)
        .await
        .map_err(|e| submit_error(e, cluster.name()))?;
    let mut look = tokio::time::interval(Duration::from_secs(3));
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            update = updates.next() => match update {
                Some(Ok(update)) => {
                    if let Some(ending) = seen.take(update, show) {
                        show.end();
                        return Ok(ending);
                    }
                }
                Some(Err(error)) => {
                    show.end();
                    return Err(submit_error(error, cluster.name())
                        .help("the agents go on with the plan; watch it with `vtplan apply --attach`"));
                }
                None => {
                    show.end();
                    return Err(CliError::new("watch-ended", format!("the watch of plan {id} ended"))
                        .help("the agents go on with the plan; watch it with `vtplan apply --attach`"));
                }
            },
            _ = look.tick() => {
                // A store that does not answer at this moment is not news: the watch reconnects.
                if seen.running == 0 && let Ok(hosts) = cluster.store().list(&format!("{}hosts/", cluster.keys().prefix())).await {
                    let none = hosts.entries.is_empty();
                    show.waiting(none.then_some("no agent is alive: the plan goes on when one is"));
                }
            }
            () = interrupted() => {
                show.pause(true);
                let wish = wish().await;
                show.pause(false);
                match wish {
                    Wish::GoOn => {}
                    Wish::Detach => {
                        show.end();
                        return Ok(Ending::Detached);
                    }
                    Wish::Stop => match submit::request_stop(cluster, id).await {
                        // Over already: the next update says so.
                        Ok(()) | Err(SubmitError::Over { .. }) => {}
                        Err(error) => {
                            show.end();
                            return Err(submit_error(error, cluster.name()));
                        }
                    },
                }
            }
        }
    }
}

/// Ctrl-C, or SIGTERM from whoever started the process.
pub async fn interrupted() {
    let signals = SIGNALS.get_or_init(Signals::listen);
    let mut came = signals.came.clone();
    let answered = &signals.answered;
    let unanswered = came.wait_for(|came| *came > answered.load(Ordering::Relaxed));
    match unanswered.await {
        Ok(came) => answered.store(*came, Ordering::Relaxed),
        // Without a handler the signal ends the process, which leaves the plan running too.
        Err(_) => std::future::pending().await,
    }
}

static SIGNALS: OnceLock<Signals> = OnceLock::new();

/// SIGINT and SIGTERM, from the first time that somebody asks for them on. They are counted, so that
/// none is lost that comes while nobody waits.
struct Signals {
    came: watch::Receiver<u64>,
    answered: AtomicU64,
}

impl Signals {
    fn listen() -> Self {
        let (count, came) = watch::channel(0);
        let handlers = signal(SignalKind::interrupt()).and_then(|interrupt| {
            let terminate = signal(SignalKind::terminate())?;
            Ok((interrupt, terminate))
        });
        if let Ok((mut interrupt, mut terminate)) = handlers {
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Self {
            came,
            answered: AtomicU64::new(0),
        }
    }
}

/// Does something that Ctrl-C may end at any moment: nothing of it lasts.
pub async fn or_interrupted<T>(
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::select! {
        result = work => result,
        () = interrupted() => Err(left()),
    }
}

/// Asks on the terminal; Ctrl-C is an answer, too. `None`: stdin has ended.
pub async fn ask(question: &str) -> Result<Option<String>, CliError> {
    let question = question.to_owned();
    // Whoever leaves does not wait for the read.
    let answer = tokio::task::spawn_blocking(move || output::ask(&question));
    or_interrupted(async { Ok(answer.await.ok().flatten()) }).await
}

fn left() -> CliError {
    CliError::new("interrupted", "interrupted: nothing more was begun").interrupted()
}

/// Asks what to do. Without a terminal, and for a second Ctrl-C: detach.
async fn wish() -> Wish {
    if !output::can_ask() {
        return Wish::Detach;
    }
    loop {
        let question = "\nThe plan is being carried out by the agents.\n  \
            d  detach: it goes on; `vtplan apply --attach` shows it again\n  \
            s  stop after the steps that run now\n  \
            c  continue watching\n[d/s/c]: ";
        let answer = tokio::task::spawn_blocking(move || output::ask(question));
        let answer = tokio::select! {
            answer = answer => answer.ok().flatten(),
            () = interrupted() => None,
        };
        match answer.as_deref() {
            None | Some("d" | "detach") => return Wish::Detach,
            Some("s" | "stop") => return Wish::Stop,
            Some("" | "c" | "continue") => return Wish::GoOn,
            Some(_) => {}
        }
    }
}

/// What has been seen of a plan.
#[derive(Default)]
struct Seen {
    steps: std::collections::BTreeMap<String, StepProgress>,
    plan: Option<Plan>,
    total: usize,
    destroy: bool,
    running: usize,
}

impl Seen {
    fn take(&mut self, update: PlanUpdate, show: &mut dyn Show) -> Option<Ending> {
        match update {
            PlanUpdate::Picture(picture) => {
                self.total = picture.plan.steps.len();
                self.destroy = picture.record.destroy;
                show.begin(&picture);
                self.plan = Some(picture.plan.clone());
                let mut steps: Vec<_> = picture.steps.into_values().collect();
                steps.sort_by_key(|s| (s.ended_at.unwrap_or(u64::MAX), s.started_at));
                for step in steps {
                    self.step(step, show);
                }
                if picture.stop_requested {
                    show.stopping();
                }
                self.status(picture.record.status)
            }
            PlanUpdate::Step(step) => {
                self.step(step, show);
                None
            }
            PlanUpdate::StopRequested => {
                show.stopping();
                None
            }
            PlanUpdate::Status(status) => self.status(status),
        }
    }

    fn step(&mut self, step: StepProgress, show: &mut dyn Show) {
        if self.steps.get(&step.step) == Some(&step) {
            return;
        }
        show.step(&step);
        self.steps.insert(step.step.clone(), step);
        self.running = self.count(StepState::Running);
    }

    fn count(&self, state: StepState) -> usize {
        self.steps.values().filter(|s| s.state == state).count()
    }

    fn waits(&self) -> Vec<Wait> {
        let state = |step: &str| self.steps.get(step).map(|s| s.state);
        let plan = self.plan.as_ref();
        plan.map(|plan| waits::of_plan(plan, state))
            .unwrap_or_default()
    }

    fn status(&self, status: PlanStatus) -> Option<Ending> {
        match status {
            PlanStatus::Running => None,
            PlanStatus::Done { .. } => Some(Ending::Done {
                steps: self.total,
                destroyed: self.destroy,
            }),
            PlanStatus::Stopped { .. } => Some(Ending::Stopped {
                done: self.count(StepState::Done),
                steps: self.total,
            }),
            PlanStatus::Waiting { message, .. } => Some(Ending::Waiting {
                message,
                waits: self.waits(),
                done: self.count(StepState::Done),
                steps: self.total,
            }),
            PlanStatus::Failed { message, .. } => Some(Ending::Failed {
                message,
                steps: self
                    .steps
                    .values()
                    .filter(|s| s.state == StepState::Failed)
                    .cloned()
                    .collect(),
            }),
        }
    }
}

/// What [`submit`] refuses, in the words of the command line.
pub fn submit_error(error: SubmitError, cluster: &str) -> CliError {
    let message = error.to_string();
    // Messages that end with what to do say it after a semicolon.
    let (what, todo) = match message.split_once("; ") {
        Some((what, todo)) => (what.to_owned(), Some(todo.to_owned())),
        None => (message.clone(), None),
    };
    let with_help = |code: &str| {
        let new = CliError::new(code, what.clone());
        match &todo {
            Some(todo) => new.help(todo.clone()),
            None => new,
        }
    };
    match error {
        SubmitError::Store(error) => crate::context::store_error(&error),
        SubmitError::Observe(error) => {
            CliError::new("observe", format!("cannot observe cluster {cluster}")).because(&error)
        }
        SubmitError::NoPlan(errors) => crate::planning::plan_errors(cluster, &errors),
        SubmitError::AlreadyRunning { .. } => with_help("plan-running"),
        SubmitError::OtherCluster { .. } => with_help("other-cluster"),
        SubmitError::Stale { .. } => with_help("stale-plan"),
        SubmitError::NoAgent { .. } => with_help("no-agent"),
        SubmitError::Unplaced(_) => with_help("no-host"),
        SubmitError::NoPassword(_) => with_help("no-password"),
        SubmitError::DestructiveNotApproved(_) => with_help("destructive-not-approved"),
        SubmitError::SpecTooLarge { .. } => with_help("spec-too-large"),
        SubmitError::NoSuchPlan { .. } => with_help("no-such-plan"),
        SubmitError::Over { .. } => with_help("plan-over"),
        SubmitError::Unreadable { .. } => with_help("plan-unreadable"),
        SubmitError::NoSuchWorkflow { .. } => with_help("no-such-workflow"),
        SubmitError::Ending { .. } => with_help("workflow-ending"),
        SubmitError::NotCopied { .. } => with_help("workflow-not-copied"),
    }
}
