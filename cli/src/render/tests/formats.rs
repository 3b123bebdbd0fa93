//! Every format of plans as the planner makes them: nothing to do, create, MoveTables, Reshard,
//! destroy, mixed with drift, waiting for approval, refused.

use std::collections::BTreeMap;
use std::path::Path;

use insta::assert_snapshot;
use vtplan_planner::desired::Desired;
use vtplan_planner::live::{Live, ObservedDisk, ObservedHost};
use vtplan_planner::plan::{Action, Origin, Plan, PlanError};
use vtplan_planner::seen::Deviation;
use vtplan_planner::spec::{self, NoSecrets};
use vtplan_planner::{make_destroy_plan, make_plan, simulate};
use vtplan_state::model::{
    CellName, Durability, FlavorKind, HostName, HostRecord, KeyspaceName, SpecRecord, TableName,
    TabletAlias,
};

use crate::planning::plan_errors;
use crate::render::dot;

const COMMERCE: &str = "
vtplan: 1
cluster: shop
cells: [zone1]
changes: { soak: 1h, approve: [switch_writes], window: \"Sat 02:00-05:00 UTC\" }
keyspaces:
  commerce:
    tablets: { zone1: { replica: 2 } }
    on_remove: drop
    schema: { sql: \"CREATE TABLE product (sku varbinary(128) PRIMARY KEY); CREATE TABLE customer (id bigint PRIMARY KEY, email varchar(100));\" }
";

/// `customer` in a keyspace of its own.
const MOVED: &str = "
vtplan: 1
cluster: shop
cells: [zone1]
changes: { soak: 1h, approve: [switch_writes], window: \"Sat 02:00-05:00 UTC\" }
keyspaces:
  commerce:
    tablets: { zone1: { replica: 2 } }
    on_remove: drop
    schema: { sql: \"CREATE TABLE product (sku varbinary(128) PRIMARY KEY);\" }
  customer:
    sharded: true
    tablets: { zone1: { replica: 2 } }
    schema: { sql: \"CREATE TABLE customer (id bigint PRIMARY KEY, email varchar(100));\" }
    vindexes: { xxhash: { type: xxhash } }
    tables: { customer: { vindexes: [{ column: id, name: xxhash }] } }
";

struct World {
    live: Live,
    desired: Desired,
}

impl World {
    fn new() -> Self {
        let mut live = Live::default();
        for name in ["db1", "db2", "db3"] {
            let name = HostName::new(name).expect("a name");
            let record = HostRecord {
                name: name.clone(),
                cell: CellName::new("zone1").expect("a name"),
                address: "10.0.0.1".to_owned(),
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
        for (name, free) in [("db1", 80), ("db2", 90), ("db3", 100)] {
            let room = ObservedHost {
                disk: Some(ObservedDisk {
                    id: String::new(),
                    free_bytes: free << 30,
                    total_bytes: 200 << 30,
                }),
                new_tablet_bytes: Some(200 << 20),
                max_connections: Some(500),
            };
            let name = HostName::new(name).expect("a name");
            live.observed.hosts.insert(name, room);
        }
        let desired = load(COMMERCE);
        Self { live, desired }
    }

    fn plan(&self) -> Plan {
        make_plan(&self.desired, &self.live).expect("there is a plan")
    }

    /// Does the steps before the one that is found, or all.
    fn apply_until(&mut self, found: impl Fn(&Action) -> bool) {
        let plan = self.plan();
        let count = plan.steps.iter().position(|step| found(&step.action));
        let steps = &plan.steps[..count.unwrap_or(plan.steps.len())];
        simulate::apply_all(&mut self.live, steps);
        if count.is_none() {
            self.live.records.spec = Some(SpecRecord {
                digest: plan.spec_digest.clone(),
                desired: serde_json::to_value(&self.desired).expect("it serializes"),
                applied_by: String::new(),
                applied_at: 0,
                begun: None,
            });
        }
    }

    /// The first spec, applied, with rows.
    fn running() -> Self {
        let mut world = Self::new();
        world.apply_until(|_| false);
        for tablet in world.live.observed.tablets.values_mut() {
            for table in tablet.tables.iter_mut().flat_map(BTreeMap::values_mut) {
                (table.rows, table.bytes) = (12_345, 6 << 20);
            }
        }
        world
    }

    fn moved() -> Self {
        let mut world = Self::running();
        world.desired = load(MOVED);
        world
    }
}

fn load(text: &str) -> Desired {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spec.yaml");
    std::fs::write(&path, text).expect("a file");
    let loaded = spec::load(&[path], &NoSecrets);
    loaded.expect("the spec is sound").desired
}

/// All formats of a plan, each with its own snapshot.
fn check(name: &str, plan: &Plan) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b[0-9a-f]{64}\b", "[DIGEST]");
    settings.set_snapshot_path(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/snapshots/formats"),
    );
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        assert_snapshot!(format!("{name}.txt"), super::plain(plan));
        assert_snapshot!(format!("{name}.md"), super::markdown(plan));
        assert_snapshot!(format!("{name}.json"), super::json(plan));
        assert_snapshot!(format!("{name}.dot"), dot::plan(plan));
    });
    // The same input gives the same bytes.
    assert_eq!(super::json(plan), super::json(&plan.clone()));
}

fn refused(name: &str, errors: &[PlanError]) {
    let error = plan_errors("shop", errors);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/snapshots/formats"),
    );
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        let text = anstream::adapter::strip_str(&error.text()).to_string();
        assert_snapshot!(format!("{name}.txt"), text);
        assert_snapshot!(format!("{name}.md"), error.markdown(None));
        assert_snapshot!(format!("{name}.json"), format!("{:#}", error.document()));
    });
}

#[test]
fn nothing_to_do_and_create() {
    check("create", &World::new().plan());
    check("nothing", &World::running().plan());
}

#[test]
fn move_tables_and_waiting_for_approval() {
    let mut world = World::moved();
    check("move-tables", &world.plan());
    world.apply_until(|action| matches!(action, Action::WaitForApproval { .. }));
    check("waiting", &world.plan());
}

#[test]
fn reshard() {
    let mut world = World::moved();
    world.apply_until(|_| false);
    world.desired = load(&MOVED.replace("sharded: true", "shards: [-80, 80-]"));
    check("reshard", &world.plan());
}

#[test]
fn destroy() {
    let world = World::running();
    let plan = make_destroy_plan("shop", &world.live).expect("there is a plan");
    check("destroy", &plan);
}

#[test]
fn a_change_that_meets_drift() {
    let mut world = World::running();
    // A replica's record is gone, a table with rows is left out, another one is new, and the
    // keyspace's durability is not what it was.
    let lost = world.live.records.tablets.keys().next_back().cloned();
    let lost: TabletAlias = lost.expect("a tablet");
    world.live.records.tablets.remove(&lost);
    world.live.observed.tablets.remove(&lost);
    let text = COMMERCE
        .replace(
            "CREATE TABLE customer (id bigint PRIMARY KEY, email varchar(100));",
            "CREATE TABLE review (id bigint PRIMARY KEY, words text);",
        )
        .replace("on_remove: drop", "on_remove: drop\n    durability: none");
    world.desired = load(&text);
    check("drift", &world.plan());
}

#[test]
fn drift_alone() {
    let mut world = World::running();
    // By hand: a setting and an account of a server, a table's definition, a record.
    let (alias, tablet) = world.live.observed.tablets.iter_mut().next().expect("one");
    tablet.deviations = vec![
        Deviation::Account {
            name: "'vt_app'@'%'".to_owned(),
            found: "it does not exist".to_owned(),
        },
        Deviation::Variable {
            name: "sync_binlog".to_owned(),
            expected: "1".to_owned(),
            found: "0".to_owned(),
            needs_restart: false,
        },
    ];
    let primary = alias.clone();
    let tables = tablet.tables.as_mut().expect("it is a primary");
    tables.remove(&TableName::new("product").expect("a name"));
    let keyspace = KeyspaceName::new("commerce").expect("a name");
    let record = world.live.records.keyspaces.get_mut(&keyspace);
    record.expect("it is there").durability = Durability::None;
    let plan = world.plan();
    assert!(plan.steps.iter().all(|step| step.origin == Origin::Drift));
    assert!(world.live.records.tablets.contains_key(&primary));
    check("drift-alone", &plan);
}

#[test]
fn a_plan_that_is_refused() {
    let mut world = World::running();
    let text = COMMERCE.replace("email varchar(100)", "email varchar(200)");
    world.desired = load(&text);
    let keyspace = KeyspaceName::new("commerce").expect("a name");
    assert!(world.live.records.keyspaces.contains_key(&keyspace));
    let errors = make_plan(&world.desired, &world.live).expect_err("tables are not changed");
    refused("refused", &errors);
}

/// Twice 100 GiB of rows go to new tablets, on db1 and db2, or db2 and db3.
fn crowded() -> World {
    let mut world = World::moved();
    for tablet in world.live.observed.tablets.values_mut() {
        for table in tablet.tables.iter_mut().flat_map(BTreeMap::values_mut) {
            (table.rows, table.bytes) = (1_000_000_000, 60 << 30);
        }
    }
    world
}

#[test]
fn a_plan_that_does_not_fit_is_refused_before_it_starts() {
    let world = crowded();
    let errors = make_plan(&world.desired, &world.live).expect_err("the disks are too small");
    assert!(
        errors.iter().all(|e| e.code == "does-not-fit"),
        "{errors:?}"
    );
    refused("does-not-fit", &errors);
}

#[test]
fn a_plan_that_does_not_fit_goes_ahead_where_the_spec_says_so() {
    let mut world = crowded();
    world.desired = load(&MOVED.replace("changes: {", "changes: { fit: warn,"));
    check("fit-warn", &world.plan());
}
