//! Random specs, small and valid enough that most pairs of them have a plan.

use std::collections::BTreeMap;

use vtplan_planner::desired::{
    ChangePolicy, Desired, DesiredGates, DesiredKeyspace, DesiredTable, DesiredTablets,
    DesiredUser, OnRemove, PasswordSource,
};
use vtplan_state::model::{
    CellName, Durability, KeyspaceName, ShardName, TableName, TabletType, UserRecord,
    VSchemaKeyspace, VSchemaTable,
};

use super::faults::Chance;

pub const CELLS: [&str; 2] = ["zone1", "zone2"];

pub fn cell(name: &str) -> CellName {
    CellName::new(name).expect("a valid name")
}

pub fn random_spec(chance: &Chance) -> Desired {
    let mut keyspaces = BTreeMap::new();
    for (name, shards) in [("commerce", vec!["0"]), ("customer", vec!["-80", "80-"])] {
        if chance.happens(700) {
            let name = KeyspaceName::new(name).expect("a valid name");
            keyspaces.insert(name, keyspace(chance, &shards));
        }
    }
    let mut users = BTreeMap::new();
    if chance.happens(500) {
        let password = if chance.happens(500) { "one" } else { "two" };
        let user = DesiredUser {
            source: PasswordSource::Env("APP_PASSWORD".into()),
            verifier: Some(UserRecord::from_password("app", password)),
        };
        users.insert("app".to_owned(), user);
    }
    let gates = DesiredGates {
        count: 1,
        mysql_port: *chance.pick(&[15306, 15307]),
    };
    Desired {
        cluster: "sim".into(),
        cells: CELLS.map(cell).to_vec(),
        keyspaces,
        changes: ChangePolicy::default(),
        drift: Default::default(),
        backups: None,
        policy: Default::default(),
        gates: BTreeMap::from([(cell("zone1"), gates)]),
        users,
    }
}

fn keyspace(chance: &Chance, shards: &[&str]) -> DesiredKeyspace {
    let sharded = shards.len() > 1;
    let on_remove = if chance.happens(500) {
        OnRemove::Drop
    } else {
        OnRemove::Keep
    };
    let mut tablets = Vec::new();
    let home = *chance.pick(&CELLS);
    for name in CELLS {
        // Where there is no replica at home, primaries have to move.
        let replicas = if name == home {
            chance.number(1, 4)
        } else {
            chance.number(0, 3)
        };
        for (tablet_type, count) in [
            (TabletType::Replica, replicas),
            (TabletType::Rdonly, chance.number(0, 2)),
        ] {
            if count > 0 {
                tablets.push(DesiredTablets {
                    cell: cell(name),
                    tablet_type,
                    count: u32::try_from(count).unwrap_or(1),
                    pin: None,
                    adopt: None,
                });
            }
        }
    }
    let mut vschema = VSchemaKeyspace {
        sharded,
        ..VSchemaKeyspace::default()
    };
    let mut tables = BTreeMap::new();
    for name in ["t1", "t2", "t3_seq"] {
        let sequence = name.ends_with("_seq");
        if (sequence && sharded) || !chance.happens(600) {
            continue;
        }
        // Names are the keyspace's own, so that no table seems to move to another.
        let name = format!("{name}_{}", shards.len());
        let comment = if sequence {
            "COMMENT='vitess_sequence'"
        } else {
            ""
        };
        let table = DesiredTable {
            statement: format!("CREATE TABLE `{name}` (id bigint primary key) {comment}"),
            on_remove,
        };
        let vschema_table = VSchemaTable {
            table_type: sequence.then(|| "sequence".to_owned()),
            ..VSchemaTable::default()
        };
        if !sharded {
            vschema.tables.insert(name.clone(), vschema_table);
        }
        tables.insert(TableName::new(name).expect("a valid name"), table);
    }
    DesiredKeyspace {
        shards: shards
            .iter()
            .map(|shard| shard.parse::<ShardName>().expect("a valid name"))
            .collect(),
        durability: *chance.pick(&[Durability::None, Durability::SemiSync]),
        tablets,
        tables,
        vschema,
        on_remove,
    }
}
