//! Plans for programs.

use serde_json::Value;
use vtplan_planner::plan::Plan;

/// The plan's JSON for printing: as documented, but without users' verifiers.
pub fn plan(plan: &Plan) -> String {
    let mut value = serde_json::to_value(plan).expect("a plan serializes");
    redact(&mut value);
    format!("{value:#}\n")
}

/// Replaces what must not be printed. A verifier does not give the password away, but who has it
/// can try passwords against it.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let secret = key == "verifier" || key.ends_with("_verifier");
                if secret && !value.is_null() {
                    *value = Value::String("(sensitive)".to_owned());
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(redact),
        _ => {}
    }
}
