//! Plans without a cluster: against another spec, and against an exported live state.

use std::path::{Path, PathBuf};

use vtplan_planner::against::{plan_against_export, plan_against_spec};
use vtplan_planner::desired::Desired;
use vtplan_planner::export::{EXPORT_FORMAT, Export, ExportError};
use vtplan_planner::live::{Canonical, Live, ServerState};
use vtplan_planner::plan::{Plan, Step};
use vtplan_planner::spec::{self, Secrets};
use vtplan_planner::{make_plan, simulate};
use vtplan_state::model::{
    CellName, FlavorKind, HostName, HostRecord, KeyspaceName, SpecRecord, UserRecord,
};

struct OnePassword;

impl Secrets for OnePassword {
    fn env(&self, _: &str) -> Option<String> {
        Some("geheim".to_owned())
    }
    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn stage(name: &str) -> Desired {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/examples");
    load(folder.join(name))
}

fn load(path: PathBuf) -> Desired {
    let loaded = spec::load(&[path], &OnePassword);
    loaded.expect("the spec is sound").desired
}

fn text(yaml: &str) -> Desired {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spec.yaml");
    std::fs::write(&path, yaml).unwrap();
    load(path)
}

/// A cluster on which a spec was applied, with rows in its tables.
fn applied(desired: &Desired) -> Live {
    let mut live = Live::default();
    for name in ["a", "b", "c", "d"] {
        let name = HostName::new(name).unwrap();
        let record = HostRecord {
            name: name.clone(),
            cell: CellName::new("zone1").unwrap(),
            address: name.to_string(),
            agent_url: String::new(),
            capacity: 20,
            first_mysql_port: 17_100,
            flavor: FlavorKind::MariaDb,
            server_version: String::new(),
            version: String::new(),
            started_at: 0,
            tablets_dir: String::new(),
        };
        live.records.hosts.insert(name, record);
    }
    let plan = make_plan(desired, &live).expect("there is a plan");
    simulate::apply_all(&mut live, &plan.steps);
    live.records.spec = Some(SpecRecord {
        digest: plan.spec_digest,
        desired: serde_json::to_value(desired).unwrap(),
        applied_by: String::new(),
        applied_at: 0,
        begun: None,
    });
    for tablet in live.observed.tablets.values_mut() {
        for table in tablet.tables.iter_mut().flat_map(|t| t.values_mut()) {
            table.rows = 10;
        }
    }
    live
}

fn ids(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|step| step.id.as_str()).collect()
}

const STAGES: [&str; 3] = [
    "walkthrough/stage-1-commerce.yaml",
    "walkthrough/stage-2-movetables.yaml",
    "walkthrough/stage-3-reshard.yaml",
];

#[test]
fn two_specs_give_the_steps_that_a_cluster_would_need() {
    for old in STAGES.map(stage) {
        for new in STAGES.map(stage) {
            let real = make_plan(&new, &applied(&old));
            let without = plan_against_spec(&new, &old).map(|(plan, _)| plan);
            match (real, without) {
                (Ok(real), Ok(without)) => {
                    assert_eq!(ids(&real.steps), ids(&without.steps));
                    assert_eq!(real.is_empty(), old == new);
                }
                (Err(_), Err(_)) => {}
                (real, without) => panic!("{real:?}\n{without:?}"),
            }
        }
    }
}

#[test]
fn an_export_gives_the_plan_of_the_cluster_itself() {
    for old in STAGES.map(stage) {
        let live = applied(&old);
        let export = read_back(&Export::new("shop", live.clone(), Vec::new()));
        for new in STAGES.map(stage) {
            let real = make_plan(&new, &live);
            match (real, plan_against_export(&new, &export.live)) {
                (Ok(real), Ok(without)) => assert_eq!(ids(&real.steps), ids(&without.steps)),
                (Err(_), Err(_)) => {}
                (real, without) => panic!("{real:?}\n{without:?}"),
            }
        }
    }
}

fn bytes(export: &Export) -> Vec<u8> {
    let mut bytes = Vec::new();
    export.write(&mut bytes).unwrap();
    bytes
}

fn read_back(export: &Export) -> Export {
    let again = Export::parse(&bytes(export)).expect("it is read back");
    assert_eq!(again, *export);
    again
}

#[test]
fn an_export_has_no_secrets() {
    let mut live = applied(&stage(STAGES[0]));
    let user = UserRecord::from_password("app", "geheim");
    let verifiers = [user.native_verifier.clone(), user.sha2_verifier.clone()];
    live.records.users.insert("app".to_owned(), user);
    let tablet = live.observed.tablets.values_mut().next().unwrap();
    tablet.server = ServerState::Down {
        message: "Duplicate entry 'alice@example.com' for key 'email'".to_owned(),
    };
    let text = bytes(&Export::new("shop", live, Vec::new()));
    let text = String::from_utf8(text).unwrap();
    for secret in verifiers.iter().map(String::as_str).chain(["alice@"]) {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn files_that_are_no_export_are_told_apart() {
    let whole = bytes(&Export::new("shop", applied(&stage(STAGES[0])), Vec::new()));
    let parse = |bytes: &[u8]| Export::parse(bytes).expect_err("it is none");
    for end in [30, 200, whole.len() / 2, whole.len() - 3] {
        let error = parse(&whole[..end]);
        assert!(matches!(error, ExportError::Damaged(_)), "{end}: {error}");
    }
    let newer = String::from_utf8(whole.clone()).unwrap();
    let newer = newer.replace("\"vtplan_export\": 1", "\"vtplan_export\": 7");
    let error = parse(newer.as_bytes());
    assert!(
        matches!(error, ExportError::Format { found: 7, .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&EXPORT_FORMAT.to_string()));
    for other in [&b""[..], b"{}", b"\x7fELF\0\0\x01", b"[1, 2]", b"hosts: 3"] {
        let error = parse(other);
        assert!(matches!(error, ExportError::NotOne(_)), "{error}");
    }
    // A field that this version does not know belongs to another format.
    let odd = String::from_utf8(whole).unwrap();
    let odd = odd.replacen("\"cluster\"", "\"klaster\"", 1);
    assert!(matches!(parse(odd.as_bytes()), ExportError::Damaged(_)));
}

const OLD: &str = "
vtplan: 1
cluster: shop
cells: [zone1]
keyspaces:
  commerce:
    tablets: { zone1: { replica: 2 } }
    schema: { sql: \"CREATE TABLE a (id bigint NOT NULL AUTO_INCREMENT, PRIMARY KEY (id)); CREATE TABLE b (id bigint PRIMARY KEY)\" }
";

/// As if servers had printed the definitions.
fn printed(live: &mut Live) {
    let print = |statement: &str| statement.replace("bigint", "bigint(20)");
    let keyspace = KeyspaceName::new("commerce").unwrap();
    for canonical in live.observed.canonical.get_mut(&keyspace).unwrap() {
        *canonical.1 = Canonical::Definition(print(canonical.0));
    }
    for tablet in live.observed.tablets.values_mut() {
        for table in tablet.tables.iter_mut().flat_map(|t| t.values_mut()) {
            table.definition = print(&table.definition);
        }
    }
}

#[test]
fn statements_that_no_server_was_asked_about_are_compared_as_texts_and_the_plan_says_so() {
    let mut live = applied(&text(OLD));
    printed(&mut live);
    let export = Export::new("shop", live, Vec::new());
    let plan = |new: &str| plan_against_export(&text(new), &export.live);
    let notes = |plan: &Plan| -> Vec<String> {
        let of_tables = plan.notes.iter().filter(|n| n.object.contains('.'));
        of_tables
            .map(|n| format!("{}: {}", n.object, n.text))
            .collect()
    };

    let same = plan(OLD).unwrap();
    assert!(same.is_empty() && notes(&same).is_empty(), "{same:?}");

    let blanks = plan(&OLD.replace("b (id bigint", "`b`  (id  BIGINT")).unwrap();
    assert!(blanks.is_empty(), "{blanks:?}");
    assert_eq!(
        notes(&blanks),
        ["commerce.b: its statement was compared as a text only"]
    );

    let off = plan(&OLD.replace(" AUTO_INCREMENT", "")).unwrap();
    assert_eq!(ids(&off.steps), ["alter-table:commerce/0:a"]);

    let changed = plan(&OLD.replace("b (id bigint", "b (id int")).unwrap_err();
    assert_eq!(changed[0].code, "table-differs");
    assert!(
        changed[0]
            .diff
            .as_ref()
            .unwrap()
            .contains("+CREATE TABLE b (id int")
    );

    // What was changed by hand was made by no statement that is known.
    let mut drifted = export.live.clone();
    for tablet in drifted.observed.tablets.values_mut() {
        for table in tablet.tables.iter_mut().flat_map(|t| t.values_mut()) {
            table.definition.push_str(" COMMENT 'by hand'");
        }
    }
    let unknown = plan_against_export(&text(&OLD.replace("b (id bigint", "b (id int")), &drifted);
    let errors = unknown.unwrap_err();
    assert!(
        errors.iter().all(|e| e.object.ends_with(":a")),
        "{errors:?}"
    );
}

#[test]
fn passwords_are_not_compared_with_an_export() {
    let with_user = format!("{OLD}users: {{ app: {{ password_env: APP }} }}\n");
    let desired = text(&with_user);
    assert!(desired.users["app"].verifier.is_some());
    let export = Export::new("shop", applied(&desired), Vec::new());
    let plan = plan_against_export(&desired, &export.live).unwrap();
    assert!(plan.is_empty(), "{plan:?}");
    assert!(plan.notes.iter().any(|n| n.text.contains("passwords")));
    let (plan, _) = plan_against_spec(&desired, &text(OLD)).unwrap();
    assert_eq!(ids(&plan.steps), ["create-user:app"]);
}
