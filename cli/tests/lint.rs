//! `vtplan lint`, and policies that stop plans.

mod support;

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
    let (_, sarif, _) = place.output(&["lint", "specs", "--format", "sarif"]);
    let log: Value = serde_json::from_str(&sarif).expect("JSON");
    let run = &log["runs"][0];
    for result in run["results"].as_array().expect("results") {
        let index = result["ruleIndex"].as_u64().expect("an index") as usize;
        let rule = &run["tool"]["driver"]["rules"][index];
        assert_eq!(rule["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().expect("a URI");
        assert!(!uri.contains(' '), "{uri}");
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
