//! The document tree that YAML and KDL are read into: values with their places, not yet typed.

use super::source::{Sp, Span};

/// Deeper nesting is refused: no spec needs it, and readers must not run out of stack.
pub const MAX_DEPTH: usize = 32;

#[derive(Debug, Clone)]
pub struct Node {
    pub span: Span,
    pub value: Value,
    pub style: Style,
}

#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Scalar(Scalar),
    Seq(Vec<Node>),
    Map(Vec<Entry>),
}

/// A scalar as it is written: what it means depends on where it stands (`-80` is a shard in
/// `shards`, not a number).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    pub text: String,
    pub form: Form,
}

/// What the writing says of a scalar's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Without quotes in YAML: text, number or boolean.
    Plain,
    /// Quoted, or a string in KDL.
    Text,
    /// A KDL number.
    Number,
    /// A KDL boolean, `true` or `false`.
    Bool,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Sp<String>,
    pub value: Node,
}

/// How a node was written, for the formatter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Block,
    Flow,
    SingleQuoted,
    DoubleQuoted,
    Literal,
    Folded,
}

impl Node {
    pub fn null(span: Span) -> Self {
        Self::new(Value::Null, span)
    }

    pub fn new(value: Value, span: Span) -> Self {
        Self {
            span,
            value,
            style: Style::default(),
        }
    }

    pub fn scalar(text: impl Into<String>, form: Form, span: Span) -> Self {
        let text = text.into();
        Self::new(Value::Scalar(Scalar { text, form }), span)
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|e| *e.key == key)?;
        Some(&entry.value)
    }

    /// What it is, for messages.
    pub fn what(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar(s) => match s.form {
                Form::Number => "a number",
                Form::Bool => "a boolean",
                Form::Text => "a text",
                Form::Plain => plain_type(&s.text),
            },
            Value::Seq(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// What an unquoted YAML scalar is (YAML 1.2 core schema).
fn plain_type(text: &str) -> &'static str {
    if is_bool(text) {
        "a boolean"
    } else if is_number(text) {
        "a number"
    } else {
        "a text"
    }
}

pub fn is_bool(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}

pub fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Whether a YAML 1.2 reader would take a plain scalar for a number.
pub fn is_number(text: &str) -> bool {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|b| (b'0'..b'8').contains(&b));
    }
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    body.bytes().any(|b| b.is_ascii_digit())
        && !body.starts_with(['e', 'E'])
        && body
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && body.parse::<f64>().is_ok()
}
