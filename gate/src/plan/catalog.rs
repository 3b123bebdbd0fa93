//! What the planner knows of a cluster: keyspaces, serving shards, tables with their vindexes, and
//! routing rules, made once per revision of the records and shared by every session.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use vtplan_state::model::{
    KeyRange, KeyspaceId, KeyspaceName, Records, Revision, ShardName, TabletType, VSchemaTable,
    VindexDefinition,
};
use vtplan_state::vindex::{self, Lookup, Vindex};

use super::literal::ColumnClass;
use super::rewrite::quoted;
use super::types::{ShardId, SqlError};

/// See the module.
#[derive(Debug)]
pub struct Catalog {
    revision: Revision,
    keyspaces: BTreeMap<KeyspaceName, Served>,
    /// Tables that are found without a keyspace; `Err` holds the keyspaces of an ambiguous name.
    global: HashMap<String, Result<Arc<Table>, Vec<KeyspaceName>>>,
    /// By `t`, `ks.t`, each with `@type` or without.
    rules: HashMap<String, RuleTarget>,
    /// The tables' names of `rules`.
    ruled: HashSet<String>,
}

#[derive(Debug, Clone)]
enum RuleTarget {
    Table(KeyspaceName, String),
    Disabled,
    /// The rule cannot be followed; the text says why.
    Broken(String),
}

/// A keyspace by the type of tablets: while a Reshard has switched reads and not yet writes, each
/// has other serving shards. Mostly all are one.
#[derive(Debug)]
struct Served {
    primary: Arc<Keyspace>,
    replica: Arc<Keyspace>,
    rdonly: Arc<Keyspace>,
}

impl Served {
    fn new(keyspace: Keyspace, records: &Records) -> Self {
        let primary = Arc::new(keyspace);
        let of = |tablet_type| {
            let shards = serving(records, &primary.name, tablet_type);
            if shards == primary.shards {
                return primary.clone();
            }
            Arc::new(Keyspace {
                name: primary.name.clone(),
                sharded: primary.sharded,
                shards,
                tables: primary.tables.clone(),
            })
        };
        Self {
            replica: of(TabletType::Replica),
            rdonly: of(TabletType::Rdonly),
            primary,
        }
    }

    fn of(&self, tablet_type: TabletType) -> &Arc<Keyspace> {
        match tablet_type {
            TabletType::Replica => &self.replica,
            TabletType::Rdonly => &self.rdonly,
            _ => &self.primary,
        }
    }
}

/// The shards of a keyspace that serve a type of tablets, in key order.
fn serving(records: &Records, name: &KeyspaceName, tablet_type: TabletType) -> Vec<Arc<ShardId>> {
    let shards = records.shards_of(name);
    let serving = shards.filter(|shard| shard.serves(tablet_type));
    serving
        .map(|shard| {
            Arc::new(ShardId {
                keyspace: name.clone(),
                shard: shard.shard.clone(),
            })
        })
        .collect()
}

/// A keyspace as the gate serves it to one type of tablets.
#[derive(Debug)]
pub struct Keyspace {
    pub name: KeyspaceName,
    pub sharded: bool,
    /// The serving shards in key order; empty when none serves.
    pub shards: Vec<Arc<ShardId>>,
    /// By name, case as in the VSchema.
    pub tables: HashMap<String, Arc<Table>>,
}

/// A table of a VSchema.
#[derive(Debug)]
pub struct Table {
    pub keyspace: KeyspaceName,
    pub name: String,
    pub kind: TableKind,
    /// The functional vindex that says where rows are; `None` for tables that need none.
    pub primary_vindex: Option<PrimaryVindex>,
    /// Why the table cannot be routed by its primary vindex, if it cannot.
    pub vindex_error: Option<String>,
    pub auto_increment: Option<AutoIncrementOf>,
    /// VSchema column types, lower-case names, upper-case types.
    pub column_types: HashMap<String, String>,
    /// All columns in order, lower case, when the VSchema says that it knows them all.
    pub authoritative_columns: Option<Vec<String>>,
    /// Its lookup vindexes.
    pub lookups: Vec<Arc<TableLookup>>,
    /// The columns of `lookups`, each once, lower case.
    pub lookup_columns: Vec<String>,
}

/// A lookup vindex of a table.
#[derive(Debug)]
pub struct TableLookup {
    /// The vindex's name.
    pub name: String,
    /// The table's columns, lower case, in the order of [`Lookup::from`].
    pub columns: Vec<String>,
    /// Whether writes of the table keep it.
    pub owned: bool,
    /// What it is, and the keyspace of its table, or why it cannot be used.
    pub lookup: Result<(KeyspaceName, Lookup), String>,
}

impl TableLookup {
    /// The lookup, if queries may ask it.
    pub fn readable(&self) -> Option<&Lookup> {
        let (_, lookup) = self.lookup.as_ref().ok()?;
        (!lookup.write_only).then_some(lookup)
    }

    /// Its table's name in SQL.
    pub(super) fn table_sql(&self) -> Option<String> {
        let (keyspace, lookup) = self.lookup.as_ref().ok()?;
        let (keyspace, table) = (quoted(keyspace.as_str()), quoted(&lookup.table));
        Some(format!("{keyspace}.{table}"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableKind {
    /// Of an unsharded keyspace, or sharded by a primary vindex.
    Normal,
    Sequence,
    /// A copy in every shard.
    Reference,
    /// All rows have this keyspace id.
    Pinned(KeyspaceId),
}

#[derive(Debug)]
pub struct PrimaryVindex {
    /// Lower case, in the vindex's order.
    pub columns: Vec<String>,
    pub vindex: Arc<dyn Vindex>,
}

/// A column filled from a sequence.
#[derive(Debug, Clone)]
pub struct AutoIncrementOf {
    /// Lower case.
    pub column: String,
    /// Where the sequence is, or why it is not found.
    pub sequence: Result<(Arc<ShardId>, String), String>,
}

impl Table {
    /// The position of a column (lower case) among those that may tell where rows are: first the
    /// primary vindex's, then those of lookups.
    pub(super) fn vindex_column(&self, column: &str) -> Option<usize> {
        if let Some(at) = self.primary_column(column) {
            return Some(at);
        }
        let primary = self.primary_vindex.as_ref()?;
        let at = self.lookup_columns.iter().position(|c| c == column)?;
        Some(primary.columns.len() + at)
    }

    /// The position of a column (lower case) in the primary vindex.
    pub(super) fn primary_column(&self, column: &str) -> Option<usize> {
        let primary = self.primary_vindex.as_ref()?;
        primary.columns.iter().position(|c| c == column)
    }

    /// The lookups that its writes keep.
    pub fn owned_lookups(&self) -> impl Iterator<Item = &Arc<TableLookup>> {
        self.lookups.iter().filter(|lookup| lookup.owned)
    }

    pub(super) fn class_of(&self, column: &str) -> ColumnClass {
        let class = ColumnClass::of(self.column_types.get(column).map(String::as_str));
        let numbers = ["hash", "numeric", "numeric_static_map", "reverse_bits"];
        let vindex = self.primary_vindex.as_ref().map(|p| p.vindex.type_name());
        // These take numbers only, so the column holds numbers.
        if class == ColumnClass::Unknown && vindex.is_some_and(|v| numbers.contains(&v)) {
            return ColumnClass::Integer;
        }
        class
    }
}

impl Keyspace {
    /// The serving shard that holds a keyspace id.
    pub fn shard_for(&self, id: &KeyspaceId) -> Option<&Arc<ShardId>> {
        self.shard_index(id).map(|at| &self.shards[at])
    }

    /// The same, by its position in [`Keyspace::shards`].
    pub fn shard_index(&self, id: &KeyspaceId) -> Option<usize> {
        // The last shard that starts at or below the id; shards are in key order.
        let at = self
            .shards
            .partition_point(|s| s.shard.key_range().start() <= id.0.as_slice());
        let at = at.checked_sub(1)?;
        let shard = self.shards.get(at)?;
        shard.shard.key_range().contains(id).then_some(at)
    }

    /// The error for a statement that finds no serving shard.
    pub fn not_serving(&self) -> SqlError {
        SqlError::new(
            1105,
            "HY000",
            format!("keyspace `{}` has no serving shard", self.name),
        )
    }

    /// The serving shards that hold ids of a range.
    pub fn shards_for<'a>(
        &'a self,
        range: &'a KeyRange,
    ) -> impl Iterator<Item = &'a Arc<ShardId>> + 'a {
        self.shards
            .iter()
            .filter(move |s| s.shard.key_range().intersects(range))
    }

    pub fn shard_named(&self, name: &ShardName) -> Option<&Arc<ShardId>> {
        self.shards.iter().find(|s| s.shard == *name)
    }
}

impl Catalog {
    /// Linear in the number of shards, tables and rules.
    pub fn build(records: &Records) -> Self {
        let mut keyspaces: BTreeMap<KeyspaceName, Keyspace> = BTreeMap::new();
        for name in records.keyspaces.keys() {
            let vschema = records.vschemas.get(name);
            let shards = serving(records, name, TabletType::Primary);
            let sharded = vschema.map_or(shards.len() > 1, |v| v.sharded);
            keyspaces.insert(
                name.clone(),
                Keyspace {
                    name: name.clone(),
                    sharded,
                    shards,
                    tables: HashMap::new(),
                },
            );
        }
        let mut tables: Vec<Arc<Table>> = Vec::new();
        for (name, vschema) in &records.vschemas {
            let Some(keyspace) = keyspaces.get(name) else {
                continue;
            };
            // Built once per keyspace: tables share them.
            let vindexes: HashMap<&str, Result<Arc<dyn Vindex>, String>> = vschema
                .vindexes
                .iter()
                .map(|(n, d)| (n.as_str(), vindex::build(d).map_err(|e| e.to_string())))
                .collect();
            let lookups: HashMap<&str, FoundLookup> = vschema
                .vindexes
                .iter()
                .filter_map(|(n, d)| Some((n.as_str(), find_lookup(records, name, d)?)))
                .collect();
            for (table_name, table) in &vschema.tables {
                let auto_increment = table.auto_increment.as_ref().map(|auto| AutoIncrementOf {
                    column: auto.column.to_lowercase(),
                    sequence: find_sequence(records, &keyspaces, name, &auto.sequence),
                });
                tables.push(Arc::new(build_table(
                    keyspace,
                    table_name,
                    table,
                    &vindexes,
                    &lookups,
                    auto_increment,
                )));
            }
        }
        let mut global: HashMap<String, Result<Arc<Table>, Vec<KeyspaceName>>> = HashMap::new();
        for table in tables {
            let explicit = records
                .vschemas
                .get(&table.keyspace)
                .is_some_and(|v| v.require_explicit_routing);
            if !explicit {
                add_global(&mut global, &table);
            }
            if let Some(keyspace) = keyspaces.get_mut(&table.keyspace) {
                keyspace.tables.insert(table.name.clone(), table);
            }
        }
        let rules: HashMap<String, RuleTarget> = records
            .routing
            .rules
            .iter()
            .map(|rule| {
                let target = match rule.to_tables.as_slice() {
                    [] => RuleTarget::Disabled,
                    [to] => match to.split_once('.') {
                        Some((ks, table)) => match KeyspaceName::new(ks) {
                            Ok(ks) if keyspaces.contains_key(&ks) => {
                                RuleTarget::Table(ks, table.to_owned())
                            }
                            _ => RuleTarget::Broken(format!(
                                "routing rule of `{}` names keyspace `{ks}`, which does not exist",
                                rule.from_table
                            )),
                        },
                        None => RuleTarget::Broken(format!(
                            "routing rule of `{}` names `{to}`, which is not KEYSPACE.TABLE",
                            rule.from_table
                        )),
                    },
                    _ => RuleTarget::Broken(format!(
                        "routing rule of `{}` names several tables",
                        rule.from_table
                    )),
                };
                (rule.from_table.clone(), target)
            })
            .collect();
        let ruled = rules.keys().map(|from| {
            let from = from.split('@').next().unwrap_or(from);
            from.rsplit('.').next().unwrap_or(from).to_owned()
        });
        Self {
            revision: records.revision,
            ruled: ruled.collect(),
            keyspaces: keyspaces
                .into_iter()
                .map(|(name, keyspace)| (name, Served::new(keyspace, records)))
                .collect(),
            global,
            rules,
        }
    }

    /// The revision of the records it was made from.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// All keyspaces, as primaries serve them.
    pub fn keyspaces(&self) -> impl Iterator<Item = &Arc<Keyspace>> {
        self.keyspaces.values().map(|served| &served.primary)
    }

    /// A keyspace as primaries serve it.
    pub fn keyspace(&self, name: &str) -> Option<&Arc<Keyspace>> {
        self.keyspace_for(name, TabletType::Primary)
    }

    /// A keyspace as a type of tablets serves it.
    pub fn keyspace_for(&self, name: &str, tablet_type: TabletType) -> Option<&Arc<Keyspace>> {
        self.keyspaces
            .get(name)
            .map(|served| served.of(tablet_type))
    }

    /// The keyspace, or MySQL's "Unknown database".
    pub fn require_keyspace(
        &self,
        name: &str,
        tablet_type: TabletType,
    ) -> Result<&Arc<Keyspace>, SqlError> {
        self.keyspace_for(name, tablet_type)
            .ok_or_else(|| SqlError::new(1049, "42000", format!("Unknown database '{name}'")))
    }

    /// Whether any routing rule exists, and a table name may thus mean another table.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether a rule is about a table of this name, qualified or not.
    pub fn rule_mentions(&self, table: &str) -> bool {
        self.ruled.contains(table)
    }

    /// The rule for a table's name, as in Vitess: with the tablet type, then without. A name
    /// without a qualifier is one of the session's keyspace, if there is one.
    fn rule(
        &self,
        keyspace: Option<&str>,
        name: &str,
        tablet_type: TabletType,
    ) -> Option<&RuleTarget> {
        if self.rules.is_empty() {
            return None;
        }
        let plain = match keyspace {
            Some(ks) => format!("{ks}.{name}"),
            None => name.to_owned(),
        };
        let typed = format!("{plain}@{tablet_type}");
        self.rules.get(&typed).or_else(|| self.rules.get(&plain))
    }

    /// Whether rules take a table of a keyspace to another table.
    pub fn is_moved(&self, keyspace: &KeyspaceName, name: &str, tablet_type: TabletType) -> bool {
        match self.rule(Some(keyspace.as_str()), name, tablet_type) {
            None => false,
            Some(RuleTarget::Table(ks, table)) => ks != keyspace || table != name,
            Some(RuleTarget::Disabled | RuleTarget::Broken(_)) => true,
        }
    }

    /// The table that the writes of a table of a keyspace go to, by the rules.
    pub fn moved_to(&self, keyspace: &KeyspaceName, name: &str) -> Option<(&KeyspaceName, &str)> {
        match self.rule(Some(keyspace.as_str()), name, TabletType::Primary)? {
            RuleTarget::Table(ks, table) => Some((ks, table)),
            RuleTarget::Disabled | RuleTarget::Broken(_) => None,
        }
    }

    /// What a table's name means, as in Vitess: rules first, with the tablet type and then without;
    /// then the table of the qualifier's or session's keyspace; without one the table that has
    /// the name alone in the cluster.
    pub fn find_table(
        &self,
        qualifier: Option<&str>,
        name: &str,
        session: Option<&KeyspaceName>,
        tablet_type: TabletType,
    ) -> Result<FoundTable, SqlError> {
        let keyspace = qualifier.or(session.map(KeyspaceName::as_str));
        let table_in = |ks: &str, table| table_in(self.require_keyspace(ks, tablet_type)?, table);
        match self.rule(keyspace, name, tablet_type) {
            Some(RuleTarget::Table(ks, table)) => return table_in(ks.as_str(), table),
            Some(RuleTarget::Disabled) => {
                return Err(SqlError::new(
                    1105,
                    "HY000",
                    format!("table {name} has been disabled"),
                ));
            }
            Some(RuleTarget::Broken(why)) => return Err(SqlError::new(1105, "HY000", why.clone())),
            None => {}
        }
        match keyspace {
            Some(ks) => table_in(ks, name),
            None => match self.global.get(name) {
                Some(Ok(table)) => {
                    let keyspace = self.require_keyspace(table.keyspace.as_str(), tablet_type)?;
                    Ok(FoundTable {
                        keyspace: keyspace.clone(),
                        name: name.to_owned(),
                        table: Some(table.clone()),
                    })
                }
                Some(Err(_)) => Err(SqlError::new(
                    1052,
                    "23000",
                    format!("ambiguous table reference: {name}"),
                )),
                None => match self.only_keyspace() {
                    // With one unsharded keyspace there is nothing to choose, as in Vitess.
                    Some(only) => table_in(only.as_str(), name),
                    None => Err(not_found(name)),
                },
            },
        }
    }

    /// The one keyspace, when it is unsharded.
    fn only_keyspace(&self) -> Option<&KeyspaceName> {
        let mut all = self.keyspaces();
        match (all.next(), all.next()) {
            (Some(only), None) if !only.sharded => Some(&only.name),
            _ => None,
        }
    }
}

fn table_in(keyspace: &Arc<Keyspace>, name: &str) -> Result<FoundTable, SqlError> {
    let table = keyspace.tables.get(name).cloned();
    if table.is_none() && keyspace.sharded {
        return Err(not_found(name));
    }
    Ok(FoundTable {
        keyspace: keyspace.clone(),
        name: name.to_owned(),
        table,
    })
}

/// What a name in a statement means.
#[derive(Debug, Clone)]
pub struct FoundTable {
    pub keyspace: Arc<Keyspace>,
    /// The table's name there; another than in the statement after a routing rule.
    pub name: String,
    /// `None`: a table of an unsharded keyspace that its VSchema does not list.
    pub table: Option<Arc<Table>>,
}

fn not_found(name: &str) -> SqlError {
    SqlError::new(1146, "42S02", format!("table {name} not found"))
}

fn add_global(
    global: &mut HashMap<String, Result<Arc<Table>, Vec<KeyspaceName>>>,
    table: &Arc<Table>,
) {
    use std::collections::hash_map::Entry;
    match global.entry(table.name.clone()) {
        Entry::Vacant(entry) => {
            entry.insert(Ok(table.clone()));
        }
        Entry::Occupied(mut entry) => {
            let mut keyspaces = match entry.get() {
                Ok(first) => vec![first.keyspace.clone()],
                Err(keyspaces) => keyspaces.clone(),
            };
            keyspaces.push(table.keyspace.clone());
            *entry.get_mut() = Err(keyspaces);
        }
    }
}

fn find_sequence(
    records: &Records,
    keyspaces: &BTreeMap<KeyspaceName, Keyspace>,
    own: &KeyspaceName,
    sequence: &str,
) -> Result<(Arc<ShardId>, String), String> {
    let unquoted = sequence.replace('`', "");
    let is_sequence = |ks: &KeyspaceName, table: &str| {
        records
            .vschemas
            .get(ks)
            .and_then(|v| v.tables.get(table))
            .is_some_and(VSchemaTable::is_sequence)
    };
    let (keyspace, table) = match unquoted.split_once('.') {
        Some((ks, table)) => (
            KeyspaceName::new(ks).map_err(|e| e.to_string())?,
            table.to_owned(),
        ),
        None => {
            let mut found = records
                .vschemas
                .keys()
                .filter(|ks| is_sequence(ks, &unquoted));
            match (found.next(), found.next()) {
                (Some(ks), None) => (ks.clone(), unquoted),
                (Some(_), Some(_)) => {
                    return Err(format!("sequence `{unquoted}` exists in several keyspaces"));
                }
                (None, _) => (own.clone(), unquoted),
            }
        }
    };
    let Some(ks) = keyspaces.get(&keyspace) else {
        return Err(format!(
            "sequence `{sequence}` names keyspace `{keyspace}`, which does not exist"
        ));
    };
    if ks.sharded {
        return Err(format!(
            "sequence `{sequence}` is in keyspace `{keyspace}`, which is sharded"
        ));
    }
    match ks.shards.first() {
        Some(shard) => Ok((shard.clone(), table)),
        None => Err(format!("keyspace `{keyspace}` has no serving shard")),
    }
}

fn build_table(
    keyspace: &Keyspace,
    name: &str,
    table: &VSchemaTable,
    vindexes: &HashMap<&str, Result<Arc<dyn Vindex>, String>>,
    lookups: &HashMap<&str, FoundLookup>,
    auto_increment: Option<AutoIncrementOf>,
) -> Table {
    let mut vindex_error = None;
    let kind = if table.is_sequence() {
        TableKind::Sequence
    } else if table.is_reference() {
        TableKind::Reference
    } else if let Some(pinned) = &table.pinned {
        match decode_hex(pinned) {
            Some(id) => TableKind::Pinned(KeyspaceId(id)),
            None => {
                vindex_error = Some(format!(
                    "its pinned keyspace id `{pinned}` is not hexadecimal"
                ));
                TableKind::Normal
            }
        }
    } else {
        TableKind::Normal
    };
    let mut primary_vindex = None;
    if keyspace.sharded && kind == TableKind::Normal && vindex_error.is_none() {
        match table.column_vindexes.first() {
            None => vindex_error = Some("it has no primary vindex".to_owned()),
            Some(column_vindex) => match vindexes.get(column_vindex.name.as_str()) {
                None => {
                    vindex_error = Some(format!("vindex `{}` does not exist", column_vindex.name));
                }
                Some(Err(why)) => vindex_error = Some(why.clone()),
                Some(Ok(vindex)) => {
                    let columns: Vec<_> = column_vindex
                        .column_names()
                        .map(str::to_lowercase)
                        .collect();
                    if columns.len() == vindex.columns() {
                        primary_vindex = Some(PrimaryVindex {
                            columns,
                            vindex: vindex.clone(),
                        });
                    } else {
                        vindex_error = Some(format!(
                            "vindex `{}` takes {} columns, the table names {}",
                            column_vindex.name,
                            vindex.columns(),
                            columns.len()
                        ));
                    }
                }
            },
        }
    }
    let lookups = table_lookups(name, table, lookups, primary_vindex.as_ref());
    let mut lookup_columns: Vec<String> = Vec::new();
    for column in lookups.iter().flat_map(|l| &l.columns) {
        let primary = primary_vindex.as_ref();
        let known = primary.is_some_and(|p| p.columns.contains(column));
        if !known && !lookup_columns.contains(column) {
            lookup_columns.push(column.clone());
        }
    }
    Table {
        keyspace: keyspace.name.clone(),
        name: name.to_owned(),
        kind,
        primary_vindex,
        vindex_error,
        auto_increment,
        column_types: table
            .columns
            .iter()
            .filter_map(|c| {
                Some((
                    c.name.to_lowercase(),
                    c.column_type.as_ref()?.to_uppercase(),
                ))
            })
            .collect(),
        authoritative_columns: table.column_list_authoritative.then(|| {
            table
                .columns
                .iter()
                .map(|c| c.name.to_lowercase())
                .collect()
        }),
        lookups,
        lookup_columns,
    }
}

/// A lookup vindex of a keyspace.
struct FoundLookup {
    owner: Option<String>,
    lookup: Result<(KeyspaceName, Lookup), String>,
}

/// The lookup that a definition is; `None` for functions.
fn find_lookup(
    records: &Records,
    own: &KeyspaceName,
    definition: &VindexDefinition,
) -> Option<FoundLookup> {
    let lookup = match vindex::lookup::read(definition) {
        Ok(None) => return None,
        Ok(Some(lookup)) => lookup_keyspace(records, own, &lookup).map(|ks| (ks, lookup)),
        Err(why) => Err(why.to_string()),
    };
    Some(FoundLookup {
        owner: definition.owner.clone(),
        lookup,
    })
}

/// Where a lookup's table is: where the definition says, else beside the vindex, else in the one
/// keyspace that has a table of this name.
fn lookup_keyspace(
    records: &Records,
    own: &KeyspaceName,
    lookup: &Lookup,
) -> Result<KeyspaceName, String> {
    let table = &lookup.table;
    if let Some(keyspace) = &lookup.keyspace {
        let name = KeyspaceName::new(keyspace).map_err(|e| e.to_string())?;
        if !records.keyspaces.contains_key(&name) {
            return Err(format!(
                "its table is in keyspace `{keyspace}`, which does not exist"
            ));
        }
        return Ok(name);
    }
    let has = |ks: &KeyspaceName| {
        let vschema = records.vschemas.get(ks);
        vschema.is_some_and(|v| v.tables.contains_key(table))
    };
    if has(own) {
        return Ok(own.clone());
    }
    let mut found = records.vschemas.keys().filter(|ks| has(ks));
    match (found.next(), found.next()) {
        (Some(keyspace), None) => Ok(keyspace.clone()),
        (Some(_), Some(_)) => Err(format!("its table `{table}` exists in several keyspaces")),
        (None, _) => Err(format!("its table `{table}` is in no VSchema")),
    }
}

fn table_lookups(
    name: &str,
    table: &VSchemaTable,
    lookups: &HashMap<&str, FoundLookup>,
    primary: Option<&PrimaryVindex>,
) -> Vec<Arc<TableLookup>> {
    if primary.is_none() {
        return Vec::new();
    }
    let column_vindexes = table.column_vindexes.iter().skip(1);
    column_vindexes
        .filter_map(|of| {
            let found = lookups.get(of.name.as_str())?;
            let columns: Vec<String> = of.column_names().map(str::to_lowercase).collect();
            let lookup = match &found.lookup {
                Ok((_, lookup)) if lookup.from.len() != columns.len() => Err(format!(
                    "its table has {} columns for values, `{name}` gives {}",
                    lookup.from.len(),
                    columns.len()
                )),
                lookup => lookup.clone(),
            };
            Some(Arc::new(TableLookup {
                name: of.name.clone(),
                columns,
                owned: found.owner.as_deref() == Some(name),
                lookup,
            }))
        })
        .collect()
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}
