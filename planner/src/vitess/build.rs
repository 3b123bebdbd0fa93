//! Listings put together into one desired state.

use std::collections::{BTreeMap, BTreeSet};

use vtplan_state::model::{
    CellName, Durability, KeyspaceName, NameError, ShardName, TableName, TabletType,
    VSchemaKeyspace,
};

use super::read::{self, Shard, Tablet};
use super::{ImportError, Imported, Listings, Text};
use crate::desired::{
    ChangePolicy, Desired, DesiredGates, DesiredKeyspace, DesiredTable, DesiredTablets, OnRemove,
};

/// The port of gates that are not told otherwise.
const GATE_PORT: u16 = 15306;

/// The desired state that says of a cluster what the listings do.
///
/// # Errors
/// A listing that cannot be read, or nothing to import.
pub fn import(cluster: &str, listings: &Listings) -> Result<Imported, ImportError> {
    let text = listings.tablets.as_ref().ok_or(ImportError::NoTablets)?;
    let tablets = read::tablets(text)?;
    let mut work = Work {
        listings,
        tablets: &tablets,
        guesses: Vec::new(),
        warnings: Vec::new(),
    };
    let durabilities = match &listings.keyspaces {
        Some(text) => Some(read::durabilities(text)?.into_iter().collect()),
        None => None,
    };
    let cells: BTreeSet<&str> = tablets.iter().map(|t| t.cell.as_str()).collect();
    let cells: Vec<CellName> = cells
        .into_iter()
        .map(|cell| name(text, cell, CellName::new))
        .collect::<Result<_, _>>()?;
    let mut names: BTreeSet<&str> = tablets.iter().map(|t| t.keyspace.as_str()).collect();
    for given in [&listings.vschemas, &listings.shards, &listings.schemas] {
        names.extend(given.keys().map(String::as_str));
    }
    if names.is_empty() {
        return Err(ImportError::Nothing);
    }
    let mut keyspaces = BTreeMap::new();
    for keyspace in names {
        let desired = work.keyspace(keyspace, durabilities.as_ref())?;
        keyspaces.insert(name(text, keyspace, KeyspaceName::new)?, desired);
    }
    work.routing_rules()?;
    let gates: BTreeMap<CellName, DesiredGates> = cells
        .iter()
        .map(|cell| {
            let gates = DesiredGates {
                count: 1,
                mysql_port: GATE_PORT,
            };
            (cell.clone(), gates)
        })
        .collect();
    if !gates.is_empty() {
        work.guesses
            .push(format!("gates: one in each cell, at port {GATE_PORT}"));
    }
    work.guesses
        .push("users: none; the listings have no users, so nobody can log in yet".to_owned());
    Ok(Imported {
        guesses: work.guesses,
        warnings: work.warnings,
        desired: Desired {
            cluster: cluster.to_owned(),
            cells,
            keyspaces,
            changes: ChangePolicy::default(),
            policy: Default::default(),
            drift: Default::default(),
            backups: None,
            gates,
            users: BTreeMap::new(),
        },
    })
}

/// A name as vtplan has them.
fn name<T>(
    text: &Text,
    found: &str,
    make: impl FnOnce(String) -> Result<T, NameError>,
) -> Result<T, ImportError> {
    make(found.to_owned()).map_err(|error| ImportError::Unexpected {
        file: text.name.clone(),
        command: "vtctldclient",
        why: error.to_string(),
    })
}

struct Work<'a> {
    listings: &'a Listings,
    tablets: &'a [Tablet],
    guesses: Vec<String>,
    warnings: Vec<String>,
}

impl Work<'_> {
    fn keyspace(
        &mut self,
        keyspace: &str,
        durabilities: Option<&BTreeMap<String, String>>,
    ) -> Result<DesiredKeyspace, ImportError> {
        let vschema = match self.listings.vschemas.get(keyspace) {
            Some(text) => {
                let (vschema, unknown) = read::vschema(text)?;
                for field in unknown {
                    self.warnings.push(format!(
                        "`{}`: {field} is kept, but vtplan does not know it",
                        text.name
                    ));
                }
                vschema
            }
            None => {
                self.guesses
                    .push(format!("{keyspace}: no VSchema was given"));
                VSchemaKeyspace::default()
            }
        };
        let shards = self.shards(keyspace, &vschema)?;
        let mut vschema = vschema;
        if shards.len() > 1 && !vschema.sharded {
            self.warnings.push(format!(
                "{keyspace} has {} shards, but no VSchema that says how rows are placed",
                shards.len()
            ));
            vschema.sharded = true;
        }
        let tables = self.tables(keyspace)?;
        let tablets = self.counts(keyspace, &shards)?;
        let policy = durabilities.and_then(|all| all.get(keyspace));
        let durability = match policy.map(String::as_str) {
            Some("none") => Durability::None,
            Some("semi_sync") => Durability::SemiSync,
            Some("cross_cell") => Durability::CrossCell,
            Some(other) => {
                self.warnings.push(format!(
                    "{keyspace} has durability {other}, which vtplan does not have; semi_sync is taken"
                ));
                Durability::SemiSync
            }
            None => {
                let replicas = tablets
                    .iter()
                    .filter(|t| t.tablet_type == TabletType::Replica);
                // One replica alone is the primary, and has nobody to wait for.
                let guess = match replicas.map(|t| t.count).sum() {
                    0 | 1u32 => Durability::None,
                    _ => Durability::SemiSync,
                };
                self.guesses.push(format!(
                    "{keyspace}: durability {guess}; the listings do not say it"
                ));
                guess
            }
        };
        Ok(DesiredKeyspace {
            tablets,
            shards,
            durability,
            tables,
            vschema,
            on_remove: OnRemove::default(),
        })
    }

    /// The shards that serve, in key order.
    fn shards(
        &mut self,
        keyspace: &str,
        vschema: &VSchemaKeyspace,
    ) -> Result<Vec<ShardName>, ImportError> {
        let (file, found) = match self.listings.shards.get(keyspace) {
            Some(text) => (text, read::shards(text)?),
            None => {
                let text = self.listings.tablets.as_ref();
                let own = self.tablets.iter().filter(|t| t.keyspace == keyspace);
                let names: BTreeSet<&String> = own.map(|t| &t.shard).collect();
                let of_tablets = names.into_iter().map(|name| Shard {
                    name: name.clone(),
                    serving: true,
                });
                let found: Vec<Shard> = of_tablets.collect();
                if found.len() > 1 {
                    self.guesses.push(format!(
                        "{keyspace}: all shards that have tablets serve; no listing says which do"
                    ));
                }
                (text.ok_or(ImportError::NoTablets)?, found)
            }
        };
        let mut shards = BTreeSet::new();
        for shard in found {
            // Vitess calls an unsharded keyspace's only shard `0` or `-`.
            let parsed = match (shard.name.as_str(), vschema.sharded) {
                ("0", _) => Ok(ShardName::unsharded()),
                (name, _) => name.parse::<ShardName>(),
            };
            let parsed = parsed.map_err(|error| ImportError::Unexpected {
                file: file.name.clone(),
                command: "vtctldclient",
                why: error.to_string(),
            })?;
            if shard.serving {
                shards.insert(parsed);
            } else {
                let left_out = format!("{keyspace}/{} does not serve and is left out", shard.name);
                self.warnings.push(left_out);
            }
        }
        if shards.is_empty() {
            self.guesses
                .push(format!("{keyspace}: one shard; no listing has any"));
            shards.insert(ShardName::unsharded());
        }
        Ok(shards.into_iter().collect())
    }

    /// How many tablets each shard has.
    fn counts(
        &mut self,
        keyspace: &str,
        shards: &[ShardName],
    ) -> Result<Vec<DesiredTablets>, ImportError> {
        let mut by_shard: BTreeMap<(&str, TabletType), BTreeMap<&str, u32>> = BTreeMap::new();
        let mut left_out: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let serves = |shard: &str| {
            let parsed = match shard {
                "0" => Ok(ShardName::unsharded()),
                name => name.parse::<ShardName>(),
            };
            parsed.is_ok_and(|name| shards.contains(&name))
        };
        for tablet in self
            .tablets
            .iter()
            .filter(|t| t.keyspace == keyspace && serves(&t.shard))
        {
            let tablet_type = match tablet.tablet_type.as_str() {
                "PRIMARY" | "MASTER" | "REPLICA" => TabletType::Replica,
                "RDONLY" | "BATCH" => TabletType::Rdonly,
                other => {
                    left_out.entry(other).or_default().push(&tablet.alias);
                    continue;
                }
            };
            let counts = by_shard.entry((&tablet.cell, tablet_type)).or_default();
            *counts.entry(&tablet.shard).or_default() += 1;
        }
        for (tablet_type, aliases) in left_out {
            self.warnings.push(format!(
                "{keyspace}: {} of type {tablet_type} left out: {}",
                if aliases.len() == 1 {
                    "a tablet"
                } else {
                    "tablets"
                },
                aliases.join(", ")
            ));
        }
        let mut tablets = Vec::new();
        for ((cell, tablet_type), counts) in by_shard {
            let most = counts.values().copied().max().unwrap_or_default();
            if counts.len() < shards.len() || counts.values().any(|&count| count < most) {
                self.guesses.push(format!(
                    "{keyspace}: {most} {tablet_type} in {cell} for each shard; some have fewer"
                ));
            }
            let text = self
                .listings
                .tablets
                .as_ref()
                .ok_or(ImportError::NoTablets)?;
            tablets.push(DesiredTablets {
                cell: name(text, cell, CellName::new)?,
                tablet_type,
                count: most,
                pin: None,
                adopt: None,
            });
        }
        if tablets.is_empty() {
            self.warnings.push(format!(
                "{keyspace} has no tablets: say which it should have"
            ));
        }
        Ok(tablets)
    }

    fn tables(&mut self, keyspace: &str) -> Result<BTreeMap<TableName, DesiredTable>, ImportError> {
        let Some(text) = self.listings.schemas.get(keyspace) else {
            let missing =
                format!("{keyspace}: no schema was given, so the spec has no tables of it");
            self.warnings.push(missing);
            return Ok(BTreeMap::new());
        };
        let schema = read::schema(text)?;
        for view in schema.views {
            self.warnings.push(format!(
                "{keyspace}.{view} is a view, which a spec cannot say"
            ));
        }
        let mut tables = BTreeMap::new();
        for (table, statement) in schema.tables {
            let statement = statement.trim().trim_end_matches(';').to_owned();
            let table = name(text, &table, TableName::new)?;
            let on_remove = OnRemove::default();
            tables.insert(
                table,
                DesiredTable {
                    statement,
                    on_remove,
                },
            );
        }
        Ok(tables)
    }

    fn routing_rules(&mut self) -> Result<(), ImportError> {
        let Some(text) = &self.listings.routing_rules else {
            return Ok(());
        };
        for (from, to) in read::routing_rules(text)? {
            // A rule that leads a qualified name to itself says nothing.
            if to.len() != 1 || to[0] != from {
                self.warnings.push(format!(
                    "the routing rule from {from} to {} is left out: a spec has none, a move of tables makes its own",
                    if to.is_empty() { "nowhere".to_owned() } else { to.join(", ") }
                ));
            }
        }
        Ok(())
    }
}
