//! Makes a tree that was read from KDL ready to be written as YAML: small things on one line,
//! texts without quotes where the language allows.

use crate::spec::shape::kinds::Text;
use crate::spec::shape::{Kind, SPEC, Shape, Struct};
use crate::spec::tree::{Entry, Form, Node, Scalar, Style, Value};

/// Sets the styles of a tree that is a spec.
pub fn style(mut root: Node) -> Node {
    if let Value::Map(entries) = &mut root.value {
        struct_entries(entries, &SPEC);
    }
    root
}

fn struct_entries(entries: &mut [Entry], fields: &'static Struct) {
    for entry in entries {
        if let Some(field) = fields.field(&entry.key) {
            node(&mut entry.value, &field.shape);
        }
    }
}

fn node(node_: &mut Node, shape: &'static Shape) {
    node_.style = Style::Block;
    match &mut node_.value {
        Value::Null => {}
        Value::Scalar(scalar) => plain_shard(scalar, shape),
        Value::Seq(items) => {
            if let Some(item) = shape.as_list() {
                for child in items.iter_mut() {
                    node(child, item);
                }
            }
            let scalars = items.iter().all(is_small_scalar);
            let one = items.len() == 1 && items[0].style == Style::Flow;
            if scalars || one {
                node_.style = Style::Flow;
            }
        }
        Value::Map(entries) => {
            let inline = if let Some((_, value)) = shape.as_map() {
                for entry in entries.iter_mut() {
                    node(&mut entry.value, value);
                }
                value.as_struct().is_none()
            } else if let Some(fields) = shape.as_struct() {
                struct_entries(entries, fields);
                fields.inline
            } else {
                false
            };
            if inline && entries.iter().all(|e| is_small_scalar(&e.value)) {
                node_.style = Style::Flow;
            }
        }
    }
}

fn is_small_scalar(node: &Node) -> bool {
    node.text().is_some_and(|t| !t.contains('\n'))
}

/// `-80` is no number where a shard is expected, so it needs no quotes.
fn plain_shard(scalar: &mut Scalar, shape: &Shape) {
    let shard = shape
        .scalars()
        .iter()
        .any(|k| matches!(k, Kind::Text(Text::Shard)));
    if shard && scalar.text != "-" && Kind::Text(Text::Shard).check(scalar).is_ok() {
        scalar.form = Form::Plain;
    }
}
