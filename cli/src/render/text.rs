//! A plan for a terminal.

use std::time::Duration;

use owo_colors::{OwoColorize as _, Style};
use vtplan_planner::plan::{Plan, Risk};

use super::fit;
pub use super::step::bytes as bytes_text;
use super::step::describe;
use super::summary::{risk_word, summary};
use super::table::{pad, rows as table_rows};
use super::view::{Body, Item, Sign, View, view};
use super::when;

/// How much a plan's text says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Reasons of all steps, not only of those that ask for one.
    pub reasons: bool,
    /// What the plan was compared with, if not the cluster.
    pub compared_with: Option<String>,
}

/// The whole plan. Ends with its summary line.
pub fn plan(plan: &Plan, options: &Options) -> String {
    if plan.is_empty() {
        return no_changes(plan, options);
    }
    let view = view(plan);
    let mut text = format!(
        "Changes to cluster {}:  {}\n\n",
        plan.cluster.bold(),
        legend(&view)
    );
    if let Some(with) = &options.compared_with {
        text.push_str(&format!("Compared with {with}.\n\n"));
    }
    text.push_str(&destructive(plan));
    text.push_str(&by_hand(plan));
    for item in &view.items {
        write_item(&mut text, item, &Around::default(), options);
        if !item.children.is_empty() {
            text.push('\n');
        }
    }
    if !text.ends_with("\n\n") {
        text.push('\n');
    }
    text.push_str(&notes(plan));
    if let Some(disks) = fit::disks(plan) {
        text.push_str(&format!("{} {disks}\n", "Disk:".bold()));
    }
    text.push_str(&format!("{} {}\n", "Plan:".bold(), summary(plan)));
    text
}

fn no_changes(plan: &Plan, options: &Options) -> String {
    let first = format!("{} Cluster ", "No changes.".green().bold());
    let mut text = format!("{first}{} is what the spec says.\n", plan.cluster.bold());
    if let Some(with) = &options.compared_with {
        text.push_str(&format!("Compared with {with}.\n"));
    }
    let notes = notes(plan);
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(notes.trim_end_matches('\n'));
        text.push('\n');
    }
    text
}

/// The signs that the plan uses.
fn legend(view: &View) -> String {
    let signs: Vec<String> = view
        .signs
        .iter()
        .map(|s| format!("{} {}", s.symbol().style(style(*s)), s.word()))
        .collect();
    signs.join("   ")
}

/// What deletes data, before everything else.
fn destructive(plan: &Plan) -> String {
    let steps: Vec<_> = plan.destructive().collect();
    if steps.is_empty() {
        return String::new();
    }
    let heading = "These steps delete data, and need an approval of their own:";
    let mut text = format!("{}\n", heading.red().bold());
    let mut said = "";
    for step in steps {
        text.push_str(&format!("  {} {}", "!".red().bold(), describe(step)));
        let mut size = Vec::new();
        if let Some(rows) = step.estimate.rows {
            size.push(format!("about {}", table_rows(rows)));
        }
        if let Some(bytes) = step.estimate.bytes {
            size.push(bytes_text(bytes));
        }
        if !size.is_empty() {
            text.push_str(&format!(" ({})", size.join(", ")));
        }
        text.push('\n');
        if !step.reason.is_empty() && step.reason != said {
            text.push_str(&format!("      {}\n", step.reason.dimmed()));
        }
        said = &step.reason;
    }
    text.push('\n');
    text
}

/// What takes back what a person did.
fn by_hand(plan: &Plan) -> String {
    let mut steps = plan.drift().peekable();
    if steps.peek().is_none() {
        return String::new();
    }
    let heading = "These steps take back what was changed by hand (drift), and need an approval of their own:";
    let mut text = format!("{}\n", heading.yellow().bold());
    for step in steps {
        text.push_str(&format!("  {} {}\n", "~".yellow().bold(), describe(step)));
    }
    text.push('\n');
    text
}

fn notes(plan: &Plan) -> String {
    if plan.notes.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n", "Notes:".bold());
    for note in &plan.notes {
        text.push_str(&format!("  {}: {}\n", note.object.bold(), note.text));
    }
    text.push('\n');
    text
}

/// What an item is written in.
#[derive(Default)]
struct Around<'a> {
    /// In levels.
    depth: usize,
    /// Where the details of an item and its siblings begin.
    column: usize,
    /// Why the item around it is changed: it is not said again.
    reason: &'a str,
}

/// One item and what is in it.
fn write_item(text: &mut String, item: &Item, around: &Around<'_>, options: &Options) {
    let indent = around.depth + 1;
    let column = around.column;
    let margin = "  ".repeat(indent);
    let style = style(item.sign);
    let sign = item.sign.symbol().style(style).to_string();
    // `-/+` is wider than the others and reaches into the margin.
    let margin_for_sign = &margin[..margin.len().saturating_sub(item.sign.symbol().len() - 1)];
    let (kind, name) = item.title.split_once(' ').unwrap_or((&item.title, ""));
    let title = if name.is_empty() {
        kind.bold().to_string()
    } else {
        format!("{kind} {}", name.bold())
    };
    let mut line = format!("{margin_for_sign}{sign} {title}");
    let mut tail = Vec::new();
    if !item.detail.is_empty() {
        tail.push(item.detail.clone());
    }
    if let Some(word) = risk_word(item.risk) {
        let word = match item.risk {
            Risk::Destructive => word.red().bold().to_string(),
            _ => word.yellow().to_string(),
        };
        tail.push(word);
    }
    if item.seconds >= 1 {
        let time = when::duration(Duration::from_secs(item.seconds));
        tail.push(format!("~{time}").dimmed().to_string());
    }
    if !tail.is_empty() {
        line = pad(&line, column.max(super::table::width(&line)));
        line.push_str("  ");
        line.push_str(&tail.join("  "));
    }
    text.push_str(line.trim_end());
    text.push('\n');
    let inner = format!("{margin}    ");
    // A definition or a diff says itself why.
    let plain = matches!(item.sign, Sign::Create | Sign::Keep) || item.body.is_some();
    let telling = !plain || item.risk != Risk::Safe;
    let said = item.reason.is_empty() || item.reason == around.reason;
    if !said && (options.reasons || telling) {
        text.push_str(&format!("{inner}{}\n", item.reason.dimmed()));
    }
    if let Some(body) = &item.body {
        write_body(text, body, &inner);
    }
    let margin_of_children = 2 * (indent + 1) + 2;
    let column = item
        .children
        .iter()
        .filter(|c| c.body.is_none() && c.children.is_empty())
        .map(|c| margin_of_children + c.title.chars().count())
        .max()
        .unwrap_or(0);
    let around = Around {
        depth: indent,
        column,
        reason: &item.reason,
    };
    for child in &item.children {
        write_item(text, child, &around, options);
    }
}

fn write_body(text: &mut String, body: &Body, margin: &str) {
    match body {
        Body::New(lines) => {
            for line in lines.lines() {
                text.push_str(&format!("{margin}{}\n", format!("+ {line}").green()));
            }
        }
        Body::Diff(lines) => {
            text.push_str(&indent_diff(lines, margin));
        }
    }
}

/// A unified diff in its colours, each line after `margin`.
pub fn indent_diff(diff: &str, margin: &str) -> String {
    let mut text = String::new();
    for line in diff.lines() {
        let line = match line.as_bytes().first() {
            Some(b'+') => line.green().to_string(),
            Some(b'-') => line.red().to_string(),
            Some(b'@') => line.cyan().to_string(),
            _ => line.to_owned(),
        };
        text.push_str(format!("{margin}{line}").trim_end());
        text.push('\n');
    }
    text
}

fn style(sign: Sign) -> Style {
    let style = Style::new();
    match sign {
        Sign::Keep => style,
        Sign::Move => style.cyan().bold(),
        Sign::Create => style.green().bold(),
        Sign::Change => style.yellow().bold(),
        Sign::Replace | Sign::Delete => style.red().bold(),
    }
}
