//! Transactions. BEGIN reaches a shard with the first statement for it. One over several shards
//! commits shard by shard in the order in which they were used (Vitess's `multi`), after what
//! lookups must know before: if a later commit fails, the error says what was committed and what
//! was not.

use super::forward::ForwardError;
use super::{Failure, backend_failure};
use crate::backend::BackendError;
use crate::protocol::SqlError;
use crate::session::{Held, Order, Session, Transaction};

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Session {
    /// Begins the session's transaction on a connection that has not joined it yet. Returns true
    /// if a plain `BEGIN` must go ahead of the statement, which saves a round trip: it cannot fail.
    pub(crate) async fn begin_on(&mut self, held: &mut Held) -> Result<bool, ForwardError> {
        if held.begun {
            return Ok(false);
        }
        let Some(transaction) = &self.transaction else {
            // Characteristics for one transaction, which is the next statement.
            if !held.pooled.conn.in_transaction() {
                for set in std::mem::take(&mut self.next_transaction) {
                    held.pooled.conn.execute(&set).await?;
                }
            }
            return Ok(false);
        };
        held.begun = true;
        if transaction.is_plain() {
            return Ok(true);
        }
        for statement in transaction.begin_statements() {
            held.pooled.conn.execute(&statement).await?;
        }
        Ok(false)
    }

    pub(crate) async fn begin(
        &mut self,
        read_only: Option<bool>,
        consistent_snapshot: bool,
    ) -> Result<(), Failure> {
        self.commit_all().await?;
        self.transaction = Some(Transaction {
            characteristics: std::mem::take(&mut self.next_transaction),
            read_only,
            consistent_snapshot,
            savepoints: Vec::new(),
        });
        Ok(())
    }

    /// Commits what is open on any connection, and gives connections back.
    pub(crate) async fn commit_all(&mut self) -> Result<(), Failure> {
        self.transaction = None;
        let loose = std::mem::take(&mut self.loose);
        let mut open = self.take_open();
        if open.is_empty() {
            return Ok(());
        }
        // Of equal order the one that was used first.
        open.sort_by_key(|held| held.order);
        let mut committed: Vec<String> = Vec::new();
        let mut open = open.into_iter();
        while let Some(mut held) = open.next() {
            match held.pooled.conn.execute("COMMIT").await {
                Ok(_) => {
                    // What lookups know too early is of no harm.
                    if held.order != Order::First {
                        committed.push(held.shard.to_string());
                    }
                    held.begun = false;
                    self.put_away(held);
                }
                Err(error) => {
                    let failed = held.shard.to_string();
                    let lost = matches!(error, BackendError::Lost(_));
                    let mut error = backend_failure(&held.tablet.alias, error);
                    drop(held);
                    let rest: Vec<Held> = open.collect();
                    let others: Vec<String> = rest
                        .iter()
                        .filter(|h| h.order != Order::First)
                        .map(|h| h.shard.to_string())
                        .collect();
                    for held in rest {
                        self.roll_back(held).await;
                    }
                    if !committed.is_empty() || !others.is_empty() {
                        let fate = if lost { "unknown" } else { "not committed" };
                        error.message = format!(
                            "the transaction over several shards is committed on [{}], {fate} on {failed}, rolled back on [{}]: {}",
                            committed.join(", "),
                            others.join(", "),
                            error.message
                        );
                    }
                    return Err(if lost {
                        Failure::Fatal(error)
                    } else {
                        Failure::Sql(error)
                    });
                }
            }
        }
        if !loose.is_empty() {
            Box::pin(self.tidy(loose)).await;
        }
        Ok(())
    }

    /// Rolls back what is open. A connection that fails is closed, which rolls back too.
    pub(crate) async fn roll_back_all(&mut self) {
        self.transaction = None;
        self.roll_back_held().await;
    }

    pub(crate) async fn roll_back_held(&mut self) {
        // What they were to lose they have still.
        self.loose.clear();
        for held in self.take_open() {
            self.roll_back(held).await;
        }
    }

    async fn roll_back(&mut self, mut held: Held) {
        if held.pooled.conn.execute("ROLLBACK").await.is_ok() {
            held.begun = false;
            self.put_away(held);
        }
    }

    /// Connections with an open transaction.
    fn take_open(&mut self) -> Vec<Held> {
        let all = std::mem::take(&mut self.held);
        let (open, others) = all
            .into_iter()
            .partition(|h| h.begun || h.pooled.conn.in_transaction());
        self.held = others;
        open
    }

    fn put_away(&mut self, held: Held) {
        if self.must_keep(&held) {
            self.keep(held);
        } else {
            self.give_back(held);
        }
    }

    /// `SAVEPOINT`, `RELEASE SAVEPOINT` and `ROLLBACK TO SAVEPOINT`, on every shard of the
    /// transaction. A shard that joins later gets the savepoints that exist then.
    pub(crate) async fn savepoint(&mut self, verb: &str, name: &str) -> Result<(), Failure> {
        let same = |other: &String| other.eq_ignore_ascii_case(name);
        let known = match &mut self.transaction {
            Some(transaction) => {
                let at = transaction.savepoints.iter().position(same);
                match (verb, at) {
                    ("SAVEPOINT", at) => {
                        if let Some(at) = at {
                            transaction.savepoints.remove(at);
                        }
                        transaction.savepoints.push(name.to_owned());
                    }
                    ("RELEASE SAVEPOINT", Some(at)) => transaction.savepoints.truncate(at),
                    (_, Some(at)) => transaction.savepoints.truncate(at + 1),
                    (_, None) => {}
                }
                verb == "SAVEPOINT" || at.is_some()
            }
            None => verb == "SAVEPOINT" || !self.autocommit,
        };
        if !known {
            let message = format!("SAVEPOINT {name} does not exist");
            return Err(SqlError::new(1305, b"42000", message).into());
        }
        let statement = format!("{verb} {}", quoted(name));
        let mut open = self.take_open();
        let mut failed = None;
        for held in &mut open {
            if let Err(error) = held.pooled.conn.execute(&statement).await {
                let lost = matches!(error, BackendError::Lost(_));
                failed = Some((lost, backend_failure(&held.tablet.alias, error)));
                break;
            }
        }
        self.held.extend(open);
        match failed {
            None => Ok(()),
            Some((true, error)) => Err(Failure::Fatal(error)),
            Some((false, error)) => Err(Failure::Sql(error)),
        }
    }
}

impl Transaction {
    fn is_plain(&self) -> bool {
        self.characteristics.is_empty()
            && self.read_only.is_none()
            && !self.consistent_snapshot
            && self.savepoints.is_empty()
    }

    fn begin_statements(&self) -> Vec<String> {
        let mut begin = String::from("START TRANSACTION");
        let mut parts = Vec::new();
        if self.consistent_snapshot {
            parts.push("WITH CONSISTENT SNAPSHOT");
        }
        match self.read_only {
            Some(true) => parts.push("READ ONLY"),
            Some(false) => parts.push("READ WRITE"),
            None => {}
        }
        if !parts.is_empty() {
            begin.push(' ');
            begin.push_str(&parts.join(", "));
        }
        let mut statements = self.characteristics.clone();
        statements.push(begin);
        let savepoints = self.savepoints.iter();
        statements.extend(savepoints.map(|s| format!("SAVEPOINT {}", quoted(s))));
        statements
    }
}
