//! What is valid in a spec and nevertheless unwise: named rules with levels. A spec can give a rule
//! another level, and say with a reason where it does not hold (`lint:`); its policy (`policy:`) can
//! make a rule binding: then no plan is made that goes against it (`passes::policy`).
//!
//! - [`names`]: the words of specs. [`rules`]: the rules themselves, over the desired state alone.
//! - [`keys`]: what they ask of `CREATE TABLE` statements.

mod keys;
pub mod names;
pub mod rules;

use serde::Serialize;

use crate::spec::{Loaded, Place};

pub use rules::{RULES, Rule, rule};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Off,
    Note,
    Warning,
    Error,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a spec says of rules (`lint:`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    pub levels: Vec<(String, Level)>,
    pub ignore: Vec<Ignore>,
}

/// Where a rule does not hold, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Ignore {
    pub rule: String,
    /// Pattern of objects' names. `None`: all.
    pub object: Option<String>,
    /// Pattern of files' paths. `None`: all.
    pub file: Option<String>,
    pub reason: String,
    pub place: Place,
}

impl Ignore {
    fn fits(&self, finding: &Finding) -> bool {
        let file = |pattern: &String| {
            let place = finding.place.as_ref();
            // A path is written from the folder of the spec, which may be reached from elsewhere.
            place.is_some_and(|p| {
                names::matches(pattern, &p.file) || names::matches(&format!("*/{pattern}"), &p.file)
            })
        };
        self.rule == finding.rule
            && self
                .object
                .as_ref()
                .is_none_or(|pattern| names::matches(pattern, &finding.object))
            && self.file.as_ref().is_none_or(file)
    }
}

/// One thing that a rule found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    pub rule: &'static str,
    pub level: Level,
    /// `commerce`, `commerce.product`, `changes`.
    pub object: String,
    pub message: String,
    /// What to do.
    pub help: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Why it does not count, as the spec says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored: Option<String>,
    /// The policy makes the rule binding: plans are refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub policy: bool,
}

/// All findings, those that are ignored too; in the order of files and places.
pub fn lint(loaded: &Loaded) -> Vec<Finding> {
    let desired = &loaded.desired;
    let mut used = vec![false; loaded.lint.ignore.len()];
    let mut findings = Vec::new();
    for rule in RULES {
        let given = loaded
            .lint
            .levels
            .iter()
            .find(|(name, _)| name == rule.name);
        let level = given.map_or(rule.level, |(_, level)| *level);
        for found in (rule.check)(desired) {
            let policy = desired.policy.binds(rule.name, &found.object);
            let mut finding = Finding {
                rule: rule.name,
                level: if policy { Level::Error } else { level },
                place: loaded.places.of(&found.object, rule.about),
                object: found.object,
                message: found.message,
                help: rule.help,
                ignored: None,
                policy,
            };
            for (ignore, used) in loaded.lint.ignore.iter().zip(&mut used) {
                if ignore.fits(&finding) {
                    *used = true;
                    // What the policy says can only be excepted there.
                    if !policy && finding.ignored.is_none() {
                        finding.ignored = Some(ignore.reason.clone());
                    }
                }
            }
            if finding.level > Level::Off {
                findings.push(finding);
            }
        }
    }
    for (ignore, used) in loaded.lint.ignore.iter().zip(used) {
        if !used {
            findings.push(Finding {
                rule: "unused-ignore",
                level: Level::Warning,
                object: ignore.rule.clone(),
                message: format!("the rule `{}` finds nothing that this is for", ignore.rule),
                help: "leave it out",
                place: Some(ignore.place.clone()),
                ignored: None,
                policy: false,
            });
        }
    }
    let place = |finding: &Finding| {
        let place = finding.place.as_ref();
        place.map(|p| (p.file.clone(), p.line, p.column))
    };
    findings.sort_by(|a, b| (place(a), &a.object, a.rule).cmp(&(place(b), &b.object, b.rule)));
    findings
}
