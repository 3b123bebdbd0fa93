//! Checks a tree against the language: unknown and missing fields, types, words, grammars.

use super::{Field, SPEC, Shape, Struct};
use crate::spec::diag::{Problems, closest};
use crate::spec::source::Span;
use crate::spec::tree::{Form, Node, Scalar, Value};

/// Checks one file's tree. Required fields of the top level may be in another file: see
/// [`check_whole`].
pub fn check_file(root: &Node, problems: &mut Problems) {
    match &root.value {
        Value::Null => {}
        Value::Map(_) => check_struct(root, &SPEC, root.span, "", problems),
        _ => {
            problems
                .error(
                    "wrong-type",
                    root.span,
                    format!("a spec is a mapping of sections, this is {}", root.what()),
                )
                .help("start with `vtplan: 1` and `cluster: NAME`");
        }
    }
}

/// Checks that all files of a spec together have what it must have.
pub fn check_whole(roots: &[Node], problems: &mut Problems) {
    let Some(first) = roots.first() else {
        return;
    };
    for field in SPEC.fields.iter().filter(|f| f.required) {
        if roots.iter().all(|root| root.get(field.name).is_none()) {
            let at = Span::new(first.span.file, 0, 1);
            problems
                .error(
                    "missing-field",
                    at,
                    format!("the spec has no `{}`", field.name),
                )
                .help(first_sentence(field));
        }
    }
}

/// Checks a node. `path` names it in messages, `at` is the place to point to when it is empty.
fn check(node: &Node, shape: &'static Shape, at: Span, path: &str, problems: &mut Problems) {
    let before = problems.error_count();
    check_node(node, shape, at, path, problems);
    if problems.error_count() > before {
        problems.mark_broken(path);
    }
}

const NO_PASSWORDS: &str = "a password never stands in a spec: give `password_env`, the name of a variable, or `password_file`, a path";

/// Whether passwords may have been written there by mistake.
fn is_secret(path: &str) -> bool {
    path == "users" || path.starts_with("users.")
}

fn check_node(node: &Node, shape: &'static Shape, at: Span, path: &str, problems: &mut Problems) {
    match &node.value {
        Value::Null => {
            if !shape.may_be_null() {
                problems
                    .error("missing-value", at, format!("`{path}` is empty"))
                    .help(format!("give {}", shape.what()));
            }
        }
        Value::Scalar(scalar) => {
            let kinds = shape.scalars();
            let mut first = None;
            for kind in &kinds {
                match kind.check(scalar) {
                    Ok(()) => return,
                    Err(why) => {
                        first.get_or_insert(why);
                    }
                }
            }
            let Some(why) = first else {
                wrong_type(node, shape, path, problems);
                return;
            };
            // Where a list could stand as well, say so: `shards: 80-`.
            let help = why.help.or_else(|| {
                let listed = shape.as_list()?.scalars();
                let fits = listed.iter().any(|k| k.check(scalar).is_ok());
                fits.then(|| format!("write a list: `[{}]`", scalar.text))
            });
            let secret = is_secret(path);
            let message = match secret {
                true if why.message.contains(scalar.text.as_str()) => {
                    format!("`{path}` cannot be this")
                }
                _ => why.message,
            };
            let problem = problems.error(why.code, node.span, message);
            problem.maybe_help(help);
            if secret {
                problem.redact();
            }
        }
        Value::Seq(items) => match shape.as_list() {
            Some(item_shape) => {
                for (i, item) in items.iter().enumerate() {
                    let path = format!("{path}[{i}]");
                    check(item, item_shape, item.span, &path, problems);
                }
            }
            None => wrong_type(node, shape, path, problems),
        },
        Value::Map(entries) => {
            if let Some((key_kind, value_shape)) = shape.as_map() {
                for entry in entries {
                    let key = Scalar {
                        text: entry.key.value.clone(),
                        form: Form::Text,
                    };
                    if let Err(why) = key_kind.check(&key) {
                        problems
                            .error(why.code, entry.key.span, why.message)
                            .maybe_help(why.help);
                    }
                    let path = format!("{path}.{}", *entry.key);
                    check(&entry.value, value_shape, entry.key.span, &path, problems);
                }
            } else if let Some(fields) = shape.as_struct() {
                check_struct(node, fields, at, path, problems);
            } else {
                wrong_type(node, shape, path, problems);
            }
        }
    }
}

fn wrong_type(node: &Node, shape: &Shape, path: &str, problems: &mut Problems) {
    let expected = shape.what();
    let found = node.what();
    let message = format!("`{path}` is {expected}, not {found}");
    let problem = problems.error("wrong-type", node.span, message);
    if is_secret(path) {
        problem.redact().help(NO_PASSWORDS);
    }
}

/// The path of the top level is empty.
fn check_struct(
    node: &Node,
    fields: &'static Struct,
    at: Span,
    path: &str,
    problems: &mut Problems,
) {
    for entry in node.entries() {
        let name = entry.key.as_str();
        let Some(field) = fields.field(name) else {
            let names = fields.fields.iter().map(|f| f.name);
            let meant = unknown_field(name, entry.key.span, fields.what, names, problems);
            if let Some(meant) = meant {
                problems.mark_broken(join(path, meant));
            }
            continue;
        };
        let path = join(path, name);
        check(&entry.value, &field.shape, entry.key.span, &path, problems);
    }
    if path.is_empty() {
        return;
    }
    if let Some(check) = fields.check {
        check(node, problems);
    }
    for field in fields.fields {
        if field.required && node.get(field.name).is_none() {
            problems
                .error(
                    "missing-field",
                    at,
                    format!("`{path}` has no `{}`", field.name),
                )
                .help(first_sentence(field));
        }
    }
}

fn first_sentence(field: &Field) -> String {
    let sentence = field.doc.split(". ").next().unwrap_or(field.doc);
    format!("`{}`: {}", field.name, sentence.trim_end_matches('.'))
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

/// Reports a field that does not exist, and returns the one that may be meant.
pub fn unknown_field<'a>(
    name: &str,
    span: Span,
    what: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    problems: &mut Problems,
) -> Option<&'a str> {
    let meant = closest(name, known.clone());
    let help = match meant {
        Some(best) => format!("did you mean `{best}`?"),
        None => {
            let all: Vec<_> = known.into_iter().collect();
            format!("the fields are `{}`", all.join("`, `"))
        }
    };
    let message = format!("`{name}` is not a field of {what}");
    let problem = problems.error("unknown-field", span, message);
    problem.help(help);
    if name.contains("pass") {
        problem.redact().help(NO_PASSWORDS);
    }
    meant
}
