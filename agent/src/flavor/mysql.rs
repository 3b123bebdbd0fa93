//! MySQL 8.0 and newer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vtplan_state::model::{Credentials, FlavorKind, KeyspaceName};

use super::gtid::MySqlGtidSet;
use super::{
    ER_SOURCE_FATAL_ERROR_READING_BINLOG, Facts, Flavor, ReplicaStatus, SEMI_SYNC_TIMEOUT_MS,
    ServerConf, ServerVersion, Source, TextRow, common_options, gate_grants, is_on, literal,
    option_file, replication_error, text,
};
use crate::mysqld::Program;

/// From this version on all of replication speaks of sources and replicas.
const RENAMED: (u32, u32, u32) = (8, 0, 26);
/// `innodb_redo_log_capacity` in place of `innodb_log_file_size`.
const REDO_LOG_CAPACITY: (u32, u32, u32) = (8, 0, 30);

#[derive(Debug, Clone, Copy)]
pub struct MySql {
    version: ServerVersion,
}

impl MySql {
    pub fn new(version: ServerVersion) -> Self {
        Self { version }
    }

    #[cfg(test)]
    pub(super) fn newest() -> Self {
        Self::new(ServerVersion {
            flavor: FlavorKind::MySql,
            major: 9,
            minor: 7,
            patch: 0,
        })
    }

    fn renamed(&self) -> bool {
        self.version.number() >= RENAMED
    }

    /// The one of the two words that this version understands.
    fn word(&self, new: &'static str, old: &'static str) -> &'static str {
        if self.renamed() { new } else { old }
    }

    fn redo_log_option(&self, bytes: u64) -> (&'static str, String) {
        if self.version.number() >= REDO_LOG_CAPACITY {
            ("innodb_redo_log_capacity", bytes.max(8 << 20).to_string())
        } else {
            // There are two files.
            ("innodb_log_file_size", (bytes / 2).max(4 << 20).to_string())
        }
    }
}

impl Flavor for MySql {
    fn kind(&self) -> FlavorKind {
        FlavorKind::MySql
    }

    fn initialize(
        &self,
        program: &Program,
        datadir: &Path,
        as_root: bool,
    ) -> Result<(PathBuf, Vec<String>), String> {
        // The server makes the redo log as large as its own option file says; a small one is
        // copied faster.
        let (redo, size) = self.redo_log_option(8 << 20);
        let mut args = vec![
            "--no-defaults".to_owned(),
            "--initialize-insecure".to_owned(),
            format!("--datadir={}", datadir.display()),
            format!("--{}={size}", redo.replace('_', "-")),
            "--skip-log-bin".to_owned(),
        ];
        if as_root {
            args.push("--user=root".to_owned());
        }
        Ok((program.path.clone(), args))
    }

    fn private_files(&self) -> &'static [&'static str] {
        // The server's UUID, and keys that it makes itself when they are missing.
        &[
            "auto.cnf",
            "ca.pem",
            "ca-key.pem",
            "server-cert.pem",
            "server-key.pem",
            "client-cert.pem",
            "client-key.pem",
            "private_key.pem",
            "public_key.pem",
        ]
    }

    fn my_cnf(&self, conf: &ServerConf<'_>) -> String {
        let mut options = common_options(conf);
        options.extend([
            ("super_read_only", "ON".to_owned()),
            ("gtid_mode", "ON".to_owned()),
            ("enforce_gtid_consistency", "ON".to_owned()),
            (
                self.word("log_replica_updates", "log_slave_updates"),
                "ON".to_owned(),
            ),
            (
                self.word("skip_replica_start", "skip_slave_start"),
                "ON".to_owned(),
            ),
            (
                self.word("replica_net_timeout", "slave_net_timeout"),
                "10".to_owned(),
            ),
            (
                "plugin_load_add",
                self.word("semisync_source.so", "semisync_master.so")
                    .to_owned(),
            ),
            (
                "plugin_load_add",
                self.word("semisync_replica.so", "semisync_slave.so")
                    .to_owned(),
            ),
            // Binlogs are kept until backups exist that replicas can start from.
            ("binlog_expire_logs_seconds", "0".to_owned()),
            ("mysqlx", "OFF".to_owned()),
            ("table_definition_cache", "1000".to_owned()),
            self.redo_log_option(conf.settings.redo_log_bytes),
        ]);
        option_file(&options, conf.settings)
    }

    fn accounts(&self, c: &Credentials, keyspace: &KeyspaceName) -> Vec<String> {
        let account = |user: &str| format!("{}@'%'", literal(user));
        let create = |user: &str, password: &str| {
            [
                format!("CREATE USER IF NOT EXISTS {}", account(user)),
                format!(
                    "ALTER USER {} IDENTIFIED WITH caching_sha2_password BY {}",
                    account(user),
                    literal(password)
                ),
            ]
        };
        let mut statements = Vec::new();
        statements.extend(create(&c.repl_user, &c.repl_password));
        statements.push(format!(
            "GRANT REPLICATION SLAVE ON *.* TO {}",
            account(&c.repl_user)
        ));
        statements.extend(create(&c.gate_user, &c.gate_password));
        statements.extend(gate_grants(&account(&c.gate_user), keyspace));
        statements.extend(create(&c.admin_user, &c.admin_password));
        statements.push(format!(
            "GRANT ALL PRIVILEGES ON *.* TO {} WITH GRANT OPTION",
            account(&c.admin_user)
        ));
        statements
    }

    fn fact_variables(&self) -> Vec<&'static str> {
        vec![
            "server_id",
            "datadir",
            "version",
            "read_only",
            "super_read_only",
            self.word(
                "rpl_semi_sync_source_enabled",
                "rpl_semi_sync_master_enabled",
            ),
            self.word(
                "rpl_semi_sync_replica_enabled",
                "rpl_semi_sync_slave_enabled",
            ),
            "gtid_executed",
        ]
    }

    fn facts(&self, v: &BTreeMap<String, String>) -> Facts {
        let get = |name: &str| v.get(name).cloned().unwrap_or_default();
        // `8.0.36-debug`
        let version = get("version");
        let version = version.split('-').next().unwrap_or_default().to_owned();
        Facts {
            server_id: get("server_id").parse().unwrap_or(0),
            datadir: PathBuf::from(get("datadir")),
            version,
            read_only: is_on(v, "read_only"),
            super_read_only: is_on(v, "super_read_only"),
            semi_sync_source: is_on(
                v,
                self.word(
                    "rpl_semi_sync_source_enabled",
                    "rpl_semi_sync_master_enabled",
                ),
            ),
            semi_sync_replica: is_on(
                v,
                self.word(
                    "rpl_semi_sync_replica_enabled",
                    "rpl_semi_sync_slave_enabled",
                ),
            ),
            // Printed with a line for each server.
            position: get("gtid_executed").replace('\n', ""),
        }
    }

    fn set_read_only(&self, on: bool) -> Vec<&'static str> {
        if on {
            // It turns on read_only too.
            vec!["SET GLOBAL super_read_only = ON"]
        } else {
            vec![
                "SET GLOBAL super_read_only = OFF",
                "SET GLOBAL read_only = OFF",
            ]
        }
    }

    fn set_fenced(&self) -> Vec<&'static str> {
        vec![
            "SET GLOBAL read_only = ON",
            "SET GLOBAL super_read_only = OFF",
        ]
    }

    fn set_admin_writable(&self) -> Option<&'static str> {
        Some("SET GLOBAL super_read_only = OFF")
    }

    fn set_admin_read_only(&self) -> Option<&'static str> {
        Some("SET GLOBAL super_read_only = ON")
    }

    fn attach(&self, source: &Source, c: &Credentials, _fresh: bool) -> Vec<String> {
        let word = self.word("SOURCE", "MASTER");
        let command = self.word("CHANGE REPLICATION SOURCE", "CHANGE MASTER");
        // Encrypted with the keys that every server makes for itself; the account's password is
        // what tells a replica from a stranger.
        vec![format!(
            "{command} TO {word}_HOST = {}, {word}_PORT = {}, {word}_USER = {}, \
             {word}_PASSWORD = {}, {word}_AUTO_POSITION = 1, {word}_CONNECT_RETRY = 1, \
             {word}_RETRY_COUNT = 0, {word}_HEARTBEAT_PERIOD = 2, {word}_SSL = 1, \
             GET_{word}_PUBLIC_KEY = 1",
            literal(&source.host),
            source.port,
            literal(&c.repl_user),
            literal(&c.repl_password)
        )]
    }

    fn start_replication(&self) -> &'static str {
        self.word("START REPLICA", "START SLAVE")
    }
    fn stop_replication(&self) -> &'static str {
        self.word("STOP REPLICA", "STOP SLAVE")
    }
    fn stop_receiving(&self) -> &'static str {
        self.word("STOP REPLICA IO_THREAD", "STOP SLAVE IO_THREAD")
    }
    fn start_receiving(&self) -> &'static str {
        self.word("START REPLICA IO_THREAD", "START SLAVE IO_THREAD")
    }
    fn detach(&self) -> &'static str {
        self.word("RESET REPLICA ALL", "RESET SLAVE ALL")
    }
    fn replica_status_query(&self) -> &'static str {
        self.word("SHOW REPLICA STATUS", "SHOW SLAVE STATUS")
    }

    fn replica_status(&self, row: &TextRow) -> ReplicaStatus {
        let get = |new: &'static str, old: &'static str| text(row, self.word(new, old));
        let io = get("replica_io_running", "slave_io_running");
        ReplicaStatus {
            source_host: get("source_host", "master_host").to_owned(),
            source_port: get("source_port", "master_port").parse().unwrap_or(0),
            io_running: io == "Yes",
            io_connecting: io == "Connecting",
            sql_running: get("replica_sql_running", "slave_sql_running") == "Yes",
            lag_seconds: get("seconds_behind_source", "seconds_behind_master")
                .parse()
                .ok(),
            received: text(row, "retrieved_gtid_set").replace('\n', ""),
            error: replication_error(row),
            source_purged: text(row, "last_io_errno") == ER_SOURCE_FATAL_ERROR_READING_BINLOG,
            source_server_id: get("source_server_id", "master_server_id")
                .parse()
                .unwrap_or(0),
            user: get("source_user", "master_user").to_owned(),
            by_gtid: text(row, "auto_position") == "1",
        }
    }

    fn install_semi_sync(&self) -> Vec<String> {
        let words = if self.renamed() {
            ["source", "replica"]
        } else {
            ["master", "slave"]
        };
        words
            .iter()
            .map(|w| format!("INSTALL PLUGIN rpl_semi_sync_{w} SONAME 'semisync_{w}.so'"))
            .collect()
    }

    fn set_semi_sync_source(&self, on: bool) -> Vec<String> {
        let word = self.word("source", "master");
        if !on {
            return vec![format!("SET GLOBAL rpl_semi_sync_{word}_enabled = OFF")];
        }
        let no_replica = self.word("no_replica", "no_slave");
        let count = self.word("replica_count", "slave_count");
        vec![
            format!("SET GLOBAL rpl_semi_sync_{word}_timeout = {SEMI_SYNC_TIMEOUT_MS}"),
            format!("SET GLOBAL rpl_semi_sync_{word}_wait_{no_replica} = ON"),
            format!("SET GLOBAL rpl_semi_sync_{word}_wait_for_{count} = 1"),
            format!("SET GLOBAL rpl_semi_sync_{word}_enabled = ON"),
        ]
    }

    fn set_semi_sync_replica(&self, on: bool) -> String {
        let word = self.word("replica", "slave");
        let value = if on { "ON" } else { "OFF" };
        format!("SET GLOBAL rpl_semi_sync_{word}_enabled = {value}")
    }

    fn contains(&self, have: &str, want: &str) -> bool {
        match (MySqlGtidSet::parse(have), MySqlGtidSet::parse(want)) {
            (Some(have), Some(want)) => have.contains(&want),
            _ => false,
        }
    }
}
