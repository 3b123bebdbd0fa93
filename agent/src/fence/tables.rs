//! The fence on tables: statements, and running them on a primary as the admin.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use tokio::select;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::Fence;
use crate::error::AgentError;
use crate::flavor::{identifier, literal};
use crate::sql::Sql;

/// One attempt to lock a table for a trigger: statements that come meanwhile wait as long.
const ATTEMPT: Duration = Duration::from_millis(150);
/// Pause after an attempt, in which they go on.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);

/// What every trigger's name of ours starts with.
pub const TRIGGER_PREFIX: &str = "_vt_fence_";

/// What a write can be, with the ends of its triggers' names.
const EVENTS: [(&str, &str); 3] = [("INSERT", "ins"), ("UPDATE", "upd"), ("DELETE", "del")];

/// `SIGNAL` takes no longer texts (MySQL: 128 characters).
const MAX_MESSAGE: usize = 128;

/// A server's error for a lock that was not had in time.
const LOCK_WAIT_TIMEOUT: &str = "(error 1205)";
const DEADLOCK: &str = "(error 1213)";
/// ER_QUERY_INTERRUPTED: an attempt was ended.
const INTERRUPTED: &str = "(error 1317)";
/// ER_TRG_ALREADY_EXISTS: an attempt was ended when it was through.
const TRIGGER_EXISTS: &str = "(error 1359)";
/// ER_BAD_DB_ERROR, ER_NO_SUCH_TABLE: there never was a fence.
const NOTHING_THERE: [&str; 2] = ["(error 1049)", "(error 1146)"];

impl Fence {
    fn trigger_prefix(&self) -> String {
        trigger_prefix(&self.workflow)
    }

    fn trigger(&self, table: &str, end: &str) -> String {
        format!("{}{:016x}_{end}", self.trigger_prefix(), fingerprint(table))
    }

    /// What the triggers of a table do.
    fn body(&self, table: &str, writes_at: &str, admin: &str) -> String {
        let message = literal(&message(&self.keyspace, table, writes_at));
        // No row counts as closed: a row is made before triggers are, and removed after them.
        // The error is the one that a read-only server gives.
        format!(
            "BEGIN \
             DECLARE shut TINYINT DEFAULT 1; \
             IF CAST(SUBSTRING_INDEX(USER(), '@', 1) AS BINARY) <> CAST({} AS BINARY) THEN \
             SELECT closed INTO shut FROM _vt.fence WHERE workflow = {} AND keyspace = {} \
             LOCK IN SHARE MODE; \
             IF shut <> 0 THEN \
             SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290, MESSAGE_TEXT = {message}; \
             END IF; END IF; END",
            literal(admin),
            literal(&self.workflow),
            literal(&self.keyspace),
        )
    }

    fn row(&self) -> String {
        format!(
            "workflow = {} AND keyspace = {}",
            literal(&self.workflow),
            literal(&self.keyspace)
        )
    }
}

/// Names of one workflow's triggers, up to the table: 64 characters are all that a name has.
fn trigger_prefix(workflow: &str) -> String {
    format!("{TRIGGER_PREFIX}{:016x}_", fingerprint(workflow))
}

/// FNV-1a: a short name for a long one, the same in every version.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn message(keyspace: &str, table: &str, writes_at: &str) -> String {
    let full = format!(
        "table `{table}` is moving: keyspace `{writes_at}` has its writes, `{keyspace}` takes none"
    );
    if full.chars().count() <= MAX_MESSAGE {
        return full;
    }
    let short = format!("table `{table}` is moving to keyspace `{writes_at}`");
    short.chars().take(MAX_MESSAGE).collect()
}

/// A connection that works on fences, and one that ends statements that wait for too long: servers
/// know only whole seconds, in which an application would notice.
pub struct Hands {
    pub sql: Sql,
    pub ender: Sql,
}

impl Hands {
    /// Runs a statement for as long as it may wait for locks.
    async fn run_within(
        &mut self,
        what: &str,
        statement: &str,
        within: Duration,
    ) -> Result<u64, AgentError> {
        let Self { sql, ender } = self;
        let id = sql.id();
        let mut work = pin!(sql.run(what, statement));
        select! {
            done = &mut work => return done,
            () = sleep(within) => {}
        }
        // If it has just ended by itself nothing is interrupted.
        let kill = format!("KILL QUERY {id}");
        ender.run("ending an attempt", &kill).await?;
        work.await
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.sql.close().await;
        self.ender.close().await;
    }
}

fn waited_too_long(error: &AgentError) -> bool {
    let text = error.to_string();
    text.contains(LOCK_WAIT_TIMEOUT) || text.contains(INTERRUPTED)
}

/// Settings of a connection that works on fences.
async fn settle(sql: &mut Sql, lock_seconds: u64) -> Result<(), AgentError> {
    // The SQL mode is kept with a trigger, and says how its text is read.
    sql.run(
        "preparing to fence",
        &format!(
            "SET SESSION sql_mode = '', SESSION lock_wait_timeout = {lock_seconds}, \
             SESSION innodb_lock_wait_timeout = {lock_seconds}"
        ),
    )
    .await?;
    Ok(())
}

/// The fence to be put on tables.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub tables: Vec<String>,
    /// The keyspace that has, or gets, the tables' writes: refused statements are told.
    pub writes_at: String,
    /// The account that is let through.
    pub admin: String,
    pub closed: bool,
}

/// Whether a fence is there as wanted. Waits for nobody.
///
/// # Errors
/// When the server does not answer.
pub async fn is_prepared(
    sql: &mut Sql,
    fence: &Fence,
    wanted: &Wanted,
) -> Result<bool, AgentError> {
    let query = format!(
        "SELECT closed FROM _vt.fence WHERE {} AND decided <= {}",
        fence.row(),
        fence.decided
    );
    let row = match sql.column("looking at the fence", &query).await {
        Ok(row) => row,
        Err(error) if is_nothing_there(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    if row.first().map(String::as_str) != Some(if wanted.closed { "1" } else { "0" }) {
        return Ok(false);
    }
    let there = existing(sql, fence).await?;
    Ok(wanted.tables.iter().all(|table| {
        let body = fence.body(table, &wanted.writes_at, &wanted.admin);
        EVENTS.iter().all(|(_, end)| {
            let found = there.get(&fence.trigger(table, end));
            found.is_some_and(|found| same_text(found, &body))
        })
    }))
}

/// Puts a fence on tables. Gives whether it is all there: no trigger is begun after `patience`.
///
/// **Nobody should have a transaction open on these tables.** Making a trigger waits for those who
/// have, and a server ends such a transaction with a deadlock if it has read a table and then writes
/// to it. Callers see to it that gates hold what is new and have let end what was open.
///
/// `date_ahead`: a statement that dates what is made then a little ahead, see
/// [`Flavor::date_ahead`](crate::flavor::Flavor::date_ahead).
///
/// # Errors
/// When a table is not there, or its open transactions did not end within `patience`; what has been
/// done by then stays.
pub async fn prepare(
    hands: &mut Hands,
    fence: &Fence,
    wanted: &Wanted,
    date_ahead: Option<&str>,
    patience: Duration,
) -> Result<bool, AgentError> {
    let give_up = Instant::now() + patience;
    let what = "making the table of fences";
    let sql = &mut hands.sql;
    settle(sql, 1).await?;
    sql.run(what, "CREATE DATABASE IF NOT EXISTS _vt").await?;
    sql.run(
        what,
        "CREATE TABLE IF NOT EXISTS _vt.fence (\
         workflow VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
         keyspace VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
         closed TINYINT NOT NULL, \
         changes BIGINT UNSIGNED NOT NULL DEFAULT 0, \
         decided BIGINT UNSIGNED NOT NULL DEFAULT 0, \
         PRIMARY KEY (workflow, keyspace)) ENGINE = InnoDB",
    )
    .await?;
    let there = existing(sql, fence).await?;
    set_row(hands, fence, wanted.closed, true, give_up).await?;
    let mut made = 0;
    for table in &wanted.tables {
        let body = fence.body(table, &wanted.writes_at, &wanted.admin);
        for (event, end) in EVENTS {
            let name = fence.trigger(table, end);
            match there.get(&name) {
                Some(found) if same_text(found, &body) => continue,
                // One at least is made each time, so that it comes to an end.
                _ if made > 0 && Instant::now() >= give_up => return Ok(false),
                Some(_) => drop_trigger(hands, &fence.keyspace, &name, give_up).await?,
                None => {}
            }
            made += 1;
            let create = format!(
                "CREATE TRIGGER {keyspace}.{} BEFORE {event} ON {keyspace}.{} FOR EACH ROW {body}",
                identifier(&name),
                identifier(table),
                keyspace = identifier(&fence.keyspace),
            );
            let what = format!("fencing table `{table}`");
            if let Some(statement) = date_ahead {
                hands.sql.run(&what, statement).await?;
            }
            let created = in_attempts(hands, &what, &create, give_up).await;
            if date_ahead.is_some() {
                let today = "SET SESSION timestamp = DEFAULT";
                hands.sql.run(&what, today).await?;
            }
            match created {
                Err(error) if error.to_string().contains(TRIGGER_EXISTS) => {}
                done => done?,
            }
        }
    }
    Ok(true)
}

/// Closes or opens a fence; when it is closed, what wrote before has ended.
///
/// # Errors
/// When there is no such fence, or transactions that wrote to its tables did not end within
/// `patience`: then it is as it was.
pub async fn set(
    hands: &mut Hands,
    fence: &Fence,
    closed: bool,
    patience: Duration,
) -> Result<(), AgentError> {
    let give_up = Instant::now() + patience;
    settle(&mut hands.sql, patience.as_secs() + 1).await?;
    set_row(hands, fence, closed, false, give_up).await
}

async fn set_row(
    hands: &mut Hands,
    fence: &Fence,
    closed: bool,
    create: bool,
    give_up: Instant,
) -> Result<(), AgentError> {
    let what = if closed {
        "closing the fence"
    } else {
        "opening the fence"
    };
    let flag = u8::from(closed);
    let decided = fence.decided;
    // It counts, so that the row changes, and the server's position with it, even when the flag
    // does not: then the position that is read next has everything that was committed before.
    let statement = if create {
        format!(
            "INSERT INTO _vt.fence (workflow, keyspace, closed, decided) \
             VALUES ({}, {}, {flag}, {decided}) ON DUPLICATE KEY UPDATE \
             closed = IF(decided <= {decided}, {flag}, closed), \
             changes = IF(decided <= {decided}, changes + 1, changes), \
             decided = GREATEST(decided, {decided})",
            literal(&fence.workflow),
            literal(&fence.keyspace)
        )
    } else {
        format!(
            "UPDATE _vt.fence SET closed = {flag}, changes = changes + 1, decided = {decided} \
             WHERE {} AND decided <= {decided}",
            fence.row()
        )
    };
    loop {
        let left = if create {
            ATTEMPT
        } else {
            give_up.saturating_duration_since(Instant::now())
        };
        let done = hands.run_within(what, &statement, left).await;
        let error = match done {
            Ok(0) => {
                return Err(AgentError::Refused(format!(
                    "there is no fence of workflow {} on keyspace {} that may be set by what was \
                     decided at revision {decided}: it has to be prepared first, or was set since",
                    fence.workflow, fence.keyspace
                )));
            }
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let text = error.to_string();
        let again = (text.contains(DEADLOCK) || (create && waited_too_long(&error)))
            && Instant::now() < give_up;
        if !again {
            if is_nothing_there(&error) {
                return Err(AgentError::Refused(format!(
                    "there is no fence on this server at all: it has to be prepared first ({text})"
                )));
            }
            if waited_too_long(&error) {
                return Err(AgentError::Refused(format!(
                    "{what} of workflow {}: transactions that wrote to its tables have not ended in \
                     time; it is as it was",
                    fence.workflow
                )));
            }
            return Err(error);
        }
        debug!(workflow = fence.workflow, %error, "the fence is set again");
        if create {
            sleep(BETWEEN_ATTEMPTS).await;
        }
    }
}

/// Takes a fence away. Gives whether it is gone: no trigger is begun after `patience`, and none at
/// all without one. What [`prepare`] says of open transactions holds here too.
///
/// # Errors
/// When the fence was set by what was decided later, or open transactions did not end in time.
pub async fn remove(
    hands: &mut Hands,
    fence: &Fence,
    patience: Option<Duration>,
) -> Result<bool, AgentError> {
    let give_up = Instant::now() + patience.unwrap_or_default();
    settle(&mut hands.sql, 1).await?;
    refuse_older(&mut hands.sql, fence).await?;
    for (number, name) in existing(&mut hands.sql, fence).await?.keys().enumerate() {
        if patience.is_none() || number > 0 && Instant::now() >= give_up {
            return Ok(false);
        }
        drop_trigger(hands, &fence.keyspace, name, give_up).await?;
    }
    // The row stays: by it, what was asked for earlier and comes late is refused.
    let open = format!(
        "UPDATE _vt.fence SET closed = 0, decided = {} WHERE {}",
        fence.decided,
        fence.row()
    );
    match in_attempts(hands, "removing the fence", &open, give_up).await {
        Err(error) if is_nothing_there(&error) => Ok(true),
        done => done.map(|()| true),
    }
}

/// The triggers of fences on a keyspace's tables that are of none of these workflows.
///
/// # Errors
/// When the server does not answer.
pub async fn triggers_of_others(
    sql: &mut Sql,
    keyspace: &str,
    workflows: &[String],
) -> Result<Vec<String>, AgentError> {
    let names = triggers(sql, keyspace).await?;
    let known: Vec<String> = workflows.iter().map(|w| trigger_prefix(w)).collect();
    let others = names.into_iter();
    Ok(others
        .filter(|name| !known.iter().any(|prefix| name.starts_with(prefix)))
        .collect())
}

/// How many triggers a workflow's fence has on a keyspace's tables.
///
/// # Errors
/// When the server does not answer.
pub async fn count_triggers(
    sql: &mut Sql,
    keyspace: &str,
    workflow: &str,
) -> Result<u32, AgentError> {
    let prefix = trigger_prefix(workflow);
    let names = triggers(sql, keyspace).await?;
    let ours = names.iter().filter(|name| name.starts_with(&prefix));
    Ok(u32::try_from(ours.count()).unwrap_or(u32::MAX))
}

/// The names of all triggers of fences on a keyspace's tables.
async fn triggers(sql: &mut Sql, keyspace: &str) -> Result<Vec<String>, AgentError> {
    let query = format!(
        "SELECT trigger_name AS name FROM information_schema.triggers \
         WHERE trigger_schema = {} AND LEFT(trigger_name, {}) = {} ORDER BY trigger_name",
        literal(keyspace),
        TRIGGER_PREFIX.len(),
        literal(TRIGGER_PREFIX),
    );
    sql.column("looking for triggers of fences", &query).await
}

/// Removes triggers that are of no fence that is known.
///
/// # Errors
/// When open transactions did not end within `patience`.
pub async fn drop_triggers(
    hands: &mut Hands,
    keyspace: &str,
    names: &[String],
    patience: Duration,
) -> Result<(), AgentError> {
    let give_up = Instant::now() + patience;
    settle(&mut hands.sql, 1).await?;
    for name in names {
        drop_trigger(hands, keyspace, name, give_up).await?;
    }
    Ok(())
}

/// Whether there never was a fence.
pub fn is_nothing_there(error: &AgentError) -> bool {
    let text = error.to_string();
    NOTHING_THERE.iter().any(|code| text.contains(code))
}

/// Refuses to touch a fence that was set by what was decided later.
async fn refuse_older(sql: &mut Sql, fence: &Fence) -> Result<(), AgentError> {
    let query = format!(
        "SELECT decided FROM _vt.fence WHERE {} AND decided > {}",
        fence.row(),
        fence.decided
    );
    let newer = match sql.column("looking at the fence", &query).await {
        Ok(newer) => newer,
        Err(error) if is_nothing_there(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    match newer.first() {
        None => Ok(()),
        Some(newer) => Err(AgentError::Refused(format!(
            "the fence of workflow {} was set at revision {newer}, after it was to be removed",
            fence.workflow
        ))),
    }
}

/// The triggers of a fence that are there, with what they do.
async fn existing(sql: &mut Sql, fence: &Fence) -> Result<BTreeMap<String, String>, AgentError> {
    let query = format!(
        "SELECT trigger_name AS name, action_statement AS body FROM information_schema.triggers \
         WHERE trigger_schema = {} AND LEFT(trigger_name, {}) = {}",
        literal(&fence.keyspace),
        fence.trigger_prefix().len(),
        literal(&fence.trigger_prefix()),
    );
    let rows = sql.rows("looking for the fence's triggers", &query).await?;
    Ok(rows
        .into_iter()
        .filter_map(|mut row| Some((row.remove("name")??, row.remove("body")??)))
        .collect())
}

/// Servers print what they were given, but for white space.
fn same_text(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

async fn drop_trigger(
    hands: &mut Hands,
    keyspace: &str,
    name: &str,
    give_up: Instant,
) -> Result<(), AgentError> {
    let drop = format!(
        "DROP TRIGGER IF EXISTS {}.{}",
        identifier(keyspace),
        identifier(name)
    );
    in_attempts(hands, "removing a trigger of the fence", &drop, give_up).await
}

/// Runs a statement that needs a lock, in short attempts: while one waits, statements that come
/// after it wait too.
async fn in_attempts(
    hands: &mut Hands,
    what: &str,
    statement: &str,
    give_up: Instant,
) -> Result<(), AgentError> {
    loop {
        match hands.run_within(what, statement, ATTEMPT).await {
            Ok(_) => return Ok(()),
            Err(error) if waited_too_long(&error) => {
                if Instant::now() >= give_up {
                    return Err(AgentError::Refused(format!(
                        "{what}: a transaction keeps the table in use and does not end; end it, or \
                         try again later"
                    )));
                }
                sleep(BETWEEN_ATTEMPTS).await;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence() -> Fence {
        Fence {
            keyspace: "k".repeat(63),
            workflow: format!("{}.{}", "k".repeat(63), "w".repeat(63)),
            decided: 0,
        }
    }

    #[test]
    fn names_of_triggers_fit_and_differ_by_workflow_table_and_event() {
        let other = Fence {
            workflow: "other.workflow".to_owned(),
            ..fence()
        };
        let mut names = std::collections::BTreeSet::new();
        for fence in [fence(), other] {
            for table in ["a", "b", &"ü".repeat(64)] {
                for (_, end) in EVENTS {
                    let name = fence.trigger(table, end);
                    assert!(name.chars().count() <= 64, "{name}");
                    assert!(name.starts_with(&fence.trigger_prefix()));
                    names.insert(name);
                }
            }
        }
        assert_eq!(names.len(), 2 * 3 * 3);
    }

    #[test]
    fn a_message_fits_whatever_the_names() {
        let text = message("commerce", "customer", "customer");
        assert!(text.contains("`customer` is moving"), "{text}");
        let long = message(&"k".repeat(63), &"t".repeat(64), &"x".repeat(63));
        assert!(long.chars().count() <= MAX_MESSAGE, "{long}");
        assert!(long.contains("is moving to keyspace"), "{long}");
    }
}
