//! A desired state of servers that fit: each primary's database becomes an unsharded keyspace.

use std::collections::BTreeMap;

use vtplan_state::model::{
    Durability, KeyspaceName, ShardName, TableName, TabletType, VSchemaKeyspace, VSchemaTable,
};

use super::topology::Tree;
use super::{Database, Imported, Problem, Wish};
use crate::desired::{
    Adopt, ChangePolicy, Desired, DesiredGates, DesiredKeyspace, DesiredTable, DesiredTablets,
    DriftPolicy, OnRemove, Policy,
};

/// Port of the gates that the spec asks for, as in Vitess's examples.
const GATE_PORT: u16 = 15306;

/// The database of a primary that becomes a keyspace.
pub(super) fn database<'a>(
    wish: &Wish<'_>,
    tree: &Tree<'a>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Option<(&'a str, &'a Database)> {
    let primary = tree.primary;
    let mut problem = |code, problem: String, help: &str| {
        problems.push(Problem {
            code,
            server: primary.name(),
            problem,
            help: help.to_owned(),
        });
    };
    let names: Vec<&str> = primary.databases.keys().map(String::as_str).collect();
    let name = match (wish.database, names.as_slice()) {
        (Some(wanted), names) if names.contains(&wanted) => wanted,
        (Some(wanted), _) => {
            let there = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            problem(
                "no-database",
                format!("it has no database `{wanted}`; it has {there}"),
                "name one that there is with `--database`",
            );
            return None;
        }
        (None, [one]) => one,
        (None, []) => {
            problem(
                "no-database",
                "it has no database of its users".into(),
                "a server without data is better made by vtplan: give the keyspace counts of tablets",
            );
            return None;
        }
        (None, many) => {
            problem(
                "which-database",
                format!("it has several databases: {}", many.join(", ")),
                "a keyspace is one database: name it with `--database`; the others are left alone",
            );
            return None;
        }
    };
    let (name, database) = primary.databases.get_key_value(name)?;
    let others: Vec<&str> = names
        .iter()
        .copied()
        .filter(|other| other != name)
        .collect();
    if !others.is_empty() {
        warnings.push(format!(
            "{}: its other databases ({}) are left alone: gates do not serve them",
            primary.name(),
            others.join(", ")
        ));
    }
    Some((name, database))
}

/// The whole. Without problems so far it is valid.
pub(super) fn build(
    wish: &Wish<'_>,
    used: &[((&str, &Database), &Tree<'_>)],
    warnings: Vec<String>,
    problems: &mut Vec<Problem>,
) -> Imported {
    let mut guesses = Vec::new();
    let mut keyspaces: BTreeMap<KeyspaceName, DesiredKeyspace> = BTreeMap::new();
    for ((name, database), tree) in used {
        let server = tree.primary.name();
        let keyspace = match KeyspaceName::new(*name) {
            Ok(keyspace) => keyspace,
            Err(error) => {
                problems.push(Problem {
                    code: "bad-name",
                    server,
                    problem: format!(
                        "its database `{name}` cannot be a keyspace, which has the database's name: {}",
                        error.why
                    ),
                    help: "move its tables into a database with another name (RENAME TABLE)".into(),
                });
                continue;
            }
        };
        if keyspaces.contains_key(&keyspace) {
            problems.push(Problem {
                code: "same-database",
                server,
                problem: format!("another primary has a database `{name}` too"),
                help: "import them into clusters of their own, or give only one of them".into(),
            });
            continue;
        }
        let mut tables = BTreeMap::new();
        for (table, found) in &database.tables {
            match TableName::new(table.as_str()) {
                Ok(table) => {
                    let table = (
                        table,
                        DesiredTable {
                            statement: found.definition.clone(),
                            on_remove: OnRemove::Keep,
                        },
                    );
                    tables.extend([table]);
                }
                Err(error) => problems.push(Problem {
                    code: "bad-name",
                    server: server.clone(),
                    problem: format!(
                        "its table `{name}`.`{table}` has a name that vtplan does not take: {}",
                        error.why
                    ),
                    help: "rename it".into(),
                }),
            }
        }
        let durability = durability(tree, &mut guesses);
        let vschema = VSchemaKeyspace {
            tables: (tables.keys())
                .map(|table| (table.to_string(), VSchemaTable::default()))
                .collect(),
            ..VSchemaKeyspace::default()
        };
        let tablets = tree.servers().filter_map(|server| {
            Some(DesiredTablets {
                cell: wish.cell.clone(),
                tablet_type: TabletType::Replica,
                count: 1,
                pin: None,
                adopt: Some(Adopt {
                    server: server.address.clone()?,
                    host: None,
                }),
            })
        });
        let desired = DesiredKeyspace {
            shards: vec![ShardName::unsharded()],
            durability,
            tablets: tablets.collect(),
            tables,
            vschema,
            on_remove: OnRemove::Keep,
        };
        keyspaces.insert(keyspace, desired);
    }
    guesses.push("users: none; add those who connect through gates".to_owned());
    let gates = DesiredGates {
        count: 1,
        mysql_port: GATE_PORT,
    };
    Imported {
        desired: Desired {
            cluster: wish.cluster.to_owned(),
            cells: vec![wish.cell.clone()],
            keyspaces,
            changes: ChangePolicy::default(),
            drift: DriftPolicy::default(),
            backups: None,
            gates: BTreeMap::from([(wish.cell.clone(), gates)]),
            users: BTreeMap::new(),
            policy: Policy::default(),
        },
        guesses,
        warnings,
    }
}

/// Commits wait for a replica if they do so now.
fn durability(tree: &Tree<'_>, guesses: &mut Vec<String>) -> Durability {
    let names = [
        "rpl_semi_sync_master_enabled",
        "rpl_semi_sync_source_enabled",
    ];
    if names.iter().any(|name| tree.primary.is_on(name)) && !tree.replicas.is_empty() {
        return Durability::SemiSync;
    }
    guesses.push(format!(
        "durability: none, for commits on {} wait for no replica",
        tree.primary.name()
    ));
    Durability::None
}
