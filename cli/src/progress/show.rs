//! Ways to show a plan that is being carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::OwoColorize as _;
use vtplan_agent::submit::PlanPicture;
use vtplan_planner::plan::{Action, Step};
use vtplan_state::model::{StepProgress, StepState};

use crate::output::{self, err, out};
use crate::render::step::describe;
use crate::render::table::rows;
use crate::render::{when, work};

/// Shows what happens to a plan.
pub trait Show: Send {
    /// The whole picture; again when changes may have been missed.
    fn begin(&mut self, picture: &PlanPicture);
    /// A step started, said something else, or ended.
    fn step(&mut self, step: &StepProgress);
    /// Nothing moves, for this reason; `None`: for no known one.
    fn waiting(&mut self, why: Option<&str>);
    /// No more steps will be started.
    fn stopping(&mut self);
    /// The screen is needed for a question, or free again.
    fn pause(&mut self, on: bool);
    /// There is nothing more to show.
    fn end(&mut self);
}

/// The way that fits where the output goes.
pub fn pick(json: bool, quiet: bool) -> Box<dyn Show> {
    if json {
        Box::new(Json)
    } else if quiet {
        Box::new(Nothing)
    } else if output::live_progress() {
        Box::new(Live::new())
    } else {
        Box::new(Lines::default())
    }
}

/// Steps by id, in words.
#[derive(Default)]
struct Words {
    by_id: BTreeMap<String, String>,
    /// Steps that only wait, for what they say by themselves.
    waits: BTreeSet<String>,
}

impl Words {
    fn of(picture: &PlanPicture) -> Self {
        let steps = || picture.plan.steps.iter();
        let waits = |s: &&Step| {
            matches!(
                s.action,
                Action::WaitForApproval { .. } | Action::Soak { .. }
            )
        };
        Self {
            by_id: steps().map(|s| (s.id.clone(), describe(s))).collect(),
            waits: steps().filter(waits).map(|s| s.id.clone()).collect(),
        }
    }
    fn get<'a>(&'a self, step: &'a str) -> &'a str {
        self.by_id.get(step).map_or(step, String::as_str)
    }
}

/// `2 s`; `1 s, 5 rows`; `1 s, writes paused for 84 ms`.
fn took(step: &StepProgress) -> String {
    let ended = step.ended_at.unwrap_or(step.started_at);
    let took = Duration::from_millis(ended.saturating_sub(step.started_at));
    let mut text = when::duration(took);
    if let Some(work) = &step.work {
        if work.rows_done > 0 {
            text.push_str(&format!(", {}", rows(work.rows_done)));
        }
        if let Some(pause) = work.write_pause_ms {
            let pause = when::duration(Duration::from_millis(pause));
            text.push_str(&format!(", writes paused for {pause}"));
        }
    }
    text
}

/// What a step is doing, in one line: the rest of a long message is shown when it is why it
/// failed.
fn doing(step: &StepProgress) -> String {
    let message = step.message.lines().next().unwrap_or_default();
    let work = step
        .work
        .as_ref()
        .filter(|_| step.state == StepState::Running);
    let work = work.map(work::words).unwrap_or_default();
    match (work.as_str(), message) {
        ("", message) => message.to_owned(),
        (_, "") => work,
        (_, message) => format!("{work}; {message}"),
    }
}

/// How far it is, in percent, if that is known.
fn percent(step: &StepProgress) -> Option<u64> {
    step.work.as_ref().and_then(work::percent)
}

/// Moves on a terminal: a line for each running step, a bar for the plan.
struct Live {
    screen: MultiProgress,
    bar: ProgressBar,
    running: BTreeMap<String, ProgressBar>,
    ended: BTreeMap<String, StepState>,
    words: Words,
}

const BAR: &str = "  [{bar:28}] {pos}/{len} steps  {elapsed}  {wide_msg}";
const SPINNER: &str = "  {spinner} {prefix}  {elapsed}  {wide_msg}";
/// For a step that can be counted.
const SPINNER_WITH_BAR: &str = "  {spinner} {prefix}  [{bar:16}] {percent}%  {wide_msg}";

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.expect("the template is right").progress_chars("=> ")
}

impl Live {
    fn new() -> Self {
        let screen = MultiProgress::new();
        let bar = ProgressBar::new(0).with_style(style(BAR));
        Self {
            bar: screen.add(bar),
            screen,
            running: BTreeMap::new(),
            ended: BTreeMap::new(),
            words: Words::default(),
        }
    }

    fn print(&self, line: &str) {
        // If the terminal is gone there is nobody to tell.
        let _ = self.screen.println(output::err_styled(line));
    }
}

impl Show for Live {
    fn begin(&mut self, picture: &PlanPicture) {
        self.words = Words::of(picture);
        self.bar.set_length(picture.plan.steps.len() as u64);
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn step(&mut self, step: &StepProgress) {
        let words = self.words.get(&step.step).to_owned();
        match step.state {
            StepState::Running => {
                self.bar.set_message("");
                self.ended.remove(&step.step);
                let spinner = self.running.entry(step.step.clone()).or_insert_with(|| {
                    let spinner = ProgressBar::new_spinner()
                        .with_style(style(SPINNER))
                        .with_prefix(words);
                    let spinner = self.screen.insert_before(&self.bar, spinner);
                    spinner.enable_steady_tick(Duration::from_millis(100));
                    spinner
                });
                if let Some(percent) = percent(step) {
                    if spinner.length().is_none() {
                        spinner.set_style(style(SPINNER_WITH_BAR));
                        spinner.set_length(100);
                    }
                    spinner.set_position(percent);
                }
                spinner.set_message(doing(step));
            }
            StepState::Done | StepState::Failed => {
                if let Some(spinner) = self.running.remove(&step.step) {
                    spinner.finish_and_clear();
                }
                if self.ended.insert(step.step.clone(), step.state) == Some(step.state) {
                    return;
                }
                if step.state == StepState::Done {
                    let took = took(step);
                    self.print(&format!("  {} {words}  {}", "✓".green(), took.dimmed()));
                } else {
                    self.print(&format!("  {} {words}", "✗".red().bold()));
                }
            }
        }
        let done = self.ended.values().filter(|s| **s == StepState::Done);
        self.bar.set_position(done.count() as u64);
    }

    fn waiting(&mut self, why: Option<&str>) {
        self.bar.set_message(why.unwrap_or_default().to_owned());
    }

    fn stopping(&mut self) {
        self.print("  Stopping: no more steps are started.");
    }

    fn pause(&mut self, on: bool) {
        if on {
            // What is on the screen goes with the old target.
            let _ = self.screen.clear();
            self.screen.set_draw_target(ProgressDrawTarget::hidden());
        } else {
            self.screen.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn end(&mut self) {
        for spinner in std::mem::take(&mut self.running).into_values() {
            spinner.finish_and_clear();
        }
        self.bar.finish_and_clear();
    }
}

/// A line for each thing that happens, for logs.
#[derive(Default)]
struct Lines {
    words: Words,
    total: usize,
    /// State, message and tenths of the work.
    seen: BTreeMap<String, (StepState, String, Option<u64>)>,
    waiting: Option<String>,
}

impl Lines {
    fn line(&self, what: &str, words: &str, more: &str) {
        let done = self.seen.values().filter(|(s, _, _)| *s == StepState::Done);
        let width = self.total.to_string().len();
        let line = format!(
            "[{:width$}/{}] {what:<7} {words}{more}",
            done.count(),
            self.total
        );
        err(&format!("{}\n", line.trim_end()));
    }
}

impl Show for Lines {
    fn begin(&mut self, picture: &PlanPicture) {
        self.words = Words::of(picture);
        self.total = picture.plan.steps.len();
    }

    fn step(&mut self, step: &StepProgress) {
        let tenths = percent(step).map(|p| p / 10);
        let now = (step.state, step.message.clone(), tenths);
        let before = self.seen.insert(step.step.clone(), now);
        let words = self.words.get(&step.step);
        let message = match doing(step) {
            doing if doing.is_empty() => doing,
            doing => format!(": {doing}"),
        };
        self.waiting = None;
        match (step.state, before) {
            (StepState::Running, Some((StepState::Running, old, old_tenths))) => {
                let news = old != step.message || old_tenths != tenths;
                let moved = news && !self.words.waits.contains(&step.step);
                if moved && !message.is_empty() {
                    self.line("...", words, &message);
                }
            }
            (StepState::Running, _) => {
                let again = if step.attempt > 1 {
                    format!(" (attempt {}){message}", step.attempt)
                } else {
                    message
                };
                self.line("start", words, &again);
            }
            (StepState::Done, _) => self.line("done", words, &format!(" ({})", took(step))),
            (StepState::Failed, _) => self.line("failed", words, &message),
        }
    }

    fn waiting(&mut self, why: Option<&str>) {
        if let Some(why) = why
            && self.waiting.as_deref() != Some(why)
        {
            self.line("waiting", why, "");
        }
        self.waiting = why.map(str::to_owned);
    }

    fn stopping(&mut self) {
        self.line("stop", "no more steps are started", "");
    }

    fn pause(&mut self, _: bool) {}
    fn end(&mut self) {}
}

/// One JSON document a line.
struct Json;

impl Show for Json {
    fn begin(&mut self, picture: &PlanPicture) {
        let steps = picture.plan.steps.len();
        let id = &picture.record.id;
        let by = &picture.record.approved_by;
        let line = serde_json::json!({ "type": "attached", "plan": id, "steps": steps, "by": by });
        out(&format!("{line}\n"));
    }
    fn step(&mut self, step: &StepProgress) {
        let mut line = serde_json::to_value(step).expect("a step's progress serializes");
        line["type"] = "step".into();
        out(&format!("{line}\n"));
    }
    fn waiting(&mut self, _: Option<&str>) {}
    fn stopping(&mut self) {
        out(&format!("{}\n", serde_json::json!({ "type": "stopping" })));
    }
    fn pause(&mut self, _: bool) {}
    fn end(&mut self) {}
}

/// For `--quiet`.
struct Nothing;

impl Show for Nothing {
    fn begin(&mut self, _: &PlanPicture) {}
    fn step(&mut self, _: &StepProgress) {}
    fn waiting(&mut self, _: Option<&str>) {}
    fn stopping(&mut self) {}
    fn pause(&mut self, _: bool) {}
    fn end(&mut self) {}
}
