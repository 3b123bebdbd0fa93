//! Generated specs that differ in where tables are and how keyspaces are sharded, and live states in
//! which the way from one to the next was gone in part.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vtplan_planner::desired::{
    ApprovePoint, ChangePolicy, Desired, DesiredKeyspace, DesiredTable, DesiredTablets, OnRemove,
    VDiffPolicy,
};
use vtplan_planner::live::{Canonical, Live, ObservedDisk, ObservedHost, ObservedTable};
use vtplan_planner::plan::{Operation, WorkflowOperation};
use vtplan_planner::{make_operation_plan, make_steps, simulate};
use vtplan_state::model::{
    AutoIncrement, ColumnVindex, Durability, FlavorKind, HostRecord, KeyspaceName, Measurement,
    ShardName, Side, SpecRecord, SwitchPhase, TableName, TabletType, VSchemaKeyspace, VSchemaTable,
    VindexDefinition, WriteSwitch,
};

use crate::cluster_cases::{cell, host_name};
use crate::{Numbers, some_in_any_order};

pub const KEYSPACES: [&str; 3] = ["commerce", "customer", "orders"];
pub const TABLES: [&str; 4] = ["corder", "customer", "product", "review"];
const SHARDS: [&[&str]; 7] = [
    &["0"],
    &["-80", "80-"],
    &["-40", "40-80", "80-"],
    &["-40", "40-80", "80-c0", "c0-"],
    &["-55", "55-aa", "aa-"],
    &["-20", "20-80", "80-a0", "a0-"],
    &["-80", "80-c0", "c0-"],
];

/// Where everything is.
#[derive(Debug, Clone, PartialEq)]
pub struct Places {
    /// For each keyspace: whether it is there, and which of [`SHARDS`] it has. The first is
    /// unsharded and holds the sequences.
    pub keyspaces: Vec<Option<usize>>,
    /// For each table: the keyspace.
    pub tables: Vec<usize>,
    /// Unsharded tables count for themselves.
    pub auto_increment: bool,
    /// Whether tables in sharded keyspaces take their ids from sequences.
    pub sequences: bool,
    pub policy: u8,
    /// Whether VSchemas name tables that are in other keyspaces.
    pub in_advance: bool,
}

#[derive(Debug, Clone)]
pub struct MoveCase {
    pub first: Places,
    /// Each with the steps of its plan that were done: of 100, in some order.
    pub then: Vec<(Places, u32)>,
    pub last: Places,
    /// Whether a switch that has flipped is still under way.
    pub flipped: bool,
    /// What a person does with each workflow before the last spec comes, where it can be done.
    pub by_hand: Option<Operation>,
    pub seed: u64,
}

fn places() -> impl Strategy<Value = Places> {
    (
        (
            prop::option::weighted(0.9, 0..SHARDS.len()),
            prop::option::weighted(0.5, 0..SHARDS.len()),
        ),
        prop::collection::vec(0..KEYSPACES.len(), TABLES.len()),
        any::<bool>(),
        prop::bool::weighted(0.7),
        any::<u8>(),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |((customer, orders), tables, auto_increment, sequences, policy, in_advance)| {
                Places {
                    in_advance,
                    keyspaces: vec![Some(0), customer, orders],
                    tables,
                    auto_increment,
                    sequences,
                    policy,
                }
                .sound()
            },
        )
}

impl Places {
    /// Tables of keyspaces that are not there are in the first one.
    fn sound(mut self) -> Self {
        for table in &mut self.tables {
            if self.keyspaces[*table].is_none() {
                *table = 0;
            }
        }
        self
    }

    fn edit(mut self, (kind, value): (u8, u32)) -> Self {
        let value = value as usize;
        match kind {
            0..=3 => self.tables[value % TABLES.len()] = value / 7 % KEYSPACES.len(),
            4..=7 => self.keyspaces[1 + value % 2] = Some(value / 3 % SHARDS.len()),
            8 => self.keyspaces[1 + value % 2] = None,
            9 => self.policy = value as u8,
            _ => self.auto_increment = !self.auto_increment,
        }
        self.sound()
    }
}

pub fn move_case() -> impl Strategy<Value = MoveCase> {
    let edits = || prop::collection::vec((0..11u8, 0..1000u32), 1..4);
    let done = || prop_oneof![3 => 0..100u32, 1 => Just(100u32)];
    (
        places(),
        (edits(), done()),
        (edits(), done()),
        0..6u8,
        (
            prop::bool::weighted(0.15),
            prop_oneof![
                6 => Just(None),
                2 => Just(Some(Operation::Cancel)),
                1 => Just(Some(Operation::Complete)),
            ],
        ),
        any::<u64>(),
    )
        .prop_map(
            |(first, (edits, done), (more, then_done), what, (flipped, by_hand), seed)| {
                let second = edits.into_iter().fold(first.clone(), Places::edit);
                let third = more.into_iter().fold(second.clone(), Places::edit);
                let (then, last) = match what {
                    // Nothing was done yet; the plan goes on; it is taken back; another change comes.
                    0 => (vec![], second),
                    1 => (vec![(second.clone(), done)], second),
                    2 | 3 => (vec![(second, done)], first.clone()),
                    4 => (vec![(second, done)], third),
                    _ => (
                        vec![(second.clone(), done), (first.clone(), then_done)],
                        second,
                    ),
                };
                MoveCase {
                    first,
                    then,
                    last,
                    flipped,
                    by_hand,
                    seed,
                }
            },
        )
}

fn statement(table: &str, auto_increment: bool) -> String {
    let auto = if auto_increment {
        " AUTO_INCREMENT"
    } else {
        ""
    };
    let parent = if table == "corder" {
        ", FOREIGN KEY (parent) REFERENCES customer (id)"
    } else {
        ""
    };
    format!("CREATE TABLE {table} (id bigint NOT NULL{auto} PRIMARY KEY, parent bigint{parent})")
}

fn definition(table: &str, auto_increment: bool) -> String {
    let auto = if auto_increment {
        " AUTO_INCREMENT"
    } else {
        ""
    };
    format!(
        "CREATE TABLE `{table}` (\n  `id` bigint(20) NOT NULL{auto},\n  `parent` bigint(20),\n  \
         PRIMARY KEY (`id`)\n) ENGINE=InnoDB"
    )
}

fn sequence_statement(table: &str) -> String {
    format!(
        "CREATE TABLE {table}_seq (id int primary key, next_id bigint, cache bigint) COMMENT \
         'vitess_sequence'"
    )
}

pub fn desired(places: &Places) -> Desired {
    let mut keyspaces = BTreeMap::new();
    for (index, shards) in places.keyspaces.iter().enumerate() {
        let Some(shards) = shards else { continue };
        keyspaces.insert(
            KeyspaceName::new(KEYSPACES[index]).unwrap(),
            keyspace(places, index, SHARDS[*shards]),
        );
    }
    let bit = |bit: u8| places.policy & (1 << bit) != 0;
    let points = [
        ApprovePoint::SwitchReads,
        ApprovePoint::SwitchWrites,
        ApprovePoint::Complete,
    ];
    let approve = points.into_iter().zip(0..).filter(|(_, n)| bit(*n));
    Desired {
        cluster: "shop".to_owned(),
        cells: vec![cell(0)],
        keyspaces,
        drift: Default::default(),
        changes: ChangePolicy {
            vdiff: if bit(3) {
                VDiffPolicy::Skip
            } else {
                VDiffPolicy::Required
            },
            soak_seconds: if bit(4) { 3600 } else { 0 },
            approve: approve.map(|(point, _)| point).collect(),
            ..ChangePolicy::default()
        },
        backups: None,
        policy: Default::default(),
        gates: BTreeMap::new(),
        users: BTreeMap::new(),
    }
}

fn add(
    tables: &mut BTreeMap<TableName, DesiredTable>,
    vschema: &mut VSchemaKeyspace,
    name: String,
    statement: String,
    declared: VSchemaTable,
) {
    let made = DesiredTable {
        statement,
        on_remove: OnRemove::Keep,
    };
    tables.insert(TableName::new(name.as_str()).unwrap(), made);
    vschema.tables.insert(name, declared);
}

fn keyspace(places: &Places, index: usize, shards: &[&str]) -> DesiredKeyspace {
    let shards: Vec<ShardName> = shards.iter().map(|s| s.parse().unwrap()).collect();
    let sharded = shards.len() > 1;
    let mut vschema = VSchemaKeyspace {
        sharded,
        ..Default::default()
    };
    if sharded {
        let vindex = VindexDefinition {
            vindex_type: "xxhash".to_owned(),
            params: BTreeMap::new(),
            owner: None,
            extra: BTreeMap::new(),
        };
        vschema.vindexes.insert("xxhash".to_owned(), vindex);
    }
    let mut tables = BTreeMap::new();
    let mut table = |name: String, statement: String, declared: VSchemaTable| {
        add(&mut tables, &mut vschema, name, statement, declared);
    };
    for (name, _) in TABLES
        .iter()
        .zip(&places.tables)
        .filter(|(_, at)| **at == index)
    {
        let mut declared = VSchemaTable::default();
        if sharded {
            declared.column_vindexes.push(ColumnVindex {
                column: Some("id".to_owned()),
                columns: Vec::new(),
                name: "xxhash".to_owned(),
                extra: BTreeMap::new(),
            });
            if places.sequences {
                declared.auto_increment = Some(AutoIncrement {
                    column: "id".to_owned(),
                    sequence: format!("commerce.{name}_seq"),
                });
            }
        }
        let auto_increment = places.auto_increment && !sharded;
        table(
            (*name).to_owned(),
            statement(name, auto_increment),
            declared,
        );
    }
    if places.in_advance {
        let elsewhere = TABLES.iter().zip(&places.tables);
        for (name, _) in elsewhere.filter(|(_, at)| **at != index) {
            vschema
                .tables
                .insert((*name).to_owned(), VSchemaTable::default());
        }
    }
    let mut table = |name: String, statement: String, declared: VSchemaTable| {
        add(&mut tables, &mut vschema, name, statement, declared);
    };
    if index == 0 && places.sequences {
        for name in TABLES {
            let declared = VSchemaTable {
                table_type: Some("sequence".to_owned()),
                ..VSchemaTable::default()
            };
            table(format!("{name}_seq"), sequence_statement(name), declared);
        }
    }
    DesiredKeyspace {
        shards,
        durability: Durability::SemiSync,
        tablets: vec![DesiredTablets {
            cell: cell(0),
            tablet_type: TabletType::Replica,
            count: 2,
            pin: None,
            adopt: None,
        }],
        tables,
        vschema,
        on_remove: OnRemove::Keep,
    }
}

fn nothing() -> Live {
    let mut live = Live::default();
    for index in 0..3 {
        let host = HostRecord {
            name: host_name(index),
            cell: cell(0),
            address: format!("10.0.0.{index}"),
            agent_url: String::new(),
            capacity: 100,
            first_mysql_port: 17_000,
            flavor: FlavorKind::MariaDb,
            server_version: "10.11.6".to_owned(),
            version: String::new(),
            started_at: 0,
            tablets_dir: String::new(),
        };
        live.records.hosts.insert(host.name.clone(), host);
    }
    for keyspace in KEYSPACES {
        let mut known = BTreeMap::new();
        for table in TABLES {
            for auto in [false, true] {
                let canonical = Canonical::Definition(definition(table, auto));
                known.insert(statement(table, auto), canonical);
            }
        }
        let keyspace = KeyspaceName::new(keyspace).unwrap();
        live.observed.canonical.insert(keyspace, known);
    }
    live
}

/// All tables of primaries.
pub fn all_tables(live: &mut Live) -> impl Iterator<Item = (&TableName, &mut ObservedTable)> {
    let tablets = live.observed.tablets.values_mut();
    tablets.filter_map(|t| t.tables.as_mut()).flatten()
}

/// Does with each workflow what is asked, where it can be done.
pub fn all_by_hand(live: &mut Live, operation: Operation) {
    let all = live.records.all_workflows();
    let all: Vec<WorkflowOperation> = all
        .map(|workflow| WorkflowOperation {
            keyspace: workflow.target.keyspace.clone(),
            workflow: workflow.name.clone(),
            operation,
        })
        .collect();
    for asked in all {
        if let Ok(plan) = make_operation_plan(live, &asked) {
            simulate::apply_all(live, &plan.steps);
        }
    }
}

/// The first spec is applied and its tables have rows; of those that came then, only a part was done.
pub fn live(case: &MoveCase) -> Live {
    let mut live = nothing();
    let mut numbers = Numbers::new(case.seed);
    let specs = std::iter::once((&case.first, 100)).chain(case.then.iter().map(|(p, d)| (p, *d)));
    for (index, (places, done)) in specs.enumerate() {
        let spec = desired(places);
        let Ok((steps, _)) = make_steps(&spec, &live) else {
            continue;
        };
        let some = some_in_any_order(&steps, &mut numbers);
        let all = done == 100;
        if all {
            simulate::apply_all(&mut live, &steps);
        } else {
            let count = some.len() * done as usize / 70;
            simulate::apply_all(&mut live, some.into_iter().take(count));
        }
        if index == 0 {
            for (name, table) in all_tables(&mut live) {
                if !name.as_str().ends_with("_seq") {
                    (table.rows, table.bytes) = (1000, 1 << 20);
                }
            }
        }
        if all {
            live.records.spec = Some(SpecRecord {
                digest: String::new(),
                desired: serde_json::to_value(&spec).unwrap(),
                applied_by: String::new(),
                applied_at: 0,
                begun: None,
            });
        }
    }
    if let Some(operation) = case.by_hand {
        all_by_hand(&mut live, operation);
    }
    if case.flipped {
        for record in live
            .records
            .workflows
            .values_mut()
            .flat_map(|w| w.values_mut())
        {
            let switched = record.writes == Side::Target || record.streams.epoch > 1;
            record.switch = switched.then(|| WriteSwitch {
                to: record.writes,
                phase: SwitchPhase::Flipped,
                started_at: 0,
                fenced_at: BTreeMap::new(),
            });
        }
    }
    observe_hosts(&mut live, &mut numbers);
    live
}

/// Hosts with room, some of them on one machine; and copies that were measured.
fn observe_hosts(live: &mut Live, numbers: &mut Numbers) {
    let hosts: Vec<_> = live.records.hosts.keys().cloned().collect();
    for host in hosts {
        let disk = ObservedDisk {
            id: ["", "a", "b"][numbers.below(3)].to_owned(),
            free_bytes: 1 << 40,
            total_bytes: 1 << 41,
        };
        let room = ObservedHost {
            disk: (numbers.below(8) > 0).then_some(disk),
            new_tablet_bytes: Some(200 << 20),
            max_connections: Some(100_000),
        };
        live.observed.hosts.insert(host, room);
    }
    for _ in 0..numbers.below(4) {
        let copies = live.records.rates.with_copy(Measurement {
            workflow: "earlier.one".to_owned(),
            epoch: 1,
            at: 0,
            rows: 1_000,
            bytes: (1 + numbers.below(100) as u64) << 20,
            shard_milliseconds: 1_000,
            shards: 1,
            source: FlavorKind::MariaDb,
            target: FlavorKind::MariaDb,
        });
        live.records.rates = copies.expect("it says something");
    }
}
