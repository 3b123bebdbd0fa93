//! Plain MySQL and MariaDB servers as a desired state: what `vtplan import servers` writes. Pure: others
//! have looked at the servers ([`PlainServer`]). [`topology`] finds who replicates from whom, [`needs`] what
//! a server must be like to be adopted, with the statement that mends it.

mod build;
mod needs;
mod topology;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use vtplan_state::model::{CellName, FlavorKind, ServerAddress};

use crate::desired::Desired;

/// What was read from one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlainServer {
    pub address: Option<ServerAddress>,
    pub flavor: Option<FlavorKind>,
    /// `10.11.6`
    pub version: String,
    /// `SHOW GLOBAL VARIABLES`, names in lower case.
    pub variables: BTreeMap<String, String>,
    /// Where it replicates from: one for each source.
    pub sources: Vec<Source>,
    /// What replicates from it, as far as it says.
    pub replicas: Vec<String>,
    /// Those that are not the server's own.
    pub databases: BTreeMap<String, Database>,
    /// Accounts that may write although `read_only` is on, `'root'@'%'`.
    pub unbound_accounts: Vec<String>,
}

/// One replication of a server from another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    pub host: String,
    pub port: u16,
    /// 0: it was never connected.
    pub server_id: u32,
    pub by_gtid: bool,
    pub healthy: bool,
    pub error: String,
    pub lag_seconds: Option<u64>,
    /// Options that leave something out, `replicate_do_db = shop`.
    pub filters: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    pub tables: BTreeMap<String, Table>,
    /// What the schema files do not hold: `view` → names, `trigger`, `event`, `routine`.
    pub others: BTreeMap<&'static str, Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// `SHOW CREATE TABLE` without `AUTO_INCREMENT=n`.
    pub definition: String,
    pub engine: String,
    /// Whether a key orders its rows: a primary key, or a unique one without NULL.
    pub has_key: bool,
}

/// Why a server, or all of them, cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// A stable name: `log-bin`, `twice`, ...
    pub code: &'static str,
    /// The server, `10.0.0.1:3306`; empty: all.
    pub server: String,
    pub problem: String,
    /// What to do.
    pub help: String,
}

/// What is asked of an import.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    pub cluster: &'a str,
    pub cell: CellName,
    /// The database that becomes a keyspace, where a server has several.
    pub database: Option<&'a str>,
}

/// The servers as a spec says them.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    pub desired: Desired,
    /// What was not known and had to be assumed.
    pub guesses: Vec<String>,
    /// What is so, and somebody should know.
    pub warnings: Vec<String>,
}

/// Makes a spec of servers.
///
/// # Errors
/// Everything that is in the way, of all servers, sorted.
pub fn import(wish: &Wish<'_>, servers: &[PlainServer]) -> Result<Imported, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let trees = topology::trees(servers, &mut problems, &mut warnings);
    let mut used = Vec::new();
    for tree in &trees {
        let database = build::database(wish, tree, &mut problems, &mut warnings);
        for server in tree.servers() {
            needs::check(server, tree, database, &mut problems, &mut warnings);
        }
        used.extend(database.map(|database| (database, tree)));
    }
    let imported = build::build(wish, &used, warnings, &mut problems);
    if problems.is_empty() {
        return Ok(imported);
    }
    problems.sort();
    problems.dedup();
    Err(problems)
}

impl PlainServer {
    /// Its address, for messages.
    pub fn name(&self) -> String {
        let address = self.address.as_ref();
        address.map_or_else(String::new, ToString::to_string)
    }

    fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    fn is_on(&self, name: &str) -> bool {
        let value = self.variable(name);
        value == "1" || value.eq_ignore_ascii_case("on")
    }

    fn is_mariadb(&self) -> bool {
        self.flavor == Some(FlavorKind::MariaDb)
    }

    /// Whether it refuses the writes of ordinary accounts.
    fn is_read_only(&self) -> bool {
        !matches!(
            self.variable("read_only").to_ascii_uppercase().as_str(),
            "OFF" | "0" | ""
        )
    }

    fn server_id(&self) -> u32 {
        self.variable("server_id").parse().unwrap_or(0)
    }

    /// What tells a server from all others, under whatever address it is asked.
    fn identity(&self) -> Vec<&str> {
        match self.variables.get("server_uuid") {
            Some(uuid) => vec![uuid],
            None => ["server_id", "hostname", "port", "datadir", "pid_file"]
                .into_iter()
                .map(|name| self.variable(name))
                .collect(),
        }
    }
}
