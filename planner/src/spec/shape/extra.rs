//! What goes over several fields of one mapping, and belongs to the language all the same.

use crate::lint::names;
use crate::spec::diag::{Problems, closest};
use crate::spec::tree::{Entry, Node};

/// An item of `tablets` is a tablet pinned to a host, a server that is adopted, or counts for a cell.
pub fn tablet(node: &Node, problems: &mut Problems) {
    let field = |names: &[&str]| -> Option<Entry> {
        let mut entries = node.entries().iter();
        entries.find(|e| names.contains(&e.key.as_str())).cloned()
    };
    if let Some(server) = field(&["server"]) {
        if let Some(other) = field(&["replica", "rdonly", "shard", "uid", "mysql_port"]) {
            problems
                .error(
                    "adopted-and-more",
                    other.key.span,
                    format!("a `server` that is adopted has no `{}`", *other.key),
                )
                .related(server.key.span, "adopted here")
                .help("it has `cell`, `type` and `host`, the host whose agent looks after it");
        }
        return;
    }
    let host = field(&["host"]);
    let counts = field(&["replica", "rdonly"]);
    let pinned = field(&["type", "shard", "uid", "mysql_port"]);
    match (host, counts, pinned) {
        (Some(host), Some(count), _) => {
            problems
                .error(
                    "pin-and-count",
                    count.key.span,
                    format!("a tablet that is pinned to a host has no `{}`", *count.key),
                )
                .related(host.key.span, "pinned here")
                .help("write `type` for a pinned tablet, and counts as an item of their own");
        }
        (None, _, Some(pinned)) => {
            problems
                .error(
                    "pin-and-count",
                    pinned.key.span,
                    format!(
                        "`{}` belongs to a tablet that is pinned to a host",
                        *pinned.key
                    ),
                )
                .help("give its `host`");
        }
        (None, None, None) => {
            problems
                .error("missing-field", node.span, "this names no tablet")
                .help("give `host` to pin one, `server` to adopt one, or the counts `replica` and `rdonly`");
        }
        _ => {}
    }
}

/// A user's password comes from one place.
pub fn user(node: &Node, problems: &mut Problems) {
    let sources: Vec<_> = node
        .entries()
        .iter()
        .filter(|e| matches!(e.key.as_str(), "password_env" | "password_file"))
        .collect();
    if let [first, second, ..] = sources.as_slice()
        && first.key != second.key
    {
        problems
            .error(
                "no-password",
                first.key.span,
                "the password has two sources",
            )
            // What stands there may be the password itself.
            .redact()
            .help("leave one of them out");
    }
    if sources.is_empty() && node.entries().is_empty() {
        problems
            .error(
                "no-password",
                node.span,
                "the user has no source of its password",
            )
            .help("give `password_env: VARIABLE` or `password_file: PATH`");
    }
}

/// An exception has a reason that says something.
pub fn reason(node: &Node, problems: &mut Problems) {
    if let Some(reason) = node.get("reason")
        && reason.text().is_some_and(|text| text.trim().is_empty())
    {
        problems
            .error("no-reason", reason.span, "the reason is empty")
            .help("say why the rule does not hold here: the next reader asks");
    }
}

/// It is for something that a policy can say.
pub fn policy_exception(node: &Node, problems: &mut Problems) {
    reason(node, problems);
    let Some(rule) = node.get("rule") else { return };
    let words = || names::REQUIRABLE.into_iter().chain(names::FORBIDDABLE);
    if let Some(text) = rule.text()
        && !words().any(|word| word == text)
    {
        let near = closest(text, words()).map(|near| format!("did you mean `{near}`?"));
        problems
            .error(
                "unknown-word",
                rule.span,
                format!("`{text}` is nothing that a policy requires or forbids"),
            )
            .maybe_help(near);
    }
}
