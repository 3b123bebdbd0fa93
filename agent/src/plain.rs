//! Plain servers, before they are tablets: reading what an import needs to know, and making vtplan's
//! administrator on them. A server may answer slowly, wrongly or not at all: every look ends in
//! bounded time, and says which it was.

use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use vtplan_planner::plain::{Database, PlainServer, Source, Table};
use vtplan_state::model::{Credentials, FlavorKind, KeyspaceName, ServerAddress};

use crate::error::AgentError;
use crate::flavor::{self, Flavor, ServerVersion, TextRow, identifier, literal};
use crate::sql::{ConnectError, Endpoint, Sql};
use crate::tablet::tables::show_create;

/// How long a server may take to accept a connection and greet.
const GREETING_PATIENCE: Duration = Duration::from_secs(10);
/// How long all that is read of one server may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long replicas may take to get an account that their primary has.
const REPLICATION_PATIENCE: Duration = Duration::from_secs(30);

/// Databases that every server has.
const OF_THE_SERVER: [&str; 5] = [
    "information_schema",
    "performance_schema",
    "mysql",
    "sys",
    "_vt",
];

/// An account to look as. Its password is in no message.
#[derive(Clone)]
pub struct Login {
    pub user: String,
    pub password: String,
}

/// Why a server could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LookError {
    #[error("cannot connect: {0}")]
    Unreachable(String),
    #[error("it accepts connections and says nothing for {} seconds", GREETING_PATIENCE.as_secs())]
    Silent,
    #[error("what answers there is no MySQL server: it begins with {0}")]
    NotMySql(String),
    #[error("it refuses the connection: {0}")]
    Refused(String),
    #[error("it denies access to `{0}`")]
    Denied(String),
    #[error("it calls itself `{0}`, which is neither MariaDB 10.6, MySQL 8.0 nor newer")]
    Unsupported(String),
    #[error("it did not answer everything within {} seconds", PATIENCE.as_secs())]
    Slow,
    #[error("{0}")]
    Failed(String),
}

impl LookError {
    /// What to do.
    pub fn help(&self) -> String {
        match self {
            Self::Unreachable(_) => "check the address, that the server listens there (bind_address, skip_networking) and that no firewall is between".into(),
            Self::Silent | Self::Slow => "look whether the server hangs; it was left as it is".into(),
            Self::NotMySql(_) => "give the address of the server's MySQL port, usually 3306".into(),
            Self::Refused(_) => "the server's own words say why".into(),
            Self::Denied(user) => format!(
                "give an account that may connect from this machine with `--user`, and its password in \
                 VTPLAN_IMPORT_PASSWORD; `{user}` needs SELECT on everything, SHOW VIEW, TRIGGER, EVENT, \
                 PROCESS, REPLICATION CLIENT and REPLICATION SLAVE (MariaDB: SLAVE MONITOR) to look"
            ),
            Self::Unsupported(_) => "upgrade the server first".into(),
            Self::Failed(_) => "the account may lack a right: it needs SELECT on everything, SHOW VIEW, \
                 TRIGGER, EVENT, PROCESS, REPLICATION CLIENT and REPLICATION SLAVE (MariaDB: SLAVE MONITOR)"
                .into(),
        }
    }
}

impl From<AgentError> for LookError {
    fn from(error: AgentError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Reads what an import needs to know of a server. Reads only.
///
/// # Errors
/// When it does not answer, answers something else, or lets nobody look.
pub async fn look(address: &ServerAddress, login: &Login) -> Result<PlainServer, LookError> {
    let mut sql = connect(address, login).await?;
    let looked = timeout(PATIENCE, read(&mut sql, address)).await;
    let server = looked.map_err(|_| LookError::Slow)??;
    sql.close().await;
    Ok(server)
}

async fn connect(address: &ServerAddress, login: &Login) -> Result<Sql, LookError> {
    greeting(address).await?;
    let endpoint = Endpoint::Tcp(address.clone());
    let (user, password) = (login.user.as_str(), Some(login.password.as_str()));
    let connecting = Sql::connect(&endpoint, user, password, None);
    match timeout(GREETING_PATIENCE, connecting).await {
        Err(_) => Err(LookError::Silent),
        Ok(Ok(sql)) => Ok(sql),
        Ok(Err(ConnectError::Denied)) => Err(LookError::Denied(login.user.clone())),
        Ok(Err(ConnectError::NotListening)) => {
            Err(LookError::Refused("it closes the connection".to_owned()))
        }
        Ok(Err(ConnectError::Failed(why))) => Err(LookError::Refused(why)),
    }
}

/// Whether what listens there greets as MySQL servers do. Source: "Protocol::Handshake" of MySQL's
/// documentation: three bytes of length, a zero, and 10 for the protocol, or 255 for an error.
async fn greeting(address: &ServerAddress) -> Result<(), LookError> {
    let hello = async {
        let place = (address.machine.as_str(), address.port);
        let stream = TcpStream::connect(place)
            .await
            .map_err(|e| LookError::Unreachable(e.to_string()))?;
        let mut start = [0; 16];
        loop {
            let n = (stream.peek(&mut start).await)
                .map_err(|e| LookError::Unreachable(e.to_string()))?;
            match &start[..n] {
                [] => return Err(LookError::Refused("it closes the connection".to_owned())),
                [_, _, _, 0, 10 | 255, ..] => return Ok(()),
                [_, _, _, _, _, ..] => return Err(LookError::NotMySql(shown(&start[..n]))),
                // The rest is on its way.
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    match timeout(GREETING_PATIENCE, hello).await {
        Ok(done) => done,
        Err(_) => Err(LookError::Silent),
    }
}

fn shown(bytes: &[u8]) -> String {
    if bytes
        .iter()
        .all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace())
    {
        format!("`{}`", String::from_utf8_lossy(bytes).trim().escape_debug())
    } else {
        format!("the bytes {}", hex(bytes))
    }
}

fn hex(bytes: &[u8]) -> String {
    let each: Vec<String> = bytes.iter().take(5).map(|b| format!("{b:02x}")).collect();
    each.join(" ")
}

/// The flavor of a server by what it says of itself.
async fn flavor_of(sql: &mut Sql) -> Result<(ServerVersion, Box<dyn Flavor>), LookError> {
    let query = "SELECT VERSION() AS version";
    let text = sql.column("reading the server's version", query).await?;
    let text = text.into_iter().next().unwrap_or_default();
    match ServerVersion::parse(&format!("Ver {text}")) {
        Some(version) if version.is_supported() => Ok((version, flavor::of(version))),
        _ => Err(LookError::Unsupported(text)),
    }
}

async fn read(sql: &mut Sql, address: &ServerAddress) -> Result<PlainServer, LookError> {
    let (version, flavor) = flavor_of(sql).await?;
    let mut server = PlainServer {
        address: Some(address.clone()),
        flavor: Some(version.flavor),
        version: version.version(),
        variables: sql.variables("SHOW GLOBAL VARIABLES").await?,
        sources: sources(sql, &*flavor).await?,
        replicas: replicas(sql, version.flavor).await?,
        unbound_accounts: unbound_accounts(sql).await?,
        ..PlainServer::default()
    };
    let query = "SELECT schema_name AS name FROM information_schema.schemata ORDER BY schema_name";
    for name in sql.column("listing databases", query).await? {
        let own = OF_THE_SERVER.contains(&name.as_str()) || name.starts_with("_vt_scratch_");
        if !own {
            let database = database(sql, &name).await?;
            server.databases.insert(name, database);
        }
    }
    Ok(server)
}

async fn sources(sql: &mut Sql, flavor: &dyn Flavor) -> Result<Vec<Source>, LookError> {
    let query = match flavor.kind() {
        FlavorKind::MariaDb => "SHOW ALL SLAVES STATUS",
        FlavorKind::MySql => flavor.replica_status_query(),
    };
    let rows = sql.rows("reading the replication's state", query).await?;
    Ok(rows.iter().map(|row| source(row, flavor)).collect())
}

fn source(row: &TextRow, flavor: &dyn Flavor) -> Source {
    let status = flavor.replica_status(row);
    let filters = row.iter().filter_map(|(name, value)| {
        let value = value.as_deref().filter(|value| !value.is_empty())?;
        let is_filter = name.starts_with("replicate_") && name != "replicate_ignore_server_ids";
        is_filter.then(|| format!("{name} = {value}"))
    });
    Source {
        host: status.source_host.clone(),
        port: status.source_port,
        server_id: status.source_server_id,
        by_gtid: status.by_gtid,
        healthy: status.healthy(),
        filters: filters.collect(),
        error: status.error,
        lag_seconds: status.lag_seconds,
    }
}

/// What replicates from the server: by the address it says that it has, else by where it comes from.
async fn replicas(sql: &mut Sql, flavor: FlavorKind) -> Result<Vec<String>, LookError> {
    let what = "looking for replicas";
    let query = match flavor {
        FlavorKind::MariaDb => "SHOW SLAVE HOSTS",
        FlavorKind::MySql => "SHOW REPLICAS",
    };
    // MySQL before 8.0.22 has another word, and an account may not be allowed to ask.
    let named = sql.rows(what, query).await.unwrap_or_default();
    let mut replicas: Vec<String> = named
        .iter()
        .map(|row| (text(row, "host"), text(row, "port")))
        .filter(|(host, _)| !host.is_empty())
        .map(|(host, port)| format!("{host}:{port}"))
        .collect();
    if replicas.is_empty() {
        let query =
            "SELECT host FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
        replicas = sql.column(what, query).await?;
    }
    replicas.sort();
    Ok(replicas)
}

/// Accounts that write on a server that is read-only.
async fn unbound_accounts(sql: &mut Sql) -> Result<Vec<String>, LookError> {
    let query = "SELECT DISTINCT grantee FROM information_schema.user_privileges \
         WHERE privilege_type IN ('SUPER', 'READ ONLY ADMIN', 'READ_ONLY ADMIN', 'CONNECTION_ADMIN') \
         ORDER BY grantee";
    Ok(sql.column("listing accounts", query).await?)
}

async fn database(sql: &mut Sql, name: &str) -> Result<Database, LookError> {
    let what = format!("reading the database {name}");
    let schema = literal(name);
    sql.run(&what, &format!("USE {}", identifier(name))).await?;
    let mut database = Database::default();
    let query = format!(
        "SELECT t.table_name AS name, t.engine AS engine, \
         (SELECT COUNT(*) FROM information_schema.table_constraints c \
          WHERE c.table_schema = t.table_schema AND c.table_name = t.table_name \
          AND c.constraint_type IN ('PRIMARY KEY', 'UNIQUE')) AS has_keys \
         FROM information_schema.tables t \
         WHERE t.table_schema = {schema} AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')"
    );
    for row in sql.rows(&what, &query).await? {
        let table = text(&row, "name");
        let Some(definition) = show_create(sql, table).await? else {
            continue;
        };
        let found = Table {
            definition,
            engine: text(&row, "engine").to_owned(),
            has_key: text(&row, "has_keys") != "0",
        };
        database.tables.insert(table.to_owned(), found);
    }
    let others: [(&'static str, String); 4] = [
        (
            "view",
            format!(
                "SELECT table_name AS n FROM information_schema.views WHERE table_schema = {schema} ORDER BY n"
            ),
        ),
        (
            "trigger",
            format!(
                "SELECT trigger_name AS n FROM information_schema.triggers WHERE trigger_schema = {schema} ORDER BY n"
            ),
        ),
        (
            "event",
            format!(
                "SELECT event_name AS n FROM information_schema.events WHERE event_schema = {schema} ORDER BY n"
            ),
        ),
        (
            "routine",
            format!(
                "SELECT routine_name AS n FROM information_schema.routines WHERE routine_schema = {schema} ORDER BY n"
            ),
        ),
    ];
    for (kind, query) in others {
        let names = sql.column(&what, &query).await?;
        database.others.insert(kind, names);
    }
    Ok(database)
}

fn text<'a>(row: &'a TextRow, column: &str) -> &'a str {
    row.get(column).and_then(Option::as_deref).unwrap_or("")
}

/// The statements that make vtplan's administrator, with its password in them.
fn administrator(flavor: &dyn Flavor, credentials: &Credentials) -> Vec<String> {
    let account = format!("{}@'%'", literal(&credentials.admin_user));
    // Its statements name no database.
    let anywhere = KeyspaceName::new("any").expect("a name");
    let mut statements = flavor.accounts(credentials, &anywhere);
    statements.retain(|statement| statement.contains(&account));
    statements
}

/// Makes vtplan's administrator on the primary of a group of servers, and waits until all of them let
/// it in. Returns the primary's address.
///
/// # Errors
/// When none of them is a primary, one does not answer, or an account may not make accounts.
pub async fn make_administrator(
    servers: &[ServerAddress],
    login: &Login,
    credentials: &Credentials,
) -> Result<ServerAddress, (ServerAddress, LookError)> {
    let mut primary = None;
    for address in servers {
        let at = |e| (address.clone(), e);
        let mut sql = connect(address, login).await.map_err(at)?;
        let (_, flavor) = flavor_of(&mut sql).await.map_err(at)?;
        let query = flavor.replica_status_query();
        let rows = sql.rows("reading the replication's state", query).await;
        if rows.map_err(|e| at(e.into()))?.is_empty() && primary.is_none() {
            primary = Some((address, sql, flavor));
        } else {
            sql.close().await;
        }
    }
    let Some((address, mut sql, flavor)) = primary else {
        let why = "all of its keyspace's servers replicate from elsewhere: none is a primary";
        let first = servers.first().cloned();
        let nowhere = || ServerAddress {
            machine: String::new(),
            port: 0,
        };
        return Err((
            first.unwrap_or_else(nowhere),
            LookError::Failed(why.to_owned()),
        ));
    };
    let made = sql
        .run_all(
            "making vtplan's administrator",
            administrator(&*flavor, credentials),
        )
        .await;
    made.map_err(|e| {
        let why = e.to_string().replace(&credentials.admin_password, "***");
        (address.clone(), LookError::Failed(why))
    })?;
    sql.close().await;
    let own = Login {
        user: credentials.admin_user.clone(),
        password: credentials.admin_password.clone(),
    };
    for server in servers {
        let in_time = timeout(REPLICATION_PATIENCE, async {
            while connect(server, &own).await.is_err() {
                sleep(Duration::from_millis(100)).await;
            }
        });
        if in_time.await.is_err() {
            let why = format!(
                "`{}` was made on {address}, and does not come to this replica; does it replicate?",
                credentials.admin_user
            );
            return Err((server.clone(), LookError::Failed(why)));
        }
    }
    Ok(address.clone())
}

/// The statements that make vtplan's administrator, for whoever runs them by hand. They hold its
/// password.
pub fn administrator_sql(kind: FlavorKind, credentials: &Credentials) -> String {
    // The statements are the same in all versions.
    let version = ServerVersion {
        flavor: kind,
        major: 8,
        minor: 4,
        patch: 0,
    };
    let statements = administrator(&*flavor::of(version), credentials);
    statements.iter().map(|s| format!("{s};\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    fn login() -> Login {
        Login {
            user: "root".to_owned(),
            password: "secret".to_owned(),
        }
    }

    async fn answering(answer: &'static [u8]) -> ServerAddress {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(answer).await.unwrap();
            }
        });
        ServerAddress {
            machine: "127.0.0.1".to_owned(),
            port,
        }
    }

    #[tokio::test]
    async fn what_speaks_another_protocol_is_shown_by_its_first_words() {
        let address = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let error = look(&address, &login()).await.unwrap_err();
        assert_eq!(error, LookError::NotMySql("`HTTP/1.1 400 Bad`".to_owned()));
        let address = answering(b"\x15\x03\x01\x00\x02\x02\x28").await;
        let error = look(&address, &login()).await.unwrap_err().to_string();
        assert!(error.contains("15 03 01 00 02"), "{error}");
    }

    #[tokio::test]
    async fn a_greeting_that_is_cut_off_is_no_server() {
        let address = answering(b"\x4a\x00\x00\x00\x0a10.11").await;
        let error = look(&address, &login()).await.unwrap_err();
        assert!(matches!(error, LookError::Refused(_)), "{error:?}");
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress {
            machine: "127.0.0.1".to_owned(),
            port: free.local_addr().unwrap().port(),
        };
        drop(free);
        let error = look(&address, &login()).await.unwrap_err();
        assert!(matches!(error, LookError::Unreachable(_)), "{error:?}");
    }
}
