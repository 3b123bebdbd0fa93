//! Whether a JSON value fits a JSON Schema. It knows the keywords that our schemas use, and fails on
//! others.

use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::{Value, json};

/// Why a value does not fit, as paths with reasons.
pub fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    check(schema, schema, value, "$", &mut out);
    out
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, out: &mut Vec<String>) {
    let before = out.len();
    for (keyword, rule) in schema.as_object().unwrap() {
        let fits = match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" => true,
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                check(root, &root["$defs"][name], value, path, out);
                true
            }
            "type" => {
                let is = |t: &Value| match t.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "number" => value.is_number(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("{other}"),
                };
                match rule.as_array() {
                    Some(types) => types.iter().any(is),
                    None => is(rule),
                }
            }
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|v| v >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|v| v <= rule.as_f64().unwrap()),
            "minLength" => value
                .as_str()
                .is_none_or(|s| s.chars().count() as u64 >= rule.as_u64().unwrap()),
            "pattern" => {
                let pattern = rule.as_str().unwrap();
                value.as_str().is_none_or(|s| matches(pattern, s))
            }
            "anyOf" => {
                // The alternative that fits best tells why it does not.
                let mut best: Option<Vec<String>> = None;
                for one in rule.as_array().unwrap() {
                    if is_of_another_kind(one, value) {
                        continue;
                    }
                    let mut why = Vec::new();
                    check(root, one, value, path, &mut why);
                    if best.as_ref().is_none_or(|best| why.len() < best.len()) {
                        best = Some(why);
                    }
                    if best.as_ref().is_some_and(Vec::is_empty) {
                        break;
                    }
                }
                let best = best.unwrap_or_else(|| vec![format!("{path}.kind: not known")]);
                let fits = best.is_empty();
                out.extend(best);
                fits
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{path}[{i}]"), out);
                }
                true
            }
            "properties" => {
                for (name, one) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(root, one, value, &format!("{path}.{name}"), out);
                    }
                }
                true
            }
            "required" => {
                let mut names = rule.as_array().unwrap().iter();
                value.is_object() && names.all(|n| value.get(n.as_str().unwrap()).is_some())
                    || !value.is_object()
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|k| k.contains_key(name)) {
                        continue;
                    }
                    let path = format!("{path}.{name}");
                    match rule {
                        Value::Bool(false) => out.push(format!("{path}: not allowed")),
                        rule => check(root, rule, value, &path, out),
                    }
                }
                true
            }
            "propertyNames" => {
                for name in value.as_object().into_iter().flat_map(|o| o.keys()) {
                    check(root, rule, &json!(name), &format!("{path}.{name}"), out);
                }
                true
            }
            other => panic!("the schema uses `{other}`, which this test does not know"),
        };
        if !fits {
            out.push(format!("{path}: {keyword}"));
        }
    }
    // Reasons of parts are enough; one of the whole would repeat them.
    out.truncate(out.len().max(before));
}

/// Whether an alternative is for values with another `kind`.
fn is_of_another_kind(alternative: &Value, value: &Value) -> bool {
    let kinds = alternative["properties"]["kind"]["enum"].as_array();
    match (kinds, value.get("kind")) {
        (Some(kinds), Some(kind)) => !kinds.contains(kind),
        _ => false,
    }
}

/// Patterns are made once: that takes longer than all the rest.
fn matches(pattern: &str, text: &str) -> bool {
    thread_local! {
        static MADE: RefCell<HashMap<String, regex::Regex>> = RefCell::default();
    }
    MADE.with_borrow_mut(|made| {
        made.entry(pattern.to_owned())
            .or_insert_with(|| regex::Regex::new(pattern).unwrap())
            .is_match(text)
    })
}
