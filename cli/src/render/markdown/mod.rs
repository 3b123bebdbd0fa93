//! A plan for a comment on a pull request: a marker by which a bot finds the comment again, a
//! summary, what deletes data, and folded below it the changes as a `diff` block (which GitHub and
//! GitLab colour) and long definitions. It is never longer than a comment may be.
//!
//! - [`escape`]: what comes from specs does not become markup.

pub mod escape;

use std::fmt::Write as _;
use std::time::Duration;

use vtplan_planner::document::Against;
use vtplan_planner::document::policy::{ApprovalFor, approvals, inferred, waits};
use vtplan_planner::plan::{Plan, Risk, Step};
use vtplan_planner::workload::Report;

use self::escape::{block, code, cut, html, sentence};
use super::fit;
use super::moves::size;
use super::step::describe;
use super::summary::{changes, risk_word, totals};
use super::table::count;
use super::view::{Body, Item, Sign, view};
use super::when;
use super::workload;

/// What a comment on GitHub may hold. It counts characters; in bytes it fits either way.
pub const LIMIT: usize = 65_536;

/// Kept for the sentence that says what was left out.
const RESERVE: usize = 600;

/// The longest line that is not cut.
const LINE: usize = 1_000;

/// How a comment is headed.
#[derive(Debug, Clone, Copy)]
pub struct Heading<'a> {
    /// Tells this plan from others in the same place.
    pub marker: Option<&'a str>,
    pub against: &'a Against,
    pub workload: Option<&'a Report>,
}

/// How much of a comment each part may take, bytes.
struct Shares {
    worse: usize,
    workload: usize,
    destructive: usize,
    tree: usize,
}

const ALL: Shares = Shares {
    worse: usize::MAX,
    workload: usize::MAX,
    destructive: usize::MAX,
    tree: usize::MAX,
};

const FITTING: Shares = Shares {
    worse: 10_000,
    workload: 6_000,
    destructive: 14_000,
    tree: 20_000,
};

pub fn plan(plan: &Plan, heading: &Heading<'_>) -> String {
    let whole = Comment::of(plan, heading, &ALL, usize::MAX);
    if whole.text.len() <= LIMIT {
        return whole.text;
    }
    let mut comment = Comment::of(plan, heading, &FITTING, LIMIT - RESERVE);
    let _ = write!(
        comment.text,
        "\n**A comment holds no more than {LIMIT} characters. Left out: {}.** `vtplan plan` shows all, and so \
         does `vtplan show PLANFILE`.\n",
        comment.left_out.join(", ")
    );
    comment.text
}

/// Why there is no plan, as a comment in the place of the plan's.
pub fn refusal(message: &str, details: &str, hints: &[String], marker: Option<&str>) -> String {
    let mut text = marker_line(marker);
    text.push_str("### vtplan: no plan\n\n");
    let _ = writeln!(
        text,
        "> [!CAUTION]\n> **{}**",
        sentence(&cut(message, LINE))
    );
    for hint in hints {
        let _ = writeln!(text, ">\n> {}", sentence(&cut(hint, LINE)));
    }
    if !details.trim().is_empty() {
        let room = LIMIT - RESERVE - text.len();
        let shown = cut(details, room);
        // A fence grows with the backticks in the text.
        let shown = block("text", &shown);
        if text.len() + shown.len() + RESERVE <= LIMIT {
            text.push('\n');
            text.push_str(&shown);
        } else {
            text.push_str("\nThe details are left out: a comment holds no more than that.\n");
        }
        if details.len() > room {
            let _ = writeln!(
                text,
                "\n**A comment holds no more than {LIMIT} characters: the end is left out.** `vtplan plan` shows all."
            );
        }
    }
    text
}

/// `<!-- vtplan-plan -->`, by which a bot finds the comment to replace.
fn marker_line(marker: Option<&str>) -> String {
    match marker {
        Some(name) => format!("<!-- vtplan-plan {name} -->\n"),
        None => "<!-- vtplan-plan -->\n".to_owned(),
    }
}

struct Comment {
    text: String,
    /// `3 of 5 notes`.
    left_out: Vec<String>,
}

impl Comment {
    fn of(plan: &Plan, heading: &Heading<'_>, shares: &Shares, limit: usize) -> Self {
        let mut comment = Self {
            text: marker_line(heading.marker),
            left_out: Vec::new(),
        };
        comment.title(plan);
        comment.worse(heading.workload, shares.worse);
        comment.head(plan, heading.against);
        if let Some(report) = heading.workload {
            let summary = workload::markdown_summary(report, shares.workload);
            comment.text.push_str(&summary);
        }
        if plan.is_empty() {
            comment.notes(plan, limit);
            return comment;
        }
        comment.destructive(plan, shares.destructive);
        comment.by_hand(plan, shares.destructive / 2);
        comment.policy(plan);
        let bodies = comment.tree(plan, shares.tree);
        // Half of the rest; definitions may have the other one.
        let rest = limit.saturating_sub(comment.text.len());
        comment.notes(plan, if limit == usize::MAX { limit } else { rest / 2 });
        comment.bodies(bodies, limit);
        comment
    }

    fn title(&mut self, plan: &Plan) {
        let cluster = code(&plan.cluster);
        let _ = writeln!(self.text, "### vtplan: cluster {cluster}\n");
    }

    /// What a reviewer must see first.
    fn worse(&mut self, report: Option<&Report>, share: usize) {
        let Some(report) = report else {
            return;
        };
        let (text, left) = workload::markdown_worse(report, share);
        self.text.push_str(&text);
        if left > 0 {
            let total = report.bad().len();
            self.left_out
                .push(format!("{left} of {total} kinds of queries that get worse"));
        }
    }

    fn head(&mut self, plan: &Plan, against: &Against) {
        let text = &mut self.text;
        let compared = super::compared_with(against);
        if plan.is_empty() {
            let _ = match compared {
                None => writeln!(text, "**No changes.** The cluster is what the spec says."),
                Some(with) => writeln!(text, "**No changes.** Compared with {}.", sentence(&with)),
            };
            return;
        }
        if let Some(with) = compared {
            let _ = writeln!(text, "Compared with {}.\n", sentence(&with));
        }
        text.push_str("| Changes | What | Risk |\n|---|---|---|\n");
        let mut rows = changes(plan);
        rows.sort_by_key(|row| std::cmp::Reverse(row.risk));
        for row in rows {
            let bold = if row.risk == Risk::Destructive {
                "**"
            } else {
                ""
            };
            let risk = risk_word(row.risk).unwrap_or("safe");
            let _ = writeln!(
                text,
                "| {bold}{}{bold} | {bold}{}{bold} | {bold}{risk}{bold} |",
                row.verb,
                row.nouns()
            );
        }
        let _ = writeln!(text, "\n**Plan:** {}", totals(plan));
        if let Some(disks) = fit::disks(plan) {
            let _ = writeln!(text, "\n**Disk:** {}", sentence(&cut(&disks, LINE)));
        }
        let moves: Vec<_> = inferred(plan);
        for (at, moved) in moves.iter().enumerate() {
            if at == 20 {
                let _ = writeln!(text, "- and {} more workflows", moves.len() - at);
                break;
            }
            if at == 0 {
                text.push_str("\nWhat the change was taken to mean:\n\n");
            }
            let _ = writeln!(
                text,
                "- {}: {}. {}",
                code(&moved.workflow),
                sentence(&cut(&moved.text, LINE)),
                sentence(&cut(&moved.reason, LINE))
            );
        }
    }

    fn destructive(&mut self, plan: &Plan, share: usize) {
        let steps: Vec<&Step> = plan.destructive().collect();
        if steps.is_empty() {
            return;
        }
        self.text.push_str(
            "\n> [!CAUTION]\n> **These steps delete data, and need an approval of their own:**\n",
        );
        let lines = steps.iter().map(|step| {
            let mut line = format!("> - **{}**", sentence(&cut(&describe(step), LINE)));
            let size = size(&step.estimate);
            if !size.is_empty() {
                let _ = write!(line, " ({size})");
            }
            if !step.reason.is_empty() {
                let _ = write!(line, "  \n>   {}", sentence(&cut(&step.reason, LINE)));
            }
            line.push('\n');
            line
        });
        self.lines(
            lines,
            steps.len(),
            share,
            "destructive steps",
            "> - **and {} more**\n",
        );
    }

    fn by_hand(&mut self, plan: &Plan, share: usize) {
        let steps: Vec<&Step> = plan.drift().collect();
        if steps.is_empty() {
            return;
        }
        self.text.push_str(
            "\n> [!WARNING]\n> **These steps take back what was changed by hand (drift), and need an \
             approval of their own:**\n",
        );
        let line = |step: &&Step| format!("> - {}\n", sentence(&cut(&describe(step), LINE)));
        self.lines(
            steps.iter().map(line),
            steps.len(),
            share,
            "steps that take back what was changed by hand",
            "> - **and {} more**\n",
        );
    }

    /// Adds lines as far as the share goes, and what is said of the others.
    fn lines(
        &mut self,
        lines: impl Iterator<Item = String>,
        total: usize,
        share: usize,
        what: &str,
        more: &str,
    ) {
        let mut used = 0;
        for (at, line) in lines.enumerate() {
            if used + line.len() > share {
                let left = total - at;
                self.text.push_str(&more.replace("{}", &left.to_string()));
                self.left_out.push(format!("{left} of {total} {what}"));
                return;
            }
            used += line.len();
            self.text.push_str(&line);
        }
    }

    /// What the plan waits for.
    fn policy(&mut self, plan: &Plan) {
        let mut parts = Vec::new();
        for approval in approvals(plan) {
            if approval.for_ != ApprovalFor::Destructive {
                let (why, how) = (sentence(&approval.why), sentence(&approval.how));
                let steps = count(approval.steps.len(), "step");
                parts.push(format!("- an approval, at {steps}: {why}. {how}"));
            }
        }
        for wait in waits(plan).iter().take(20) {
            let workflow = code(&wait.workflow);
            if let Some(seconds) = wait.seconds {
                let time = when::duration(Duration::from_secs(seconds));
                parts.push(format!(
                    "- {workflow}: soaks for {time} before it is completed"
                ));
            }
            if let Some(window) = &wait.window {
                let window = code(window);
                parts.push(format!(
                    "- {workflow}: writes are switched in the window {window}"
                ));
            }
        }
        if !parts.is_empty() {
            let _ = write!(self.text, "\nIt waits for:\n\n{}\n", parts.join("\n"));
        }
    }

    /// The changes as a tree; the definitions that they have.
    fn tree(&mut self, plan: &Plan, share: usize) -> Vec<(String, Body)> {
        let view = view(plan);
        let mut lines = Vec::new();
        let mut bodies = Vec::new();
        for item in &view.items {
            write_item(&mut lines, item, 0, &item.title, &mut bodies);
        }
        self.text
            .push_str("\n<details><summary>All changes</summary>\n\n");
        let total = lines.len();
        let shown: Vec<String> = {
            let mut used = 0;
            lines
                .into_iter()
                .take_while(|line| {
                    used += line.len() + 1;
                    used <= share
                })
                .collect()
        };
        if shown.len() < total {
            let left = total - shown.len();
            self.left_out
                .push(format!("{left} of {total} lines of the changes"));
        }
        self.text.push_str(&block("diff", &shown.join("\n")));
        self.text.push_str("\n</details>\n");
        bodies
    }

    fn notes(&mut self, plan: &Plan, share: usize) {
        if plan.notes.is_empty() {
            return;
        }
        self.text.push_str("\n**Notes**\n\n");
        let lines = plan.notes.iter().map(|note| {
            let text = sentence(&cut(&note.text, LINE));
            format!("- {}: {text}\n", code(&note.object))
        });
        self.lines(lines, plan.notes.len(), share, "notes", "- and {} more\n");
    }

    /// The definitions that fit, each as a whole.
    fn bodies(&mut self, bodies: Vec<(String, Body)>, limit: usize) {
        let total = bodies.len();
        let mut left = 0;
        for (title, body) in bodies {
            let body = match body {
                Body::New(lines) => lines.lines().map(|l| format!("+{l}\n")).collect::<String>(),
                Body::Diff(lines) => lines,
            };
            let folded = format!(
                "\n<details><summary>{}</summary>\n\n{}\n</details>\n",
                html(&title),
                block("diff", &body)
            );
            if self.text.len() + folded.len() > limit {
                left += 1;
            } else {
                self.text.push_str(&folded);
            }
        }
        if left > 0 {
            self.left_out.push(format!("{left} of {total} definitions"));
        }
    }
}

/// One line in the `diff` block, where the first column gives the colour: `!` is a change.
fn write_item(
    lines: &mut Vec<String>,
    item: &Item,
    indent: usize,
    path: &str,
    bodies: &mut Vec<(String, Body)>,
) {
    let (column, sign) = match item.sign {
        Sign::Keep => (" ", ""),
        Sign::Move => ("!", "> "),
        Sign::Create => ("+", ""),
        Sign::Change => ("!", "~ "),
        Sign::Replace => ("-", "-/+ "),
        Sign::Delete => ("-", ""),
    };
    let mut line = format!("{column} {}{sign}{}", "  ".repeat(indent), item.title);
    for part in [
        item.detail.clone(),
        risk_word(item.risk).unwrap_or_default().to_owned(),
        if item.seconds > 0 {
            format!("~{}", when::duration(Duration::from_secs(item.seconds)))
        } else {
            String::new()
        },
        if item.risk != Risk::Safe || matches!(item.sign, Sign::Move | Sign::Change | Sign::Delete)
        {
            item.reason.clone()
        } else {
            String::new()
        },
    ] {
        if !part.is_empty() {
            line.push_str(if line.contains(": ") { ", " } else { ": " });
            line.push_str(&part.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    lines.push(cut(line.trim_end(), LINE));
    if let Some(body) = &item.body {
        bodies.push((path.to_owned(), body.clone()));
    }
    for child in &item.children {
        let path = format!("{path}, {}", child.title);
        write_item(lines, child, indent + 1, &path, bodies);
    }
}
