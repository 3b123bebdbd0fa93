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
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed: what, on which object, why (the causes), what to do (the help).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CliError {
    /// A stable name for programs: `no-agent`, `stale-plan`, ...
    pub code: String,
    /// One sentence without a full stop: what failed and on which object.
    pub message: String,
    /// Why, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Shown as it is after the message: a diff, the last lines of a log, a report with source
    /// lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What `details` says, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<serde_json::Value>,
    /// Whether the text begins with the details.
    #[serde(skip)]
    details_first: bool,
    #[serde(skip)]
    exit: u8,
}

impl CliError {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            causes: Vec::new(),
            details: None,
            help: None,
            problems: None,
            details_first: false,
            exit: Exit::Failed as u8,
        }
    }

    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds an error and all that it was caused by. A cause whose text the one before it already
    /// ends with is not said twice.
    #[must_use]
    pub fn because(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if !self.causes.last().is_some_and(|last| last.ends_with(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// Details that end with the message: a report with its sum below.
    #[must_use]
    pub fn details_first(mut self, details: impl Into<String>) -> Self {
        self.details_first = true;
        self.details(details)
    }

    #[must_use]
    pub fn problems<T: Serialize>(mut self, problems: &[T]) -> Self {
        self.problems = serde_json::to_value(problems).ok();
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    #[must_use]
    pub fn exit_with(mut self, exit: Exit) -> Self {
        self.exit = exit as u8;
        self
    }

    /// From an error of another crate, whose first line becomes the message.
    pub fn from_error(code: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let new = Self::new(code, error.to_string());
        match error.source() {
            Some(source) => new.because(source),
            None => new,
        }
    }

    pub fn exit(&self) -> ExitStatus {
        ExitStatus(self.exit)
    }

    /// Prints the error: text to stderr, and with `json` also one document to stdout.
    pub fn report(&self, json: bool) {
        if json {
            let mut error = self.clone();
            error.details = error
                .details
                .map(|d| anstream::adapter::strip_str(&d).to_string());
            let document = serde_json::json!({ "format": 1, "error": error });
            out(&format!("{document:#}\n"));
        }
        err(&self.text());
    }

    /// The error as people read it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let (true, Some(details)) = (self.details_first, &self.details) {
            text.push_str(details.trim_end_matches('\n'));
            text.push_str("\n\n");
        }
        text.push_str(&format!("{} {}\n", "error:".red().bold(), self.message));
        for cause in &self.causes {
            text.push_str(&format!(
                "  {} {}\n",
                "cause:".bold(),
                cause.trim_end().replace('\n', "\n         ")
            ));
        }
        if let (false, Some(details)) = (self.details_first, &self.details) {
            text.push_str(details.trim_end_matches('\n'));
            text.push('\n');
        }
        if let Some(help) = &self.help {
            text.push_str(&format!(
                "  {} {}\n",
                "hint:".cyan().bold(),
                help.replace('\n', "\n        ")
            ));
        }
        text
    }
}

/// A [`CliError`]'s exit code.
pub struct ExitStatus(u8);

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(status.0)
    }
}
