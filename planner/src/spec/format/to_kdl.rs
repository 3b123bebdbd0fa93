//! Writes a tree as KDL, along the description of the language.

use super::scalar;
use crate::spec::shape::{Field, Kdl, Kind, SPEC, Shape, Struct};
use crate::spec::tree::{Entry, Form, Node, Scalar, Value};

const INDENT: &str = "    ";

/// The KDL text of a tree that is a spec.
pub fn write(root: &Node) -> String {
    let mut out = String::new();
    let mut after_block = false;
    for entry in root.entries() {
        let Some(field) = SPEC.field(&entry.key) else {
            continue;
        };
        let mut text = String::new();
        write_field(&mut text, field, &entry.value, 0);
        let block = text.contains("{\n");
        if !out.is_empty() && (block || after_block) {
            out.push('\n');
        }
        after_block = block;
        // Keyspaces are set apart from each other too.
        out.push_str(&text.replace("\n}\nkeyspace ", "\n}\n\nkeyspace "));
    }
    out
}

fn write_field(out: &mut String, field: &'static Field, value: &Node, level: usize) {
    let name = field.name.replace('_', "-");
    match field.kdl {
        Kdl::Plain => write_plain(out, &name, &field.shape, value, level),
        Kdl::Args => write_args(out, &name, &field.shape, value, level),
        Kdl::Named(node) => {
            let Some((_, shape)) = field.shape.as_map() else {
                return;
            };
            for Entry { key, value } in value.entries() {
                let key = scalar::kdl_text(key, &INDENT.repeat(level + 1));
                write_struct(out, &format!("{node} {key}"), shape, value.entries(), level);
            }
        }
        Kdl::Items { node, argument } => {
            let Some(shape) = field.shape.as_list() else {
                return;
            };
            for item in items(value) {
                let head = match &item.value {
                    Value::Scalar(_) => format!("{node} {}", text_of(item, shape, level)),
                    _ => match argument.and_then(|a| item.get(a)) {
                        Some(first) => {
                            let shape = argument.and_then(|a| shape.as_struct()?.field(a));
                            let first = shape.map(|f| text_of(first, &f.shape, level));
                            format!("{node} {}", first.unwrap_or_default())
                        }
                        None => node.to_owned(),
                    },
                };
                let entries: Vec<_> = item
                    .entries()
                    .iter()
                    .filter(|e| argument != Some(e.key.as_str()))
                    .cloned()
                    .collect();
                write_struct(out, &head, shape, &entries, level);
            }
        }
        Kdl::Tablets => write_tablets(out, &field.shape, value, level),
    }
}

fn write_plain(out: &mut String, name: &str, shape: &'static Shape, value: &Node, level: usize) {
    match &value.value {
        Value::Scalar(_) => {
            let text = text_of(value, shape, level);
            line(out, level, &format!("{name} {text}"));
        }
        Value::Map(entries) => match shape.as_map() {
            Some((_, value_shape)) => {
                let mut head = name.to_owned();
                for Entry { key, value } in entries {
                    head.push(' ');
                    head.push_str(&scalar::kdl_name(key));
                    head.push('=');
                    head.push_str(&text_of(value, value_shape, level));
                }
                line(out, level, &head);
            }
            None => write_struct(out, name, shape, entries, level),
        },
        _ => {}
    }
}

/// A node whose arguments are the items; items that are structs get a node each.
fn write_args(out: &mut String, name: &str, shape: &'static Shape, value: &Node, level: usize) {
    let one = [value.clone()];
    let (items, item_shape) = match (&value.value, shape.as_list()) {
        (Value::Seq(items), Some(item)) => (items.as_slice(), item),
        (Value::Null, _) => return,
        _ => (one.as_slice(), shape),
    };
    let mut head = name.to_owned();
    for item in items {
        if let Value::Map(entries) = &item.value {
            if head != name {
                line(out, level, &head);
                head.truncate(name.len());
            }
            write_struct(out, name, item_shape, entries, level);
        } else {
            head.push(' ');
            head.push_str(&text_of(item, item_shape, level));
        }
    }
    if head != name || items.is_empty() {
        line(out, level, &head);
    }
}

fn write_tablets(out: &mut String, shape: &'static Shape, value: &Node, level: usize) {
    let (Some((_, counts)), Some(item_shape)) = (shape.as_map(), shape.as_list()) else {
        return;
    };
    let cell_head = |cell: &str| {
        let cell = scalar::kdl_text(cell, &INDENT.repeat(level + 1));
        format!("tablets {cell}")
    };
    for Entry { key, value } in value.entries() {
        write_struct(out, &cell_head(key), counts, value.entries(), level);
    }
    for item in items(value) {
        let cell = item.get("cell").and_then(Node::text);
        match cell {
            Some(cell) if item.get("host").or(item.get("server")).is_none() => {
                let entries: Vec<_> = item
                    .entries()
                    .iter()
                    .filter(|e| *e.key != "cell")
                    .cloned()
                    .collect();
                write_struct(out, &cell_head(cell), counts, &entries, level);
            }
            _ => write_struct(out, "tablet", item_shape, item.entries(), level),
        }
    }
}

/// A node that is a struct: scalar fields as properties where the struct has it so, the others
/// in a block.
fn write_struct(
    out: &mut String,
    head: &str,
    shape: &'static Shape,
    entries: &[Entry],
    level: usize,
) {
    let Some(fields) = shape.as_struct() else {
        line(out, level, head);
        return;
    };
    let mut head = head.to_owned();
    let mut block = String::new();
    for entry in entries {
        let Some(field) = fields.field(&entry.key) else {
            continue;
        };
        if is_property(fields, field, &entry.value) {
            head.push(' ');
            head.push_str(&field.name.replace('_', "-"));
            head.push('=');
            head.push_str(&text_of(&entry.value, &field.shape, level));
        } else {
            write_field(&mut block, field, &entry.value, level + 1);
        }
    }
    if block.is_empty() {
        line(out, level, &head);
        return;
    }
    line(out, level, &format!("{head} {{"));
    out.push_str(&block);
    line(out, level, "}");
}

fn is_property(fields: &Struct, field: &Field, value: &Node) -> bool {
    fields.inline && matches!(field.kdl, Kdl::Plain) && matches!(value.value, Value::Scalar(_))
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::Seq(items) => items,
        _ => &[],
    }
}

/// A scalar in the type that the language gives it.
fn text_of(node: &Node, shape: &Shape, level: usize) -> String {
    let Value::Scalar(scalar) = &node.value else {
        return "#null".to_owned();
    };
    let kinds = shape.scalars();
    let is = |wanted: fn(&Kind) -> bool| {
        let mut kinds = kinds.iter().filter(|k| wanted(k));
        kinds.any(|k| k.check(scalar).is_ok())
    };
    let form = if is(|k| matches!(k, Kind::Int { .. })) {
        Form::Number
    } else if is(|k| matches!(k, Kind::Bool)) {
        Form::Bool
    } else {
        Form::Text
    };
    let typed = Scalar {
        text: scalar.text.clone(),
        form,
    };
    scalar::kdl(&typed, &INDENT.repeat(level + 1))
}

fn line(out: &mut String, level: usize, text: &str) {
    out.push_str(&INDENT.repeat(level));
    out.push_str(text);
    out.push('\n');
}
