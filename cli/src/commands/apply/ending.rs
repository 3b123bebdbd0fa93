//! Sees a plan through, and says how it ended.

use owo_colors::OwoColorize as _;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::Records;

use crate::args::Global;
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::{err, out};
use crate::progress::{self, Ending};
use crate::render::table::count;
use crate::render::when;
use crate::waits::Wait;

/// How a plan ended that did not fail.
#[derive(Debug)]
pub enum Ended {
    Over(Exit),
    Waiting(Paused),
}

/// A plan whose rest waits for a person or for time.
#[derive(Debug)]
pub struct Paused {
    /// Its id.
    pub plan: String,
    /// What the conductor says.
    pub message: String,
    pub waits: Vec<Wait>,
    pub done: usize,
    pub steps: usize,
}

/// Sees a plan to its end and says how it ended, unless it waits: that is the caller's to tell.
/// `goal`: what the cluster is then.
pub async fn see_through(
    cluster: &Cluster,
    id: &str,
    goal: &str,
    json: bool,
    global: &Global,
) -> Result<Ended, CliError> {
    let started = std::time::Instant::now();
    let mut show = progress::show::pick(json, global.quiet);
    let ending = progress::follow(cluster, id, show.as_mut()).await?;
    let exit = match ending {
        Ending::Done { steps, destroyed } => {
            if json {
                result(id, "done", None);
            } else {
                let goal = if destroyed {
                    format!("Cluster {} is empty.", cluster.name().bold())
                } else {
                    goal.to_owned()
                };
                out(&format!(
                    "{} {} in {}. {goal}\n",
                    "Done:".green().bold(),
                    count(steps, "step"),
                    when::duration(started.elapsed()),
                ));
            }
            Exit::Done
        }
        Ending::Waiting {
            message,
            waits,
            done,
            steps,
        } => {
            return Ok(Ended::Waiting(Paused {
                plan: id.to_owned(),
                message,
                waits,
                done,
                steps,
            }));
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
            Exit::Interrupted
        }
        Ending::Detached => {
            if json {
                result(id, "detached", None);
            } else {
                err(&format!(
                    "Detached: plan {id} goes on. `vtplan apply --attach` shows it again.\n"
                ));
            }
            Exit::Interrupted
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
            let mut error = CliError::new(
                "plan-failed",
                format!("plan {id} of cluster {} failed", cluster.name()),
            )
            .cause(message);
            if !says_what_to_do {
                error = error.help(
                    "what is done stays done: mend the cause and apply again, which goes on from here",
                );
            }
            return Err(if details.is_empty() {
                error
            } else {
                error.details(details)
            });
        }
    };
    Ok(Ended::Over(exit))
}

/// The last line of JSON.
pub fn result(id: &str, status: &str, message: Option<&str>) {
    let line =
        serde_json::json!({ "type": "result", "plan": id, "status": status, "message": message });
    out(&format!("{line}\n"));
}

/// Says what a plan waits for and how to go on. `again`: the command that was given, which goes on.
pub async fn say_waiting(
    cluster: &Cluster,
    paused: &Paused,
    again: &str,
    json: bool,
) -> Result<Exit, CliError> {
    let records = cluster.load_records().await;
    let records = records.map_err(|e| context::store_error(&e))?;
    if json {
        let waits: Vec<_> = paused
            .waits
            .iter()
            .map(|w| w.document(&records, when::now()))
            .collect();
        let line = serde_json::json!({
            "type": "result", "plan": paused.plan, "status": "waiting",
            "message": paused.message, "waits": waits,
        });
        out(&format!("{line}\n"));
    } else {
        out(&waiting_text(paused, &records, again));
    }
    Ok(Exit::Waiting)
}

fn waiting_text(paused: &Paused, records: &Records, again: &str) -> String {
    let mut text = format!(
        "{} {} of {} done.\n",
        "Waiting:".yellow().bold(),
        paused.done,
        count(paused.steps, "step")
    );
    if paused.waits.is_empty() {
        text.push_str(&format!("  {}\n", paused.message));
    }
    for wait in &paused.waits {
        text.push_str(&format!("  {}.\n", wait.sentence(records, when::now())));
    }
    let mut points: Vec<&str> = paused
        .waits
        .iter()
        .filter_map(|w| Some(w.point()?.as_str()))
        .collect();
    points.sort_unstable();
    points.dedup();
    let mut ways = Vec::new();
    if !points.is_empty() {
        let approve: Vec<String> = points.iter().map(|p| format!(" --approve {p}")).collect();
        ways.push(format!("`{again}{}`", approve.concat()));
    }
    if paused.waits.iter().any(|w| w.point().is_none()) {
        ways.push(format!("`{again}` then, or `{again} --wait` now"));
    }
    if ways.is_empty() {
        ways.push(format!("`{again}`"));
    }
    text.push_str(&format!("To go on: {}\n", ways.join("; ")));
    text
}
