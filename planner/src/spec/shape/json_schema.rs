//! The JSON Schema of specs, for editors: made from the same description that specs are checked
//! by. It is as strict as a schema can be; what goes over several fields only `validate` sees.

use serde_json::{Map, Value, json};

use super::kinds::Text;
use super::{Kind, SPEC, Shape, Struct};

/// The schema of a whole spec (JSON Schema 2020-12). A file of a spec of several files has some
/// of its sections only, so sections that every spec needs are not required of each file.
pub fn json_schema() -> Value {
    let mut schema = struct_schema(&SPEC);
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("required");
        fields.insert(
            "$schema".into(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        fields.insert("title".into(), json!("vtplan spec"));
    }
    schema
}

fn struct_schema(fields: &Struct) -> Value {
    let mut properties = Map::new();
    for field in fields.fields {
        let mut schema = shape_schema(&field.shape);
        if let Some(object) = schema.as_object_mut() {
            object.insert("description".into(), json!(field.doc));
        }
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<_> = fields
        .fields
        .iter()
        .filter(|f| f.required)
        .map(|f| f.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn shape_schema(shape: &Shape) -> Value {
    match shape {
        Shape::Scalar(kind) => kind_schema(*kind),
        Shape::List(item) => json!({ "type": "array", "items": shape_schema(item) }),
        Shape::Map(key, value) => {
            let mut schema = json!({
                "type": "object",
                "additionalProperties": shape_schema(value),
            });
            if let Some(pattern) = key.pattern() {
                schema["propertyNames"] = json!({ "pattern": pattern });
            }
            schema
        }
        Shape::Struct(fields) => struct_schema(fields),
        Shape::OneOf(shapes) => {
            let all: Vec<_> = shapes.iter().map(shape_schema).collect();
            json!({ "anyOf": all })
        }
        Shape::OrNull(inner) => {
            let inner = shape_schema(inner);
            json!({ "anyOf": [inner, { "type": "null" }] })
        }
    }
}

fn kind_schema(kind: Kind) -> Value {
    match kind {
        Kind::Int { min, max, .. } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Enum(words) => json!({ "enum": words }),
        Kind::Text(text) => {
            // A name or shard of digits (`-80`) is a number to other readers of YAML.
            let mut schema = match text {
                Text::Shard | Text::Free | Text::KeyspaceId | Text::Duration => {
                    json!({ "type": ["string", "number"] })
                }
                Text::Sql => json!({ "type": "string" }),
                _ => json!({ "type": "string", "minLength": 1 }),
            };
            if let Some(pattern) = kind.pattern() {
                schema["pattern"] = json!(pattern);
            }
            schema
        }
    }
}
