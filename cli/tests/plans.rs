//! Plans against nothing running, in every format, and plan files.

#[path = "../../planner/tests/schema_check/mod.rs"]
mod schema_check;
mod support;

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use support::{Place, put};
use vtplan_state::model::{CellName, FlavorKind, HostName, HostRecord};
use vtplan_state::store::Op;

#[test]
fn examples_are_planned_against_nothing_and_nothing_is_made() {
    let place = Place::with_examples();
    for name in ["commerce", "sharded", "three-hosts"] {
        let yaml = format!("specs/{name}.yaml");
        let kdl = format!("specs/{name}.kdl");
        check!(place, format!("plan-{name}"), ["plan", &yaml]);
        assert_eq!(
            place.run(&["plan", &kdl]),
            place.run(&["plan", &yaml]),
            "{name}"
        );
    }
    assert!(
        !place.path(".vtplan").exists(),
        "`plan` left something behind"
    );
}

#[test]
fn a_plan_has_four_formats() {
    let place = Place::with_examples();
    let spec = "specs/commerce.yaml";
    check!(place, "plan-json", ["plan", spec, "--format", "json"]);
    check!(
        place,
        "plan-markdown",
        ["plan", spec, "--format", "markdown"]
    );
    check!(place, "plan-dot", ["plan", spec, "--format", "dot"]);
}

#[test]
fn what_is_printed_as_json_fits_the_published_schema() {
    let place = Place::with_examples();
    let read = |args: &[&str]| -> Value {
        let (_, stdout, _) = place.output(args);
        serde_json::from_str(&stdout).expect("JSON")
    };
    let schema = read(&["schema", "plan"]);
    place.write("bad.yaml", "vtplan: 2\n");
    for spec in [
        "specs/commerce.yaml",
        "specs/sharded.yaml",
        "specs/walkthrough/initial.yaml",
        "bad.yaml",
        "none",
    ] {
        let document = read(&["plan", spec, "--format", "json"]);
        assert_eq!(
            schema_check::problems(&schema, &document),
            Vec::<String>::new(),
            "{spec}"
        );
    }
    // It is not a schema that takes anything.
    let mut document = read(&["plan", "specs/commerce.yaml", "--format", "json"]);
    document["steps"][0]["kind"] = "dance".into();
    assert!(!schema_check::problems(&schema, &document).is_empty());
}

#[test]
fn the_same_spec_gives_the_same_bytes() {
    let place = Place::with_examples();
    for format in ["text", "json", "markdown", "dot"] {
        let run = || place.output(&["plan", "specs/sharded.yaml", "--format", format]);
        assert_eq!(run(), run(), "{format}");
    }
    let file = |name: &str| {
        place.output(&["plan", "specs/sharded.yaml", "--out", name]);
        std::fs::read(place.path(name)).expect("the plan file")
    };
    assert_eq!(file("one.plan"), file("two.plan"));
}

#[test]
fn a_comment_begins_with_its_marker_also_where_there_is_no_plan() {
    let place = Place::with_examples();
    place.write("bad.yaml", "vtplan: 2\n");
    let first = |args: &[&str]| {
        let (_, stdout, _) = place.output(args);
        stdout.lines().next().unwrap_or_default().to_owned()
    };
    for spec in ["specs/commerce.yaml", "bad.yaml"] {
        let markdown = ["plan", spec, "--format", "markdown"];
        assert_eq!(first(&markdown), "<!-- vtplan-plan -->");
        let named = [&markdown[..], &["--marker", "shop/eu"]].concat();
        assert_eq!(first(&named), "<!-- vtplan-plan shop/eu -->");
    }
    check!(
        place,
        "plan-markdown-refused",
        ["plan", "bad.yaml", "--format", "markdown"]
    );
    check!(
        place,
        "plan-marker",
        ["plan", "bad.yaml", "--marker", "a --> b"]
    );
}

#[test]
fn the_detailed_exit_code_tells_changes() {
    let place = Place::with_examples();
    let code = |args: &[&str]| place.output(args).0;
    assert_eq!(code(&["plan", "specs/commerce.yaml"]), 0);
    assert_eq!(
        code(&["plan", "specs/commerce.yaml", "--detailed-exitcode"]),
        2
    );
    place.write("bad.yaml", "vtplan: 2\n");
    assert_eq!(code(&["plan", "bad.yaml", "--detailed-exitcode"]), 1);
}

#[test]
fn colours_are_for_terminals() {
    let place = Place::with_examples();
    let (_, stdout, _) = place.output(&["plan", "specs/commerce.yaml"]);
    assert!(!stdout.contains('\x1b'));
    let forced = Place::with_examples().env("CLICOLOR_FORCE", "1");
    let (_, stdout, _) = forced.output(&["plan", "specs/commerce.yaml"]);
    assert!(stdout.contains('\x1b'));
    let (_, stdout, _) = forced.output(&["plan", "specs/commerce.yaml", "--no-color"]);
    assert!(!stdout.contains('\x1b'));
    let (_, _, stderr) = forced.output(&["plan", "none.yaml", "--no-color"]);
    assert!(!stderr.contains('\x1b'), "{stderr:?}");
    let none = forced.env("NO_COLOR", "1");
    let (_, stdout, _) = none.output(&["plan", "specs/commerce.yaml"]);
    assert!(!stdout.contains('\x1b'));
}

#[test]
fn a_plan_file_is_for_its_owner_and_shows_the_same_plan() {
    let place = Place::with_examples().env("VTPLAN_APP_PASSWORD", "geheim");
    check!(
        place,
        "plan-out",
        [
            "plan",
            "specs/commerce.yaml",
            "--out",
            "shop.plan",
            "--format",
            "text"
        ]
    );
    let mode = std::fs::metadata(place.path("shop.plan")).expect("the plan file");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(place.path("shop.plan")).expect("the plan file");
    assert!(!text.contains("geheim"), "a password is never written");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(file["vtplan_plan_file"], 1);
    assert_eq!(file["plan"]["format"], 1);
    let verifier = file["desired"]["users"]["app"]["verifier"]["sha2_verifier"].as_str();
    let verifier = verifier.expect("apply needs the verifier");

    let (code, shown, _) = place.output(&["show", "shop.plan"]);
    let (_, planned, _) = place.output(&["plan", "specs/commerce.yaml"]);
    assert_eq!((code, shown), (0, planned));
    for format in ["text", "json", "markdown", "dot"] {
        let (_, shown, _) = place.output(&["show", "shop.plan", "--format", format]);
        assert!(!shown.contains(verifier), "{format} prints a verifier");
    }
}

#[test]
fn plan_files_that_are_none_are_told() {
    let place = Place::with_examples();
    place.write("broken.plan", "{ \"vtplan_plan_file\": 1, ");
    check!(place, "plan-file-broken", ["apply", "broken.plan"]);
    place.write(
        "newer.plan",
        "{ \"vtplan_plan_file\": 2, \"made_by\": \"9.0.0\" }",
    );
    check!(place, "plan-file-newer", ["apply", "newer.plan"]);
    place.write("other.plan", "{ \"resource_changes\": [] }");
    check!(place, "plan-file-other", ["show", "other.plan"]);
    // One that was edited: another desired state than the one the plan is for.
    place.output(&["plan", "specs/commerce.yaml", "--out", "shop.plan"]);
    let text = std::fs::read_to_string(place.path("shop.plan")).expect("the plan file");
    let mut file: Value = serde_json::from_str(&text).expect("JSON");
    file["desired"]["gates"]["zone1"]["mysql_port"] = 3306.into();
    place.write("edited.plan", &file.to_string());
    check!(place, "plan-file-edited", ["apply", "edited.plan"]);
    check!(
        place,
        "plan-file-unwritable",
        [
            "plan",
            "specs/commerce.yaml",
            "-q",
            "--format",
            "dot",
            "--out",
            "none/shop.plan"
        ]
    );
}

fn host(name: &str) -> HostRecord {
    HostRecord {
        name: HostName::new(name).expect("a name"),
        cell: CellName::new("zone1").expect("a name"),
        address: "127.0.0.1".to_owned(),
        // Nothing listens on port 1.
        agent_url: "http://127.0.0.1:1".to_owned(),
        capacity: 20,
        first_mysql_port: 17100,
        flavor: FlavorKind::MariaDb,
        server_version: "10.11.6".to_owned(),
        version: "0.1.0".to_owned(),
        started_at: 1,
        tablets_dir: "/srv/tablets".to_owned(),
    }
}

#[tokio::test]
async fn tablets_are_placed_on_the_hosts_that_are_there_and_a_saved_plan_gets_stale() {
    let place = Place::with_examples();
    let cluster = place.cluster("shop").await;
    let keys = cluster.keys().clone();
    let add = |name: &str| {
        let host = host(name);
        Op::put(keys.host(&host.name), &host)
    };
    put(&cluster, vec![add("db1"), add("db2"), add("db3")]).await;
    check!(
        place,
        "plan-placed",
        ["plan", "specs/commerce.yaml", "--out", "shop.plan"]
    );
    put(
        &cluster,
        vec![add("db4"), Op::delete(keys.host(&host("db1").name))],
    )
    .await;
    check!(
        place,
        "apply-stale",
        ["apply", "shop.plan", "--auto-approve"]
    );
}
