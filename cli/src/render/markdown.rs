//! A plan for a comment on a pull request: the summary first, the tree as a `diff` block (which
//! GitHub and GitLab colour), long definitions folded.

use std::fmt::Write as _;
use std::time::Duration;

use vtplan_planner::plan::{Plan, Risk};

use super::step::describe;
use super::summary::{risk_word, summary};
use super::view::{Body, Item, Sign, view};
use super::when;

pub fn plan(plan: &Plan) -> String {
    let mut text = format!("### vtplan: cluster `{}`\n\n", plan.cluster);
    if plan.is_empty() {
        text.push_str("**No changes.** The cluster is what the spec says.\n");
        notes(&mut text, plan);
        return text;
    }
    let _ = writeln!(text, "**Plan:** {}", summary(plan));
    let destructive: Vec<_> = plan.destructive().collect();
    if !destructive.is_empty() {
        text.push_str("\n> [!CAUTION]\n> These steps delete data:\n");
        for step in destructive {
            let _ = writeln!(text, "> - {}", describe(step));
            if !step.reason.is_empty() {
                let _ = writeln!(text, ">   {}", step.reason);
            }
        }
    }
    let view = view(plan);
    text.push_str("\n```diff\n");
    let mut bodies = Vec::new();
    for item in &view.items {
        write_item(&mut text, item, 0, &item.title, &mut bodies);
    }
    text.push_str("```\n");
    for (title, body) in bodies {
        let body = match body {
            Body::New(lines) => lines.lines().map(|l| format!("+{l}\n")).collect::<String>(),
            Body::Diff(lines) => lines,
        };
        let fence = fence(&body);
        let _ = write!(
            text,
            "\n<details><summary>{title}</summary>\n\n{fence}diff\n{}\n{fence}\n\n</details>\n",
            body.trim_end_matches('\n')
        );
    }
    notes(&mut text, plan);
    text
}

fn notes(text: &mut String, plan: &Plan) {
    if plan.notes.is_empty() {
        return;
    }
    text.push_str("\n**Notes**\n\n");
    for note in &plan.notes {
        let _ = writeln!(text, "- `{}`: {}", note.object, note.text);
    }
}

/// One line in the `diff` block, where the first column gives the colour: `!` is a change.
fn write_item(
    text: &mut String,
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
        item.detail.split_whitespace().collect::<Vec<_>>().join(" "),
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
            line.push_str(&part);
        }
    }
    let _ = writeln!(text, "{}", line.trim_end());
    if let Some(body) = &item.body {
        bodies.push((path.to_owned(), body.clone()));
    }
    for child in &item.children {
        let path = format!("{path}, {}", child.title);
        write_item(text, child, indent + 1, &path, bodies);
    }
}

/// A fence that no run of backticks in the text closes.
fn fence(text: &str) -> String {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    "`".repeat(3.max(longest + 1))
}
