//! The rules. Each looks at the desired state alone, so that a policy can bind plans by it.

use std::collections::BTreeSet;

use vtplan_state::model::{Durability, TabletType};

use super::Level;
use super::keys::{self, Keys};
use crate::desired::{ApprovePoint, Desired, DesiredKeyspace, OnRemove, VDiffPolicy};

/// Where in a spec a finding is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The object itself.
    Object,
    /// A table's `CREATE TABLE` statement.
    Schema,
}

#[derive(Debug)]
pub struct Rule {
    pub name: &'static str,
    pub level: Level,
    /// What it finds.
    pub summary: &'static str,
    /// What to do.
    pub help: &'static str,
    pub about: About,
    pub check: fn(&Desired) -> Vec<Found>,
}

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `commerce`, `commerce.product`, `changes`.
    pub object: String,
    pub message: String,
}

fn found(object: impl ToString, message: impl Into<String>) -> Found {
    Found {
        object: object.to_string(),
        message: message.into(),
    }
}

/// A rule by name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// All rules, as [`super::names::RULES`] has them.
pub static RULES: &[Rule] = &[
    Rule {
        name: "table-without-primary-key",
        level: Level::Error,
        summary: "a table has no primary key",
        help: "give it one: rows are replicated, copied and compared by it",
        about: About::Schema,
        check: |desired| {
            tables(desired, |_, keys| {
                (!keys.primary).then(|| "the table has no primary key".to_owned())
            })
        },
    },
    Rule {
        name: "auto-increment-without-sequence",
        level: Level::Error,
        summary: "a sharded table has AUTO_INCREMENT and takes no numbers from a sequence",
        help: "let its `auto_increment` name a sequence, and leave AUTO_INCREMENT out of the schema",
        about: About::Schema,
        check: auto_increment,
    },
    Rule {
        name: "scatter-only-vindex",
        level: Level::Warning,
        summary: "no vindex of a sharded table leads a query to one of several shards",
        help: "give it a vindex such as `xxhash` over the column that most queries name",
        about: About::Object,
        check: scatter_only,
    },
    Rule {
        name: "vindex-column-without-index",
        level: Level::Warning,
        summary: "the column of a vindex is not the first of any index",
        help: "add an index: a query that one shard answers reads the whole table there otherwise",
        about: About::Schema,
        check: without_index,
    },
    Rule {
        name: "unique-key-per-shard",
        level: Level::Warning,
        summary: "a unique key of a sharded table does not have the columns of its vindex",
        help: "it is unique within a shard only: add the vindex's columns to it, or be sure that \
               the application makes unique values",
        about: About::Schema,
        check: unique_keys,
    },
    Rule {
        name: "few-replicas",
        level: Level::Warning,
        summary: "a shard has fewer than two replicas, one of which is the primary",
        help: "raise `replica` to 2 or more: nothing can take over from a primary that is alone",
        about: About::Object,
        check: |desired| {
            keyspaces(desired, |keyspace| {
                let replicas = replicas(keyspace);
                (replicas < 2).then(|| {
                    let has = if replicas == 0 {
                        "no replica tablet"
                    } else {
                        "one replica tablet"
                    };
                    format!("a shard of it has {has}")
                })
            })
        },
    },
    Rule {
        name: "semi-sync-one-replica",
        level: Level::Warning,
        summary: "commits wait for a replica, and there is only one beside the primary",
        help: "raise `replica` to 3: when the one replica is down, writes wait",
        about: About::Object,
        check: |desired| {
            keyspaces(desired, |keyspace| {
                let waits = keyspace.durability != Durability::None;
                (waits && replicas(keyspace) == 2).then(|| {
                format!(
                    "with durability {} its commits wait for the one replica beside the primary",
                    keyspace.durability
                )
            })
            })
        },
    },
    Rule {
        name: "no-durability",
        level: Level::Note,
        summary: "commits wait for no replica",
        help: "set `durability: semi_sync`: else what a lost primary had just committed is lost",
        about: About::Object,
        check: |desired| {
            keyspaces(desired, |keyspace| {
                (keyspace.durability == Durability::None)
                    .then(|| "its commits wait for no replica".to_owned())
            })
        },
    },
    Rule {
        name: "no-backup-schedule",
        level: Level::Warning,
        summary: "no backup schedule is for a keyspace",
        help: "name it, or `*`, in one of `backups.schedules`",
        about: About::Object,
        check: backups,
    },
    Rule {
        name: "zero-soak",
        level: Level::Warning,
        summary: "source tables are dropped right after writes have moved",
        help: "set `changes.soak`, such as 1h: until then traffic can be reversed without loss; or \
               let `changes.approve` have `complete`",
        about: About::Object,
        check: |desired| {
            let changes = &desired.changes;
            let waits =
                changes.soak_seconds > 0 || changes.approve.contains(&ApprovePoint::Complete);
            let message = "data moves are completed, and what they moved is dropped at its source, \
                           as soon as writes have switched";
            if waits {
                Vec::new()
            } else {
                vec![found("changes", message)]
            }
        },
    },
    Rule {
        name: "vdiff-skipped",
        level: Level::Warning,
        summary: "data moves are not compared before writes switch",
        help: "set `changes.vdiff: required`",
        about: About::Object,
        check: |desired| match desired.changes.vdiff {
            VDiffPolicy::Required | VDiffPolicy::EveryValue => Vec::new(),
            VDiffPolicy::Skip => {
                vec![found(
                    "changes",
                    "source and target of data moves are not compared",
                )]
            }
        },
    },
    Rule {
        name: "no-window",
        level: Level::Off,
        summary: "traffic may switch at any time",
        help: "set `changes.window`, such as \"Sat 02:00-05:00 Europe/Berlin\"",
        about: About::Object,
        check: |desired| match &desired.changes.window {
            Some(_) => Vec::new(),
            None => vec![found("changes", "traffic may switch at any time")],
        },
    },
    Rule {
        name: "no-approval",
        level: Level::Off,
        summary: "writes switch without an approval of their own",
        help: "let `changes.approve` have `switch_writes`",
        about: About::Object,
        check: |desired| {
            if desired
                .changes
                .approve
                .contains(&ApprovePoint::SwitchWrites)
            {
                Vec::new()
            } else {
                vec![found(
                    "changes",
                    "writes switch without an approval of their own",
                )]
            }
        },
    },
    Rule {
        name: "drop-on-remove",
        level: Level::Note,
        summary: "what is left out of the spec is dropped with its data",
        help: "leave `on_remove: drop` out, and set it in the change that removes the data",
        about: About::Object,
        check: drop_on_remove,
    },
];

/// Tables but sequences, with the keys of their statements.
fn each_table(desired: &Desired) -> impl Iterator<Item = (String, &DesiredKeyspace, &str, Keys)> {
    desired.keyspaces.iter().flat_map(|(name, keyspace)| {
        keyspace.tables.iter().map(move |(table, of)| {
            let keys = keys::of(&of.statement);
            (format!("{name}.{table}"), keyspace, table.as_str(), keys)
        })
    })
}

fn tables(desired: &Desired, check: fn(&DesiredKeyspace, &Keys) -> Option<String>) -> Vec<Found> {
    each_table(desired)
        .filter_map(|(object, keyspace, _, keys)| Some(found(object, check(keyspace, &keys)?)))
        .collect()
}

fn keyspaces(desired: &Desired, check: fn(&DesiredKeyspace) -> Option<String>) -> Vec<Found> {
    let all = desired.keyspaces.iter();
    all.filter_map(|(name, keyspace)| Some(found(name, check(keyspace)?)))
        .collect()
}

/// The tables of sharded keyspaces that have vindexes; with the columns of the first.
fn each_sharded(
    desired: &Desired,
) -> impl Iterator<Item = (String, &DesiredKeyspace, &str, Keys, Vec<String>)> {
    each_table(desired).filter_map(|(object, keyspace, table, keys)| {
        let entry = keyspace.vschema.tables.get(table)?;
        let first = entry
            .column_vindexes
            .first()
            .filter(|_| keyspace.is_sharded())?;
        let columns = first.column_names().map(str::to_lowercase).collect();
        Some((object, keyspace, table, keys, columns))
    })
}

fn auto_increment(desired: &Desired) -> Vec<Found> {
    each_table(desired)
        .filter_map(|(object, keyspace, table, keys)| {
            let column = keys.auto_increment.filter(|_| keyspace.is_sharded())?;
            let entry = keyspace.vschema.tables.get(table);
            let numbered = entry.is_some_and(|e| e.auto_increment.is_some());
            let message = format!(
                "each shard gives its own numbers for `{column}`, so they are not unique over the \
                 shards"
            );
            (!numbered).then(|| found(object, message))
        })
        .collect()
}

fn scatter_only(desired: &Desired) -> Vec<Found> {
    each_sharded(desired)
        .filter_map(|(object, keyspace, table, _, _)| {
            let vschema = &keyspace.vschema;
            let leads = vschema.tables[table].column_vindexes.iter().any(|vindex| {
                let definition = vschema.vindexes.get(&vindex.name);
                definition.is_none_or(|d| d.vindex_type != "null")
            });
            let message = "its only vindex has the type `null`: all of its rows are on one shard, \
                           and no value leads to others";
            (!leads).then(|| found(object, message))
        })
        .collect()
}

fn without_index(desired: &Desired) -> Vec<Found> {
    each_sharded(desired)
        .filter_map(|(object, _, _, keys, columns)| {
            let column = columns.first()?;
            let indexed = keys.keys.iter().any(|k| k.columns.first() == Some(column));
            let message = format!("no index begins with `{column}`, the column of its vindex");
            (!indexed).then(|| found(object, message))
        })
        .collect()
}

fn unique_keys(desired: &Desired) -> Vec<Found> {
    let mut all = Vec::new();
    for (object, keyspace, table, keys, columns) in each_sharded(desired) {
        let sequence = keyspace.vschema.tables[table].auto_increment.as_ref();
        let numbered = sequence.map(|a| a.column.to_lowercase());
        for key in keys
            .keys
            .iter()
            .filter(|k| k.unique && !k.columns.is_empty())
        {
            // Numbers of a sequence are unique over all shards.
            let by_sequence = numbered.as_ref().is_some_and(|n| key.columns.contains(n));
            if !by_sequence && !columns.iter().all(|c| key.columns.contains(c)) {
                let message = format!(
                    "its unique key over `{}` is unique within a shard only",
                    key.columns.join("`, `")
                );
                all.push(found(&object, message));
            }
        }
    }
    all
}

/// How many replica tablets the poorest shard has.
fn replicas(keyspace: &DesiredKeyspace) -> u32 {
    let of_shard = |shard| {
        let all = keyspace.tablets.iter();
        all.filter(|t| t.tablet_type == TabletType::Replica)
            .filter(|t| {
                let pinned = t.pin.as_ref().and_then(|pin| pin.shard.as_ref());
                pinned.is_none_or(|pinned| pinned == shard)
            })
            .map(|t| t.count)
            .sum::<u32>()
    };
    keyspace.shards.iter().map(of_shard).min().unwrap_or(0)
}

fn backups(desired: &Desired) -> Vec<Found> {
    let schedules = desired.backups.iter().flat_map(|b| &b.schedules);
    let covered: BTreeSet<&str> = schedules
        .flat_map(|s| s.keyspaces.iter().map(String::as_str))
        .collect();
    let names = desired.keyspaces.keys();
    names
        .filter(|name| !covered.contains("*") && !covered.contains(name.as_str()))
        .map(|name| found(name, "no schedule takes backups of it"))
        .collect()
}

fn drop_on_remove(desired: &Desired) -> Vec<Found> {
    let mut all = Vec::new();
    for (name, keyspace) in &desired.keyspaces {
        let message = "leaving it out of the spec deletes its data";
        if keyspace.on_remove == OnRemove::Drop {
            all.push(found(name, message));
            continue;
        }
        for (table, of) in &keyspace.tables {
            if of.on_remove == OnRemove::Drop {
                all.push(found(format!("{name}.{table}"), message));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #[test]
    fn rules_are_those_that_specs_can_name() {
        let names: Vec<&str> = super::RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(names, crate::lint::names::RULES);
    }
}
