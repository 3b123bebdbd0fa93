//! Fills a lookup that gates keep already with the rows that its owner had before.
//!
//! The owner's rows are read in the order of their key, on each primary, and added to the lookup where
//! they are missing. Whatever is there already is looked at under the lock that gates take for it, so
//! that nothing that they write meanwhile is lost: see `gate/src/exec/lookup`. All of it may be done
//! twice, and be cut anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use vtplan_state::model::{
    Credentials, FlavorKind, KeyspaceId, KeyspaceName, Records, ShardName, ShardRecord, TableName,
};
use vtplan_state::vindex::{self, Destination, Lookup, Vindex};

use crate::flavor::identifier;
use crate::stream::error::StreamError;
use crate::stream::row::{Row, write_literal};
use crate::stream::server::ServerAddress;
use crate::stream::sharder::vindex_value;
use crate::stream::source::shape_of;
use crate::stream::table::TableShape;
use crate::stream::wire::Connection;

/// Rows that are read and added at once.
const CHUNK: usize = 500;

/// How often an entry is looked at that somebody works with, and with which pause between.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// ER_LOCK_WAIT_TIMEOUT, ER_LOCK_NOWAIT.
const LOCKED: [u16; 2] = [1205, 3572];

/// Why a lookup is not filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FillError {
    /// It may be filled another time.
    Trouble(String),
    /// A row is locked by somebody.
    Busy,
    /// Its rows must be put right first.
    Refused(String),
}

impl From<StreamError> for FillError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Refused(why) => Self::Refused(why),
            error => Self::Trouble(error.to_string()),
        }
    }
}

fn refused(why: impl Into<String>) -> FillError {
    FillError::Refused(why.into())
}

/// How many rows were read, and how many of them were missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filled {
    pub rows: u64,
    pub added: u64,
}

/// Fills a lookup of a keyspace by its name.
pub async fn fill(
    records: &Records,
    credentials: &Credentials,
    keyspace: &KeyspaceName,
    name: &str,
) -> Result<Filled, FillError> {
    let mut filling = Filling::new(records, credentials, keyspace, name)?;
    let shards: Vec<&ShardRecord> = records.shards_of(keyspace).filter(|s| s.serving).collect();
    let mut filled = Filled::default();
    for shard in shards {
        filling.shard(&shard.shard, &mut filled).await?;
    }
    Ok(filled)
}

/// The connections to primaries, by keyspace and shard.
struct Servers<'a> {
    records: &'a Records,
    credentials: &'a Credentials,
    open: BTreeMap<(KeyspaceName, ShardName), Connection>,
}

impl<'a> Servers<'a> {
    fn address(
        &self,
        keyspace: &KeyspaceName,
        shard: &ShardName,
    ) -> Result<(ServerAddress, FlavorKind), FillError> {
        let record = self.records.shard(keyspace, shard);
        let primary = record.and_then(|r| r.primary.as_ref());
        let tablet = primary.and_then(|p| self.records.tablets.get(p));
        let host = tablet.and_then(|t| self.records.hosts.get(&t.host));
        let (Some(tablet), Some(host)) = (tablet, host) else {
            return Err(FillError::Trouble(format!(
                "{keyspace}/{shard} has no primary on a host that is there"
            )));
        };
        let here = &tablet.host;
        let address = ServerAddress {
            // Its agent may be on another machine, whose sockets are not here.
            socket: None,
            ..ServerAddress::of_tablet(tablet, host, here, self.credentials)
        };
        Ok((address, tablet.flavor))
    }

    async fn get(
        &mut self,
        keyspace: &KeyspaceName,
        shard: &ShardName,
    ) -> Result<&mut Connection, FillError> {
        let key = (keyspace.clone(), shard.clone());
        if !self.open.contains_key(&key) {
            let (address, _) = self.address(keyspace, shard)?;
            let conn = Connection::open(&address, Some(keyspace.as_str())).await?;
            self.open.insert(key.clone(), conn);
        }
        self.open
            .get_mut(&key)
            .ok_or_else(|| FillError::Trouble("a connection is gone".to_owned()))
    }
}

struct Filling<'a> {
    servers: Servers<'a>,
    keyspace: &'a KeyspaceName,
    name: &'a str,
    owner: TableName,
    /// The owner's columns, in the order of `lookup.from`.
    columns: Vec<String>,
    primary: (Vec<String>, std::sync::Arc<dyn Vindex>),
    lookup: Lookup,
    home: KeyspaceName,
    /// What shards the lookup's table: places in `lookup.from`. `None`: it has one shard.
    sharded: Option<(Vec<usize>, std::sync::Arc<dyn Vindex>)>,
}

/// What came of an entry.
enum Settled {
    Yes,
    /// There is none.
    Gone,
    Busy,
}

/// A row of the owner.
struct Entry {
    /// As people read it.
    key_text: String,
    /// `a = 1 AND b = 2`, over the owner's key.
    key_sql: String,
    /// SQL of the lookup's columns.
    values: Vec<String>,
    id: KeyspaceId,
    /// Where the lookup has it.
    shard: ShardName,
}

impl<'a> Filling<'a> {
    fn new(
        records: &'a Records,
        credentials: &'a Credentials,
        keyspace: &'a KeyspaceName,
        name: &'a str,
    ) -> Result<Self, FillError> {
        let gone = || FillError::Trouble(format!("{keyspace} has no lookup {name} any more"));
        let vschema = records.vschemas.get(keyspace).ok_or_else(gone)?;
        let definition = vschema.vindexes.get(name).ok_or_else(gone)?;
        let lookup = vindex::lookup::read(definition)
            .map_err(|e| refused(e.to_string()))?
            .ok_or_else(gone)?;
        let owner = definition.owner.as_deref().ok_or_else(gone)?;
        let entry = vschema.tables.get(owner).ok_or_else(gone)?;
        let mut used = entry.column_vindexes.iter();
        let used = used.find(|v| v.name == name).ok_or_else(gone)?;
        let primary = entry.column_vindexes.first().ok_or_else(gone)?;
        let function = vschema.vindexes.get(&primary.name).ok_or_else(gone)?;
        let function = vindex::build(function).map_err(|e| refused(e.to_string()))?;
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let has = |ks: &KeyspaceName| {
            let vschema = records.vschemas.get(ks);
            vschema.is_some_and(|v| v.tables.contains_key(&lookup.table))
        };
        let home = match &lookup.keyspace {
            Some(home) => KeyspaceName::new(home.as_str()).map_err(|e| refused(e.to_string()))?,
            None if has(keyspace) => keyspace.clone(),
            None => {
                let mut homes = records.vschemas.keys().filter(|ks| has(ks));
                homes.next().unwrap_or(keyspace).clone()
            }
        };
        let of_home = records.vschemas.get(&home);
        let mut sharded = None;
        if let Some(of_home) = of_home.filter(|v| v.sharded) {
            let table = of_home.tables.get(&lookup.table).ok_or_else(gone)?;
            let first = table.column_vindexes.first().ok_or_else(gone)?;
            let places: Option<Vec<usize>> = first
                .column_names()
                .map(|c| lookup.from.iter().position(|f| f.eq_ignore_ascii_case(c)))
                .collect();
            let function = of_home.vindexes.get(&first.name).ok_or_else(gone)?;
            let function = vindex::build(function).map_err(|e| refused(e.to_string()))?;
            sharded = Some((places.ok_or_else(gone)?, function));
        }
        Ok(Self {
            servers: Servers {
                records,
                credentials,
                open: BTreeMap::new(),
            },
            keyspace,
            name,
            owner: TableName::new(owner).map_err(|e| refused(e.to_string()))?,
            columns: owned(used.column_names().collect()),
            primary: (owned(primary.column_names().collect()), function),
            lookup,
            home,
            sharded,
        })
    }

    /// The owner as a shard has it, and a query of all its columns.
    async fn owner_on(
        &mut self,
        shard: &ShardName,
    ) -> Result<(Arc<TableShape>, String), FillError> {
        let (_, flavor) = self.servers.address(self.keyspace, shard)?;
        let conn = self.servers.get(self.keyspace, shard).await?;
        let shape = shape_of(conn, flavor, self.keyspace, &self.owner).await?;
        let expressions: Vec<String> = shape
            .columns
            .iter()
            .map(|c| c.select_expression())
            .collect();
        let select = format!("SELECT {} FROM {}", expressions.join(", "), shape.quoted());
        Ok((shape, select))
    }

    /// The rows of one shard.
    async fn shard(&mut self, shard: &ShardName, filled: &mut Filled) -> Result<(), FillError> {
        let (shape, select) = self.owner_on(shard).await?;
        let order: Vec<String> = shape
            .key
            .iter()
            .map(|k| shape.columns[*k].quoted())
            .collect();
        let order = order.join(", ");
        let mut after = String::new();
        loop {
            let query = format!("{select}{after} ORDER BY {order} LIMIT {CHUNK}");
            let conn = self.servers.get(self.keyspace, shard).await?;
            let rows = conn.rows("reading rows for a lookup", query).await?;
            let mut entries = Vec::with_capacity(rows.len());
            for row in &rows {
                entries.extend(self.entry(&shape, shard, row)?);
            }
            filled.rows += rows.len() as u64;
            filled.added += self.add(shard, &entries).await?;
            let Some(last) = rows.last().filter(|_| rows.len() == CHUNK) else {
                return Ok(());
            };
            after = format!(" WHERE {}", behind(&shape, last));
        }
    }

    /// What the lookup is to have of a row; `None`: nothing.
    fn entry(
        &self,
        shape: &TableShape,
        shard: &ShardName,
        row: &Row,
    ) -> Result<Option<Entry>, FillError> {
        let place = |column: &String| {
            shape.column(column).ok_or_else(|| {
                refused(format!(
                    "table {}.{} has no column `{column}` whose values can be read",
                    self.keyspace, self.owner
                ))
            })
        };
        let value = |place: usize| row.get(place).and_then(Option::as_deref);
        let key_text = shape.key_text(row);
        let (columns, function) = &self.primary;
        let places: Vec<usize> = columns.iter().map(place).collect::<Result<_, _>>()?;
        let keys = places.iter().map(|p| match value(*p) {
            Some(bytes) => vindex_value(&shape.columns[*p], bytes),
            None => vindex::VindexValue::Null,
        });
        let Destination::Id(id) = function.map(&keys.collect::<Vec<_>>()) else {
            return Err(refused(format!(
                "the row of {}.{} with {key_text} has no keyspace id",
                self.keyspace, self.owner
            )));
        };
        // A Reshard may have left what belongs to another shard.
        if !shard.key_range().contains(&id) {
            return Ok(None);
        }
        let places: Vec<usize> = self.columns.iter().map(place).collect::<Result<_, _>>()?;
        if let Some(null) = places.iter().find(|p| value(**p).is_none()) {
            if self.lookup.ignore_nulls {
                return Ok(None);
            }
            return Err(refused(format!(
                "the row of {}.{} with {key_text} has NULL in `{}`, and lookup {} does not ignore NULLs: \
                 give it a value, or the lookup `ignore_nulls`",
                self.keyspace, self.owner, shape.columns[*null].name, self.name
            )));
        }
        let values = places.iter().map(|p| literal(shape, *p, row)).collect();
        let shard = match &self.sharded {
            None => self.shard_of(None)?,
            Some((of, function)) => {
                let values = of.iter().map(|at| {
                    let place = places[*at];
                    vindex_value(&shape.columns[place], value(place).unwrap_or_default())
                });
                let Destination::Id(id) = function.map(&values.collect::<Vec<_>>()) else {
                    return Err(refused(format!(
                        "the table of lookup {} has no place for the row of {}.{} with {key_text}",
                        self.name, self.keyspace, self.owner
                    )));
                };
                self.shard_of(Some(&id))?
            }
        };
        let key_sql = shape.key.iter().map(|k| {
            let column = shape.columns[*k].quoted();
            format!("{column} = {}", literal(shape, *k, row))
        });
        Ok(Some(Entry {
            key_sql: key_sql.collect::<Vec<_>>().join(" AND "),
            key_text,
            values,
            id,
            shard,
        }))
    }

    /// The shard of the lookup's keyspace that has a keyspace id.
    fn shard_of(&self, id: Option<&KeyspaceId>) -> Result<ShardName, FillError> {
        let mut shards = self.servers.records.shards_of(&self.home);
        let found =
            shards.find(|s| s.serving && id.is_none_or(|id| s.shard.key_range().contains(id)));
        found.map(|s| s.shard.clone()).ok_or_else(|| {
            FillError::Trouble(format!("keyspace {} has no shard that serves", self.home))
        })
    }

    fn table(&self) -> String {
        let home = identifier(self.home.as_str());
        format!("{home}.{}", identifier(&self.lookup.table))
    }

    /// `a = 1 AND b = 2`, over the lookup's columns or the owner's.
    fn equals<'n>(names: impl IntoIterator<Item = &'n String>, values: &[String]) -> String {
        let parts = names.into_iter().zip(values);
        let parts: Vec<String> = parts
            .map(|(name, value)| format!("{} = {value}", identifier(name)))
            .collect();
        parts.join(" AND ")
    }

    /// Adds entries where they are missing; gives how many were.
    async fn add(&mut self, shard: &ShardName, entries: &[Entry]) -> Result<u64, FillError> {
        let mut by_shard: BTreeMap<&ShardName, Vec<&Entry>> = BTreeMap::new();
        for entry in entries {
            by_shard.entry(&entry.shard).or_default().push(entry);
        }
        let table = self.table();
        let mut columns: Vec<String> = self.lookup.from.iter().map(|c| identifier(c)).collect();
        columns.push(identifier(&self.lookup.to));
        let columns = columns.join(", ");
        let mut added = 0;
        for (at, list) in by_shard {
            let rows: Vec<String> = list
                .iter()
                .map(|e| format!("({}, {})", e.values.join(", "), hex(&e.id)))
                .collect();
            let insert = format!("INSERT IGNORE INTO {table} ({columns}) VALUES ");
            let home = self.home.clone();
            let conn = self.servers.get(&home, at).await?;
            let all = format!("{insert}{}", rows.join(", "));
            let done = conn.run("filling a lookup", all).await?;
            added += done.affected;
            if done.affected == list.len() as u64 {
                continue;
            }
            for entry in list {
                if self.lookup.unique {
                    self.settle(shard, entry, &insert).await?;
                } else {
                    self.check_there(entry).await?;
                }
            }
        }
        Ok(added)
    }

    /// Of a lookup that is not unique: the entry is there.
    async fn check_there(&mut self, entry: &Entry) -> Result<(), FillError> {
        let query = format!(
            "SELECT 1 FROM {} WHERE {} AND {} = {}",
            self.table(),
            Self::equals(&self.lookup.from, &entry.values),
            identifier(&self.lookup.to),
            hex(&entry.id)
        );
        let home = self.home.clone();
        let conn = self.servers.get(&home, &entry.shard).await?;
        if conn.rows("reading a lookup", query).await?.is_empty() {
            return Err(refused(format!(
                "table {} of lookup {} has a unique key that lets it hold less than all rows",
                self.table(),
                self.name
            )));
        }
        Ok(())
    }

    /// Of a unique lookup: an entry that was not added. `insert` adds it.
    async fn settle(
        &mut self,
        shard: &ShardName,
        entry: &Entry,
        insert: &str,
    ) -> Result<(), FillError> {
        let mut tries = 0;
        loop {
            let why = match self.try_settle(shard, entry).await? {
                Settled::Yes => return Ok(()),
                Settled::Gone => {
                    // With its row, as a rule.
                    if !self.is_there(shard, entry).await? {
                        return Ok(());
                    }
                    let row = format!("({}, {})", entry.values.join(", "), hex(&entry.id));
                    let home = self.home.clone();
                    let conn = self.servers.get(&home, &entry.shard).await?;
                    let added = conn
                        .run("filling a lookup", format!("{insert}{row}"))
                        .await?;
                    if added.affected > 0 {
                        return Ok(());
                    }
                    "its value changes hands all the time"
                }
                Settled::Busy => "a row that has its value is being written",
            };
            tries += 1;
            if tries >= TRIES {
                return Err(FillError::Trouble(format!(
                    "the row of {}.{} with {} is not in lookup {}: {why}",
                    self.keyspace, self.owner, entry.key_text, self.name
                )));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The entry is there, or it is another row's, or nobody's.
    async fn try_settle(&mut self, shard: &ShardName, entry: &Entry) -> Result<Settled, FillError> {
        self.check_alone(shard, entry).await?;
        let (table, to) = (self.table(), identifier(&self.lookup.to));
        let values = Self::equals(&self.lookup.from, &entry.values);
        let home = self.home.clone();
        let conn = self.servers.get(&home, &entry.shard).await?;
        conn.run("filling a lookup", "BEGIN").await?;
        let query = format!("SELECT {to} FROM {table} WHERE {values} FOR UPDATE");
        let rows = conn.rows("reading a lookup", query).await?;
        let holder = rows.first().and_then(|row| row.first()?.as_deref());
        let Some(holder) = holder.map(<[u8]>::to_vec) else {
            self.end(entry, "ROLLBACK").await?;
            return Ok(Settled::Gone);
        };
        if holder == entry.id.0 {
            self.end(entry, "COMMIT").await?;
            return Ok(Settled::Yes);
        }
        // As gates do it: the lookup's row is locked while the owner is asked.
        let holder = KeyspaceId(holder);
        let other = self.owner_rows(&holder, entry, 1).await;
        let other = match other {
            Ok(other) => other,
            Err(error) => {
                self.end(entry, "ROLLBACK").await?;
                return match error {
                    FillError::Busy => Ok(Settled::Busy),
                    error => Err(error),
                };
            }
        };
        match other.into_iter().next() {
            None => {
                let update = format!(
                    "UPDATE {table} SET {to} = {} WHERE {values}",
                    hex(&entry.id)
                );
                let conn = self.servers.get(&home, &entry.shard).await?;
                conn.run("filling a lookup", update).await?;
                self.end(entry, "COMMIT").await?;
                Ok(Settled::Yes)
            }
            Some(other) => {
                self.end(entry, "ROLLBACK").await?;
                if self.is_there(shard, entry).await? {
                    return Err(self.twice(entry, &other));
                }
                Ok(Settled::Yes)
            }
        }
    }

    async fn end(&mut self, entry: &Entry, how: &str) -> Result<(), FillError> {
        let home = self.home.clone();
        let conn = self.servers.get(&home, &entry.shard).await?;
        conn.run("filling a lookup", how).await?;
        Ok(())
    }

    /// No other row of the shard has the value.
    async fn check_alone(&mut self, shard: &ShardName, entry: &Entry) -> Result<(), FillError> {
        let rows = self.rows_with(shard, entry, 2, "").await?;
        match rows.as_slice() {
            [one, two, ..] => {
                let other = if *one == entry.key_text { two } else { one };
                Err(self.twice(entry, other))
            }
            _ => Ok(()),
        }
    }

    fn twice(&self, entry: &Entry, other: &str) -> FillError {
        refused(format!(
            "two rows of {}.{} have the value of the unique lookup {}: the one with {} and the one with {other}; \
             change one of them, or make the lookup `consistent_lookup`",
            self.keyspace, self.owner, self.name, entry.key_text
        ))
    }

    async fn owner_rows(
        &mut self,
        id: &KeyspaceId,
        entry: &Entry,
        limit: usize,
    ) -> Result<Vec<String>, FillError> {
        let mut shards = self.servers.records.shards_of(self.keyspace);
        let found = shards.find(|s| s.serving && s.shard.key_range().contains(id));
        let Some(shard) = found.map(|s| s.shard.clone()) else {
            return Ok(Vec::new());
        };
        self.rows_with(&shard, entry, limit, " FOR UPDATE NOWAIT")
            .await
    }

    /// The keys of the owner's rows on a shard with an entry's value, as people read them.
    async fn rows_with(
        &mut self,
        shard: &ShardName,
        entry: &Entry,
        limit: usize,
        lock: &str,
    ) -> Result<Vec<String>, FillError> {
        let (shape, select) = self.owner_on(shard).await?;
        let values = Self::equals(&self.columns, &entry.values);
        let query = format!("{select} WHERE {values} LIMIT {limit}{lock}");
        let conn = self.servers.get(self.keyspace, shard).await?;
        match conn.rows("reading rows for a lookup", query).await {
            Ok(rows) => Ok(rows.iter().map(|row| shape.key_text(row)).collect()),
            Err(StreamError::Sql { code, .. }) if LOCKED.contains(&code) => Err(FillError::Busy),
            Err(error) => Err(error.into()),
        }
    }

    async fn is_there(&mut self, shard: &ShardName, entry: &Entry) -> Result<bool, FillError> {
        let owner = format!(
            "{}.{}",
            identifier(self.keyspace.as_str()),
            identifier(self.owner.as_str())
        );
        let query = format!(
            "SELECT 1 FROM {owner} WHERE {} AND {}",
            entry.key_sql,
            Self::equals(&self.columns, &entry.values)
        );
        let conn = self.servers.get(self.keyspace, shard).await?;
        let rows = conn.rows("reading rows for a lookup", query).await?;
        Ok(!rows.is_empty())
    }
}

/// A value as SQL, whose text is ASCII whatever the value is.
fn literal(shape: &TableShape, place: usize, row: &Row) -> String {
    let column = &shape.columns[place];
    let value = row.get(place).and_then(Option::as_deref);
    let mut out = Vec::new();
    write_literal(column, value, &mut out);
    match (String::from_utf8(out), value) {
        (Ok(text), _) if text.is_ascii() => text,
        (_, value) => {
            let charset = column.charset.as_deref().unwrap_or("binary");
            let value = value.unwrap_or_default();
            let digits: String = value.iter().map(|b| format!("{b:02x}")).collect();
            format!("_{charset} 0x{digits}")
        }
    }
}

fn hex(id: &KeyspaceId) -> String {
    let digits: String = id.0.iter().map(|b| format!("{b:02x}")).collect();
    format!("x'{digits}'")
}

/// The condition for rows behind one in the order of the key.
fn behind(shape: &TableShape, row: &Row) -> String {
    let key: Vec<(String, String)> = shape
        .key
        .iter()
        .map(|k| (shape.columns[*k].quoted(), literal(shape, *k, row)))
        .collect();
    let mut condition = String::new();
    for (column, value) in key.iter().rev() {
        condition = if condition.is_empty() {
            format!("{column} > {value}")
        } else {
            format!("{column} >= {value} AND ({column} > {value} OR ({condition}))")
        };
    }
    condition
}
