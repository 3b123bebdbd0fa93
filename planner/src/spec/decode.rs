//! Trees into the typed model, and the files of a spec into one.
//!
//! The trees have been checked against the language before: what does not parse here has been
//! reported there and is left out silently.

use std::str::FromStr;

use vtplan_state::model::{CellName, Durability, KeyspaceName, ShardName, TableName, TabletType};

use super::diag::Problems;
use super::model::{
    AdoptedTablet, AutoIncrement, Backups, Changes, Gates, IgnoreDrift, Keyspace, Lint, LintIgnore,
    PinnedTablet, PolicySpec, Schedule, SchemaSource, Shards, Spec, Table, TableColumn,
    TableVindex, Tablets, TabletsKind, User, Vindex,
};
use super::source::{Sp, Span};
use super::tree::{Entry, Form, Node, Value};
use super::values::duration;
use crate::desired::{
    ApprovePoint, FitPolicy, OnRemove, PasswordSource, PolicyException, VDiffPolicy,
};
use crate::drift::Kind as DriftKind;
use crate::lint::Level;

/// Adds one file's tree to a spec. What other files defined before is an error that names both
/// places.
pub fn add_file(spec: &mut Spec, root: &Node, problems: &mut Problems) {
    for Entry { key, value } in root.entries() {
        match key.as_str() {
            "cluster" => {
                let Some(name) = text(Some(value)) else {
                    continue;
                };
                match &spec.cluster {
                    Some(first) => double(problems, "`cluster`", key.span, first.span),
                    None => spec.cluster = Some(name),
                }
            }
            "cells" => {
                for cell in items(value).filter_map(|n| parsed::<CellName>(Some(n))) {
                    match spec.cells.iter().find(|c| **c == cell) {
                        Some(first) => {
                            let what = format!("cell `{}`", *cell);
                            problems
                                .error(
                                    "duplicate-definition",
                                    cell.span,
                                    format!("{what} is listed twice"),
                                )
                                .related(first.span, "first listed here");
                        }
                        None => spec.cells.push(cell),
                    }
                }
            }
            "keyspaces" => {
                for entry in value.entries() {
                    let Some(name) = key_as::<KeyspaceName>(entry) else {
                        continue;
                    };
                    match spec.keyspaces.iter().find(|k| k.name == name) {
                        Some(first) => {
                            let what = format!("keyspace `{}`", *name);
                            double(problems, &what, name.span, first.name.span);
                        }
                        None => spec.keyspaces.push(keyspace(name, &entry.value)),
                    }
                }
            }
            "changes" => match &spec.changes {
                Some(first) => double(problems, "`changes`", key.span, first.span),
                None => spec.changes = Some(Sp::new(changes(value), key.span)),
            },
            "drift" => {
                let rules = value.get("ignore").into_iter().flat_map(items);
                spec.ignore_drift.extend(rules.filter_map(ignore_drift));
            }
            "backups" => match &spec.backups {
                Some(first) => double(problems, "`backups`", key.span, first.span),
                None => spec.backups = Some(Sp::new(backups(value), key.span)),
            },
            "lint" => match &spec.lint {
                Some(first) => double(problems, "`lint`", key.span, first.span),
                None => spec.lint = Some(Sp::new(lint(value), key.span)),
            },
            "policy" => match &spec.policy {
                Some(first) => double(problems, "`policy`", key.span, first.span),
                None => spec.policy = Some(Sp::new(policy(value), key.span)),
            },
            "gates" => {
                for entry in value.entries() {
                    let Some(cell) = key_as::<CellName>(entry) else {
                        continue;
                    };
                    match spec.gates.iter().find(|g| g.cell == cell) {
                        Some(first) => {
                            let what = format!("the gate configuration of cell `{}`", *cell);
                            double(problems, &what, cell.span, first.cell.span);
                        }
                        None => spec.gates.push(Gates {
                            cell,
                            count: parsed(entry.value.get("count")),
                            mysql_port: parsed(entry.value.get("mysql_port")),
                        }),
                    }
                }
            }
            "users" => {
                for entry in value.entries() {
                    let name = entry.key.clone();
                    match spec.users.iter().find(|u| u.name == name) {
                        Some(first) => {
                            let what = format!("user `{}`", *name);
                            double(problems, &what, name.span, first.name.span);
                        }
                        None => spec.users.push(user(name, &entry.value)),
                    }
                }
            }
            // `vtplan` holds nothing but the version, which has been checked; unknown fields
            // have been reported.
            _ => {}
        }
    }
}

fn double(problems: &mut Problems, what: &str, at: Span, first: Span) {
    // Twice in one mapping was reported when it was read.
    if at.file == first.file {
        return;
    }
    problems
        .error(
            "duplicate-definition",
            at,
            format!("{what} is defined twice"),
        )
        .related(first, "first defined here")
        .help("a spec of several files defines each thing once");
}

fn keyspace(name: Sp<KeyspaceName>, node: &Node) -> Keyspace {
    Keyspace {
        name,
        shards: node.get("shards").and_then(shards),
        sharded: boolean(node.get("sharded")),
        durability: word(
            node.get("durability"),
            &[
                ("none", Durability::None),
                ("semi_sync", Durability::SemiSync),
                ("cross_cell", Durability::CrossCell),
            ],
        ),
        tablets: node.get("tablets").map(tablets).unwrap_or_default(),
        schema: node.get("schema").map(schema).unwrap_or_default(),
        vschema: text(node.get("vschema")),
        vindexes: named(node.get("vindexes"), vindex),
        tables: named(node.get("tables"), table),
        require_explicit_routing: boolean(node.get("require_explicit_routing")),
        on_remove: on_remove(node),
    }
}

fn shards(node: &Node) -> Option<Sp<Shards>> {
    let shards = match &node.value {
        Value::Scalar(_) => Shards::Count(*parsed::<u32>(Some(node))?),
        Value::Seq(items) => Shards::List(
            items
                .iter()
                .filter_map(|n| parsed::<ShardName>(Some(n)))
                .collect(),
        ),
        _ => return None,
    };
    Some(Sp::new(shards, node.span))
}

fn tablets(node: &Node) -> Vec<Tablets> {
    let counts = |cell: Sp<CellName>, node: &Node| {
        let kind = TabletsKind::Counts {
            replica: parsed(node.get("replica")),
            rdonly: parsed(node.get("rdonly")),
        };
        let place = Sp::new(kind, cell.span);
        Tablets { cell, place }
    };
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .filter_map(|e| Some(counts(key_as(e)?, &e.value)))
            .collect(),
        Value::Seq(items) => items
            .iter()
            .filter_map(|item| {
                let cell: Sp<CellName> = parsed(item.get("cell"))?;
                let tablet_type = word(
                    item.get("type"),
                    &[
                        ("replica", TabletType::Replica),
                        ("rdonly", TabletType::Rdonly),
                    ],
                );
                if let Some(server) = item.get("server") {
                    let adopted = AdoptedTablet {
                        server: parsed(Some(server))?,
                        host: parsed(item.get("host")),
                        tablet_type,
                    };
                    let place = Sp::new(TabletsKind::Adopted(adopted), server.span);
                    return Some(Tablets { cell, place });
                }
                let Some(host) = item.get("host") else {
                    return Some(counts(cell, item));
                };
                let pinned = PinnedTablet {
                    host: parsed(Some(host))?,
                    tablet_type,
                    shard: parsed(item.get("shard")),
                    uid: parsed(item.get("uid")),
                    mysql_port: parsed(item.get("mysql_port")),
                };
                let place = Sp::new(TabletsKind::Pinned(pinned), host.span);
                Some(Tablets { cell, place })
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn schema(node: &Node) -> Vec<SchemaSource> {
    let source = |node: &Node| match &node.value {
        Value::Scalar(_) => text(Some(node)).map(SchemaSource::Path),
        _ => text(node.get("sql")).map(SchemaSource::Sql),
    };
    match &node.value {
        Value::Seq(items) => items.iter().filter_map(source).collect(),
        _ => source(node).into_iter().collect(),
    }
}

fn vindex(name: Sp<String>, node: &Node) -> Option<Vindex> {
    let params = node.get("params").map(Node::entries).unwrap_or_default();
    Some(Vindex {
        name,
        vindex_type: text(node.get("type")),
        owner: text(node.get("owner")),
        params: params
            .iter()
            .filter_map(|e| Some((e.key.clone(), text(Some(&e.value))?)))
            .collect(),
    })
}

fn table(name: Sp<String>, node: &Node) -> Option<Table> {
    let vindexes = node.get("vindexes").into_iter().flat_map(items);
    let columns = node.get("columns").into_iter().flat_map(items);
    Some(Table {
        name: Sp::new(TableName::new(name.value).ok()?, name.span),
        table_type: text(node.get("type")),
        vindexes: vindexes
            .filter_map(|v| {
                Some(TableVindex {
                    name: text(v.get("name"))?,
                    column: text(v.get("column")),
                    columns: texts(v.get("columns")),
                })
            })
            .collect(),
        auto_increment: node.get("auto_increment").and_then(|a| {
            Some(AutoIncrement {
                column: text(a.get("column"))?,
                sequence: text(a.get("sequence"))?,
            })
        }),
        columns: columns
            .filter_map(|c| match &c.value {
                Value::Scalar(_) => Some(TableColumn {
                    name: text(Some(c))?,
                    column_type: None,
                }),
                _ => Some(TableColumn {
                    name: text(c.get("name"))?,
                    column_type: text(c.get("type")),
                }),
            })
            .collect(),
        column_list_authoritative: boolean(node.get("column_list_authoritative")),
        pinned: text(node.get("pinned")),
        source: text(node.get("source")),
        on_remove: on_remove(node),
    })
}

fn changes(node: &Node) -> Changes {
    let approve = node.get("approve").into_iter().flat_map(items);
    Changes {
        vdiff: word(
            node.get("vdiff"),
            &[
                ("required", VDiffPolicy::Required),
                ("every_value", VDiffPolicy::EveryValue),
                ("skip", VDiffPolicy::Skip),
            ],
        ),
        soak: millis(node.get("soak")),
        max_write_pause: millis(node.get("max_write_pause")),
        approve: approve
            .filter_map(|n| {
                word(
                    Some(n),
                    &[
                        ("switch_reads", ApprovePoint::SwitchReads),
                        ("switch_writes", ApprovePoint::SwitchWrites),
                        ("complete", ApprovePoint::Complete),
                    ],
                )
            })
            .collect(),
        window: text(node.get("window")),
        throttle_max_lag: millis(node.get("throttle").and_then(|t| t.get("max_lag"))),
        fit: word(
            node.get("fit"),
            &[("refuse", FitPolicy::Refuse), ("warn", FitPolicy::Warn)],
        ),
    }
}

fn ignore_drift(node: &Node) -> Option<IgnoreDrift> {
    let kinds = DriftKind::ALL.map(|kind| (kind.as_str(), kind));
    Some(IgnoreDrift {
        kind: word(node.get("kind"), &kinds)?,
        object: text(node.get("object")),
        reason: text(node.get("reason"))?,
    })
}

fn backups(node: &Node) -> Backups {
    let schedules = node.get("schedules").into_iter().flat_map(items);
    Backups {
        location: text(node.get("location")),
        schedules: schedules
            .filter_map(|s| {
                let keep = s.get("keep");
                Some(Schedule {
                    keyspaces: texts(s.get("keyspaces")),
                    cron: text(s.get("cron"))?,
                    keep_last: parsed(keep.and_then(|k| k.get("last"))),
                    keep_days: parsed(keep.and_then(|k| k.get("days"))),
                })
            })
            .collect(),
    }
}

fn lint(node: &Node) -> Lint {
    let levels = [Level::Off, Level::Note, Level::Warning, Level::Error];
    let levels = levels.map(|level| (level.as_str(), level));
    let rules = node.get("rules").into_iter().flat_map(items);
    let ignore = node.get("ignore").into_iter().flat_map(items);
    Lint {
        rules: rules
            .filter_map(|r| Some((text(r.get("name"))?, word(r.get("level"), &levels)?.value)))
            .collect(),
        ignore: ignore
            .filter_map(|i| {
                Some(LintIgnore {
                    rule: text(i.get("rule"))?,
                    object: text(i.get("object")),
                    file: text(i.get("file")),
                    reason: text(i.get("reason"))?,
                })
            })
            .collect(),
    }
}

fn policy(node: &Node) -> PolicySpec {
    let except = node.get("except").into_iter().flat_map(items);
    PolicySpec {
        require: texts(node.get("require")),
        forbid: texts(node.get("forbid")),
        except: except
            .filter_map(|e| {
                Some(PolicyException {
                    rule: text(e.get("rule"))?.value,
                    object: text(e.get("object"))?.value,
                    reason: text(e.get("reason"))?.value,
                })
            })
            .collect(),
    }
}

fn user(name: Sp<String>, node: &Node) -> User {
    let env = text(node.get("password_env")).map(|t| Sp::new(PasswordSource::Env(t.value), t.span));
    let file =
        text(node.get("password_file")).map(|t| Sp::new(PasswordSource::File(t.value), t.span));
    User {
        name,
        sources: env.into_iter().chain(file).collect(),
    }
}

fn on_remove(node: &Node) -> Option<Sp<OnRemove>> {
    let words = [("keep", OnRemove::Keep), ("drop", OnRemove::Drop)];
    word(node.get("on_remove"), &words)
}

fn items(node: &Node) -> impl Iterator<Item = &Node> {
    match &node.value {
        Value::Seq(items) => items.iter(),
        _ => [].iter(),
    }
}

/// Entries of a mapping with the author's names; of two with one name (reported) the first.
fn named<T>(node: Option<&Node>, decode: impl Fn(Sp<String>, &Node) -> Option<T>) -> Vec<T> {
    let mut seen = std::collections::HashSet::new();
    node.map(Node::entries)
        .unwrap_or_default()
        .iter()
        .filter(|e| seen.insert(e.key.as_str()))
        .filter_map(|e| decode(e.key.clone(), &e.value))
        .collect()
}

fn key_as<T: FromStr>(entry: &Entry) -> Option<Sp<T>> {
    let value = entry.key.parse().ok()?;
    Some(Sp::new(value, entry.key.span))
}

fn text(node: Option<&Node>) -> Option<Sp<String>> {
    let node = node?;
    Some(Sp::new(node.text()?.to_owned(), node.span))
}

fn texts(node: Option<&Node>) -> Vec<Sp<String>> {
    let items = node.into_iter().flat_map(items);
    items.filter_map(|n| text(Some(n))).collect()
}

fn parsed<T: FromStr>(node: Option<&Node>) -> Option<Sp<T>> {
    let text = text(node)?;
    Some(Sp::new(text.value.parse().ok()?, text.span))
}

fn boolean(node: Option<&Node>) -> Option<Sp<bool>> {
    let text = text(node)?;
    if matches!(&node?.value, Value::Scalar(s) if s.form == Form::Text) {
        return None;
    }
    let value = text.value.to_ascii_lowercase().parse().ok()?;
    Some(Sp::new(value, text.span))
}

fn word<T: Copy>(node: Option<&Node>, words: &[(&str, T)]) -> Option<Sp<T>> {
    let text = text(node)?;
    let (_, value) = words.iter().find(|(name, _)| *name == text.value)?;
    Some(Sp::new(*value, text.span))
}

fn millis(node: Option<&Node>) -> Option<Sp<u64>> {
    let text = text(node)?;
    Some(Sp::new(duration::parse_ms(&text.value).ok()?, text.span))
}
