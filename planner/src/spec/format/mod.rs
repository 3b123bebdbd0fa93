//! Writers: canonical formatting that keeps comments (`fmt`), and the other spelling (`convert`).
//!
//! Whatever is written is read again before it is given out: a text whose meaning or whose
//! comments would change is refused, so no mistake here can damage a spec.

mod comments;
mod kdl;
mod scalar;
mod to_kdl;
mod to_yaml;
mod yaml;

use std::path::Path;

use ::kdl::KdlDocument;

use super::diag::{Problems, SpecErrors};
use super::files::Language;
use super::read;
use super::source::{Sources, Span};
use super::tree::{Node, Style, Value};
use comments::Layout;

/// A spec in the other spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    pub text: String,
    /// How many comments the original has, which are not in `text`.
    pub comments_left_out: usize,
}

/// The canonical form of a spec's text, with its comments. Formatting twice changes nothing more.
/// The text needs not be a valid spec, but YAML or KDL. `path` is for messages.
pub fn format(path: &Path, text: &str, language: Language) -> Result<String, SpecErrors> {
    let mut sources = Sources::default();
    let file = sources.add(path.to_owned(), text.to_owned());
    let mut problems = Problems::default();
    let written = match language {
        Language::Yaml => format_yaml(file, &sources, &mut problems),
        Language::Kdl => format_kdl(file, &sources, &mut problems),
    };
    match written {
        Some(text) if !problems.has_errors() => Ok(text),
        _ => Err(SpecErrors {
            diagnostics: problems.resolve(&sources),
        }),
    }
}

fn refuse(file: u32, problems: &mut Problems) {
    problems
        .error(
            "cannot-format",
            Span::new(file, 0, 1),
            "this file cannot be formatted without changing what it says or losing a comment",
        )
        .help("move comments to lines of their own");
}

fn format_yaml(file: u32, sources: &Sources, problems: &mut Problems) -> Option<String> {
    let source = sources.get(file);
    let tree = read::yaml::read(file, source, problems)?;
    if problems.has_errors() {
        return None;
    }
    let layout = yaml_layout(&source.text, &tree);
    let comments = layout.texts();
    let written = yaml::write(&tree, Some(layout));
    let mut again = Sources::default();
    let file_again = again.add(source.path.clone(), written);
    let read_again = read::yaml::read(file_again, again.get(file_again), &mut Problems::default());
    let written = &again.get(file_again).text;
    let same =
        read_again.is_some_and(|t| same(&t, &tree) && yaml_layout(written, &t).texts() == comments);
    if !same {
        refuse(file, problems);
        return None;
    }
    Some(written.clone())
}

fn yaml_layout<'a>(text: &'a str, tree: &Node) -> Layout<'a> {
    let mut scalars = Vec::new();
    yaml_scalars(text, tree, &mut scalars);
    Layout::new(text, scalars, |text, at| {
        let before = text[..at].chars().next_back();
        let starts = text[at..].starts_with('#') && before.is_none_or(char::is_whitespace);
        starts.then(|| text[at..].find('\n').unwrap_or(text.len() - at))
    })
}

/// Where scalars stand: a `#` in them is no comment.
fn yaml_scalars(text: &str, node: &Node, out: &mut Vec<(usize, usize)>) {
    let (mut start, end) = (node.span.start as usize, node.span.end as usize);
    match &node.value {
        Value::Null => {}
        Value::Scalar(_) => {
            if matches!(node.style, Style::Literal | Style::Folded) {
                // The header's line may have a comment.
                start += text[start..].find('\n').unwrap_or(0);
            }
            out.push((start, end.max(start)));
        }
        Value::Seq(items) => items.iter().for_each(|i| yaml_scalars(text, i, out)),
        Value::Map(entries) => {
            for entry in entries {
                out.push((entry.key.span.start as usize, entry.key.span.end as usize));
                yaml_scalars(text, &entry.value, out);
            }
        }
    }
}

fn format_kdl(file: u32, sources: &Sources, problems: &mut Problems) -> Option<String> {
    let source = sources.get(file);
    let document = read::kdl::parse(file, source, problems)?;
    let Some(layout) = kdl::layout(&source.text, &document) else {
        problems
            .error(
                "cannot-format",
                Span::new(file, 0, 1),
                "`/-` comments are not kept by the formatter",
            )
            .help("write them as `//` comments");
        return None;
    };
    let comments = layout.texts();
    let written = kdl::write(&document, layout);
    let again = KdlDocument::parse_v2(&written).ok();
    let same = again.is_some_and(|d| {
        same_kdl(&d, &document) && kdl::layout(&written, &d).is_some_and(|l| l.texts() == comments)
    });
    if !same {
        refuse(file, problems);
        return None;
    }
    Some(written)
}

/// A spec's text in a language, from either. It must be a valid spec as far as one file can tell.
pub fn convert(
    path: &Path,
    text: &str,
    from: Language,
    to: Language,
) -> Result<Converted, SpecErrors> {
    let mut sources = Sources::default();
    let file = sources.add(path.to_owned(), text.to_owned());
    let mut problems = Problems::default();
    let tree = super::read_tree(file, from, &sources, &mut problems);
    let written = tree.filter(|_| !problems.has_errors()).and_then(|tree| {
        let text = match to {
            Language::Yaml => yaml::write(&to_yaml::style(tree.clone()), None),
            Language::Kdl => to_kdl::write(&tree),
        };
        // Equal models are what lossless means.
        let before = model(&tree);
        let file = sources.add(path.to_owned(), text);
        let again = super::read_tree(file, to, &sources, &mut Problems::default());
        if again.is_some_and(|t| model(&t) == before) {
            return Some(sources.get(file).text.clone());
        }
        problems.error(
            "cannot-convert",
            Span::new(0, 0, 1),
            "this file cannot be written in the other spelling without changing what it says",
        );
        None
    });
    match written {
        Some(text_written) => Ok(Converted {
            comments_left_out: count_comments(text, from),
            text: text_written,
        }),
        None => Err(SpecErrors {
            diagnostics: problems.resolve(&sources),
        }),
    }
}

fn model(tree: &Node) -> super::model::Spec {
    let mut spec = super::model::Spec::default();
    super::decode::add_file(&mut spec, tree, &mut Problems::default());
    spec
}

fn count_comments(text: &str, language: Language) -> usize {
    match language {
        Language::Yaml => {
            let mut sources = Sources::default();
            let file = sources.add("".into(), text.to_owned());
            let tree = read::yaml::read(file, sources.get(file), &mut Problems::default());
            tree.map_or(0, |t| yaml_layout(text, &t).texts().len())
        }
        Language::Kdl => KdlDocument::parse_v2(text)
            .ok()
            .and_then(|d| Some(kdl::layout(text, &d)?.texts().len()))
            .unwrap_or(0),
    }
}

/// Whether two trees say the same.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Null, Value::Null) => true,
        (Value::Scalar(a), Value::Scalar(b)) => a == b,
        (Value::Seq(a), Value::Seq(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a.key == b.key && same(&a.value, &b.value))
        }
        _ => false,
    }
}

fn same_kdl(a: &KdlDocument, b: &KdlDocument) -> bool {
    a.nodes().len() == b.nodes().len()
        && a.nodes().iter().zip(b.nodes()).all(|(a, b)| {
            let entry = |e: &::kdl::KdlEntry| {
                let name = e.name().map(|n| n.value().to_owned());
                let ty = e.ty().map(|t| t.value().to_owned());
                (name, ty, e.value().clone())
            };
            a.name().value() == b.name().value()
                && a.ty().map(|t| t.value()) == b.ty().map(|t| t.value())
                && a.entries()
                    .iter()
                    .map(entry)
                    .eq(b.entries().iter().map(entry))
                && match (a.children(), b.children()) {
                    (Some(a), Some(b)) => same_kdl(a, b),
                    (None, None) => true,
                    _ => false,
                }
        })
}
