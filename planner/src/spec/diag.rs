//! Problems with their places, and how they are shown.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::source::{Sources, Span};

/// No more than this many problems are listed; a note says how many were left out.
const MAX_LISTED: usize = 500;

/// Longer lines are shown in part, around the place.
const MAX_SHOWN_LINE: usize = 140;
/// How many bytes of a line are kept.
const MAX_KEPT_LINE: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place in a file, with the line itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// How many characters of the line it covers, at least 1.
    pub length: usize,
    /// The line; of a long one the part around the place, so that many problems in one line of a large
    /// file stay small.
    pub text: String,
    /// How many characters of the line come before `text`.
    #[serde(skip)]
    skipped: usize,
}

/// A problem of a spec. Its JSON is what `validate --format json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A stable name: `unknown-field`, `shard-overlap`, ...
    pub code: &'static str,
    pub message: String,
    /// `None`: about no place in particular (a file that cannot be read).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Other places that have to do with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    pub label: String,
    #[serde(flatten)]
    pub place: Place,
}

impl Diagnostic {
    /// Text for people, ending with a newline; with ANSI colours if `colour`.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour {
                format!("\x1b[{code}m{text}\x1b[0m")
            } else {
                text.to_owned()
            }
        };
        let (head, mark) = match self.severity {
            Severity::Error => ("1;31", "31"),
            Severity::Warning => ("1;33", "33"),
        };
        let severity = paint(head, &format!("{}[{}]", self.severity.as_str(), self.code));
        let mut out = format!("{severity}: {}\n", paint("1", &self.message));
        let places = self
            .place
            .iter()
            .chain(self.related.iter().map(|r| &r.place));
        let width = places.map(|p| p.line.to_string().len()).max().unwrap_or(1);
        let bar = paint("34", "|");
        let mut show = |arrow: &str, place: &Place, underline: char, label: &str| {
            let arrow = paint("34", arrow);
            let Place {
                file, line, column, ..
            } = place;
            let (text, pad, length) = excerpt(place);
            let under = paint(mark, &underline.to_string().repeat(length));
            let label = if label.is_empty() {
                String::new()
            } else {
                format!(" {}", paint("34", label))
            };
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "{:width$}{arrow} {file}:{line}:{column}\n{:width$} {bar}\n{} {bar} {text}\n{:width$} {bar} {pad}{under}{label}\n",
                "",
                "",
                paint("34", &format!("{line:width$}")),
                "",
            );
        };
        if let Some(place) = &self.place {
            show("-->", place, '^', "");
        }
        for related in &self.related {
            show(":::", &related.place, '-', &related.label);
        }
        if let Some(help) = &self.help {
            let label = paint("36", "help");
            let mut lines = help.lines();
            let first = lines.next().unwrap_or_default();
            let _ = writeln!(out, "{:width$} = {label}: {first}", "");
            for line in lines {
                let _ = writeln!(out, "{:width$}         {line}", "");
            }
        }
        out
    }
}

/// The shown part of a line, the blanks before the underline, and the underline's length.
fn excerpt(place: &Place) -> (String, String, usize) {
    let chars: Vec<char> = place.text.chars().collect();
    let at = (place.column - 1).saturating_sub(place.skipped);
    let from = if chars.len() <= MAX_SHOWN_LINE {
        0
    } else {
        at.saturating_sub(MAX_SHOWN_LINE / 2)
    };
    let to = chars.len().min(from + MAX_SHOWN_LINE);
    let printable = |c: &char| match *c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    let mut text: String = chars[from.min(to)..to].iter().map(printable).collect();
    let mut pad = at - from.min(at);
    if from > 0 || place.skipped > 0 {
        text.insert_str(0, "...");
        pad += 3;
    }
    if to < chars.len() {
        text.push_str("...");
    }
    let length = place.length.clamp(1, MAX_SHOWN_LINE);
    (text, " ".repeat(pad), length)
}

/// Why a spec cannot be used: all problems of all files, errors and warnings, in the order of
/// the files. Displays as plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecErrors {
    pub diagnostics: Vec<Diagnostic>,
}

impl SpecErrors {
    pub fn error_count(&self) -> usize {
        let errors = self.diagnostics.iter();
        errors.filter(|d| d.severity == Severity::Error).count()
    }

    /// Text for people; with ANSI colours if `colour`.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            out.push_str(&diagnostic.render(colour));
            out.push('\n');
        }
        let errors = self.error_count();
        let warnings = self.diagnostics.len() - errors;
        let plural = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        out.push_str("The spec has ");
        out.push_str(&plural(errors, "error"));
        if warnings > 0 {
            let _ = write!(out, " and {}", plural(warnings, "warning"));
        }
        out.push_str(".\n");
        out
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for SpecErrors {}

/// A problem while it is still a span.
#[derive(Debug, Clone)]
pub struct Problem {
    severity: Severity,
    code: &'static str,
    span: Option<Span>,
    message: String,
    related: Vec<(Span, String)>,
    help: Option<String>,
    redacted: bool,
}

impl Problem {
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Adds help only where there is some.
    pub fn maybe_help(&mut self, help: Option<String>) -> &mut Self {
        if help.is_some() {
            self.help = help;
        }
        self
    }

    /// Shows only what stands before the place: the line may hold a password that was written
    /// into the spec by mistake.
    pub fn redact(&mut self) -> &mut Self {
        self.redacted = true;
        self
    }

    pub fn related(&mut self, span: Span, label: impl Into<String>) -> &mut Self {
        self.related.push((span, label.into()));
        self
    }
}

/// Collects problems, so that all are reported at once.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    /// Sections of the spec with mistakes in their writing: `keyspaces.commerce.tablets`. What
    /// they mean is not known, so nothing that only follows from it is reported.
    broken: std::collections::BTreeSet<String>,
}

impl Problems {
    fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: Option<Span>,
        message: String,
    ) -> &mut Problem {
        self.list.push(Problem {
            severity,
            code,
            span,
            message,
            related: Vec::new(),
            help: None,
            redacted: false,
        });
        self.list.last_mut().expect("one was just pushed")
    }

    pub fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> &mut Problem {
        self.push(Severity::Error, code, Some(span), message.into())
    }

    pub fn warning(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> &mut Problem {
        self.push(Severity::Warning, code, Some(span), message.into())
    }

    /// An error about no place of a file.
    pub fn error_nowhere(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
    ) -> &mut Problem {
        self.push(Severity::Error, code, None, message.into())
    }

    /// Takes over another collection's problems.
    pub fn append(&mut self, mut other: Problems) {
        self.list.append(&mut other.list);
    }

    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|p| p.severity == Severity::Error)
    }

    pub fn error_count(&self) -> usize {
        let errors = self.list.iter();
        errors.filter(|p| p.severity == Severity::Error).count()
    }

    /// Marks a section as one whose meaning is not known.
    pub fn mark_broken(&mut self, path: impl Into<String>) {
        self.broken.insert(path.into());
    }

    pub fn is_broken(&self, path: &str) -> bool {
        self.broken.contains(path)
    }

    /// Sorts by place and looks the places up.
    pub fn resolve(mut self, sources: &Sources) -> Vec<Diagnostic> {
        self.list.sort_by_key(|p| p.span);
        let left_out = self.list.len().saturating_sub(MAX_LISTED);
        let mut out: Vec<_> = self
            .list
            .into_iter()
            .take(MAX_LISTED)
            .map(|p| Diagnostic {
                severity: p.severity,
                code: p.code,
                message: p.message,
                place: p.span.map(|span| match p.redacted {
                    true => redacted(place(sources, span)),
                    false => place(sources, span),
                }),
                related: p
                    .related
                    .into_iter()
                    .map(|(span, label)| Related {
                        label,
                        place: place(sources, span),
                    })
                    .collect(),
                help: p.help,
            })
            .collect();
        if left_out > 0 {
            out.push(Diagnostic {
                severity: Severity::Error,
                code: "too-many-problems",
                message: format!("{left_out} more problems are not listed"),
                place: None,
                related: Vec::new(),
                help: None,
            });
        }
        out
    }
}

/// The place of a span, for people.
pub(crate) fn place(sources: &Sources, span: Span) -> Place {
    let file = sources.get(span.file);
    let start = floor_char(&file.text, span.start as usize);
    let end = floor_char(&file.text, span.end as usize).max(start);
    let line = file.line_of(start);
    let text = file.line_text(line);
    let line_start = file.line_start(line);
    let in_line = (start - line_start).min(text.len());
    let end_in_line = (end - line_start).min(text.len()).max(in_line);
    let covered = &text[floor_char(text, in_line)..floor_char(text, end_in_line)];
    let first = if text.len() <= MAX_KEPT_LINE {
        0
    } else {
        floor_char(text, in_line.saturating_sub(MAX_KEPT_LINE / 2))
    };
    let last = floor_char(text, first + MAX_KEPT_LINE);
    let skipped = text[..first].chars().count();
    let before = text[first..floor_char(text, in_line)].chars().count();
    Place {
        file: file.path.display().to_string(),
        line: line + 1,
        column: skipped + before + 1,
        length: covered.trim_end().chars().count().max(1),
        text: text[first..last].to_owned(),
        skipped,
    }
}

fn redacted(mut place: Place) -> Place {
    let before = place.column - 1 - place.skipped;
    place.text = place.text.chars().take(before).collect();
    place.text.push_str("***");
    place.length = 3;
    place
}

fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The candidate that is most like `text`, if any is alike enough to be meant.
pub fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = text.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c))
        .filter(|(distance, c)| {
            let shorter = c.chars().count().min(text.chars().count());
            *distance <= 1 + shorter / 4 && *distance < shorter.max(2)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// `did you mean ...?`, or the list of what there is when it is short.
pub fn suggest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    what: &str,
) -> Option<String> {
    if let Some(best) = closest(text, candidates.clone()) {
        return Some(format!("did you mean `{best}`?"));
    }
    let all: Vec<_> = candidates.into_iter().take(21).collect();
    match all.len() {
        0 | 21 => None,
        _ => Some(format!("{what}: `{}`", all.join("`, `"))),
    }
}
