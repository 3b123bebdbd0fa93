//! A random writer that remembers what was acknowledged to it.
//!
//! Each client of it owns the rows whose id leaves its number as the remainder, so it knows what
//! each of them must be. It inserts, updates, deletes, changes primary keys and (where the gate
//! allows it) sharding columns, in single statements and in transactions, and reads its own rows
//! back. Where a statement fails, what it would have done may or may not have been done: both are
//! remembered, and a test that expects no failure asks for [`Written::failures`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Pool, TxOpts, Value};
use tokio::task::JoinHandle;

/// No index but the key: transactions over two shards would lock gaps of it in each other's way, which
/// no server can see, and wait for each other until one gives up.
///
/// The writer's table: a primary key, a sharding column, and something of each kind to change.
pub const TABLE: &str = "create table item (
    id bigint not null primary key,
    owner bigint not null,
    body varchar(200) not null,
    blob_body varbinary(300),
    price decimal(12,4),
    seen datetime(6)
)";

/// `owner` and `body` of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    pub owner: i64,
    pub body: String,
}

/// Everything that a row may be: one thing, unless the last statement on it failed.
pub type Known = Vec<Option<Item>>;

/// How the writer behaves.
#[derive(Debug, Clone)]
pub struct Habits {
    pub clients: i64,
    /// Whether `update .. set owner = ..` is sent: the gate refuses it in a sharded keyspace, as
    /// Vitess does. Otherwise the row is deleted and inserted in one transaction.
    pub may_change_owner: Arc<AtomicBool>,
    /// The table as it is written in statements: `item`, or `commerce.item`.
    pub table: String,
    /// A pause after each operation, so that the writer leaves something of the machine to others.
    pub pause: Duration,
}

/// What a writer did.
#[derive(Debug, Default)]
pub struct Written {
    pub rows: BTreeMap<i64, Known>,
    pub operations: u64,
    /// Messages of statements that failed, with what was tried.
    pub failures: Vec<String>,
    /// The longest time that one statement took.
    pub longest: Duration,
}

/// A writer at work.
pub struct Writer {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Written>>,
    habits: Habits,
}

impl Writer {
    /// Starts writing through the pool's gate.
    pub fn start(pool: &Pool, habits: Habits, seed: u64) -> Writer {
        Self::go_on(pool, habits, seed, BTreeMap::new())
    }

    /// Starts with rows that are there already.
    pub fn go_on(pool: &Pool, habits: Habits, seed: u64, mut rows: BTreeMap<i64, Known>) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..habits.clients)
            .map(|number| {
                let of_client = |id: &i64| id.rem_euclid(habits.clients) == number;
                let mine: BTreeMap<i64, Known> = rows
                    .keys()
                    .copied()
                    .filter(|id| of_client(id))
                    .collect::<Vec<_>>()
                    .into_iter()
                    .filter_map(|id| rows.remove_entry(&id))
                    .collect();
                let client = Client {
                    pool: pool.clone(),
                    habits: habits.clone(),
                    number,
                    random: Random(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                    written: Written {
                        rows: mine,
                        ..Written::default()
                    },
                };
                tokio::spawn(client.run(stop.clone()))
            })
            .collect();
        Writer {
            stop,
            clients,
            habits,
        }
    }

    pub fn habits(&self) -> &Habits {
        &self.habits
    }

    /// Ends writing and tells what was written.
    pub async fn finish(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Written::default();
        for client in self.clients {
            let written = client.await.expect("a client of the writer panicked");
            all.rows.extend(written.rows);
            all.operations += written.operations;
            all.failures.extend(written.failures);
            all.longest = all.longest.max(written.longest);
        }
        all
    }
}

/// A small generator of its own, so that a seed gives the same operations everywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn body(&mut self) -> String {
        const WORDS: [&str; 8] = ["ä", "it's", "\\", "%", "日本", "x", "", "\n"];
        let count = self.below(6);
        let mut text = format!("{:x}", self.next());
        for _ in 0..count {
            text += WORDS[self.below(8) as usize];
        }
        text
    }
}

struct Client {
    pool: Pool,
    habits: Habits,
    number: i64,
    random: Random,
    written: Written,
}

/// A statement that may have been done.
struct Change {
    id: i64,
    to: Option<Item>,
}

impl Change {
    fn new(id: i64, to: Option<Item>) -> Self {
        Self { id, to }
    }
}

/// The statement, its parameters, and the number of rows that it must affect.
type Statement = (String, Vec<Value>, u64);

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Written {
        let mut conn: Option<Conn> = None;
        while !stop.load(Ordering::Relaxed) {
            let mut connection = match conn.take() {
                Some(conn) => conn,
                None => match self.pool.get_conn().await {
                    Ok(conn) => conn,
                    Err(error) => {
                        self.written.failures.push(format!("connecting: {error}"));
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                },
            };
            let begun = Instant::now();
            let result = self.operation(&mut connection).await;
            self.written.longest = self.written.longest.max(begun.elapsed());
            self.written.operations += 1;
            match result {
                Ok(()) => conn = Some(connection),
                Err(failure) => {
                    self.written.failures.push(failure);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            if !self.habits.pause.is_zero() {
                tokio::time::sleep(self.habits.pause).await;
            }
        }
        self.written
    }

    fn new_id(&mut self) -> i64 {
        let span = 2_000_000;
        let base = self.random.below(span) as i64 - (span / 2) as i64;
        base * self.habits.clients + self.number
    }

    /// A row that is known for certain to be there.
    fn some_row(&mut self) -> Option<(i64, Item)> {
        let count = self.written.rows.len() as u64;
        if count == 0 {
            return None;
        }
        let at = self.random.below(count) as usize;
        let mut from_there = self.written.rows.iter().skip(at).take(20);
        from_there.find_map(|(id, known)| match &known[..] {
            [Some(item)] => Some((*id, item.clone())),
            _ => None,
        })
    }

    async fn operation(&mut self, conn: &mut Conn) -> Result<(), String> {
        let parts = match self.random.below(10) {
            0..=6 => 1,
            _ => 1 + self.random.below(4),
        };
        let mut changes = Vec::new();
        let mut statements = Vec::new();
        for _ in 0..parts {
            let (more, change) = self.choose(&changes);
            statements.extend(more);
            changes.extend(change);
        }
        if statements.is_empty() {
            return Ok(());
        }
        let wants_transaction = statements.len() > 1;
        let result = if wants_transaction {
            let roll_back = self.random.below(10) == 0;
            // Many look before they write, and have the table in use from then on.
            let look = match self.random.below(2) {
                0 => None,
                _ => self.some_row().map(|(id, item)| {
                    let table = &self.habits.table;
                    let sql = format!("select body from {table} where id = ? and owner = ?");
                    (sql, vec![id.into(), item.owner.into()])
                }),
            };
            let done = transaction(conn, look, &statements, roll_back).await;
            if roll_back && done.is_ok() {
                changes.clear();
            }
            done
        } else {
            let (sql, params, expected) = &statements[0];
            execute(conn, sql, params, *expected).await
        };
        for Change { id, to, .. } in changes {
            let known = self.written.rows.entry(id).or_insert_with(|| vec![None]);
            if result.is_ok() {
                *known = vec![to];
            } else if !known.contains(&to) {
                known.push(to);
            }
        }
        result?;
        self.read_back(conn).await
    }

    /// One change: its statements, and what it makes of rows.
    fn choose(&mut self, before: &[Change]) -> (Vec<Statement>, Vec<Change>) {
        let table = self.habits.table.clone();
        let touched = |id: i64| before.iter().any(|change| change.id == id);
        let row = self.some_row().filter(|(id, _)| !touched(*id));
        let kind = self.random.below(10);
        let Some((id, item)) = row.filter(|_| kind >= 4) else {
            let id = self.new_id();
            let unknown = self.written.rows.get(&id).is_some_and(|k| k[..] != [None]);
            if unknown || touched(id) {
                return (Vec::new(), Vec::new());
            }
            let item = Item {
                owner: self.random.below(5000) as i64,
                body: self.random.body(),
            };
            return (
                vec![insert(&table, id, &item)],
                vec![Change::new(id, Some(item))],
            );
        };
        match kind {
            4..=6 => {
                let changed = Item {
                    body: self.random.body(),
                    ..item.clone()
                };
                let sql = format!(
                    "update {table} set body = ?, price = price + 0.0001 where id = ? and owner = ?"
                );
                let params = vec![changed.body.clone().into(), id.into(), item.owner.into()];
                let to = Some(changed);
                (vec![(sql, params, 1)], vec![Change::new(id, to)])
            }
            7 => (vec![delete(&table, id, &item)], vec![Change::new(id, None)]),
            8 => {
                let new = self.new_id();
                let free = self.written.rows.get(&new).is_none_or(|k| k[..] == [None]);
                if !free || touched(new) {
                    return (Vec::new(), Vec::new());
                }
                let sql = format!("update {table} set id = ? where id = ? and owner = ?");
                let params = vec![new.into(), id.into(), item.owner.into()];
                let moved = Change::new(new, Some(item));
                (vec![(sql, params, 1)], vec![Change::new(id, None), moved])
            }
            _ => {
                let changed = Item {
                    owner: self.random.below(5000) as i64 + 5000,
                    ..item.clone()
                };
                let statements = if self.habits.may_change_owner.load(Ordering::Relaxed) {
                    let sql = format!("update {table} set owner = ? where id = ? and owner = ?");
                    let params = vec![changed.owner.into(), id.into(), item.owner.into()];
                    vec![(sql, params, 1)]
                } else {
                    vec![delete(&table, id, &item), insert(&table, id, &changed)]
                };
                let to = Some(changed);
                (statements, vec![Change::new(id, to)])
            }
        }
    }

    /// What was acknowledged is what is read.
    async fn read_back(&mut self, conn: &mut Conn) -> Result<(), String> {
        if self.random.below(3) != 0 {
            return Ok(());
        }
        let Some((id, item)) = self.some_row() else {
            return Ok(());
        };
        let table = &self.habits.table;
        let sql = format!("select owner, body from {table} where id = ? and owner = ?");
        let found: Option<(i64, String)> = conn
            .exec_first(&sql, (id, item.owner))
            .await
            .map_err(|error| format!("reading {id}: {error}"))?;
        if found != Some((item.owner, item.body.clone())) {
            return Err(format!(
                "LOST: row {id} was acknowledged as {item:?} and is {found:?}"
            ));
        }
        Ok(())
    }
}

fn insert(table: &str, id: i64, item: &Item) -> Statement {
    let sql = format!(
        "insert into {table} (id, owner, body, blob_body, price, seen) values (?, ?, ?, ?, ?, ?)"
    );
    let blob: Option<Vec<u8>> = (id % 3 != 0).then(|| id.to_be_bytes().repeat(5));
    let params = vec![
        id.into(),
        item.owner.into(),
        item.body.clone().into(),
        blob.into(),
        format!("{}.{:04}", id % 90_000, id.unsigned_abs() % 10_000).into(),
        "2026-11-21 12:34:56.123456".into(),
    ];
    (sql, params, 1)
}

fn delete(table: &str, id: i64, item: &Item) -> Statement {
    let sql = format!("delete from {table} where id = ? and owner = ?");
    (sql, vec![id.into(), item.owner.into()], 1)
}

async fn transaction(
    conn: &mut Conn,
    look: Option<(String, Vec<Value>)>,
    statements: &[Statement],
    roll_back: bool,
) -> Result<(), String> {
    let mut transaction = conn
        .start_transaction(TxOpts::default())
        .await
        .map_err(|error| format!("begin: {error}"))?;
    if let Some((sql, params)) = look {
        let looked = transaction.exec_drop(&sql, params).await;
        looked.map_err(|error| format!("{sql}: {error}"))?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for (sql, params, expected) in statements {
        execute(&mut transaction, sql, params, *expected).await?;
    }
    let ended = if roll_back {
        transaction.rollback().await
    } else {
        transaction.commit().await
    };
    ended.map_err(|error| format!("commit: {error}"))
}

async fn execute<Q: Queryable + Affected>(
    conn: &mut Q,
    sql: &str,
    params: &[Value],
    expected: u64,
) -> Result<(), String> {
    conn.exec_drop(sql, params.to_vec())
        .await
        .map_err(|error| format!("{sql} {params:?}: {error}"))?;
    match conn.affected() {
        n if n == expected => Ok(()),
        n => Err(format!(
            "LOST: {sql} {params:?} affected {n} rows instead of {expected}"
        )),
    }
}

/// How many rows the last statement changed.
trait Affected {
    fn affected(&self) -> u64;
}

impl Affected for Conn {
    fn affected(&self) -> u64 {
        self.affected_rows()
    }
}

impl Affected for mysql_async::Transaction<'_> {
    fn affected(&self) -> u64 {
        self.affected_rows()
    }
}

impl Written {
    /// Compares with the rows that were found; says what differs.
    pub fn differences(&self, found: &BTreeMap<i64, Item>) -> Vec<String> {
        let mut all = Vec::new();
        for (id, known) in &self.rows {
            let is = found.get(id).cloned();
            if !known.contains(&is) {
                all.push(format!("row {id} should be one of {known:?} and is {is:?}"));
            }
        }
        for (id, item) in found {
            if !self.rows.contains_key(id) {
                all.push(format!("row {id} ({item:?}) was never written"));
            }
        }
        all
    }

    /// Failures that no fault explains: rows that were not as acknowledged.
    pub fn lost(&self) -> Vec<&String> {
        let lost = |failure: &&String| failure.starts_with("LOST");
        self.failures.iter().filter(lost).collect()
    }
}

/// All rows of the table, through one connection.
pub async fn read_all(pool: &Pool, table: &str) -> Result<BTreeMap<i64, Item>, mysql_async::Error> {
    let mut conn = pool.get_conn().await?;
    let rows: Vec<(i64, i64, String)> = conn
        .query(format!("select id, owner, body from {table}"))
        .await?;
    let count = rows.len();
    let map: BTreeMap<i64, Item> = rows
        .into_iter()
        .map(|(id, owner, body)| (id, Item { owner, body }))
        .collect();
    assert_eq!(map.len(), count, "a row is there twice");
    Ok(map)
}
