//! Generated specs and live states, small ones: a few keyspaces, cells and hosts, with everything
//! in them that a plan can hang on.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vtplan_planner::desired::{
    Adopt, BackupPolicy, BackupSchedule, ChangePolicy, Desired, DesiredGates, DesiredKeyspace,
    DesiredTable, DesiredTablets, DesiredUser, OnRemove, PasswordSource, Pin,
};
use vtplan_planner::live::{Canonical, Live};
use vtplan_planner::{make_steps, simulate};
use vtplan_state::model::{
    AutoIncrement, CellName, ColumnVindex, Durability, FlavorKind, HostName, HostRecord,
    KeyspaceName, ServerAddress, ShardName, SpecRecord, TableName, TabletType, UserRecord,
    VSchemaKeyspace, VSchemaTable, VindexDefinition,
};

pub const CELLS: [&str; 3] = ["zone1", "zone2", "zone3"];
const KEYSPACES: [&str; 3] = ["alpha", "commerce", "customer"];
const TABLES: [&str; 4] = ["corder", "customer", "product", "product_seq"];

pub fn cell(index: usize) -> CellName {
    CellName::new(CELLS[index]).unwrap()
}

/// A spec in short.
#[derive(Debug, Clone)]
pub struct Shape {
    pub cells: usize,
    pub keyspaces: Vec<KeyspaceShape>,
    pub gates: Vec<(usize, u32)>,
    pub users: Vec<(usize, u8)>,
}

#[derive(Debug, Clone)]
pub struct KeyspaceShape {
    pub name: usize,
    pub shards: u32,
    pub durability: Durability,
    /// Replicas and rdonlys for each cell.
    pub counts: Vec<(u32, u32)>,
    pub pins: Vec<PinShape>,
    /// For each table: absent, without or with `AUTO_INCREMENT`.
    pub tables: Vec<u8>,
    pub on_remove: bool,
    pub drop_tables: bool,
    /// Its tablets are servers that were there before, where it has one shard.
    pub adopted: bool,
}

#[derive(Debug, Clone)]
pub struct PinShape {
    pub host: usize,
    pub rdonly: bool,
    pub shard: u32,
    pub uid: Option<u32>,
    pub port: Option<u16>,
}

#[derive(Debug, Clone)]
pub struct HostShape {
    pub cell: usize,
    pub capacity: u32,
    pub mysql: bool,
    /// Shares its address with the host before it.
    pub same_address: bool,
}

/// A spec, and what there is when it comes.
#[derive(Debug, Clone)]
pub struct Case {
    pub hosts: Vec<HostShape>,
    pub canonical: bool,
    /// Specs that came before, each with the part of its plan that was done (of 100).
    pub before: Vec<(Shape, u32)>,
    /// Hosts that are dead by now.
    pub dead: Vec<usize>,
    /// Tablets whose record is lost.
    pub lost: Vec<prop::sample::Index>,
    pub desired: Shape,
    pub seed: u64,
}

fn keyspace_shape() -> impl Strategy<Value = KeyspaceShape> {
    let durability = prop_oneof![
        6 => Just(Durability::None),
        4 => Just(Durability::SemiSync),
        1 => Just(Durability::CrossCell),
    ];
    let pin = (
        0..5usize,
        prop::bool::weighted(0.3),
        0..2u32,
        prop::option::of(prop::sample::select(vec![105u32, 150, 777, 1200])),
        prop::option::of(17_000..17_004u16),
    )
        .prop_map(|(host, rdonly, shard, uid, port)| PinShape {
            host,
            rdonly,
            shard,
            uid,
            port,
        });
    (
        0..KEYSPACES.len(),
        prop_oneof![4 => Just(1u32), 3 => Just(2), 1 => Just(4)],
        durability,
        (
            (prop_oneof![1 => Just(0u32), 8 => 1..4u32], 0..2u32),
            prop_oneof![2 => Just((0u32, 0u32)), 1 => (0..3u32, 0..3u32)],
            prop_oneof![3 => Just((0u32, 0u32)), 1 => (0..2u32, 0..2u32)],
        )
            .prop_map(|(a, b, c)| vec![a, b, c]),
        prop_oneof![
            6 => Just(Vec::new()).boxed(),
            1 => prop::collection::vec(pin, 1..3).boxed(),
        ],
        prop::collection::vec(0..3u8, TABLES.len()),
        any::<bool>(),
        (prop::bool::weighted(0.2), prop::bool::weighted(0.15)),
    )
        .prop_map(
            |(
                name,
                shards,
                durability,
                counts,
                pins,
                tables,
                on_remove,
                (drop_tables, adopted),
            )| {
                KeyspaceShape {
                    name,
                    shards,
                    durability,
                    counts,
                    pins,
                    tables,
                    on_remove,
                    drop_tables,
                    adopted,
                }
            },
        )
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        prop_oneof![2 => Just(1usize), 2 => Just(2), 1 => Just(3)],
        prop::collection::vec(keyspace_shape(), 1..3),
        prop::collection::vec((0..3usize, 0..3u32), 0..2),
        prop::collection::vec((0..3usize, 0..2u8), 0..2),
    )
        .prop_map(|(cells, keyspaces, gates, users)| Shape {
            cells,
            keyspaces,
            gates,
            users,
        })
}

/// Small changes of a spec: most changes are.
fn edit(shape: Shape, edits: &[(u8, u32)]) -> Shape {
    let mut shape = shape;
    for (kind, value) in edits {
        let value = *value as usize;
        let count = shape.keyspaces.len();
        if count == 0 {
            break;
        }
        let keyspace = &mut shape.keyspaces[value % count];
        let other = value / 7;
        match kind {
            0 => keyspace.counts[other % 3].0 = (other as u32 / 3) % 4,
            1 => keyspace.counts[other % 3].1 = (other as u32 / 3) % 3,
            2 => keyspace.counts.rotate_left(1),
            3 => keyspace.tables[other % TABLES.len()] = (other / 4 % 3) as u8,
            4 => keyspace.durability = Durability::None,
            5 => keyspace.durability = Durability::SemiSync,
            6 => drop(shape.keyspaces.remove(value % count)),
            7 => shape.cells = 1 + other % 3,
            8 => keyspace.pins.clear(),
            9 => shape.users.push((other % 3, (other / 3 % 2) as u8)),
            10 => {
                let (replicas, rdonlys) = keyspace.counts[other % 3];
                keyspace.counts[other % 3] = (rdonlys, replicas);
            }
            _ => keyspace.on_remove = !keyspace.on_remove,
        }
    }
    shape
}

pub fn case() -> impl Strategy<Value = Case> {
    let size = prop_oneof![1 => 1..5u32, 8 => Just(30u32), 2 => Just(12u32)];
    let host = (size, prop::bool::weighted(0.03), prop::bool::weighted(0.2));
    let hosts_of = |counts| {
        let hosts = prop::collection::vec(host.clone(), counts);
        hosts.boxed()
    };
    let hosts = (hosts_of(1..5), hosts_of(0..4), hosts_of(0..3)).prop_map(|(a, b, c)| {
        let cells = [a, b, c].into_iter().enumerate();
        let hosts = cells.flat_map(|(cell, hosts)| {
            hosts
                .into_iter()
                .map(move |(capacity, mysql, same_address)| HostShape {
                    cell,
                    capacity,
                    mysql,
                    same_address,
                })
        });
        hosts.collect::<Vec<_>>()
    });
    let edits = || prop::collection::vec((0..12u8, 0..1000u32), 1..4);
    let history = prop_oneof![
        2 => Just(0usize),
        5 => Just(1),
        3 => Just(2),
    ];
    (
        hosts,
        any::<bool>(),
        (shape(), shape(), prop::bool::weighted(0.2)),
        (edits(), edits(), history),
        (60..160u32, 40..160u32),
        prop_oneof![8 => Just(Vec::new()).boxed(), 1 => prop::collection::vec(0..5usize, 1..2).boxed()],
        prop_oneof![
            8 => Just(Vec::new()).boxed(),
            1 => prop::collection::vec(any::<prop::sample::Index>(), 1..3).boxed()
        ],
        any::<u64>(),
    )
        .prop_map(
            |(hosts, canonical, (first, other, jump), (edits, more, history), done, dead, lost, seed)| {
                let second = edit(first.clone(), &edits);
                let third = if jump { other } else { edit(second.clone(), &more) };
                let mut before = vec![(first.clone(), done.0), (second, done.1)];
                before.truncate(history);
                Case {
                    hosts,
                    canonical,
                    before,
                    dead,
                    lost,
                    desired: third,
                    seed,
                }
            },
        )
}

fn statement(table: usize, auto_increment: bool) -> String {
    let name = TABLES[table];
    if name.ends_with("_seq") {
        return format!(
            "CREATE TABLE {name} (id int primary key, next_id bigint, cache bigint) \
             COMMENT 'vitess_sequence'"
        );
    }
    let auto = if auto_increment {
        " AUTO_INCREMENT"
    } else {
        ""
    };
    let key = if name == "corder" {
        ", FOREIGN KEY (customer_id) REFERENCES customer (id)"
    } else {
        ""
    };
    format!("CREATE TABLE {name} (id bigint NOT NULL{auto} PRIMARY KEY, customer_id bigint{key})")
}

fn definition(table: usize, auto_increment: bool) -> String {
    let auto = if auto_increment {
        " AUTO_INCREMENT"
    } else {
        ""
    };
    format!(
        "CREATE TABLE `{}` (\n  `id` bigint(20) NOT NULL{auto},\n  PRIMARY KEY (`id`)\n)",
        TABLES[table]
    )
}

fn adopted(
    shape: &KeyspaceShape,
    index: usize,
    tablet_type: TabletType,
    number: u32,
) -> DesiredTablets {
    let machine = format!(
        "{tablet_type}{number}-of-{}-{}",
        KEYSPACES[shape.name], CELLS[index]
    );
    DesiredTablets {
        cell: cell(index),
        tablet_type,
        count: 1,
        pin: None,
        adopt: Some(Adopt {
            server: ServerAddress {
                machine,
                port: 3306,
            },
            host: None,
        }),
    }
}

fn keyspace(shape: &KeyspaceShape, cells: usize) -> DesiredKeyspace {
    let mut tablets = Vec::new();
    for (index, (replicas, rdonlys)) in shape.counts.iter().take(cells).enumerate() {
        let types = [
            (TabletType::Replica, replicas),
            (TabletType::Rdonly, rdonlys),
        ];
        for (tablet_type, count) in types {
            if shape.adopted && shape.shards == 1 {
                tablets
                    .extend((0..*count).map(|number| adopted(shape, index, tablet_type, number)));
            } else if *count > 0 {
                tablets.push(DesiredTablets {
                    cell: cell(index),
                    tablet_type,
                    count: *count,
                    pin: None,
                    adopt: None,
                });
            }
        }
    }
    let shards = ShardName::even_split(shape.shards);
    let sharded = shape.shards > 1;
    let mut vschema = VSchemaKeyspace {
        sharded,
        ..Default::default()
    };
    if sharded {
        vschema.vindexes.insert(
            "xxhash".to_owned(),
            VindexDefinition {
                vindex_type: "xxhash".to_owned(),
                params: BTreeMap::new(),
                owner: None,
                extra: BTreeMap::new(),
            },
        );
    }
    let mut tables = BTreeMap::new();
    for (table, presence) in shape.tables.iter().enumerate() {
        let is_sequence = TABLES[table].ends_with("_seq");
        if *presence == 0 || (is_sequence && sharded) {
            continue;
        }
        tables.insert(
            TableName::new(TABLES[table]).unwrap(),
            DesiredTable {
                statement: statement(table, *presence == 2),
                on_remove: if shape.drop_tables {
                    OnRemove::Drop
                } else {
                    OnRemove::Keep
                },
            },
        );
        let mut declared = VSchemaTable::default();
        if is_sequence {
            declared.table_type = Some("sequence".to_owned());
        } else if sharded {
            declared.column_vindexes.push(ColumnVindex {
                column: Some("id".to_owned()),
                columns: Vec::new(),
                name: "xxhash".to_owned(),
                extra: BTreeMap::new(),
            });
        }
        // Comes to tables that are there, and goes.
        if sharded && *presence == 1 && TABLES[table] == "customer" {
            declared.column_vindexes.push(ColumnVindex {
                column: Some("name".to_owned()),
                columns: Vec::new(),
                name: "by_name".to_owned(),
                extra: BTreeMap::new(),
            });
            let params = [("table", "commerce.product"), ("from", "v"), ("to", "id")];
            let lookup = VindexDefinition {
                vindex_type: "consistent_lookup".to_owned(),
                params: params
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                owner: Some("customer".to_owned()),
                extra: BTreeMap::new(),
            };
            vschema.vindexes.insert("by_name".to_owned(), lookup);
        }
        if *presence == 1 && TABLES[table] == "product" {
            declared.auto_increment = Some(AutoIncrement {
                column: "id".to_owned(),
                sequence: "commerce.product_seq".to_owned(),
            });
        }
        vschema.tables.insert(TABLES[table].to_owned(), declared);
    }
    DesiredKeyspace {
        shards,
        durability: shape.durability,
        tablets,
        tables,
        vschema,
        on_remove: if shape.on_remove {
            OnRemove::Drop
        } else {
            OnRemove::Keep
        },
    }
}

pub fn desired(shape: &Shape, hosts: &[HostShape]) -> Desired {
    let mut keyspaces = BTreeMap::new();
    for ks in &shape.keyspaces {
        let mut made = keyspace(ks, shape.cells);
        let pins = ks.pins.iter().filter(|_| !made.is_adopted());
        for pin in pins.collect::<Vec<_>>() {
            let host = pin.host % hosts.len();
            let shard = made.shards[pin.shard as usize % made.shards.len()].clone();
            made.tablets.push(DesiredTablets {
                cell: cell(hosts[host].cell),
                tablet_type: if pin.rdonly {
                    TabletType::Rdonly
                } else {
                    TabletType::Replica
                },
                count: 1,
                adopt: None,
                pin: Some(Pin {
                    host: host_name(host),
                    // Without a uid a pin may be for all shards.
                    shard: (pin.uid.is_some() || pin.port.is_some() || pin.shard == 1)
                        .then_some(shard),
                    uid: pin.uid,
                    mysql_port: pin.port,
                }),
            });
        }
        keyspaces.insert(KeyspaceName::new(KEYSPACES[ks.name]).unwrap(), made);
    }
    Desired {
        cluster: "shop".to_owned(),
        cells: (0..shape.cells).map(cell).collect(),
        keyspaces,
        changes: ChangePolicy::default(),
        drift: Default::default(),
        // They come, change and go with the users, so that no case is longer for them.
        backups: (!shape.users.is_empty()).then(|| BackupPolicy {
            location: "file:///backups".to_owned(),
            schedules: vec![BackupSchedule {
                keyspaces: vec!["*".to_owned()],
                cron: "@daily".to_owned(),
                keep_last: Some(1 + u32::from(shape.users[0].1)),
                keep_days: None,
            }],
        }),
        policy: Default::default(),
        gates: shape
            .gates
            .iter()
            .map(|(index, count)| {
                let gates = DesiredGates {
                    count: *count,
                    mysql_port: 15306,
                };
                (cell(*index), gates)
            })
            .collect(),
        users: shape
            .users
            .iter()
            .map(|(user, password)| {
                let name = format!("user{user}");
                let user = DesiredUser {
                    source: PasswordSource::Env("PASSWORD".to_owned()),
                    verifier: Some(UserRecord::from_password(&name, &format!("{password}"))),
                };
                (name, user)
            })
            .collect(),
    }
}

pub fn host_name(index: usize) -> HostName {
    HostName::new(format!("h{index}")).unwrap()
}

fn host(index: usize, hosts: &[HostShape]) -> HostRecord {
    let shape = &hosts[index];
    let mut address = index;
    while address > 0 && hosts[address].same_address {
        address -= 1;
    }
    HostRecord {
        name: host_name(index),
        cell: cell(shape.cell),
        address: format!("10.0.0.{address}"),
        agent_url: String::new(),
        capacity: shape.capacity,
        first_mysql_port: 17_000,
        flavor: if shape.mysql {
            FlavorKind::MySql
        } else {
            FlavorKind::MariaDb
        },
        server_version: "10.11.6".to_owned(),
        version: String::new(),
        started_at: 0,
        tablets_dir: String::new(),
    }
}

/// The live state of a case: its hosts, and what its earlier specs have left.
pub fn live(case: &Case) -> Live {
    let mut live = Live::default();
    for index in 0..case.hosts.len() {
        let host = host(index, &case.hosts);
        live.records.hosts.insert(host.name.clone(), host);
    }
    if case.canonical {
        for name in KEYSPACES {
            let mut known = BTreeMap::new();
            for table in 0..TABLES.len() {
                for auto in [false, true] {
                    let canonical = Canonical::Definition(definition(table, auto));
                    known.insert(statement(table, auto), canonical);
                }
            }
            let name = KeyspaceName::new(name).unwrap();
            live.observed.canonical.insert(name, known);
        }
    }
    for (shape, part) in &case.before {
        let spec = desired(shape, &case.hosts);
        let Ok((steps, _)) = make_steps(&spec, &live) else {
            continue;
        };
        let done = steps.len() * (*part as usize).min(100) / 100;
        simulate::apply_all(&mut live, &steps[..done]);
        // As the conductor does: a spec counts as applied when all is done.
        if done < steps.len() {
            continue;
        }
        live.records.spec = Some(SpecRecord {
            digest: String::new(),
            desired: serde_json::to_value(&spec).unwrap(),
            applied_by: String::new(),
            applied_at: 0,
            begun: None,
        });
    }
    for index in &case.lost {
        if live.records.tablets.is_empty() {
            break;
        }
        let aliases: Vec<_> = live.records.tablets.keys().cloned().collect();
        let alias = index.get(&aliases);
        live.records.tablets.remove(alias);
        live.observed.tablets.remove(alias);
    }
    for index in &case.dead {
        if *index < case.hosts.len() && case.hosts.len() > 1 {
            let name = host_name(*index);
            live.records.hosts.remove(&name);
            let records = &live.records.tablets;
            let on_it = |alias: &_| records.get(alias).is_some_and(|t| t.host == name);
            live.observed.tablets.retain(|alias, _| !on_it(alias));
        }
    }
    live
}
