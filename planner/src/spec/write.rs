//! Writes a desired state as a spec: what an import gives out. The files that the spec names, with
//! `CREATE TABLE` statements and VSchemas, are written beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vtplan_state::model::{Durability, KeyspaceName, TabletType, VSchemaKeyspace, VSchemaTable};

use super::Language;
use super::diag::SpecErrors;
use super::format::{convert, format};
use crate::desired::{
    ApprovePoint, BackupPolicy, ChangePolicy, Desired, DesiredKeyspace, DesiredTablets,
    DriftPolicy, FitPolicy, OnRemove, PasswordSource, VDiffPolicy,
};
use crate::passes::foreign_keys;

/// A spec as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub text: String,
    /// The files that it names, by their paths from its folder.
    pub files: BTreeMap<PathBuf, String>,
}

/// `desired` as a spec in its canonical form. `notes` are comments at its top. `path` is where it will
/// be, for messages.
///
/// # Errors
/// A state that no spec can say.
pub fn write(
    desired: &Desired,
    notes: &[String],
    path: &Path,
    language: Language,
) -> Result<Written, SpecErrors> {
    let mut yaml = Yaml::default();
    yaml.spec(desired);
    let text = match language {
        Language::Yaml => format(path, &(comments("#", notes) + &yaml.text), language)?,
        Language::Kdl => {
            let converted = convert(path, &yaml.text, Language::Yaml, language)?;
            comments("//", notes) + &converted.text
        }
    };
    Ok(Written {
        text,
        files: yaml.files,
    })
}

fn comments(mark: &str, notes: &[String]) -> String {
    let lines = notes.iter().flat_map(|note| note.lines());
    let mut text: String = lines.map(|l| std::format!("{mark} {l}\n")).collect();
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

#[derive(Default)]
struct Yaml {
    text: String,
    files: BTreeMap<PathBuf, String>,
}

/// A scalar: plain where nothing can be read into it, else quoted as in JSON, which is YAML too.
fn scalar(text: &str) -> String {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| scalar(&i.to_string())).collect();
    std::format!("[{}]", items.join(", "))
}

/// Milliseconds in the largest unit that gives a whole number.
fn duration(ms: u64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let whole = units
        .iter()
        .find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => std::format!("{}{name}", ms / unit),
        None => std::format!("{ms}ms"),
    }
}

/// Whether a keyspace's VSchema is the one that its schema gives it.
fn says_what_its_tables_do(keyspace: &DesiredKeyspace) -> bool {
    let tables = keyspace.tables.keys();
    let plain = VSchemaKeyspace {
        tables: tables
            .map(|table| (table.to_string(), VSchemaTable::default()))
            .collect(),
        ..VSchemaKeyspace::default()
    };
    keyspace.is_adopted() && keyspace.vschema == plain
}

impl Yaml {
    fn line(&mut self, depth: usize, text: &str) {
        self.text.push_str(&"  ".repeat(depth));
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn spec(&mut self, desired: &Desired) {
        self.line(0, "vtplan: 1");
        self.line(0, &std::format!("cluster: {}", scalar(&desired.cluster)));
        self.line(0, &std::format!("cells: {}", list(&desired.cells)));
        if !desired.keyspaces.is_empty() {
            self.text.push('\n');
            self.line(0, "keyspaces:");
        }
        for (name, keyspace) in &desired.keyspaces {
            self.keyspace(name, keyspace);
        }
        self.changes(&desired.changes);
        self.drift(&desired.drift);
        if let Some(backups) = &desired.backups {
            self.backups(backups);
        }
        if !desired.gates.is_empty() {
            self.text.push('\n');
            self.line(0, "gates:");
        }
        for (cell, gates) in &desired.gates {
            let (count, port) = (gates.count, gates.mysql_port);
            let cell = scalar(cell.as_str());
            self.line(
                1,
                &std::format!("{cell}: {{ count: {count}, mysql_port: {port} }}"),
            );
        }
        if !desired.users.is_empty() {
            self.text.push('\n');
            self.line(0, "users:");
        }
        for (name, user) in &desired.users {
            let (field, value) = match &user.source {
                PasswordSource::Env(name) => ("password_env", name),
                PasswordSource::File(path) => ("password_file", path),
            };
            let (name, value) = (scalar(name), scalar(value));
            self.line(1, &std::format!("{name}: {{ {field}: {value} }}"));
        }
    }

    fn keyspace(&mut self, name: &KeyspaceName, keyspace: &DesiredKeyspace) {
        self.line(1, &std::format!("{}:", scalar(name.as_str())));
        if keyspace.shards.len() > 1 {
            // What is a number elsewhere is a shard here, and needs no quotes.
            let shards: Vec<String> = keyspace.shards.iter().map(ToString::to_string).collect();
            self.line(2, &std::format!("shards: [{}]", shards.join(", ")));
        } else if keyspace.is_sharded() {
            self.line(2, "sharded: true");
        }
        if keyspace.durability != Durability::default() {
            self.line(2, &std::format!("durability: {}", keyspace.durability));
        }
        self.tablets(&keyspace.tablets);
        if !keyspace.tables.is_empty() {
            let file = std::format!("schema/{name}.sql");
            self.line(2, &std::format!("schema: {}", scalar(&file)));
            // As they could be run: what a foreign key refers to comes first.
            let statements: Vec<String> = foreign_keys::in_order(name, keyspace)
                .iter()
                .map(|table| &keyspace.tables[table.name].statement)
                .map(|statement| std::format!("{};\n", statement.trim_end()))
                .collect();
            self.files.insert(file.into(), statements.join("\n"));
        }
        if !says_what_its_tables_do(keyspace) {
            let vschema = serde_json::to_string_pretty(&keyspace.vschema);
            let file = std::format!("vschema/{name}.json");
            self.line(2, &std::format!("vschema: {}", scalar(&file)));
            // VSchemas are our own type: maps with string keys.
            let vschema = vschema.expect("a VSchema serializes");
            self.files.insert(file.into(), vschema + "\n");
        }
        let dropped: Vec<_> = keyspace
            .tables
            .iter()
            .filter(|(_, table)| table.on_remove == OnRemove::Drop)
            .collect();
        if !dropped.is_empty() {
            self.line(2, "tables:");
        }
        for (table, _) in dropped {
            let table = scalar(table.as_str());
            self.line(3, &std::format!("{table}: {{ on_remove: drop }}"));
        }
        if keyspace.on_remove == OnRemove::Drop {
            self.line(2, "on_remove: drop");
        }
    }

    fn tablets(&mut self, tablets: &[DesiredTablets]) {
        if tablets.is_empty() {
            return;
        }
        self.line(2, "tablets:");
        let count = |t: &DesiredTablets| std::format!("{}: {}", t.tablet_type, t.count);
        if tablets.iter().all(|t| t.pin.is_none() && t.adopt.is_none()) {
            let mut cells: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for some in tablets {
                cells
                    .entry(some.cell.as_str())
                    .or_default()
                    .push(count(some));
            }
            for (cell, counts) in cells {
                self.line(
                    3,
                    &std::format!("{}: {{ {} }}", scalar(cell), counts.join(", ")),
                );
            }
            return;
        }
        for some in tablets {
            let mut fields = vec![std::format!("cell: {}", scalar(some.cell.as_str()))];
            if let Some(adopt) = &some.adopt {
                fields.push(std::format!(
                    "server: {}",
                    scalar(&adopt.server.to_string())
                ));
                if some.tablet_type != TabletType::Replica {
                    fields.push(std::format!("type: {}", some.tablet_type));
                }
                if let Some(host) = &adopt.host {
                    fields.push(std::format!("host: {}", scalar(host.as_str())));
                }
                self.line(3, &std::format!("- {{ {} }}", fields.join(", ")));
                continue;
            }
            match &some.pin {
                None => fields.push(count(some)),
                Some(pin) => {
                    fields.push(std::format!("host: {}", scalar(pin.host.as_str())));
                    if some.tablet_type != TabletType::Replica {
                        fields.push(std::format!("type: {}", some.tablet_type));
                    }
                    if let Some(shard) = &pin.shard {
                        fields.push(std::format!("shard: {}", scalar(&shard.to_string())));
                    }
                    if let Some(uid) = pin.uid {
                        fields.push(std::format!("uid: {uid}"));
                    }
                    if let Some(port) = pin.mysql_port {
                        fields.push(std::format!("mysql_port: {port}"));
                    }
                }
            }
            self.line(3, &std::format!("- {{ {} }}", fields.join(", ")));
        }
    }

    fn changes(&mut self, changes: &ChangePolicy) {
        let usual = ChangePolicy::default();
        if *changes == usual {
            return;
        }
        self.text.push('\n');
        self.line(0, "changes:");
        match changes.vdiff {
            VDiffPolicy::Required => {}
            VDiffPolicy::EveryValue => self.line(1, "vdiff: every_value"),
            VDiffPolicy::Skip => self.line(1, "vdiff: skip"),
        }
        if changes.soak_seconds != usual.soak_seconds {
            let soak = duration(changes.soak_seconds.saturating_mul(1000));
            self.line(1, &std::format!("soak: {soak}"));
        }
        if changes.max_write_pause_ms != usual.max_write_pause_ms {
            let pause = duration(changes.max_write_pause_ms);
            self.line(1, &std::format!("max_write_pause: {pause}"));
        }
        if !changes.approve.is_empty() {
            let points = changes.approve.iter().copied().map(ApprovePoint::as_str);
            self.line(1, &std::format!("approve: {}", list(points)));
        }
        if let Some(window) = &changes.window {
            self.line(1, &std::format!("window: {}", scalar(window)));
        }
        if changes.throttle_max_lag_seconds != usual.throttle_max_lag_seconds {
            let lag = duration(changes.throttle_max_lag_seconds.saturating_mul(1000));
            self.line(1, &std::format!("throttle: {{ max_lag: {lag} }}"));
        }
        if changes.fit == FitPolicy::Warn {
            self.line(1, "fit: warn");
        }
    }

    fn drift(&mut self, drift: &DriftPolicy) {
        if drift.is_empty() {
            return;
        }
        self.text.push('\n');
        self.line(0, "drift:");
        self.line(1, "ignore:");
        for rule in &drift.ignore {
            self.line(2, &std::format!("- kind: {}", rule.kind));
            if let Some(object) = &rule.object {
                self.line(3, &std::format!("object: {}", scalar(object)));
            }
            self.line(3, &std::format!("reason: {}", scalar(&rule.reason)));
        }
    }

    fn backups(&mut self, backups: &BackupPolicy) {
        self.text.push('\n');
        self.line(0, "backups:");
        self.line(1, &std::format!("location: {}", scalar(&backups.location)));
        if !backups.schedules.is_empty() {
            self.line(1, "schedules:");
        }
        for schedule in &backups.schedules {
            let mut fields = vec![
                std::format!("keyspaces: {}", list(&schedule.keyspaces)),
                std::format!("cron: {}", scalar(&schedule.cron)),
            ];
            let keep = [("last", schedule.keep_last), ("days", schedule.keep_days)];
            let keep: Vec<String> = keep
                .iter()
                .filter_map(|(name, n)| n.map(|n| std::format!("{name}: {n}")))
                .collect();
            if !keep.is_empty() {
                fields.push(std::format!("keep: {{ {} }}", keep.join(", ")));
            }
            self.line(2, &std::format!("- {{ {} }}", fields.join(", ")));
        }
    }
}
