//! What the planner takes and gives: targets, contexts, plans, errors. No logic beyond parsing a
//! target, so that the executor can be read against this file alone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use vtplan_state::model::{KeyspaceName, ShardName, TabletType};

use super::lookup::{LookupRead, OwnedInsert, OwnedWrite};
use super::record::Recorded;
use super::touches::Touches;

/// Where a session's statements go: `ks`, `ks/-80`, `ks:-80`, each with `@replica` or `@rdonly`
/// or without; `@replica` alone; or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub keyspace: Option<KeyspaceName>,
    /// Everything goes to this shard as it is.
    pub shard: Option<ShardName>,
    pub tablet_type: TabletType,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            keyspace: None,
            shard: None,
            tablet_type: TabletType::Primary,
        }
    }
}

impl FromStr for Target {
    type Err = SqlError;

    fn from_str(text: &str) -> Result<Self, SqlError> {
        let unknown = || SqlError::new(1049, "42000", format!("Unknown database '{text}'"));
        let (place, tablet_type) = match text.rsplit_once('@') {
            Some((place, kind)) => (place, kind.parse().map_err(|_| unknown())?),
            None => (text, TabletType::Primary),
        };
        if !matches!(
            tablet_type,
            TabletType::Primary | TabletType::Replica | TabletType::Rdonly
        ) {
            return Err(unknown());
        }
        let (keyspace, shard) = match place.split_once(['/', ':']) {
            Some((keyspace, shard)) => (keyspace, Some(shard)),
            None => (place, None),
        };
        let keyspace = match keyspace {
            "" => None,
            name => Some(KeyspaceName::new(name).map_err(|_| unknown())?),
        };
        let shard = shard
            .map(|name| name.parse::<ShardName>().map_err(|_| unknown()))
            .transpose()?;
        if keyspace.is_none() && shard.is_some() {
            return Err(unknown());
        }
        Ok(Self {
            keyspace,
            shard,
            tablet_type,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(keyspace) = &self.keyspace {
            write!(f, "{keyspace}")?;
        }
        if let Some(shard) = &self.shard {
            write!(f, "/{shard}")?;
        }
        if self.tablet_type != TabletType::Primary {
            write!(f, "@{}", self.tablet_type)?;
        }
        Ok(())
    }
}

/// A MySQL error, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    pub errno: u16,
    /// Five characters.
    pub sqlstate: &'static str,
    pub message: String,
}

impl SqlError {
    pub fn new(errno: u16, sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            errno,
            sqlstate,
            message: message.into(),
        }
    }

    /// `ER_NOT_SUPPORTED_YET`: the construct is right MySQL, but not planned over shards.
    pub fn unsupported(construct: impl fmt::Display) -> Self {
        Self::new(
            1235,
            "42000",
            format!("This version of vtplan doesn't yet support '{construct}'"),
        )
    }

    /// `ER_PARSE_ERROR`.
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(1064, "42000", message)
    }
}

/// What a plan depends on beside the statement and the catalog.
#[derive(Debug, Clone, Copy)]
pub struct PlanContext<'a> {
    pub target: &'a Target,
    pub sql_mode: SqlModes,
    /// What `LAST_INSERT_ID()`, `FOUND_ROWS()` and `ROW_COUNT()` say in this session: connections
    /// are pooled, so the server cannot know. The planner writes them into the statement.
    pub values: SessionValues,
}

impl<'a> PlanContext<'a> {
    pub fn new(target: &'a Target) -> Self {
        Self {
            target,
            sql_mode: SqlModes::default(),
            values: SessionValues::default(),
        }
    }
}

/// The parts of `sql_mode` that change how a statement is read. A session that sets them must
/// pass them, so that the gate reads a statement as the server will.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SqlModes {
    pub ansi_quotes: bool,
    pub no_backslash_escapes: bool,
}

/// See [`PlanContext::values`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionValues {
    pub last_insert_id: u64,
    pub found_rows: u64,
    pub row_count: i64,
}

/// A shard of the catalog; one `Arc` of each is shared by every plan of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShardId {
    pub keyspace: KeyspaceName,
    pub shard: ShardName,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.keyspace, self.shard)
    }
}

/// What a statement is, as far as an executor cares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Props {
    /// It changes nothing: may run on a replica, may be tried again on another connection.
    pub is_read: bool,
    /// It answers with rows (else with OK). For passed-through statements that the planner cannot
    /// judge (`CALL`) the server's answer tells.
    pub returns_rows: bool,
    /// `SELECT ... FOR UPDATE | FOR SHARE | LOCK IN SHARE MODE`: only on a primary.
    pub locks_rows: bool,
    /// DDL: commits the open transaction first.
    pub is_ddl: bool,
    /// Another statement that commits implicitly (`LOCK TABLES`, `ANALYZE TABLE`, ...).
    pub implicit_commit: bool,
    /// INSERT, REPLACE, UPDATE, DELETE, LOAD DATA: affected rows are reported.
    pub is_dml: bool,
    /// It leaves state on its connection, which must then belong to the session until it ends.
    pub reserve: Option<ReserveReason>,
    /// `SQL_CALC_FOUND_ROWS`: the executor must keep what the server then says of `FOUND_ROWS()`.
    pub calc_found_rows: bool,
    /// It reads user variables (`@x`) that must be set on the connection before.
    pub reads_user_variables: bool,
}

/// Why a connection must belong to one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReserveReason {
    /// `GET_LOCK` and its like.
    UserLock,
    TemporaryTable,
    /// `LOCK TABLES`, `FLUSH TABLES WITH READ LOCK`. `UNLOCK TABLES` has it too: it must reach
    /// the connection with the locks.
    TableLock,
    /// User variables are read or assigned.
    UserVariable,
    /// SQL-level `PREPARE`, `EXECUTE`, `HANDLER`, `XA`, `SQL_CALC_FOUND_ROWS`, and others.
    Other,
}

/// The text for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sql {
    /// The statement as the client sent it.
    Original,
    /// Another text with the same parameter markers in the same order.
    Rewritten(Arc<[u8]>),
    /// Another text in which values already stand for all parameters: to be sent as a query.
    Bound(Bytes),
}

/// A statement for one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSql {
    pub shard: Arc<ShardId>,
    pub sql: Sql,
}

/// How to carry out a statement.
#[derive(Debug, Clone)]
pub struct QueryPlan {
    pub props: Props,
    pub tablet_type: TabletType,
    pub touches: Arc<Touches>,
    /// Where it is counted.
    pub recorded: Option<Arc<Recorded>>,
    /// The shards of lookups that may be asked or written for it.
    pub beside: Option<Arc<[Arc<ShardId>]>>,
    pub action: Action,
}

impl QueryPlan {
    /// The shards that it goes to, and those of lookups. Of what waits for a sequence, or for a
    /// lookup: all that it may.
    pub fn shards(&self) -> Vec<Arc<ShardId>> {
        let mut shards = self.action.shards();
        shards.extend(self.beside.iter().flat_map(|beside| beside.iter().cloned()));
        shards
    }
}

impl Action {
    fn shards(&self) -> Vec<Arc<ShardId>> {
        let of = |parts: &[ShardSql]| parts.iter().map(|part| part.shard.clone()).collect();
        match self {
            Self::Gate(_) => Vec::new(),
            Self::Single(part) => vec![part.shard.clone()],
            Self::Scatter(scatter) => of(&scatter.parts),
            Self::Dml(parts) | Self::Ddl(parts) => of(parts),
            Self::Insert(insert) => insert.insert.shards(),
            Self::Lookup(read) => read.shards(),
            Self::Owned(write) => write.base.shards(),
            Self::OwnedInsert(insert) => insert.insert.shards(),
        }
    }

    /// How many shards it goes to. Of an INSERT that waits for its sequence: how many it may.
    pub fn width(&self) -> usize {
        match self {
            Self::Gate(_) => 0,
            Self::Single(_) => 1,
            Self::Scatter(scatter) => scatter.parts.len(),
            Self::Dml(parts) | Self::Ddl(parts) => parts.len(),
            Self::Insert(insert) => insert.insert.width(),
            Self::Lookup(_) => 1,
            Self::Owned(write) => write.base.width(),
            Self::OwnedInsert(insert) => insert.insert.width(),
        }
    }
}

#[derive(Debug, Clone)]
pub enum Action {
    /// The gate does it by itself.
    Gate(Box<GateStatement>),
    /// One server answers all. The hot path.
    Single(ShardSql),
    /// Each part answers with rows of the same columns, which are concatenated in any order.
    Scatter(Scatter),
    /// DML on several shards: affected rows are added up; atomic as far as the session's
    /// transaction is (the executor opens one when there is none).
    Dml(Vec<ShardSql>),
    /// DDL (or `ANALYZE TABLE` and its like) on every shard; the first error is the answer.
    Ddl(Vec<ShardSql>),
    /// An INSERT or REPLACE for which values of a sequence are needed first.
    Insert(Box<InsertWithSequence>),
    /// Lookups tell where it goes.
    Lookup(Box<LookupRead>),
    /// An UPDATE or DELETE that lookups must follow.
    Owned(Box<OwnedWrite>),
    /// An INSERT or REPLACE that lookups must know of before.
    OwnedInsert(Box<OwnedInsert>),
}

#[derive(Debug, Clone)]
pub struct Scatter {
    /// In the order of the shards; never empty.
    pub parts: Vec<ShardSql>,
    /// Rows to give at most, over all parts. (Parts have it as their own limit too.)
    pub limit: Option<u64>,
}

/// Reserve `sequence.count` values (`UPDATE seq SET next_id = LAST_INSERT_ID(next_id + ...)`, in
/// blocks of the table's `cache`), then [`InsertWithSequence::bind`].
#[derive(Debug, Clone)]
pub struct InsertWithSequence {
    pub sequence: SequenceNeed,
    pub(super) insert: super::insert::UnboundInsert,
}

impl InsertWithSequence {
    /// The statements, now that `first`, `first + 1`, ... are reserved. One part: as
    /// [`Action::Single`]; several: as [`Action::Dml`]. The client's insert id is `first`.
    pub fn bind(&self, first: u64) -> Result<Vec<ShardSql>, SqlError> {
        self.insert.bind(Some(first))
    }
}

/// How many values of which sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceNeed {
    /// The (unsharded) shard with the sequence's table.
    pub shard: Arc<ShardId>,
    pub table: String,
    pub count: u64,
}

/// A parameter of a prepared statement.
#[derive(Debug, Clone, PartialEq)]
pub enum BindValue {
    Null,
    Int(i64),
    UInt(u64),
    Float(f32),
    Double(f64),
    /// Strings, blobs, decimals, dates and times: what they are as text. A decimal, date or time
    /// reads as its string does.
    Bytes(Bytes),
}

/// Statements that never reach a server as they are.
#[derive(Debug, Clone, PartialEq)]
pub enum GateStatement {
    /// `USE x`: to be parsed as a [`Target`].
    Use(String),
    Set(Vec<SetAssignment>),
    Begin {
        /// `READ ONLY` true, `READ WRITE` false.
        read_only: Option<bool>,
        consistent_snapshot: bool,
    },
    Commit {
        chain: bool,
        release: bool,
    },
    Rollback {
        chain: bool,
        release: bool,
    },
    /// The name without quotes.
    Savepoint(String),
    ReleaseSavepoint(String),
    RollbackToSavepoint(String),
    Show(Show),
    Kill {
        /// `KILL QUERY`: the connection stays.
        query_only: bool,
        connection_id: u64,
    },
    /// Nothing but comments and white space.
    Empty,
}

/// One `x = y` of a SET.
#[derive(Debug, Clone, PartialEq)]
pub struct SetAssignment {
    pub variable: SetVariable,
    pub value: SetValue,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SetVariable {
    /// `@name`, lower case, without quotes.
    User(String),
    /// `SET x`, `SET SESSION x`, `SET @@x`, `SET @@session.x`; lower case.
    Session(String),
    /// `SET GLOBAL x`, `SET PERSIST x`: the gate refuses it.
    Global(String),
    /// `SET NAMES`, whose value is the character set; with `COLLATE` the collation's name.
    Names { collation: Option<String> },
    /// `SET CHARACTER SET`.
    CharacterSet,
    /// `SET [SESSION] TRANSACTION ISOLATION LEVEL ...`, value `READ COMMITTED` and so on.
    TransactionIsolation {
        /// Without `SESSION`: only the next transaction.
        next_only: bool,
    },
    /// `SET [SESSION] TRANSACTION READ ONLY | READ WRITE`, value `1` or `0`.
    TransactionReadOnly { next_only: bool },
}

#[derive(Debug, Clone, PartialEq)]
pub enum SetValue {
    Default,
    /// A word or a string, without quotes: `ON`, `utf8mb4`, `READ COMMITTED`.
    Text(String),
    /// A plain number, as it was written.
    Number(String),
    Null,
    /// Anything else, as SQL text: evaluate it with `SELECT`.
    Expression(String),
}

/// `SHOW` statements that the gate answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Show {
    /// `SHOW DATABASES`, `SHOW SCHEMAS`, `SHOW KEYSPACES`, `SHOW VITESS_KEYSPACES`.
    Keyspaces {
        /// The name of the answer's column: `Database` or, for the others, `Keyspace`... as in Vitess.
        column: &'static str,
        filter: ShowFilter,
    },
    VitessShards(ShowFilter),
    VitessTablets(ShowFilter),
    VitessTarget,
    /// `SHOW VITESS_ROUTING_RULES`, `SHOW VSCHEMA ROUTING RULES`; the pattern is for the rule's
    /// table.
    RoutingRules(ShowFilter),
    /// `SHOW VSCHEMA TABLES`: of the session's keyspace.
    VschemaTables,
    /// `SHOW VSCHEMA VINDEXES [ON [ks.]t]`.
    VschemaVindexes {
        keyspace: Option<String>,
        table: Option<String>,
    },
    /// `SHOW WARNINGS`, `SHOW ERRORS`, `SHOW COUNT(*) WARNINGS`: of the last statement.
    Warnings {
        errors_only: bool,
        count_only: bool,
    },
    /// `SHOW [FULL] PROCESSLIST`: of this gate's sessions.
    Processlist {
        full: bool,
    },
}

#[derive(Debug, Clone, Default, PartialEq)]
pub enum ShowFilter {
    #[default]
    All,
    /// `LIKE 'pattern'`, unquoted.
    Like(String),
}
