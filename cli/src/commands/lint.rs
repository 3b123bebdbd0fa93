//! `vtplan lint`: what is valid in a spec and nevertheless unwise.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use owo_colors::OwoColorize as _;
use serde::Serialize;
use vtplan_planner::lint::{Finding, Level, RULES, lint};
use vtplan_planner::spec::{self, NoSecrets};

use super::Outcome;
use crate::args::Global;
use crate::error::Exit;
use crate::output::{err, out};
use crate::planning::invalid_spec;
use crate::render::sarif;
use crate::render::table::{Table, count};

const EXAMPLES: &str = "\
Examples:
  vtplan lint shop.yaml
  vtplan lint specs/ --format sarif > lint.sarif    For code scanning
  vtplan lint specs/ --fail-on warning
  vtplan lint --rules                               The rules, and what to do about each

In a spec, rules get other levels and exceptions:
  lint:
    rules: [{ name: no-window, level: warning }]
    ignore:
      - { rule: table-without-primary-key, object: shop.audit, reason: only appended to }
      - { rule: unique-key-per-shard, file: \"legacy/*.sql\", reason: values are UUIDs }
What its `policy` requires or forbids is an error here, and stops `plan` and `apply` too:
  policy:
    require: [primary-key, backup-schedule, soak]
    forbid: [data-loss]
    except: [{ rule: soak, object: changes, reason: nothing moves yet }]

Exit codes: 0 nothing at or above the level of `--fail-on`, 2 something is, 1 the spec is not valid.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct LintArgs {
    /// Spec files, or folders of them; together they are one spec
    #[arg(value_name = "SPEC", required_unless_present = "rules")]
    pub specs: Vec<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: LintFormat,
    /// The lowest level at which to exit with 2
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub fail_on: FailOn,
    /// List the rules
    #[arg(long, conflicts_with = "specs")]
    pub rules: bool,
}

/// Output of `lint`.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LintFormat {
    // For people.
    #[default]
    Text,
    // For programs; stable.
    Json,
    // SARIF 2.1.0, for code scanning.
    Sarif,
}

/// The levels that can make `lint` fail.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailOn {
    Note,
    Warning,
    #[default]
    Error,
}

impl FailOn {
    const fn level(self) -> Level {
        match self {
            Self::Note => Level::Note,
            Self::Warning => Level::Warning,
            Self::Error => Level::Error,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    format: u32,
    cluster: &'a str,
    errors: usize,
    warnings: usize,
    notes: usize,
    ignored: usize,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct RuleDocument {
    name: &'static str,
    level: Level,
    summary: &'static str,
    help: &'static str,
}

pub fn run(args: LintArgs, global: &Global) -> Outcome {
    if args.rules {
        rules(args.format);
        return Ok(Exit::Done);
    }
    let loaded = spec::load(&args.specs, &NoSecrets).map_err(|e| invalid_spec(&e))?;
    // Of a missing primary key a rule tells too.
    let other = |code: &str| code != "no-primary-key";
    for warning in loaded.warnings.iter().filter(|w| other(w.code)) {
        if !global.quiet {
            err(&warning.render(true));
        }
    }
    let findings = lint(&loaded);
    let counted = |level| {
        let all = findings.iter();
        all.filter(|f| f.level == level && f.ignored.is_none())
            .count()
    };
    let report = Report {
        format: 1,
        cluster: &loaded.desired.cluster,
        errors: counted(Level::Error),
        warnings: counted(Level::Warning),
        notes: counted(Level::Note),
        ignored: findings.iter().filter(|f| f.ignored.is_some()).count(),
        findings: &findings,
    };
    match args.format {
        LintFormat::Json => {
            let text = serde_json::to_string_pretty(&report).expect("a report serializes");
            out(&format!("{text}\n"));
        }
        LintFormat::Sarif => out(&format!("{:#}\n", sarif::log(&findings))),
        LintFormat::Text => out(&text(&report, global)),
    }
    let failed = |f: &Finding| f.ignored.is_none() && f.level >= args.fail_on.level();
    Ok(if findings.iter().any(failed) {
        Exit::Changes
    } else {
        Exit::Done
    })
}

fn text(report: &Report<'_>, global: &Global) -> String {
    let mut text = String::new();
    for finding in report.findings.iter().filter(|f| f.ignored.is_none()) {
        let head = format!("{}[{}]", finding.level.as_str(), finding.rule);
        let head = match finding.level {
            Level::Error => head.red().bold().to_string(),
            Level::Warning => head.yellow().bold().to_string(),
            Level::Note | Level::Off => head.cyan().bold().to_string(),
        };
        text.push_str(&format!(
            "{head} {}: {}\n",
            finding.object.bold(),
            finding.message
        ));
        if let Some(place) = &finding.place {
            text.push_str(&format!(
                "  --> {}:{}:{}\n",
                place.file, place.line, place.column
            ));
        }
        if finding.policy {
            text.push_str("  The policy of the spec makes this binding: nothing can be applied.\n");
        }
        text.push_str(&format!("  {} {}\n\n", "hint:".cyan().bold(), finding.help));
    }
    if global.verbose > 0 {
        for finding in report.findings {
            if let Some(reason) = &finding.ignored {
                text.push_str(&format!(
                    "ignored[{}] {}: {reason}\n",
                    finding.rule, finding.object
                ));
            }
        }
    }
    let mut parts = Vec::new();
    for (n, noun) in [
        (report.errors, "error"),
        (report.warnings, "warning"),
        (report.notes, "note"),
    ] {
        if n > 0 {
            parts.push(count(n, noun));
        }
    }
    if parts.is_empty() {
        parts.push("nothing found".to_owned());
    }
    if report.ignored > 0 {
        parts.push(format!("{} ignored with reasons", report.ignored));
    }
    text.push_str(&format!(
        "Cluster {}: {}.\n",
        report.cluster,
        parts.join(", ")
    ));
    text
}

/// The rules as they are without a spec.
fn rules(format: LintFormat) {
    if format != LintFormat::Text {
        let rules: Vec<_> = RULES
            .iter()
            .map(|rule| RuleDocument {
                name: rule.name,
                level: rule.level,
                summary: rule.summary,
                help: rule.help,
            })
            .collect();
        let document = serde_json::json!({ "format": 1, "rules": rules });
        out(&format!("{document:#}\n"));
        return;
    }
    let mut table = Table::new(["RULE", "LEVEL", "FINDS"]);
    for rule in RULES {
        table.row([
            rule.name.to_owned(),
            rule.level.as_str().to_owned(),
            rule.summary.to_owned(),
        ]);
    }
    out(&table.render(0));
}
