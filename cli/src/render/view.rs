//! A plan as a tree of the objects that it changes, the way people look at a cluster: keyspaces
//! with their shards, tablets, tables and VSchema, then users and gates; before them the workflows. It says nothing about
//! how it looks; [`super::text`] and [`super::markdown`] do.

use std::collections::{BTreeMap, BTreeSet};

use similar::TextDiff;
use vtplan_planner::desired::{BackupPolicy, BackupSchedule};
use vtplan_planner::plan::{Action, Plan, Risk, Step};
use vtplan_planner::seen::Deviation;
use vtplan_state::model::{KeyspaceName, ShardName, TableName, VSchemaKeyspace};

use super::moves;
use super::step::{keyspace_of, place, shard_of, workflow_of};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// Stays as it is; something in it changes.
    Keep,
    /// Data goes elsewhere.
    Move,
    Create,
    Change,
    Replace,
    Delete,
}

impl Sign {
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Keep => " ",
            Self::Move => ">",
            Self::Create => "+",
            Self::Change => "~",
            Self::Replace => "-/+",
            Self::Delete => "-",
        }
    }
    pub const fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Move => "move",
            Self::Create => "create",
            Self::Change => "change",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }
}

/// An object, and what happens to it.
#[derive(Debug, Clone)]
pub struct Item {
    pub sign: Sign,
    /// `tablet zone1-0000000100`.
    pub title: String,
    /// `replica, on db1:17100`.
    pub detail: String,
    /// Why; said where it is not plain from the item itself.
    pub reason: String,
    pub risk: Risk,
    /// Longest of its steps, seconds.
    pub seconds: u64,
    pub body: Option<Body>,
    pub children: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Lines that are new as a whole.
    New(String),
    /// A unified diff without file names.
    Diff(String),
}

impl Item {
    pub(super) fn new(sign: Sign, title: impl Into<String>) -> Self {
        Self {
            sign,
            title: title.into(),
            detail: String::new(),
            reason: String::new(),
            risk: Risk::Safe,
            seconds: 0,
            body: None,
            children: Vec::new(),
        }
    }

    pub(super) fn of(step: &Step, sign: Sign, title: impl Into<String>) -> Self {
        let mut item = Self::new(sign, title);
        item.take(step);
        item
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Takes over what a step says about itself.
    fn take(&mut self, step: &Step) {
        self.risk = self.risk.max(step.risk);
        self.seconds = self.seconds.max(step.estimate.seconds);
        if self.reason.is_empty() {
            self.reason.clone_from(&step.reason);
        }
    }
}

/// A whole plan.
#[derive(Debug)]
pub struct View {
    pub items: Vec<Item>,
    /// The signs that occur, for the legend.
    pub signs: BTreeSet<Sign>,
}

pub fn view(plan: &Plan) -> View {
    let mut keyspaces: BTreeMap<&KeyspaceName, Vec<&Step>> = BTreeMap::new();
    let mut workflows: BTreeMap<_, Vec<&Step>> = BTreeMap::new();
    let mut others: Vec<&Step> = Vec::new();
    for step in &plan.steps {
        if let Some(workflow) = workflow_of(step) {
            workflows.entry(workflow).or_default().push(step);
            continue;
        }
        match keyspace_of(step) {
            Some(keyspace) => keyspaces.entry(keyspace).or_default().push(step),
            None => others.push(step),
        }
    }
    let mut items: Vec<Item> = workflows.into_values().map(|s| moves::item(&s)).collect();
    let (cells, rest): (Vec<&Step>, Vec<&Step>) = others.into_iter().partition(|s| {
        matches!(
            s.action,
            Action::CreateCell { .. } | Action::DeleteCell { .. }
        )
    });
    items.extend(cells.into_iter().filter_map(other));
    items.extend(
        keyspaces
            .into_iter()
            .map(|(keyspace, steps)| keyspace_item(keyspace, &steps)),
    );
    items.extend(rest.into_iter().filter_map(other));
    let mut signs = BTreeSet::new();
    fn collect(items: &[Item], signs: &mut BTreeSet<Sign>) {
        for item in items {
            signs.insert(item.sign);
            collect(&item.children, signs);
        }
    }
    collect(&items, &mut signs);
    signs.remove(&Sign::Keep);
    View { items, signs }
}

/// An object that belongs to no keyspace.
fn other(step: &Step) -> Option<Item> {
    Some(match &step.action {
        Action::CreateCell { cell } => Item::of(step, Sign::Create, format!("cell {cell}")),
        Action::DeleteCell { cell } => Item::of(step, Sign::Delete, format!("cell {cell}")),
        Action::ChangeTabletType { alias, from, to } => {
            Item::of(step, Sign::Change, format!("tablet {alias}")).detail(format!("{from} → {to}"))
        }
        Action::CreateUser { user, verifier } => {
            let item = Item::of(step, Sign::Create, format!("user {user}"));
            match verifier {
                Some(_) => item,
                None => item.detail("its password cannot be read here"),
            }
        }
        Action::AlterUser { user, .. } => {
            Item::of(step, Sign::Change, format!("user {user}")).detail("another password")
        }
        Action::DeleteUser { user } => Item::of(step, Sign::Delete, format!("user {user}")),
        Action::ConfigureGates {
            cell,
            count,
            mysql_port,
        } => {
            let count = super::table::count(*count as usize, "gate");
            let mut item = Item::of(step, Sign::Change, format!("gates of {cell}"))
                .detail(format!("{count}, MySQL port {mysql_port}"));
            // It says the same.
            item.reason.clear();
            item
        }
        Action::RemoveGates { cell } => Item::of(step, Sign::Delete, format!("gates of {cell}")),
        Action::SetBackups { before, after } => {
            let sign = match (before, after) {
                (None, _) => Sign::Create,
                (_, None) => Sign::Delete,
                _ => Sign::Change,
            };
            let mut item = Item::of(step, sign, "backup schedules");
            if let Some(after) = after {
                item = item.detail(format!("to {}", after.location));
            }
            item.children = changed_schedules(before.as_ref(), after.as_ref());
            item
        }
        Action::MendRouting { before, after } => {
            let text = |rules| serde_json::to_string_pretty(rules).unwrap_or_default();
            let mut item = Item::of(step, Sign::Change, "routing rules");
            item.body = Some(Body::Diff(diff(&text(before), &text(after))));
            item
        }
        Action::EndHold { hold, .. } => Item::of(step, Sign::Delete, format!("hold {hold}")),
        _ => return None,
    })
}

/// The schedules of backups that go, and those that come.
fn changed_schedules(before: Option<&BackupPolicy>, after: Option<&BackupPolicy>) -> Vec<Item> {
    let words = |policy: Option<&BackupPolicy>| -> Vec<(String, String)> {
        let schedules = policy.map(|p| p.schedules.as_slice()).unwrap_or_default();
        let of = |s: &BackupSchedule| {
            let last = s.keep_last.map(|n| format!("the last {n}"));
            let days = s.keep_days.map(|n| format!("those of {n} days"));
            let keep: Vec<String> = last.into_iter().chain(days).collect();
            let keep = match keep.is_empty() {
                true => "keeps all".to_owned(),
                false => format!("keeps {}", keep.join(" and ")),
            };
            (format!("{} of {}", s.cron, s.keyspaces.join(", ")), keep)
        };
        schedules.iter().map(of).collect()
    };
    let (before, after) = (words(before), words(after));
    let item = |sign, (title, keep): &(String, String)| {
        let item = Item::new(sign, title.clone());
        match sign {
            Sign::Create => item.detail(keep.clone()),
            _ => item,
        }
    };
    let gone = before.iter().filter(|s| !after.contains(s));
    let new = after.iter().filter(|s| !before.contains(s));
    (gone.map(|s| item(Sign::Delete, s)))
        .chain(new.map(|s| item(Sign::Create, s)))
        .collect()
}

fn keyspace_item(keyspace: &KeyspaceName, steps: &[&Step]) -> Item {
    let mut item = Item::new(Sign::Keep, format!("keyspace {keyspace}"));
    let mut shards: BTreeMap<&ShardName, Vec<&Step>> = BTreeMap::new();
    let mut tables: BTreeMap<&TableName, Vec<&Step>> = BTreeMap::new();
    let mut vschema = None;
    let mut lookups = Vec::new();
    for &step in steps {
        match &step.action {
            Action::CreateKeyspace { durability, .. } => {
                item.sign = Sign::Create;
                item.detail = format!("durability {durability}");
                item.take(step);
            }
            Action::SetDurability { from, to, .. } => {
                item.sign = item.sign.max(Sign::Change);
                item.detail = format!("durability {from} → {to}");
                item.take(step);
            }
            Action::DeleteKeyspace { .. } => {
                item.sign = Sign::Delete;
                item.take(step);
            }
            Action::ApplyVschema { before, after, .. } => {
                vschema = Some(vschema_item(step, before.as_ref(), after));
            }
            Action::BackfillLookup { lookup, table, .. } => lookups.push(
                Item::of(step, Sign::Change, format!("lookup {lookup}")).detail(format!(
                    "filled with the rows of {table}, then opened: `write_only` goes"
                )),
            ),
            Action::CreateTable { table, .. }
            | Action::AlterTable { table, .. }
            | Action::DropTable { table, .. }
            | Action::InitSequence { table, .. } => tables.entry(table).or_default().push(step),
            _ => {
                if let Some(shard) = shard_of(step) {
                    shards.entry(shard).or_default().push(step);
                }
            }
        }
    }
    let shard_count = all_shards(steps).len();
    item.children.extend(
        shards
            .into_iter()
            .map(|(shard, steps)| shard_item(shard, &steps)),
    );
    for (table, steps) in tables {
        item.children
            .extend(table_items(table, &steps, shard_count));
    }
    item.children.extend(vschema);
    item.children.extend(lookups);
    item
}

fn all_shards<'a>(steps: &[&'a Step]) -> BTreeSet<&'a ShardName> {
    steps.iter().filter_map(|s| shard_of(s)).collect()
}

fn shard_item(shard: &ShardName, steps: &[&Step]) -> Item {
    let mut item = Item::new(Sign::Keep, format!("shard {shard}"));
    let created = |alias| {
        steps
            .iter()
            .any(|s| matches!(&s.action, Action::CreateTablet { alias: a, .. } if a == alias))
    };
    let primary = steps.iter().find_map(|s| match &s.action {
        Action::InitPrimary { primary, .. } => Some(primary),
        _ => None,
    });
    for &step in steps {
        match &step.action {
            Action::CreateShard { serving, .. } => {
                item.sign = Sign::Create;
                item.take(step);
                if !serving {
                    item.detail = "not serving yet".to_owned();
                }
            }
            Action::DeleteShard { .. } => {
                item.sign = Sign::Delete;
                item.take(step);
            }
            Action::CreateTablet {
                alias,
                tablet_type,
                host,
                mysql_port,
                adopt,
                ..
            } => {
                let replaced = steps.iter().any(
                    |s| matches!(&s.action, Action::DeleteTablet { alias: a, .. } if a == alias),
                );
                let sign = if replaced {
                    Sign::Replace
                } else {
                    Sign::Create
                };
                let role = if primary == Some(alias) {
                    "primary".to_owned()
                } else {
                    tablet_type.to_string()
                };
                let place = match (adopt, host) {
                    (Some(server), Some(host)) => format!("adopted: {server}, by {host}"),
                    (Some(server), None) => format!("adopted: {server}"),
                    (None, _) => place(host.as_ref(), *mysql_port),
                };
                item.children.push(
                    Item::of(step, sign, format!("tablet {alias}"))
                        .detail(format!("{role:<8} {place}")),
                );
            }
            Action::DeleteTablet {
                alias,
                host,
                release,
                ..
            } if !created(alias) => {
                let place = match release {
                    Some(server) => format!("released: {server} goes on with its data"),
                    None => format!("on {host}"),
                };
                item.children
                    .push(Item::of(step, Sign::Delete, format!("tablet {alias}")).detail(place));
            }
            // Said with the tablet that becomes primary, unless that exists already.
            Action::InitPrimary { primary, .. } if !created(primary) => item
                .children
                .push(Item::of(step, Sign::Change, "primary").detail(format!("none → {primary}"))),
            Action::MendServer {
                alias, deviations, ..
            } => {
                let what: Vec<String> = deviations.iter().map(deviation).collect();
                item.children.push(
                    Item::of(step, Sign::Change, format!("server {alias}")).detail(what.join("; ")),
                );
            }
            Action::MendShard {
                fenced,
                serving_reads,
                ..
            } => {
                let mut what = Vec::new();
                if *fenced {
                    what.push("fenced → not fenced");
                }
                if !serving_reads.is_empty() {
                    what.push("reads routed apart → with its writes");
                }
                item.children
                    .push(Item::of(step, Sign::Change, "traffic").detail(what.join("; ")));
            }
            Action::Reparent { from, to, .. } => item
                .children
                .push(Item::of(step, Sign::Change, "primary").detail(format!("{from} → {to}"))),
            _ => {}
        }
    }
    item
}

/// `sync_binlog 0 → 1`.
fn deviation(deviation: &Deviation) -> String {
    let name = deviation.name();
    match deviation {
        Deviation::Account { found, .. } => format!("account {name}: {found}"),
        _ => {
            let (found, expected) = deviation.found_and_expected();
            format!("{name} {found} → {expected}")
        }
    }
}

/// What happens to a table, once for all shards it happens to.
fn table_items(table: &TableName, steps: &[&Step], shard_count: usize) -> Vec<Item> {
    let mut items: Vec<(Item, Vec<String>)> = Vec::new();
    for &step in steps {
        let (sign, body, detail) = match &step.action {
            Action::CreateTable { statement, .. } => {
                (Sign::Create, Some(Body::New(statement.clone())), "")
            }
            Action::AlterTable { before, after, .. } => {
                (Sign::Change, Some(Body::Diff(diff(before, after))), "")
            }
            Action::DropTable { .. } => (Sign::Delete, None, ""),
            _ => continue,
        };
        let shard = shard_of(step).map(ToString::to_string).unwrap_or_default();
        match items
            .iter_mut()
            .find(|(item, _)| item.sign == sign && item.body == body)
        {
            Some((item, shards)) => {
                item.take(step);
                shards.push(shard);
            }
            None => {
                let mut item = Item::of(step, sign, format!("table {table}")).detail(detail);
                item.body = body;
                items.push((item, vec![shard]));
            }
        }
    }
    for &step in steps {
        if let Action::InitSequence { next_id, cache, .. } = &step.action {
            let text = format!("sequence from {next_id}, {cache} at a time");
            match items.first_mut() {
                Some((item, _)) => item.detail = text,
                None => items.push((
                    Item::of(step, Sign::Change, format!("table {table}"))
                        .detail(format!("{text}: its row is missing")),
                    Vec::new(),
                )),
            }
        }
    }
    items
        .into_iter()
        .map(|(mut item, shards)| {
            if shard_count > 1 && !shards.is_empty() {
                let text = if shards.len() == shard_count && shard_count > 4 {
                    format!("in all {shard_count} shards")
                } else {
                    format!("in {}", shards.join(", "))
                };
                if !item.detail.is_empty() {
                    item.detail.push_str("; ");
                }
                item.detail.push_str(&text);
            }
            item
        })
        .collect()
}

fn vschema_item(step: &Step, before: Option<&VSchemaKeyspace>, after: &VSchemaKeyspace) -> Item {
    let json = |v| serde_json::to_string_pretty(v).expect("a VSchema serializes");
    match before {
        None => {
            let mut item = Item::of(step, Sign::Create, "VSchema");
            item.body = Some(Body::New(json(after)));
            item
        }
        Some(before) => {
            let mut item = Item::of(step, Sign::Change, "VSchema");
            item.body = Some(Body::Diff(diff(&json(before), &json(after))));
            item
        }
    }
}

/// A unified diff without the lines that name files.
pub fn diff(before: &str, after: &str) -> String {
    let lines = |t: &str| format!("{}\n", t.trim_end_matches('\n'));
    let (before, after) = (lines(before), lines(after));
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(3)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_that_go_and_come_are_told_and_others_are_not() {
        let schedule = |cron: &str, keep_last| BackupSchedule {
            keyspaces: vec!["*".to_owned()],
            cron: cron.to_owned(),
            keep_last,
            keep_days: None,
        };
        let policy = |schedules| BackupPolicy {
            location: "file:///backups".to_owned(),
            schedules,
        };
        let before = policy(vec![
            schedule("@daily", Some(7)),
            schedule("@weekly", None),
            schedule("@hourly", Some(3)),
        ]);
        let after = policy(vec![
            schedule("@daily", Some(9)),
            schedule("@hourly", Some(3)),
        ]);
        let told: Vec<_> = changed_schedules(Some(&before), Some(&after))
            .into_iter()
            .map(|item| (item.sign, item.title, item.detail))
            .collect();
        let of = |sign, title: &str, detail: &str| (sign, title.to_owned(), detail.to_owned());
        assert_eq!(
            told,
            [
                of(Sign::Delete, "@daily of *", ""),
                of(Sign::Delete, "@weekly of *", ""),
                of(Sign::Create, "@daily of *", "keeps the last 9"),
            ]
        );
        assert_eq!(changed_schedules(Some(&before), None).len(), 3);
    }
}
