//! Plans for programs.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use vtplan_planner::document::{Document, SENSITIVE};

/// Writes a plan's document, step by step: it is never in memory as a whole.
pub fn write(document: &Document<'_>, writer: &mut dyn Write) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::pretty(&mut *writer);
    document
        .serialize(&mut serializer)
        .map_err(io::Error::from)?;
    writer.write_all(b"\n")
}

/// A plan's document as a part of another one.
pub fn value(document: &Document<'_>) -> Value {
    serde_json::to_value(document).expect("a document serializes")
}

/// Replaces what must not be printed. A verifier does not give the password away, but who has it
/// can try passwords against it.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let secret = key == "verifier" || key.ends_with("_verifier");
                if secret && !value.is_null() {
                    *value = Value::String(SENSITIVE.to_owned());
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(redact),
        _ => {}
    }
}
