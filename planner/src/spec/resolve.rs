//! From the model to the desired state: the files that a spec names are read, defaults filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use vtplan_state::model::{ShardName, TableName, TabletType, UserRecord};

use super::diag::{Problems, place};
use super::files;
use super::model::{Keyspace, SchemaSource, Shards, Spec, TabletsKind};
use super::secrets::{MissingSecret, Secrets, look_up};
use super::source::{Sources, Sp, Span};
use super::sql::{CreateTable, read_statements};
use super::vschema::{self, Located};
use crate::desired::{
    Adopt, BackupPolicy, BackupSchedule, ChangePolicy, Desired, DesiredGates, DesiredKeyspace,
    DesiredTable, DesiredTablets, DesiredUser, DriftPolicy, IgnoreDrift, OnRemove, Pin, Policy,
};
use crate::lint;

/// Default port of a gate, as vtgate's in Vitess's examples.
const DEFAULT_GATE_PORT: u16 = 15306;

/// A keyspace with what its files say.
#[derive(Debug)]
pub struct ResolvedKeyspace<'a> {
    pub spec: &'a Keyspace,
    /// In key order.
    pub shards: Vec<ShardName>,
    pub vschema: Located,
    /// Whether it names a schema; without one nothing is known of its tables.
    pub has_schema: bool,
    /// Whether all of the schema could be read.
    pub schema_complete: bool,
    pub tables: BTreeMap<TableName, CreateTable>,
}

impl ResolvedKeyspace<'_> {
    pub fn name(&self) -> &str {
        self.spec.name.as_str()
    }

    /// Whether a field of the keyspace has mistakes in its writing.
    pub fn is_broken(&self, field: &str, problems: &Problems) -> bool {
        problems.is_broken(&format!("keyspaces.{}.{field}", self.name()))
    }

    pub fn is_sharded(&self) -> bool {
        self.vschema.vschema.sharded
    }

    /// Whether a table is a sequence, by the VSchema or by its comment.
    pub fn is_sequence(&self, table: &str) -> bool {
        let entry = self.vschema.vschema.tables.get(table);
        entry.is_some_and(|t| t.is_sequence())
            || self.tables.get(table).is_some_and(CreateTable::is_sequence)
    }

    pub fn has_table(&self, table: &str) -> bool {
        self.vschema.vschema.tables.contains_key(table) || self.tables.contains_key(table)
    }
}

/// Reads what a keyspace names.
pub fn keyspace<'a>(
    spec: &'a Keyspace,
    sources: &mut Sources,
    problems: &mut Problems,
) -> ResolvedKeyspace<'a> {
    let shards = shard_names(spec.shards.as_ref());
    let sharded = spec.sharded.as_ref().map_or(shards.len() > 1, |s| s.value);
    let mut vschema = vschema::inline(spec, sharded);
    if let Some(path) = &spec.vschema {
        let full = beside(sources, path);
        if let Some(file) = files::read(&full, Some(path.span), sources, problems)
            && let Some(located) = vschema::from_file(file, sources, problems)
        {
            vschema = located;
        }
    }
    let mut tables = BTreeMap::new();
    let mut complete = true;
    for source in &spec.schema {
        complete &= read_schema(source, &mut tables, sources, problems);
    }
    if !vschema.from_file {
        for (name, table) in &tables {
            vschema.add_table(name.as_str(), table.name.span);
        }
    }
    add_sequences(&vschema, &mut tables);
    ResolvedKeyspace {
        spec,
        shards,
        vschema,
        has_schema: !spec.schema.is_empty(),
        schema_complete: complete,
        tables,
    }
}

fn shard_names(shards: Option<&Sp<Shards>>) -> Vec<ShardName> {
    match shards.map(|s| &s.value) {
        None => vec![ShardName::unsharded()],
        Some(Shards::Count(count)) => ShardName::even_split((*count).max(1)),
        Some(Shards::List(list)) => {
            let mut names: Vec<_> = list.iter().map(|s| s.value.clone()).collect();
            names.sort();
            names.dedup();
            names
        }
    }
}

/// A path of a spec: relative ones are meant from the folder of the file that names them.
fn beside(sources: &Sources, path: &Sp<String>) -> PathBuf {
    sources.get(path.span.file).folder().join(&path.value)
}

/// Adds one source's tables; false when there may be more that could not be read.
fn read_schema(
    source: &SchemaSource,
    tables: &mut BTreeMap<TableName, CreateTable>,
    sources: &mut Sources,
    problems: &mut Problems,
) -> bool {
    let path = match source {
        SchemaSource::Sql(sql) => {
            // The text's own places are lost with its quotes and escapes.
            let before = problems.error_count();
            let found = read_statements(&sql.value, &|_, _| sql.span, problems);
            add_tables(found, tables, problems);
            return problems.error_count() == before;
        }
        SchemaSource::Path(path) => path,
    };
    let full = beside(sources, path);
    let found = if full.is_dir() {
        let is_sql = |p: &Path| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("sql"));
        match files::files_of(&full, is_sql, problems) {
            Some(found) if found.is_empty() => {
                let message = format!("the folder `{}` has no .sql file", full.display());
                problems.warning("empty-schema", path.span, message);
                found
            }
            Some(found) => found,
            None => return false,
        }
    } else {
        vec![full]
    };
    let mut complete = true;
    for file_path in found {
        let Some(file) = files::read(&file_path, Some(path.span), sources, problems) else {
            complete = false;
            continue;
        };
        let text = &sources.get(file).text;
        let place = |start, end| Span::new(file, start, end);
        let before = problems.error_count();
        let found = read_statements(text, &place, problems);
        add_tables(found, tables, problems);
        complete &= problems.error_count() == before;
    }
    complete
}

fn add_tables(
    found: Vec<CreateTable>,
    tables: &mut BTreeMap<TableName, CreateTable>,
    problems: &mut Problems,
) {
    for table in found {
        if let Some(first) = tables.get(&table.name.value) {
            problems
                .error(
                    "duplicate-definition",
                    table.name.span,
                    format!("table `{}` is defined twice", *table.name),
                )
                .related(first.name.span, "first defined here");
        } else {
            tables.insert(table.name.value.clone(), table);
        }
    }
}

/// A sequence that the schema does not define gets the definition that every sequence has.
fn add_sequences(vschema: &Located, tables: &mut BTreeMap<TableName, CreateTable>) {
    for (name, entry) in &vschema.vschema.tables {
        let Ok(name) = TableName::new(name.as_str()) else {
            continue;
        };
        if !entry.is_sequence() || tables.contains_key(&name) {
            continue;
        }
        let quoted = name.as_str().replace('`', "``");
        let statement = format!(
            "CREATE TABLE `{quoted}` (\n  id bigint NOT NULL,\n  next_id bigint,\n  cache bigint,\n  PRIMARY KEY (id)\n) COMMENT 'vitess_sequence'"
        );
        let span = vschema.at(&format!("tables/{name}"));
        let place = |_: usize, _: usize| span;
        let made = read_statements(&statement, &place, &mut Problems::default());
        tables.extend(made.into_iter().map(|table| (name.clone(), table)));
    }
}

/// The desired state of a spec without errors.
pub fn desired(
    spec: &Spec,
    keyspaces: &[ResolvedKeyspace<'_>],
    sources: &Sources,
    secrets: &dyn Secrets,
) -> (Desired, Vec<MissingSecret>) {
    let (users, missing) = users(spec, sources, secrets);
    let desired = Desired {
        cluster: spec
            .cluster
            .as_ref()
            .map(|c| c.value.clone())
            .unwrap_or_default(),
        cells: spec.cells.iter().map(|c| c.value.clone()).collect(),
        keyspaces: keyspaces
            .iter()
            .map(|k| (k.spec.name.value.clone(), desired_keyspace(k)))
            .collect(),
        changes: changes(spec),
        drift: DriftPolicy {
            ignore: spec
                .ignore_drift
                .iter()
                .map(|rule| IgnoreDrift {
                    kind: rule.kind.value,
                    object: rule.object.as_ref().map(|o| o.value.clone()),
                    reason: rule.reason.value.clone(),
                })
                .collect(),
        },
        backups: spec.backups.as_ref().map(|b| BackupPolicy {
            location: b
                .location
                .as_ref()
                .map(|l| l.value.clone())
                .unwrap_or_default(),
            schedules: b
                .schedules
                .iter()
                .map(|s| BackupSchedule {
                    keyspaces: match s.keyspaces.as_slice() {
                        [] => vec!["*".to_owned()],
                        some => some.iter().map(|k| k.value.clone()).collect(),
                    },
                    cron: s.cron.value.clone(),
                    keep_last: s.keep_last.as_ref().map(|n| n.value),
                    keep_days: s.keep_days.as_ref().map(|n| n.value),
                })
                .collect(),
        }),
        gates: spec
            .gates
            .iter()
            .map(|g| {
                let gates = DesiredGates {
                    count: g.count.as_ref().map_or(1, |n| n.value),
                    mysql_port: g.mysql_port.as_ref().map_or(DEFAULT_GATE_PORT, |n| n.value),
                };
                (g.cell.value.clone(), gates)
            })
            .collect(),
        users,
        policy: policy(spec),
    };
    (desired, missing)
}

/// Words in their order, each once, so that the order of writing is of no account.
fn policy(spec: &Spec) -> Policy {
    let Some(policy) = &spec.policy else {
        return Policy::default();
    };
    let sorted = |words: &[Sp<String>]| {
        let words: BTreeSet<String> = words.iter().map(|w| w.value.clone()).collect();
        words.into_iter().collect()
    };
    Policy {
        require: sorted(&policy.require),
        forbid: sorted(&policy.forbid),
        except: policy.except.clone(),
    }
}

/// What a spec says of the rules of `lint`.
pub fn lint(spec: &Spec, sources: &Sources) -> lint::Config {
    let Some(config) = &spec.lint else {
        return lint::Config::default();
    };
    let value = |text: &Option<Sp<String>>| text.as_ref().map(|t| t.value.clone());
    lint::Config {
        levels: config
            .rules
            .iter()
            .map(|(name, level)| (name.value.clone(), *level))
            .collect(),
        ignore: config
            .ignore
            .iter()
            .map(|ignore| lint::Ignore {
                rule: ignore.rule.value.clone(),
                object: value(&ignore.object),
                file: value(&ignore.file),
                reason: ignore.reason.value.clone(),
                place: place(sources, ignore.rule.span),
            })
            .collect(),
    }
}

fn desired_keyspace(keyspace: &ResolvedKeyspace<'_>) -> DesiredKeyspace {
    let spec = keyspace.spec;
    let on_remove = spec.on_remove.as_ref().map_or(OnRemove::Keep, |o| o.value);
    let table_on_remove = |name: &TableName| {
        let entry = spec.tables.iter().find(|t| t.name.value == *name);
        let own = entry.and_then(|t| t.on_remove.as_ref());
        own.map_or(on_remove, |o| o.value)
    };
    DesiredKeyspace {
        shards: keyspace.shards.clone(),
        durability: spec
            .durability
            .as_ref()
            .map(|d| d.value)
            .unwrap_or_default(),
        tablets: tablets(spec),
        tables: keyspace
            .tables
            .iter()
            .map(|(name, table)| {
                let table = DesiredTable {
                    statement: table.statement.clone(),
                    on_remove: table_on_remove(name),
                };
                (name.clone(), table)
            })
            .collect(),
        vschema: keyspace.vschema.vschema.clone(),
        on_remove,
    }
}

fn tablets(spec: &Keyspace) -> Vec<DesiredTablets> {
    let mut out = Vec::new();
    for tablets in &spec.tablets {
        let cell = tablets.cell.value.clone();
        match &tablets.place.value {
            TabletsKind::Counts { replica, rdonly } => {
                let types = [(TabletType::Replica, replica), (TabletType::Rdonly, rdonly)];
                for (tablet_type, count) in types {
                    let count = count.as_ref().map_or(0, |c| c.value);
                    if count > 0 {
                        out.push(DesiredTablets {
                            cell: cell.clone(),
                            tablet_type,
                            count,
                            pin: None,
                            adopt: None,
                        });
                    }
                }
            }
            TabletsKind::Pinned(pinned) => out.push(DesiredTablets {
                cell,
                tablet_type: pinned
                    .tablet_type
                    .as_ref()
                    .map_or(TabletType::Replica, |t| t.value),
                count: 1,
                pin: Some(Pin {
                    host: pinned.host.value.clone(),
                    shard: pinned.shard.as_ref().map(|s| s.value.clone()),
                    uid: pinned.uid.as_ref().map(|u| u.value),
                    mysql_port: pinned.mysql_port.as_ref().map(|p| p.value),
                }),
                adopt: None,
            }),
            TabletsKind::Adopted(adopted) => out.push(DesiredTablets {
                cell,
                tablet_type: adopted
                    .tablet_type
                    .as_ref()
                    .map_or(TabletType::Replica, |t| t.value),
                count: 1,
                pin: None,
                adopt: Some(Adopt {
                    server: adopted.server.value.clone(),
                    host: adopted.host.as_ref().map(|h| h.value.clone()),
                }),
            }),
        }
    }
    out
}

fn changes(spec: &Spec) -> ChangePolicy {
    let default = ChangePolicy::default();
    let Some(changes) = &spec.changes else {
        return default;
    };
    let mut approve: Vec<_> = changes.approve.iter().map(|a| a.value).collect();
    approve.sort();
    approve.dedup();
    ChangePolicy {
        vdiff: changes.vdiff.as_ref().map_or(default.vdiff, |v| v.value),
        soak_seconds: changes
            .soak
            .as_ref()
            .map_or(default.soak_seconds, |s| s.value.div_ceil(1000)),
        max_write_pause_ms: changes
            .max_write_pause
            .as_ref()
            .map_or(default.max_write_pause_ms, |m| m.value),
        approve,
        window: changes.window.as_ref().map(|w| w.value.clone()),
        throttle_max_lag_seconds: changes
            .throttle_max_lag
            .as_ref()
            .map_or(default.throttle_max_lag_seconds, |t| t.value.div_ceil(1000)),
        fit: changes.fit.as_ref().map_or(default.fit, |f| f.value),
    }
}

fn users(
    spec: &Spec,
    sources: &Sources,
    secrets: &dyn Secrets,
) -> (BTreeMap<String, DesiredUser>, Vec<MissingSecret>) {
    let mut users = BTreeMap::new();
    let mut missing = Vec::new();
    for user in &spec.users {
        let Some(source) = user.sources.first() else {
            continue;
        };
        let base = sources.get(source.span.file).folder();
        let verifier = match look_up(secrets, &source.value, base) {
            Ok(password) => Some(UserRecord::from_password(
                user.name.value.clone(),
                &password,
            )),
            Err(why) => {
                missing.push(MissingSecret {
                    user: user.name.value.clone(),
                    source_name: source.value.clone(),
                    why,
                });
                None
            }
        };
        let desired = DesiredUser {
            source: source.value.clone(),
            verifier,
        };
        users.insert(user.name.value.clone(), desired);
    }
    (users, missing)
}
