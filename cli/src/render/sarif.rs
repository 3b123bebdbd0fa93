//! Findings of `lint` as SARIF 2.1.0, which code scanning shows at the lines of a pull request.

use serde_json::{Value, json};
use vtplan_planner::lint::{Finding, Level, RULES};

/// A log of one run.
pub fn log(findings: &[Finding]) -> Value {
    let mut rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.name,
                "shortDescription": { "text": rule.summary },
                "help": { "text": rule.help },
                "defaultConfiguration": {
                    "enabled": rule.level != Level::Off,
                    "level": level(rule.level),
                },
            })
        })
        .collect();
    rules.push(json!({
        "id": "unused-ignore",
        "shortDescription": { "text": "an exception of the spec is for nothing" },
        "help": { "text": "leave it out" },
        "defaultConfiguration": { "enabled": true, "level": "warning" },
    }));
    let results: Vec<Value> = findings.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "vtplan",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Finding) -> Value {
    let index = RULES.iter().position(|rule| rule.name == finding.rule);
    let mut location = json!({
        "logicalLocations": [{ "fullyQualifiedName": finding.object }],
    });
    if let Some(place) = &finding.place {
        location["physicalLocation"] = json!({
            "artifactLocation": { "uri": uri(&place.file) },
            "region": {
                "startLine": place.line,
                "startColumn": place.column,
                "endColumn": place.column + place.length,
            },
        });
    }
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": index.unwrap_or(RULES.len()),
        "level": level(finding.level),
        "message": {
            "text": format!("{}: {}. To do: {}", finding.object, finding.message, finding.help),
        },
        "locations": [location],
        // Lines move; what a rule finds of an object stays the same finding.
        "partialFingerprints": {
            "vtplan/v1": format!("{}:{}:{}", finding.rule, finding.object, finding.message),
        },
    });
    if let Some(reason) = &finding.ignored {
        result["suppressions"] = json!([{ "kind": "inSource", "justification": reason }]);
    }
    result
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::Off => "none",
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

/// A path as a URI reference.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(char::from(byte));
            }
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
