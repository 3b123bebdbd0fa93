//! What a command that fails says, and what commands exit with.

use std::process::ExitCode;

use owo_colors::OwoColorize as _;
use serde::Serialize;

use crate::output::{err, out};

/// What a process ends with (DESIGN §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    Failed = 1,
    /// `plan --detailed-exitcode`: there are changes.
    Changes = 2,
    /// What is left waits for an approval, a soak or a window.
    Waiting = 3,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed: what, on which object, why (the causes), what to do (the help).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CliError(Box<Body>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Body {
    /// A stable name for programs: `no-agent`, `stale-plan`, ...
    code: String,
    /// One sentence without a full stop: what failed and on which object.
    message: String,
    /// Why, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    /// Shown as it is after the message: a diff, the last lines of a log, a report with source
    /// lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    /// What `details` says, for programs. Its `details` are left out of the JSON then.
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<serde_json::Value>,
    /// Whether the text begins with the details.
    #[serde(skip)]
    details_first: bool,
    /// What the command exits with, if not [`Exit::Failed`].
    #[serde(skip)]
    exit: Option<Exit>,
}

impl CliError {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self(Box::new(Body {
            code: code.to_owned(),
            message: message.into(),
            ..Body::default()
        }))
    }

    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.0.causes.push(cause.into());
        self
    }

    /// Adds an error and all that it was caused by. A cause whose text the one before it already
    /// ends with is not said twice.
    #[must_use]
    pub fn because(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if !self
                .0
                .causes
                .last()
                .is_some_and(|last| last.ends_with(&text))
            {
                self.0.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.0.details = Some(details.into());
        self
    }

    /// Details that end with the message: a report with its sum below.
    #[must_use]
    pub fn details_first(mut self, details: impl Into<String>) -> Self {
        self.0.details_first = true;
        self.details(details)
    }

    #[must_use]
    pub fn problems<T: Serialize>(mut self, problems: &[T]) -> Self {
        self.0.problems = serde_json::to_value(problems).ok();
        self
    }

    /// Says of what the message is, where there is more than one thing of the kind.
    #[must_use]
    pub fn of_what(mut self, what: &str) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// It is what a person wanted with Ctrl-C.
    #[must_use]
    pub fn interrupted(mut self) -> Self {
        self.0.exit = Some(Exit::Interrupted);
        self
    }

    /// What the command exits with.
    pub fn exit(&self) -> Exit {
        self.0.exit.unwrap_or(Exit::Failed)
    }

    /// From an error of another crate, whose first line becomes the message.
    pub fn from_error(code: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let new = Self::new(code, error.to_string());
        match error.source() {
            Some(source) => new.because(source),
            None => new,
        }
    }

    /// Prints the error: text to stderr, and with `json` also one document to stdout.
    pub fn report(&self, json: bool) {
        if json {
            out(&format!("{:#}\n", self.document()));
        }
        err(&self.text());
    }

    /// The error for programs.
    pub fn document(&self) -> serde_json::Value {
        let mut error = self.clone();
        let body = &mut error.0;
        let details = body.details.take().filter(|_| body.problems.is_none());
        body.details = details.map(|d| anstream::adapter::strip_str(&d).to_string());
        serde_json::json!({ "format": 1, "error": error })
    }

    /// The error as a comment on a pull request, in the place of a plan's.
    pub fn markdown(&self, marker: Option<&str>) -> String {
        let body = &self.0;
        let details = body.details.as_deref().unwrap_or_default();
        let details = anstream::adapter::strip_str(details).to_string();
        let hints: Vec<String> = body.causes.iter().chain(&body.help).cloned().collect();
        crate::render::markdown::refusal(&body.message, &details, &hints, marker)
    }

    /// The error as people read it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let (true, Some(details)) = (self.0.details_first, &self.0.details) {
            text.push_str(details.trim_end_matches('\n'));
            text.push_str("\n\n");
        }
        text.push_str(&format!("{} {}\n", "error:".red().bold(), self.0.message));
        for cause in &self.0.causes {
            text.push_str(&format!(
                "  {} {}\n",
                "cause:".bold(),
                cause.trim_end().replace('\n', "\n         ")
            ));
        }
        if let (false, Some(details)) = (self.0.details_first, &self.0.details) {
            text.push_str(details.trim_end_matches('\n'));
            text.push('\n');
        }
        if let Some(help) = &self.0.help {
            text.push_str(&format!(
                "  {} {}\n",
                "hint:".cyan().bold(),
                help.replace('\n', "\n        ")
            ));
        }
        text
    }
}
