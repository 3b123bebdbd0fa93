//! What a plan does to a workload, for people: what gets worse before the plan, a line after it.

use std::fmt::Write as _;

use owo_colors::OwoColorize as _;
use vtplan_planner::workload::{Change, Kind, Report, Sum, UNREAD_SAMPLES};

use super::markdown::escape::{code, cut, sentence};
use super::table::number;

/// Kinds that are listed unless all are wanted.
const LISTED: usize = 20;

/// The longest statement that is shown on a line, bytes.
const STATEMENT: usize = 120;

/// What gets worse; empty where nothing does. Ends with an empty line.
pub fn worse(report: &Report, all: bool) -> String {
    let bad = report.bad();
    if bad.is_empty() {
        return String::new();
    }
    let sum = report.bad_sum();
    let mut text = format!(
        "{} {} ({} of the workload)\n",
        "Queries that get worse:".red().bold(),
        amount(sum),
        share(sum.statements, report.statements)
    );
    let shown = if all {
        bad.len()
    } else {
        bad.len().min(LISTED)
    };
    for kind in &bad[..shown] {
        text.push('\n');
        let sign = match kind.change {
            Change::Refused => "✗".red().bold().to_string(),
            _ => "!".yellow().bold().to_string(),
        };
        let _ = writeln!(
            text,
            "  {sign} {} {}",
            word(kind.change).bold(),
            times(kind, report).dimmed()
        );
        let _ = writeln!(text, "      {}", cut(&kind.statement, STATEMENT));
        let _ = writeln!(
            text,
            "      {} → {}",
            kind.before.text,
            kind.after.text.bold()
        );
        if let Some(why) = &kind.after.why {
            let _ = writeln!(text, "      {}", why.dimmed());
        }
    }
    if shown < bad.len() {
        let left = bad.len() - shown;
        let _ = writeln!(
            text,
            "\n  and {left} more kinds; `-v` or `--format json` shows all"
        );
    }
    text.push('\n');
    text
}

/// The whole in a line, and what could not be read.
pub fn summary(report: &Report) -> String {
    let mut text = format!("{} {}", "Workload:".bold(), sentence_of(report));
    text.push('\n');
    let by_lookup = report.kinds.iter().filter(|k| k.is_newly_looked_up());
    for kind in by_lookup.take(LISTED) {
        let _ = writeln!(
            text,
            "  {} {} → {}: {}",
            "now served by a lookup:".green(),
            kind.before.text,
            kind.after.text,
            cut(&kind.statement, STATEMENT)
        );
    }
    for unread in &report.unread_samples {
        let place = match unread.line {
            Some(line) => format!("line {line}: "),
            None => String::new(),
        };
        let begins = match unread.text.as_str() {
            "" => String::new(),
            text => format!(" (it begins `{}`)", cut(text, STATEMENT)),
        };
        let _ = writeln!(
            text,
            "  {} {place}{}{begins}",
            "not read:".yellow(),
            unread.why
        );
    }
    let listed = report.unread_samples.len();
    if listed == UNREAD_SAMPLES && report.unread > listed as u64 {
        let _ = writeln!(text, "  and others like these");
    }
    text
}

/// `12 kinds, 1,034,221 statements: 3 kinds get worse, 9 keep their route.`
fn sentence_of(report: &Report) -> String {
    let kinds = report.kinds.len() as u64;
    let statements = report.kinds.iter().map(|k| k.count).sum();
    let all = amount(Sum { kinds, statements });
    let mut parts = Vec::new();
    for change in Change::ALL {
        let sum = report.sum(change);
        if sum.kinds > 0 && change != Change::Same {
            parts.push(format!(
                "{} {}",
                kinds_of(sum.kinds),
                becomes(change, sum.kinds)
            ));
        }
    }
    let same = report.sum(Change::Same).kinds;
    if parts.is_empty() {
        parts.push(if kinds == 0 {
            "there is nothing to judge".to_owned()
        } else {
            "all keep their route".to_owned()
        });
    } else if same > 0 {
        parts.push(format!(
            "{} {}",
            kinds_of(same),
            becomes(Change::Same, same)
        ));
    }
    let refused = report.kinds.iter();
    let refused = refused.filter(|k| k.change == Change::Same && k.after.error.is_some());
    match refused.count() as u64 {
        0 => {}
        n => parts.push(format!(
            "{} refused before as after",
            kinds_of(n) + if n == 1 { " is" } else { " are" }
        )),
    }
    let by_lookup = report.kinds.iter().filter(|k| k.is_newly_looked_up());
    match by_lookup.count() as u64 {
        0 => {}
        n => parts.push(format!(
            "{} now served by a lookup",
            kinds_of(n) + if n == 1 { " is" } else { " are" }
        )),
    }
    let mut text = format!("{all}: {}", parts.join(", "));
    if report.unread > 0 {
        let _ = write!(text, "; {} could not be read", statements_of(report.unread));
    }
    if report.left_out > 0 {
        let _ = write!(
            text,
            "; {} of further kinds are not judged",
            statements_of(report.left_out)
        );
    }
    text.push('.');
    text
}

fn becomes(change: Change, kinds: u64) -> &'static str {
    match (change, kinds == 1) {
        (Change::Refused, true) => "is newly refused",
        (Change::Refused, false) => "are newly refused",
        (Change::Worse, true) => "asks more servers",
        (Change::Worse, false) => "ask more servers",
        (Change::MoreShards, true) => "scatters over more shards",
        (Change::MoreShards, false) => "scatter over more shards",
        (Change::Moved, true) => "goes elsewhere at the same cost",
        (Change::Moved, false) => "go elsewhere at the same cost",
        (Change::Same, true) => "keeps its route",
        (Change::Same, false) => "keep their route",
        (Change::Better, true) => "gets better",
        (Change::Better, false) => "get better",
        (Change::NewlyServed, true) => "is newly served",
        (Change::NewlyServed, false) => "are newly served",
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Refused => "refused",
        Change::Worse => "more servers",
        Change::MoreShards => "more shards",
        Change::Moved => "elsewhere",
        Change::Same => "same",
        Change::Better => "better",
        Change::NewlyServed => "newly served",
    }
}

/// `412,003 times (39.8%), on customer@replica`.
fn times(kind: &Kind, report: &Report) -> String {
    let mut text = match kind.count {
        1 => "once".to_owned(),
        n => format!("{} times", number(n)),
    };
    let _ = write!(text, " ({})", share(kind.count, report.statements));
    if let Some(measured) = kind.measured.filter(|_| kind.count > 0) {
        let mean = measured.total_us / kind.count;
        let _ = write!(text, ", {} ms on average", milliseconds(mean));
    }
    if let Some(target) = &kind.target {
        let _ = write!(text, ", sessions on {target}");
    }
    text
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{}", number(micros / 1000), micros % 1000 / 100)
}

/// `39.8%`; what is less than a tenth of one is told as that.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0%".to_owned();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    match (tenths, part) {
        (0, 1..) => "<0.1%".to_owned(),
        (1000, _) => "100%".to_owned(),
        _ => format!("{}.{}%", tenths / 10, tenths % 10),
    }
}

fn kinds_of(n: u64) -> String {
    format!("{} {}", number(n), if n == 1 { "kind" } else { "kinds" })
}

fn statements_of(n: u64) -> String {
    format!(
        "{} {}",
        number(n),
        if n == 1 { "statement" } else { "statements" }
    )
}

fn amount(sum: Sum) -> String {
    format!("{}, {}", kinds_of(sum.kinds), statements_of(sum.statements))
}

/// What gets worse, for a comment: first of all. `share` bounds it, bytes; also gives how many kinds are
/// left out.
pub fn markdown_worse(report: &Report, share_of: usize) -> (String, usize) {
    let bad = report.bad();
    if bad.is_empty() {
        return (String::new(), 0);
    }
    let sum = report.bad_sum();
    let mut text = format!(
        "> [!CAUTION]\n> **Queries that get worse: {} ({} of the workload)**\n>\n> | What | Times | Statement | Before | \
         After |\n> |---|---|---|---|---|\n",
        amount(sum),
        share(sum.statements, report.statements)
    );
    for (at, kind) in bad.iter().enumerate() {
        let row = format!("> {}", markdown_row(kind, report));
        if text.len() + row.len() > share_of || at == LISTED {
            let left = bad.len() - at;
            let _ = writeln!(text, ">\n> **and {left} more kinds**");
            text.push('\n');
            return (text, left);
        }
        text.push_str(&row);
    }
    text.push('\n');
    (text, 0)
}

fn markdown_row(kind: &Kind, report: &Report) -> String {
    let why = kind
        .after
        .why
        .as_deref()
        .map(|why| format!(": {}", sentence(&cut(why, 300))));
    let target = kind.target.as_deref().map(|t| format!(" on {}", code(t)));
    format!(
        "| **{}** | {} ({}) | {}{} | {} | **{}**{} |\n",
        word(kind.change),
        number(kind.count),
        share(kind.count, report.statements),
        code(&cut(&kind.statement, 300)),
        target.unwrap_or_default(),
        sentence(&kind.before.text),
        sentence(&kind.after.text),
        why.unwrap_or_default()
    )
}

/// The whole, for a comment: a line, and folded what changes for the better or goes elsewhere.
pub fn markdown_summary(report: &Report, share_of: usize) -> String {
    let mut text = format!("\n**Workload:** {}\n", sentence(&sentence_of(report)));
    for unread in &report.unread_samples {
        let place = unread.line.map(|line| format!("line {line}: "));
        let _ = writeln!(
            text,
            "- not read: {}{}",
            place.unwrap_or_default(),
            sentence(&cut(&unread.why, 300))
        );
    }
    let others: Vec<&Kind> = report
        .kinds
        .iter()
        .filter(|k| !k.change.is_bad() && k.change != Change::Same)
        .collect();
    if others.is_empty() {
        return text;
    }
    let mut folded = String::from(
        "\n<details><summary>Queries that go elsewhere or get better</summary>\n\n| What | Times | Statement | Before \
         | After |\n|---|---|---|---|---|\n",
    );
    for (at, kind) in others.iter().enumerate() {
        let row = markdown_row(kind, report);
        if text.len() + folded.len() + row.len() > share_of || at == 5 * LISTED {
            let _ = writeln!(folded, "\nand {} more kinds", others.len() - at);
            break;
        }
        folded.push_str(&row);
    }
    folded.push_str("\n</details>\n");
    text.push_str(&folded);
    text
}
