//! `vtplan lint`, and policies that stop plans.

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::Place;

const SPEC: &str = "\
vtplan: 1
cluster: shop
cells: [zone1]
lint:
  ignore:
    - { rule: no-backup-schedule, object: cache*, reason: it can be filled again }
keyspaces:
  cache:
    durability: none
    tablets: { zone1: { replica: 1 } }
    schema: \"schema dir/cache.sql\"
  main:
    tablets: { zone1: { replica: 3 } }
";

const POLICY: &str = "\
policy:
  require: [primary-key, soak]
  forbid: [data-loss]
";

fn place() -> Place {
    let place = Place::new();
    place.write("specs/shop.yaml", SPEC);
    place.write(
        "specs/schema dir/cache.sql",
        "CREATE TABLE hit (\n  a int\n);\n",
    );
    place.write("bound/shop.yaml", &format!("{SPEC}{POLICY}"));
    place.write("bound/schema dir/cache.sql", "CREATE TABLE hit (a int);\n");
    place
}

#[test]
fn findings_are_printed_for_people_programs_and_code_scanning() {
    let place = place();
    check!(place, "text", ["lint", "specs"]);
    check!(place, "verbose", ["lint", "specs", "-v"]);
    check!(place, "json", ["lint", "specs", "--format", "json"]);
    check!(place, "sarif", ["lint", "specs", "--format", "sarif"]);
    check!(place, "rules", ["lint", "--rules"]);
}

/// What the schema of SARIF 2.1.0 requires of the parts that are used, and what it lets nobody add.
#[test]
fn code_scanning_gets_sarif_as_it_is_specified() {
    let place = place();
    let (_, text, _) = place.output(&["lint", "specs", "--format", "sarif"]);
    let log: Value = serde_json::from_str(&text).expect("JSON");
    only(&log, &["$schema", "version", "runs"]);
    assert_eq!(log["version"], "2.1.0");
    assert!(
        log["$schema"]
            .as_str()
            .expect("a URI")
            .ends_with("sarif-2.1.0.json")
    );
    let [run] = list(&log["runs"]) else {
        panic!("one run");
    };
    only(run, &["tool", "columnKind", "results"]);
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    only(&run["tool"], &["driver"]);
    let driver = &run["tool"]["driver"];
    only(driver, &["name", "semanticVersion", "rules"]);
    assert_eq!(driver["name"], "vtplan");
    let levels = ["none", "note", "warning", "error"];
    let level = |of: &Value| levels.contains(&of["level"].as_str().expect("a level"));
    let mut ids = BTreeSet::new();
    for rule in list(&driver["rules"]) {
        only(
            rule,
            &["id", "shortDescription", "help", "defaultConfiguration"],
        );
        assert!(ids.insert(rule["id"].as_str().expect("an id")), "{rule}");
        for text in ["shortDescription", "help"] {
            only(&rule[text], &["text"]);
            assert!(
                rule[text]["text"].as_str().is_some_and(|t| !t.is_empty()),
                "{rule}"
            );
        }
        only(&rule["defaultConfiguration"], &["enabled", "level"]);
        assert!(level(&rule["defaultConfiguration"]), "{rule}");
    }
    let (mut in_files, mut suppressed) = (0, 0);
    for result in list(&run["results"]) {
        only(
            result,
            &[
                "ruleId",
                "ruleIndex",
                "level",
                "message",
                "locations",
                "partialFingerprints",
                "suppressions",
            ],
        );
        let index = result["ruleIndex"].as_u64().expect("an index") as usize;
        assert_eq!(driver["rules"][index]["id"], result["ruleId"]);
        assert!(level(result), "{result}");
        only(&result["message"], &["text"]);
        assert!(result["message"]["text"].is_string());
        let prints = result["partialFingerprints"]
            .as_object()
            .expect("an object");
        assert!(prints.values().all(Value::is_string), "{result}");
        for location in list(&result["locations"]) {
            only(location, &["logicalLocations", "physicalLocation"]);
            for logical in list(&location["logicalLocations"]) {
                only(logical, &["fullyQualifiedName"]);
            }
            let Some(physical) = location.get("physicalLocation") else {
                continue;
            };
            in_files += 1;
            only(physical, &["artifactLocation", "region"]);
            only(&physical["artifactLocation"], &["uri"]);
            let uri = physical["artifactLocation"]["uri"].as_str().expect("a URI");
            assert!(!uri.contains(' ') && !uri.contains('\\'), "{uri}");
            let region = &physical["region"];
            only(region, &["startLine", "startColumn", "endColumn"]);
            let at = |name: &str| region[name].as_u64().expect("a number");
            assert!(at("startLine") >= 1 && at("startColumn") >= 1, "{region}");
            assert!(at("endColumn") >= at("startColumn"), "{region}");
        }
        for suppression in result.get("suppressions").map(list).into_iter().flatten() {
            suppressed += 1;
            only(suppression, &["kind", "justification"]);
            assert_eq!(suppression["kind"], "inSource");
        }
    }
    assert!(in_files > 0 && suppressed > 0, "{text}");
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("a list: {value}"))
}

/// SARIF's objects have no fields that it does not name.
fn only(object: &Value, names: &[&str]) {
    for name in object
        .as_object()
        .unwrap_or_else(|| panic!("an object: {object}"))
        .keys()
    {
        assert!(names.contains(&name.as_str()), "{name} in {object}");
    }
}

#[test]
fn the_exit_code_tells_how_bad_it_is() {
    let place = place();
    let code = |args: &[&str]| place.output(args).0;
    assert_eq!(code(&["lint", "specs"]), 2, "a table has no primary key");
    place.write(
        "specs/schema dir/cache.sql",
        "CREATE TABLE hit (a int PRIMARY KEY);\n",
    );
    assert_eq!(code(&["lint", "specs"]), 0, "warnings only");
    assert_eq!(code(&["lint", "specs", "--fail-on", "warning"]), 2);
    assert_eq!(code(&["lint", "specs", "--fail-on", "note"]), 2);
    place.write("specs/shop.yaml", "vtplan: 1\n");
    assert_eq!(code(&["lint", "specs"]), 1, "not a spec");
}

#[test]
fn a_policy_stops_plan_and_apply() {
    let place = place();
    check!(place, "policy-lint", ["lint", "bound", "-q"]);
    check!(place, "policy-plan", ["plan", "bound"]);
    check!(
        place,
        "policy-plan-markdown",
        ["plan", "bound", "--format", "markdown"]
    );
    check!(place, "policy-apply", ["apply", "bound", "--auto-approve"]);
    place.write(
        "wrong.yaml",
        &format!("{SPEC}policy: {{ forbid: [dataloss] }}\n"),
    );
    check!(place, "policy-unknown", ["validate", "wrong.yaml"]);
}

#[test]
fn odd_files_are_told() {
    let place = place();
    place.write("bomb.yaml", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n");
    place.write("tabs.yaml", "vtplan: 1\ncells:\n\t- zone1\n");
    place.write(
        "twice.yaml",
        "vtplan: 1\ncluster: shop\ncluster: shop\ncells: [zone1]\n",
    );
    place.write("half.yaml", "vtplan: 1\ncluster: shop\ncells: [zone1\n");
    place.write(
        "old.kdl",
        "vtplan 1\ncluster \"shop\"\ncells \"zone1\"\ngates \"zone1\" r#x=true\n",
    );
    place.write("none/readme.txt", "nothing");
    std::fs::write(place.path("binary.yaml"), b"\x7fELF\0\x01\xff").expect("a file");
    let sparse = std::fs::File::create(place.path("huge.yaml")).expect("a file");
    sparse.set_len(1 << 30).expect("a hole of a file");
    for name in [
        "bomb.yaml",
        "tabs.yaml",
        "twice.yaml",
        "half.yaml",
        "old.kdl",
        "none",
        "binary.yaml",
        "huge.yaml",
    ] {
        for args in [
            &["lint", name][..],
            &["plan", name],
            &["plan", "specs", "--against", name],
        ] {
            let (code, stdout, stderr) = place.output(args);
            assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}: {stderr}");
            assert!(
                stderr.contains(name) && stderr.contains("error"),
                "{args:?}: {stderr}"
            );
        }
        check!(
            place,
            format!("odd-{}", name.replace('.', "-")),
            ["lint", name]
        );
    }
}
