//! Scalars as YAML and KDL write them.

use std::fmt::Write as _;

use crate::spec::tree::{Form, Scalar, Style, is_bool, is_null, is_number};

/// A YAML scalar on one line.
pub fn yaml(scalar: &Scalar, style: Style, in_flow: bool) -> String {
    let text = &scalar.text;
    match (scalar.form, style) {
        (Form::Plain | Form::Number | Form::Bool, _) if plain_chars(text, in_flow) => text.clone(),
        (Form::Text, Style::Block) if plain_text(text, in_flow) => text.clone(),
        _ => yaml_quoted(text),
    }
}

/// A YAML key.
pub fn yaml_key(text: &str, in_flow: bool) -> String {
    if plain_text(text, in_flow) || is_number(text) && plain_chars(text, in_flow) {
        text.to_owned()
    } else {
        yaml_quoted(text)
    }
}

fn yaml_quoted(text: &str) -> String {
    let printable = !text.chars().any(needs_escape);
    if printable && text.contains(['"', '\\']) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if needs_escape(c) => {
                let code = u32::from(c);
                // Writing to a String cannot fail.
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Characters that YAML does not print, breaks lines at, or that people cannot see.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{85}' | '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Whether a text keeps its value and its type when written without quotes.
fn plain_text(text: &str, in_flow: bool) -> bool {
    // What YAML 1.1 readers take for booleans is quoted, so that every tool sees a text.
    const WORDS: [&str; 8] = ["yes", "no", "on", "off", "y", "n", "<<", "="];
    plain_chars(text, in_flow)
        && !is_null(text)
        && !is_bool(text)
        && !is_number(text)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && !text.starts_with(['-', '.', '+'])
}

/// Whether a text is read back when written without quotes.
fn plain_chars(text: &str, in_flow: bool) -> bool {
    const INDICATORS: &str = "?:,[]{}#&*!|>'\"%@`";
    let Some(first) = text.chars().next() else {
        return false;
    };
    let dash = first == '-'
        && text
            .chars()
            .nth(1)
            .is_none_or(|c| c.is_whitespace() || ",[]{}".contains(c));
    !dash
        && !INDICATORS.contains(first)
        && text.trim() == text
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with(':')
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !text.chars().any(needs_escape)
        && !text.chars().any(|c| c.is_whitespace() && c != ' ')
        && (!in_flow || plain_in_flow(text))
}

/// In a flow collection, its own characters end a text.
fn plain_in_flow(text: &str) -> bool {
    let after_colon = |at: usize| text[at + 1..].starts_with(['"', '\'']);
    !text.contains([',', '[', ']', '{', '}'])
        && !text.match_indices(':').any(|(at, _)| after_colon(at))
}

/// The lines of a literal block (`|`) and its header, where a text can be written so.
pub fn yaml_literal(text: &str) -> Option<(&'static str, Vec<&str>)> {
    let body = text.trim_end_matches('\n');
    let escaped = |c: char| c != '\n' && c != '\t' && needs_escape(c);
    if body.is_empty() || text.chars().any(escaped) {
        return None;
    }
    // The first line tells the indentation, so it must not begin with a blank; tabs before text
    // are taken for indentation by some readers.
    if body.lines().any(|l| l.starts_with('\t')) || body.starts_with([' ', '\n']) {
        return None;
    }
    if body.lines().any(|l| l.trim().is_empty() && !l.is_empty()) {
        return None;
    }
    match text.len() - body.len() {
        0 => Some(("|-", body.split('\n').collect())),
        1 => Some(("|", body.split('\n').collect())),
        _ => None,
    }
}

/// A KDL value. Texts of several lines are indented by `indent`.
pub fn kdl(scalar: &Scalar, indent: &str) -> String {
    match scalar.form {
        Form::Bool => format!("#{}", scalar.text.to_ascii_lowercase()),
        Form::Number => scalar.text.clone(),
        Form::Text | Form::Plain => kdl_text(&scalar.text, indent),
    }
}

/// A KDL string.
pub fn kdl_text(text: &str, indent: &str) -> String {
    if let Some(block) = kdl_lines(text, indent) {
        return block;
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if needs_escape(c) || is_direction(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Characters that change the direction of text, which KDL does not allow as they are.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of several lines, between `"""`.
fn kdl_lines(text: &str, indent: &str) -> Option<String> {
    let odd = |c: char| c != '\n' && (needs_escape(c) || is_direction(c));
    let blank = |l: &str| !l.is_empty() && l.trim().is_empty();
    if !text.contains('\n') || text.chars().any(odd) || text.split('\n').any(blank) {
        return None;
    }
    let mut out = String::from("\"\"\"\n");
    for line in text.split('\n') {
        if !line.is_empty() {
            out.push_str(indent);
            out.push_str(&line.replace('\\', "\\\\").replace('"', "\\\""));
        }
        out.push('\n');
    }
    out.push_str(indent);
    out.push_str("\"\"\"");
    Some(out)
}

/// A KDL node's or property's name.
pub fn kdl_name(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let word = matches!(text, "true" | "false" | "null" | "inf" | "-inf" | "nan");
    if start && text.chars().all(plain) && !word {
        text.to_owned()
    } else {
        kdl_text_one_line(text)
    }
}

fn kdl_text_one_line(text: &str) -> String {
    // Without a newline in it, a text is never written in several lines.
    let parts: Vec<_> = text.split('\n').map(|part| kdl_text(part, "")).collect();
    let inner: Vec<_> = parts.iter().map(|p| &p[1..p.len() - 1]).collect();
    format!("\"{}\"", inner.join("\\n"))
}
