//! Keeping lookups while their owner is written: see the folder.

use std::collections::HashSet;
use std::sync::Arc;

use vtplan_state::model::{KeyspaceId, TabletType};
use vtplan_state::vindex::Destination;

use super::super::stale::Stale;
use super::super::{Failure, Request};
use super::Loose;
use super::values::{literal, vindex_value};
use crate::backend::SmallResult;
use crate::plan::{
    Action, InsertKind, Keyspace, LookupChange, LookupRow, NewValue, OwnedInsert, OwnedWrite,
    QueryPlan, ShardSql, Table, TableLookup,
};
use crate::protocol::SqlError;
use crate::protocol::messages::OkPacket;
use crate::session::{Order, Session, Transaction};
use crate::topology::Snapshot;

/// Rows that one UPDATE or DELETE may change while lookups follow.
const MAX_ROWS: usize = 100_000;

/// Rows that are added to a lookup by one statement.
const ADD_ROWS: usize = 1000;

/// A row to add to a lookup.
struct New {
    values: Vec<Vec<u8>>,
    key: Vec<Vec<u8>>,
    id: KeyspaceId,
}

/// What a statement does to one lookup.
struct Plan {
    lookup: Arc<TableLookup>,
    new: Vec<New>,
}

impl Session {
    /// A write of a table that owns lookups, with its answer.
    pub(crate) async fn owned(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let alone = self.transaction.is_none() && self.autocommit;
        self.open_transaction();
        let done = match &plan.action {
            Action::OwnedInsert(insert) => {
                self.owned_insert(snapshot, plan, insert, request, alone)
                    .await
            }
            Action::Owned(write) => {
                self.owned_write(snapshot, plan, write, request, alone)
                    .await
            }
            _ => Err(SqlError::unknown("this plan is about no lookup".to_owned()).into()),
        };
        let ok = match done {
            Ok(ok) => ok,
            Err(failure) => return Err(self.owned_failed(plan, failure, alone).await),
        };
        if alone {
            self.commit_all().await?;
        }
        self.answer_ok(ok, request).await
    }

    /// From here on there is a transaction, over whatever is used in it. One that servers have begun
    /// by themselves, without autocommit, becomes one that the gate knows of.
    fn open_transaction(&mut self) {
        if self.transaction.is_some() {
            return;
        }
        self.transaction = Some(Transaction::default());
        for held in &mut self.held {
            held.begun |= held.pooled.conn.in_transaction();
        }
    }

    async fn owned_failed(&mut self, plan: &QueryPlan, failure: Failure, alone: bool) -> Failure {
        self.values.row_count = -1;
        if !alone {
            // A deadlock on any shard ends the transaction, as on one server.
            if matches!(&failure, Failure::Sql(error) if error.code == 1213) {
                self.roll_back_all().await;
            }
            return match failure {
                Failure::Again(error, _) => Failure::Sql(error),
                failure => failure,
            };
        }
        self.roll_back_all().await;
        match failure {
            // Nothing is left of it.
            Failure::Sql(error) | Failure::Fatal(error) => match Stale::of_plan(plan, &error) {
                Some(stale) => Failure::Again(error, stale),
                None => Failure::Sql(error),
            },
            failure => failure,
        }
    }

    async fn owned_insert(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        insert: &OwnedInsert,
        request: &Request<'_>,
        alone: bool,
    ) -> Result<OkPacket, Failure> {
        let mut first = None;
        if let Some(need) = &insert.sequence {
            let shared = self.shared.clone();
            let taken = shared.sequences.take(&shared.topology, snapshot, need);
            first = Some(self.attended(taken).await??);
        }
        let rows = insert.rows(first)?;
        let mut skip = vec![false; rows.len()];
        let mut added = Vec::new();
        for (at, lookup) in insert.lookups.iter().enumerate() {
            let (mut new, mut of) = (Vec::new(), Vec::new());
            for (number, row) in rows.iter().enumerate() {
                match &row.lookups[at] {
                    LookupRow::Null(column) => refuse_null(lookup, *column)?,
                    LookupRow::Values(_) if skip[number] => {}
                    LookupRow::Values(values) => {
                        of.push(number);
                        new.push(New {
                            values: values.clone(),
                            key: row.key.clone(),
                            id: row.id.clone(),
                        });
                    }
                }
            }
            let result = self
                .add(snapshot, plan, &insert.table, lookup, &new, insert.kind)
                .await;
            added.push(Plan {
                lookup: lookup.clone(),
                new,
            });
            match result {
                Ok(taken) => taken.into_iter().for_each(|at| skip[of[at]] = true),
                Err(failure) => {
                    self.loosen(&insert.table, added);
                    return Err(failure);
                }
            }
        }
        if insert.kind == InsertKind::Replace {
            let old = self.replaced(snapshot, plan, insert, &rows).await?;
            self.loose.extend(old);
        }
        let parts = insert.bind(first, &skip)?;
        let savepoint = parts.len() > 1 && !alone;
        let done = match parts.is_empty() {
            true => Ok(OkPacket::default()),
            false => {
                self.dml_on(snapshot, plan, &parts, request, savepoint)
                    .await
            }
        };
        // What has become of each row only the server knows.
        if done.is_err() || insert.kind != InsertKind::Plain {
            self.loosen(&insert.table, added);
        }
        let mut ok = done?;
        if let Some(first) = first {
            ok.last_insert_id = first;
        }
        Ok(ok)
    }

    /// Notes that rows that were added to lookups may be of no owner.
    fn loosen(&mut self, owner: &Arc<Table>, plans: Vec<Plan>) {
        for Plan { lookup, new } in plans {
            self.loose.extend(new.into_iter().map(|new| Loose {
                owner: owner.clone(),
                lookup: lookup.clone(),
                values: new.values,
                key: new.key,
                id: new.id,
            }));
        }
    }

    /// What lookups have of the rows that a REPLACE may remove: those with the same sharding key.
    async fn replaced(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        insert: &OwnedInsert,
        rows: &[crate::plan::OwnedRow],
    ) -> Result<Vec<Loose>, Failure> {
        let mut loose = Vec::new();
        for row in rows {
            for lookup in &insert.lookups {
                let sql = lookup.of_key_sql(&insert.table, &row.key);
                let part = ShardSql {
                    shard: row.shard.clone(),
                    sql: crate::plan::Sql::Original,
                };
                let result = self
                    .ask_at(snapshot, Order::Normal, plan, &part, &sql)
                    .await?;
                for old in &result.rows {
                    let places: Vec<usize> = (0..lookup.columns.len()).collect();
                    if let Some(values) = self.values_of(&result, old, &places)? {
                        loose.push(Loose {
                            owner: insert.table.clone(),
                            lookup: lookup.clone(),
                            values,
                            key: row.key.clone(),
                            id: row.id.clone(),
                        });
                    }
                }
            }
        }
        Ok(loose)
    }

    async fn owned_write(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        write: &OwnedWrite,
        request: &Request<'_>,
        alone: bool,
    ) -> Result<OkPacket, Failure> {
        let base = match &write.base {
            Action::Lookup(read) => self.resolve(snapshot, plan, read).await?,
            base => base.clone(),
        };
        let parts = match base {
            Action::Single(part) => vec![part],
            Action::Dml(parts) => parts,
            _ => return Err(SqlError::unknown("this plan writes nothing".to_owned()).into()),
        };
        let mut found = 0;
        let mut gone = Vec::new();
        let mut added: Vec<Plan> = Vec::new();
        for change in &write.changes {
            added.push(Plan {
                lookup: change.lookup.clone(),
                new: Vec::new(),
            });
        }
        for part in &parts {
            let result = self
                .ask_at(snapshot, Order::Normal, plan, part, &write.rows_sql)
                .await?;
            found += result.rows.len();
            if found > MAX_ROWS {
                let message = format!(
                    "more than {MAX_ROWS} rows of `{}` are changed at once, which owns lookup vindexes: do it in parts, with a condition for each",
                    write.table.name
                );
                return Err(SqlError::unknown(message).into());
            }
            for row in &result.rows {
                let (id, key) = self.row_key(&write.table, &result, row)?;
                for (change, plan) in write.changes.iter().zip(&mut added) {
                    self.change(write, change, plan, &result, row, (&id, &key), &mut gone)?;
                }
            }
        }
        for at in 0..added.len() {
            let Plan { lookup, new } = &added[at];
            let result = self
                .add(snapshot, plan, &write.table, lookup, new, InsertKind::Plain)
                .await;
            if let Err(failure) = result {
                self.loosen(&write.table, added);
                return Err(failure);
            }
        }
        let updates = write.changes.iter().any(|change| change.new.is_some());
        let savepoint = !alone && (parts.len() > 1 || updates);
        let done = self
            .dml_on(snapshot, plan, &parts, request, savepoint)
            .await;
        let done = match done {
            // A row that came after the question is in no lookup.
            Ok(ok) if updates && ok.matched != Some(found as u64) => {
                if savepoint {
                    self.undo_parts(&parts).await?;
                }
                let message = format!(
                    "Record has changed since last read in table '{}'; try restarting transaction",
                    write.table.name
                );
                Err(SqlError::new(1020, b"HY000", message).into())
            }
            done => done,
        };
        match done {
            Ok(ok) => {
                self.loose.extend(gone);
                Ok(ok)
            }
            Err(failure) => {
                self.loosen(&write.table, added);
                Err(failure)
            }
        }
    }

    /// What happens to a lookup for one row.
    #[expect(clippy::too_many_arguments)]
    fn change(
        &self,
        write: &OwnedWrite,
        change: &LookupChange,
        plan: &mut Plan,
        result: &SmallResult,
        row: &[Option<Vec<u8>>],
        (id, key): (&KeyspaceId, &[Vec<u8>]),
        gone: &mut Vec<Loose>,
    ) -> Result<(), Failure> {
        if let Some((same, new)) = &change.new {
            if row[*same].as_deref() == Some(b"1") {
                return Ok(());
            }
            let mut values = Vec::with_capacity(new.len());
            let mut null = None;
            for (at, value) in new.iter().enumerate() {
                match value {
                    NewValue::Null => null = Some(at),
                    NewValue::Text(sql) => values.push(sql.clone()),
                    NewValue::Old(from) => match &row[*from] {
                        None => null = Some(at),
                        Some(value) => {
                            values.push(literal(value, result.columns[*from], self.modes)?);
                        }
                    },
                }
            }
            match null {
                Some(at) => refuse_null(&change.lookup, at)?,
                None => plan.new.push(New {
                    values,
                    key: key.to_vec(),
                    id: id.clone(),
                }),
            }
        }
        if let Some(values) = self.values_of(result, row, &change.old)? {
            gone.push(Loose {
                owner: write.table.clone(),
                lookup: change.lookup.clone(),
                values,
                key: key.to_vec(),
                id: id.clone(),
            });
        }
        Ok(())
    }

    /// The statement of the client's transaction is undone on its shards.
    async fn undo_parts(&mut self, parts: &[ShardSql]) -> Result<(), Failure> {
        let sql = format!("ROLLBACK TO SAVEPOINT {}", super::super::dml::SAVEPOINT);
        for part in parts {
            let of = |h: &&mut crate::session::Held| {
                h.order == Order::Normal
                    && h.tablet_type == TabletType::Primary
                    && h.shard == part.shard
            };
            if let Some(held) = self.held.iter_mut().find(of) {
                let undone = held.pooled.conn.execute(&sql).await;
                undone.map_err(|error| {
                    Failure::Fatal(super::super::backend_failure(&held.tablet.alias, error))
                })?;
            }
        }
        Ok(())
    }

    /// A row's keyspace id and its sharding columns as SQL; they are the first of a result.
    fn row_key(
        &self,
        table: &Table,
        result: &SmallResult,
        row: &[Option<Vec<u8>>],
    ) -> Result<(KeyspaceId, Vec<Vec<u8>>), Failure> {
        let nowhere = || {
            let message = format!("a row of `{}` has no keyspace id", table.name);
            SqlError::unknown(message)
        };
        let primary = table.primary_vindex.as_ref().ok_or_else(nowhere)?;
        let count = primary.columns.len();
        let columns = row.iter().zip(&result.columns).take(count);
        let keys: Vec<_> = columns
            .clone()
            .map(|(value, column)| vindex_value(value.as_deref(), *column))
            .collect();
        let Destination::Id(id) = primary.vindex.map(&keys) else {
            return Err(nowhere().into());
        };
        let key = columns.map(|(value, column)| match value {
            Some(value) => literal(value, *column, self.modes),
            None => Ok(b"NULL".to_vec()),
        });
        Ok((id, key.collect::<Result<_, _>>()?))
    }

    /// Some values of a row as SQL; `None` if one is NULL.
    fn values_of(
        &self,
        result: &SmallResult,
        row: &[Option<Vec<u8>>],
        places: &[usize],
    ) -> Result<Option<Vec<Vec<u8>>>, SqlError> {
        let values = places.iter().map(|at| {
            let value = row[*at].as_ref();
            value
                .map(|value| literal(value, result.columns[*at], self.modes))
                .transpose()
        });
        values.collect()
    }

    /// Adds rows to a lookup, before the owner gets them. Gives those, by position, whose value
    /// another row has, where `kind` leaves them out; for others that is an error.
    async fn add(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        owner: &Arc<Table>,
        lookup: &Arc<TableLookup>,
        new: &[New],
        kind: InsertKind,
    ) -> Result<Vec<usize>, Failure> {
        let Ok((_, definition)) = &lookup.lookup else {
            return Ok(Vec::new());
        };
        let mut taken = Vec::new();
        // Of this statement, by what the lookup has stored.
        let mut claimed = HashSet::new();
        for (number, chunk) in new.chunks(ADD_ROWS).enumerate() {
            let rows: Vec<(&[Vec<u8>], &[u8])> = chunk
                .iter()
                .map(|new| (new.values.as_slice(), new.id.0.as_slice()))
                .collect();
            let results = self
                .ask(
                    snapshot,
                    Order::First,
                    TabletType::Primary,
                    &lookup.insert_sql(&rows),
                )
                .await?;
            let inserted: u64 = results.iter().map(|r| r.ok.affected_rows).sum();
            let first = number * ADD_ROWS;
            // All of them are new; a later chunk must know of them.
            if inserted == chunk.len() as u64 && new.len() <= ADD_ROWS {
                continue;
            }
            for (at, new) in chunk.iter().enumerate() {
                let row = if definition.unique {
                    self.claim(snapshot, plan, owner, lookup, new, kind, &mut claimed)
                        .await?
                } else {
                    self.check_added(snapshot, lookup, new).await?
                };
                if row == Claim::Taken {
                    taken.push(first + at);
                }
            }
        }
        Ok(taken)
    }

    /// Of a lookup that is not unique: the row is there, and stays until it is committed.
    async fn check_added(
        &mut self,
        snapshot: &Snapshot,
        lookup: &TableLookup,
        new: &New,
    ) -> Result<Claim, Failure> {
        let sql = lookup.lock_sql(&new.values, Some(&new.id.0), true);
        let results = self
            .ask(snapshot, Order::First, TabletType::Primary, &sql)
            .await?;
        if results.iter().any(|r| !r.rows.is_empty()) {
            return Ok(Claim::Ours);
        }
        let message = format!(
            "lookup vindex `{}` cannot hold a second row of a value: its table has a unique key that it must not have",
            lookup.name
        );
        Err(SqlError::unknown(message).into())
    }

    /// Of a unique lookup: the value is this row's, or another's.
    #[expect(clippy::too_many_arguments)]
    async fn claim(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        owner: &Arc<Table>,
        lookup: &Arc<TableLookup>,
        new: &New,
        kind: InsertKind,
        claimed: &mut HashSet<Vec<Option<Vec<u8>>>>,
    ) -> Result<Claim, Failure> {
        let lock = lookup.lock_sql(&new.values, None, true);
        let results = self
            .ask(snapshot, Order::First, TabletType::Primary, &lock)
            .await?;
        let mut rows = results.into_iter().flat_map(|r| r.rows);
        let (Some(mut row), None) = (rows.next(), rows.next()) else {
            let message = format!(
                "the table of lookup vindex `{}` does not hold each value once",
                lookup.name
            );
            return Err(SqlError::unknown(message).into());
        };
        let holder = KeyspaceId(row.pop().flatten().unwrap_or_default());
        let again = !claimed.insert(row.clone());
        let ours = holder == new.id;
        let onto = matches!(kind, InsertKind::Replace | InsertKind::Update);
        if ours && onto {
            // One shard has them all, and does as one server does.
            return Ok(Claim::Ours);
        }
        if again
            || self
                .owner_has(snapshot, plan, owner, lookup, new, &holder)
                .await?
        {
            return match kind {
                InsertKind::Ignore => Ok(Claim::Taken),
                InsertKind::Plain => Err(duplicate(lookup, &row).into()),
                InsertKind::Replace | InsertKind::Update => {
                    let construct = if kind == InsertKind::Replace {
                        "REPLACE"
                    } else {
                        "ON DUPLICATE KEY UPDATE"
                    };
                    Err(SqlError::unsupported(format!(
                        "{construct} of a row of `{}` whose value of lookup vindex `{}` is that of a row with another sharding key",
                        owner.name, lookup.name
                    ))
                    .into())
                }
            };
        }
        if ours {
            return Ok(Claim::Ours);
        }
        // Nobody has it. Of what this transaction itself has taken away that is certain only when
        // it is committed.
        let freed = |l: &Loose| l.lookup.name == lookup.name && l.id == holder;
        if self.loose.iter().any(freed) {
            return Err(SqlError::unsupported(format!(
                "giving a value of lookup vindex `{}` to a row with another sharding key in the transaction that takes it from the first: commit between",
                lookup.name
            ))
            .into());
        }
        let sql = lookup.take_over_sql(&new.values, &new.id.0);
        self.ask(snapshot, Order::First, TabletType::Primary, &sql)
            .await?;
        Ok(Claim::Ours)
    }

    /// Whether the owner has a row of a value on the shard of a keyspace id; what there is, and what
    /// may come, is locked.
    async fn owner_has(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        owner: &Table,
        lookup: &TableLookup,
        new: &New,
        holder: &KeyspaceId,
    ) -> Result<bool, Failure> {
        let keyspace: Option<&Arc<Keyspace>> = snapshot.catalog.keyspace(owner.keyspace.as_str());
        let Some(keyspace) = keyspace else {
            return Ok(false);
        };
        let shard = keyspace.shard_for(holder);
        let part = ShardSql {
            shard: shard.ok_or_else(|| keyspace.not_serving())?.clone(),
            sql: crate::plan::Sql::Original,
        };
        let sql = lookup.owner_sql(owner, &new.values, None, true);
        let result = self
            .ask_at(snapshot, Order::Normal, plan, &part, &sql)
            .await?;
        Ok(!result.rows.is_empty())
    }
}

/// Whose a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Ours,
    Taken,
}

fn refuse_null(lookup: &TableLookup, column: usize) -> Result<(), SqlError> {
    match &lookup.lookup {
        Ok((_, definition)) if !definition.ignore_nulls => {
            let column = lookup.columns.get(column).map_or("?", String::as_str);
            let message = format!(
                "Column '{column}' cannot be null: lookup vindex `{}` does not ignore NULLs",
                lookup.name
            );
            Err(SqlError::new(1048, b"23000", message))
        }
        _ => Ok(()),
    }
}

/// As a server says it of a unique key.
fn duplicate(lookup: &TableLookup, row: &[Option<Vec<u8>>]) -> SqlError {
    let values: Vec<_> = row
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_deref().unwrap_or_default()))
        .collect();
    let message = format!(
        "Duplicate entry '{}' for key '{}'",
        values.join("-"),
        lookup.name
    );
    SqlError::new(1062, b"23000", message)
}
