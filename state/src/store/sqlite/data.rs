//! What is done in the file: reading, transactions, the event log, leases.

use std::time::Duration;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::sqlite_error;
use crate::model::Revision;
use crate::store::{
    Change, Compare, Entry, LeaseId, Listing, Op, StoreError, Txn, TxnOutcome, WatchEvent, clock,
};

/// How many revisions a watch reads at once.
const EVENT_BATCH: Revision = 1000;

fn since_boot_ms() -> i64 {
    millis(clock::since_boot())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The revision of the last transaction.
pub fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    number(connection, "SELECT revision FROM store")
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(sql)?
        .query_row([], |row| row.get(0))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: row.get(0)?,
        value: row.get(1)?,
        create_revision: row.get(2)?,
        mod_revision: row.get(3)?,
    })
}

pub fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached("SELECT key, value, created, modified FROM kv WHERE key = ?1")?
        .query_row([key], entry)
        .optional()
}

/// The first text after all that start with `prefix`, in the order of UTF-8's bytes, which is that
/// of code points. `None`: nothing comes after.
fn prefix_end(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        // Skips the surrogates' gap, which no text holds.
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// ` AND key >= ?n AND key < ?m` for a prefix, with its parameters.
fn under(prefix: &str, first: usize, parameters: &mut Vec<Box<dyn ToSql>>) -> String {
    let mut sql = format!("key >= ?{first}");
    parameters.push(Box::new(prefix.to_owned()));
    if let Some(end) = prefix_end(prefix) {
        sql.push_str(&format!(" AND key < ?{}", first + 1));
        parameters.push(Box::new(end));
    }
    sql
}

fn references(parameters: &[Box<dyn ToSql>]) -> Vec<&dyn ToSql> {
    parameters.iter().map(AsRef::as_ref).collect()
}

/// Everything under some prefixes. In a transaction, so that it is of one revision.
pub fn list(
    transaction: &Transaction<'_>,
    prefixes: &[impl AsRef<str>],
) -> rusqlite::Result<Listing> {
    let revision = revision(transaction)?;
    let mut entries = Vec::new();
    for prefix in prefixes {
        let mut parameters = Vec::new();
        let range = under(prefix.as_ref(), 1, &mut parameters);
        let sql =
            format!("SELECT key, value, created, modified FROM kv WHERE {range} ORDER BY key");
        let mut statement = transaction.prepare_cached(&sql)?;
        let rows = statement.query_map(&*references(&parameters), entry)?;
        for row in rows {
            entries.push(row?);
        }
    }
    if prefixes.len() > 1 {
        entries.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(Listing { entries, revision })
}

/// The events under a prefix from a revision on, and where to read next. Some of them only, if
/// there are many.
pub fn events(
    connection: &mut Connection,
    prefix: &str,
    from: Revision,
) -> rusqlite::Result<(Vec<WatchEvent>, Revision)> {
    let transaction = connection.transaction()?;
    let newest = revision(&transaction)?;
    if from <= number(&transaction, "SELECT compacted FROM store")? {
        let listing = list(&transaction, &[prefix])?;
        let next = listing.revision + 1;
        return Ok((vec![WatchEvent::Resync(listing)], next));
    }
    let to = newest.min(from.saturating_add(EVENT_BATCH - 1));
    let mut parameters: Vec<Box<dyn ToSql>> = vec![Box::new(from), Box::new(to)];
    let range = under(prefix, 3, &mut parameters);
    let sql = format!(
        "SELECT revision, key, value, created FROM event \
         WHERE revision BETWEEN ?1 AND ?2 AND {range} ORDER BY id"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let mut rows = statement.query(&*references(&parameters))?;
    let mut events: Vec<WatchEvent> = Vec::new();
    while let Some(row) = rows.next()? {
        let revision: Revision = row.get(0)?;
        let key: String = row.get(1)?;
        let change = match row.get(2)? {
            Some(value) => Change::Put(Entry {
                key,
                value,
                create_revision: row.get(3)?,
                mod_revision: revision,
            }),
            None => Change::Delete { key },
        };
        match events.last_mut() {
            Some(WatchEvent::Changes {
                revision: last,
                changes,
            }) if *last == revision => changes.push(change),
            _ => events.push(WatchEvent::Changes {
                revision,
                changes: vec![change],
            }),
        }
    }
    Ok((events, from.max(to + 1)))
}

/// A transaction that has SQLite's write lock and has deleted what is under ended leases.
struct Write<'c> {
    transaction: Transaction<'c>,
    /// Of the last transaction: what comes next is one more.
    revision: Revision,
    now_ms: i64,
}

impl<'c> Write<'c> {
    fn begin(connection: &'c mut Connection) -> rusqlite::Result<Self> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut write = Self {
            revision: revision(&transaction)?,
            // Read under the lock: the clock never runs backwards from one transaction to the next.
            now_ms: since_boot_ms(),
            transaction,
        };
        write.end_leases("ends_ms <= ?1", write.now_ms)?;
        Ok(write)
    }

    fn commit(self) -> rusqlite::Result<()> {
        self.transaction.commit()
    }

    fn set_revision(&mut self, revision: Revision) -> rusqlite::Result<()> {
        self.revision = revision;
        self.transaction
            .prepare_cached("UPDATE store SET revision = ?1")?
            .execute([revision])
            .map(|_| ())
    }

    /// Deletes the keys that `condition` on their table selects, as part of `revision`. Returns
    /// whether there were any.
    fn delete(
        &self,
        condition: &str,
        parameters: &[&dyn ToSql],
        revision: Revision,
    ) -> rusqlite::Result<bool> {
        let sql = format!("DELETE FROM kv WHERE {condition} RETURNING key");
        let mut statement = self.transaction.prepare_cached(&sql)?;
        let keys = statement.query_map(parameters, |row| row.get::<_, String>(0))?;
        let mut keys = keys.collect::<rusqlite::Result<Vec<_>>>()?;
        keys.sort_unstable();
        for key in &keys {
            self.log(revision, key, None, 0)?;
        }
        Ok(!keys.is_empty())
    }

    fn log(
        &self,
        revision: Revision,
        key: &str,
        value: Option<&[u8]>,
        created: Revision,
    ) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "INSERT INTO event (revision, key, value, created) VALUES (?, ?, ?, ?)",
            )?
            .execute(params![revision, key, value, created])
            .map(|_| ())
    }

    /// Ends the leases that `condition` on their table selects, and deletes their keys in one
    /// revision.
    fn end_leases(&mut self, condition: &str, parameter: i64) -> rusqlite::Result<()> {
        let sql = format!("DELETE FROM lease WHERE {condition} RETURNING id");
        let ended = {
            let mut statement = self.transaction.prepare_cached(&sql)?;
            let ids = statement.query_map([parameter], |row| row.get::<_, i64>(0))?;
            ids.collect::<rusqlite::Result<Vec<_>>>()?
        };
        let next = self.revision + 1;
        let mut changed = false;
        for id in ended {
            changed |= self.delete("lease = ?1", &[&id], next)?;
        }
        if changed {
            self.set_revision(next)?;
        }
        Ok(())
    }

    fn holds(&self, compare: &Compare) -> rusqlite::Result<bool> {
        Ok(match compare {
            Compare::ModRevision(key, revision) => {
                get(&self.transaction, key)?.is_some_and(|e| e.mod_revision == *revision)
            }
            Compare::CreateRevision(key, revision) => {
                get(&self.transaction, key)?.is_some_and(|e| e.create_revision == *revision)
            }
            Compare::Exists(key) => get(&self.transaction, key)?.is_some(),
            Compare::Absent(key) => get(&self.transaction, key)?.is_none(),
        })
    }

    fn all_hold(&self, compares: &[Compare]) -> rusqlite::Result<bool> {
        for compare in compares {
            if !self.holds(compare)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn lease_lives(&self, lease: LeaseId) -> rusqlite::Result<bool> {
        self.transaction
            .prepare_cached("SELECT 1 FROM lease WHERE id = ?1")?
            .exists([lease.0])
    }

    fn put(
        &self,
        key: &str,
        value: &[u8],
        lease: Option<LeaseId>,
        revision: Revision,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT INTO kv (key, value, created, modified, lease) VALUES (?1, ?2, ?3, ?3, ?4) \
             ON CONFLICT (key) DO UPDATE SET value = ?2, modified = ?3, lease = ?4 \
             RETURNING created";
        let created = self
            .transaction
            .prepare_cached(sql)?
            .query_row(params![key, value, revision, lease.map(|l| l.0)], |row| {
                row.get(0)
            })?;
        self.log(revision, key, Some(value), created)
    }

    /// Does one op as part of `revision`; returns whether it changed anything.
    fn apply(&self, op: &Op, revision: Revision) -> rusqlite::Result<bool> {
        match op {
            Op::Put { key, value, lease } => {
                self.put(key, value, *lease, revision)?;
                Ok(true)
            }
            Op::Delete { key } => self.delete("key = ?1", &[key], revision),
            Op::DeletePrefix { prefix } => {
                let mut parameters = Vec::new();
                let range = under(prefix, 1, &mut parameters);
                self.delete(&range, &references(&parameters), revision)
            }
        }
    }

    /// Forgets old events, now and then.
    fn compact(&self, keep: u64) -> rusqlite::Result<()> {
        let compacted = number(&self.transaction, "SELECT compacted FROM store")?;
        if self.revision - compacted < keep.saturating_mul(2) {
            return Ok(());
        }
        let to = self.revision - keep;
        let execute = |sql| self.transaction.execute(sql, [to]);
        execute("DELETE FROM event WHERE revision <= ?1")?;
        execute("UPDATE store SET compacted = ?1")?;
        Ok(())
    }
}

/// Commits a transaction, or does nothing.
pub fn txn(
    connection: &mut Connection,
    url: &str,
    txn: &Txn,
    keep_revisions: u64,
) -> Result<TxnOutcome, StoreError> {
    let sqlite = |e: rusqlite::Error| sqlite_error(url, &e);
    let mut write = Write::begin(connection).map_err(sqlite)?;
    if !write.all_hold(&txn.compares).map_err(sqlite)? {
        write.commit().map_err(sqlite)?;
        return Ok(TxnOutcome::Refused);
    }
    let next = write.revision + 1;
    let mut changed = false;
    for op in &txn.ops {
        if let Op::Put {
            lease: Some(lease), ..
        } = op
            && !write.lease_lives(*lease).map_err(sqlite)?
        {
            return Err(StoreError::LeaseEnded {
                url: url.to_owned(),
            });
        }
        changed |= write.apply(op, next).map_err(sqlite)?;
    }
    if changed {
        write.set_revision(next).map_err(sqlite)?;
        write.compact(keep_revisions).map_err(sqlite)?;
    }
    let revision = write.revision;
    write.commit().map_err(sqlite)?;
    Ok(TxnOutcome::Committed(revision))
}

/// Goes on counting revisions and leases from `revision`, if they are not there yet. Events from
/// before are forgotten, so that no watch looks through what was skipped.
pub fn continue_after(connection: &mut Connection, revision: Revision) -> rusqlite::Result<()> {
    let mut write = Write::begin(connection)?;
    if write.revision < revision {
        write.set_revision(revision)?;
        let execute = |sql: &str| write.transaction.execute(sql, [revision]);
        write.transaction.execute("DELETE FROM event", [])?;
        execute("UPDATE store SET compacted = ?1")?;
        // SQLite keeps the last id of a table in a row of its own, which is there from the first on.
        write
            .transaction
            .execute("DELETE FROM sqlite_sequence WHERE name = 'lease'", [])?;
        execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('lease', ?1)")?;
    }
    write.commit()
}

/// Whether there are leases that have ended and whose keys nobody has deleted yet.
pub fn has_expired(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM lease WHERE ends_ms <= ?1")?
        .exists([since_boot_ms()])
}

/// Deletes the keys of ended leases.
pub fn sweep(connection: &mut Connection) -> rusqlite::Result<()> {
    Write::begin(connection)?.commit()
}

pub fn grant(connection: &mut Connection, ttl: Duration) -> rusqlite::Result<LeaseId> {
    let write = Write::begin(connection)?;
    let ttl_ms = millis(ttl);
    let ends_ms = write.now_ms.saturating_add(ttl_ms);
    write
        .transaction
        .prepare_cached("INSERT INTO lease (ttl_ms, ends_ms) VALUES (?1, ?2)")?
        .execute([ttl_ms, ends_ms])?;
    let lease = LeaseId(write.transaction.last_insert_rowid());
    write.commit()?;
    Ok(lease)
}

/// Lets a lease end its time to live from now; `false` if it has ended.
pub fn keep_alive(connection: &mut Connection, lease: LeaseId) -> rusqlite::Result<bool> {
    let write = Write::begin(connection)?;
    let renewed = write
        .transaction
        .prepare_cached("UPDATE lease SET ends_ms = ?1 + ttl_ms WHERE id = ?2")?
        .execute([write.now_ms, lease.0])?;
    write.commit()?;
    Ok(renewed > 0)
}

pub fn revoke(connection: &mut Connection, lease: LeaseId) -> rusqlite::Result<()> {
    let mut write = Write::begin(connection)?;
    write.end_leases("id = ?1", lease.0)?;
    write.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_text_that_does_not_start_with_it() {
        assert_eq!(prefix_end("a/").as_deref(), Some("a0"));
        assert_eq!(prefix_end("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(prefix_end("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(prefix_end("\u{10ffff}"), None);
        assert_eq!(prefix_end(""), None);
    }
}
