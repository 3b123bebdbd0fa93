//! MariaDB 10.6 and newer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vtplan_state::model::{Credentials, FlavorKind, KeyspaceName};

use super::gtid::MariaDbPosition;
use super::{
    ER_SOURCE_FATAL_ERROR_READING_BINLOG, Facts, Flavor, ReplicaStatus, SEMI_SYNC_TIMEOUT_MS,
    ServerConf, Source, TextRow, common_options, gate_grants, is_on, literal, option_file,
    replication_error, text,
};
use crate::mysqld::Program;

#[derive(Debug, Clone, Copy)]
pub struct MariaDb;

impl Flavor for MariaDb {
    fn kind(&self) -> FlavorKind {
        FlavorKind::MariaDb
    }

    fn initialize(
        &self,
        program: &Program,
        datadir: &Path,
        as_root: bool,
    ) -> Result<(PathBuf, Vec<String>), String> {
        let script = ["mariadb-install-db", "mysql_install_db"]
            .iter()
            .find_map(|name| program.companion(name))
            .ok_or(
                "the program mariadb-install-db is missing; install the package mariadb-server-core",
            )?;
        let mut args = vec![
            "--no-defaults".to_owned(),
            format!("--datadir={}", datadir.display()),
            "--auth-root-authentication-method=normal".to_owned(),
            "--skip-test-db".to_owned(),
            "--skip-name-resolve".to_owned(),
            // The server makes it as large as its own option file says; a small one is copied
            // faster.
            "--innodb-log-file-size=4M".to_owned(),
        ];
        // A server that was unpacked somewhere finds its files from there.
        let prefix = program
            .path
            .parent()
            .and_then(Path::parent)
            .unwrap_or(Path::new("/usr"));
        if prefix != Path::new("/usr") && prefix != Path::new("/") {
            args.push(format!("--basedir={}", prefix.display()));
        }
        if as_root {
            args.push("--user=root".to_owned());
        }
        Ok((script, args))
    }

    fn private_files(&self) -> &'static [&'static str] {
        &[]
    }

    fn my_cnf(&self, conf: &ServerConf<'_>) -> String {
        let mut options = common_options(conf);
        options.extend([
            ("gtid_strict_mode", "ON".to_owned()),
            ("gtid_domain_id", "0".to_owned()),
            ("log_slave_updates", "ON".to_owned()),
            ("skip_slave_start", "ON".to_owned()),
            ("slave_net_timeout", "10".to_owned()),
            // Binlogs are kept until backups exist that replicas can start from.
            ("binlog_expire_logs_seconds", "0".to_owned()),
            (
                "innodb_log_file_size",
                conf.settings.redo_log_bytes.to_string(),
            ),
            ("innodb_log_buffer_size", (8u64 << 20).to_string()),
            ("aria_pagecache_buffer_size", (8u64 << 20).to_string()),
        ]);
        option_file(&options, conf.settings)
    }

    fn clear_accounts(&self) -> &'static [&'static str] {
        // A server that does not resolve names passes over accounts at host names, and its
        // statements do not see them. They would be there the day that it does.
        &[
            "DELETE FROM mysql.global_priv WHERE User IN ('', 'root') AND Host <> 'localhost'",
            "FLUSH PRIVILEGES",
        ]
    }

    fn accounts(&self, c: &Credentials, keyspace: &KeyspaceName) -> Vec<String> {
        let account = |user: &str| format!("{}@'%'", literal(user));
        let create = |user: &str, password: &str| {
            [
                format!("CREATE USER IF NOT EXISTS {}", account(user)),
                format!(
                    "ALTER USER {} IDENTIFIED BY {}",
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
            "rpl_semi_sync_master_enabled",
            "rpl_semi_sync_slave_enabled",
            "gtid_current_pos",
        ]
    }

    fn facts(&self, v: &BTreeMap<String, String>) -> Facts {
        let get = |name: &str| v.get(name).cloned().unwrap_or_default();
        // `10.11.6-MariaDB-log`
        let version = get("version");
        let version = version.split('-').next().unwrap_or_default().to_owned();
        // From 12.0 on read_only is an enumeration: OFF, ON, NO_LOCK, NO_LOCK_NO_ADMIN.
        let read_only = !matches!(
            get("read_only").to_ascii_uppercase().as_str(),
            "OFF" | "0" | ""
        );
        Facts {
            server_id: get("server_id").parse().unwrap_or(0),
            datadir: PathBuf::from(get("datadir")),
            version,
            read_only,
            // There is no such variable: administrators are never bound.
            super_read_only: read_only,
            semi_sync_source: is_on(v, "rpl_semi_sync_master_enabled"),
            semi_sync_replica: is_on(v, "rpl_semi_sync_slave_enabled"),
            position: get("gtid_current_pos"),
        }
    }

    fn set_read_only(&self, on: bool) -> Vec<&'static str> {
        vec![if on {
            "SET GLOBAL read_only = ON"
        } else {
            "SET GLOBAL read_only = OFF"
        }]
    }

    fn set_fenced(&self) -> Vec<&'static str> {
        self.set_read_only(true)
    }

    fn date_ahead(&self) -> Option<&'static str> {
        // More than an attempt to make one ever takes. Replicas and streams see an event of the
        // future, which to them is as new as one of now.
        Some("SET SESSION timestamp = UNIX_TIMESTAMP(SYSDATE(6)) + 10")
    }

    fn set_admin_writable(&self) -> Option<&'static str> {
        None
    }

    fn set_admin_read_only(&self) -> Option<&'static str> {
        None
    }

    fn hold_commits(&self) -> Option<&'static [&'static str]> {
        Some(&[
            "SET SESSION lock_wait_timeout = 5",
            "BACKUP STAGE START",
            "BACKUP STAGE BLOCK_COMMIT",
        ])
    }

    fn attach(&self, source: &Source, c: &Credentials, fresh: bool) -> Vec<String> {
        let mut statements = Vec::new();
        if fresh {
            // A server that was primary has its own writes in its binlog only; what it asks the
            // new primary for must start after them.
            statements.push("SET GLOBAL gtid_slave_pos = @@global.gtid_current_pos".to_owned());
        }
        statements.push(format!(
            "CHANGE MASTER TO MASTER_HOST = {}, MASTER_PORT = {}, MASTER_USER = {}, \
             MASTER_PASSWORD = {}, MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, \
             MASTER_HEARTBEAT_PERIOD = 2",
            literal(&source.host),
            source.port,
            literal(&c.repl_user),
            literal(&c.repl_password)
        ));
        statements
    }

    fn start_from(&self, position: &str) -> Vec<String> {
        // What a primary has written itself stands in its binlog alone, which is not copied.
        vec![format!("SET GLOBAL gtid_slave_pos = {}", literal(position))]
    }

    fn start_replication(&self) -> &'static str {
        "START SLAVE"
    }
    fn stop_replication(&self) -> &'static str {
        "STOP SLAVE"
    }
    fn stop_receiving(&self) -> &'static str {
        "STOP SLAVE IO_THREAD"
    }
    fn start_receiving(&self) -> &'static str {
        "START SLAVE IO_THREAD"
    }
    fn detach(&self) -> &'static str {
        "RESET SLAVE ALL"
    }
    fn replica_status_query(&self) -> &'static str {
        "SHOW SLAVE STATUS"
    }

    fn replica_status(&self, row: &TextRow) -> ReplicaStatus {
        ReplicaStatus {
            source_host: text(row, "master_host").to_owned(),
            source_port: text(row, "master_port").parse().unwrap_or(0),
            io_running: text(row, "slave_io_running") == "Yes",
            io_connecting: matches!(text(row, "slave_io_running"), "Connecting" | "Preparing"),
            sql_running: text(row, "slave_sql_running") == "Yes",
            lag_seconds: text(row, "seconds_behind_master").parse().ok(),
            received: text(row, "gtid_io_pos").to_owned(),
            error: replication_error(row),
            source_purged: text(row, "last_io_errno") == ER_SOURCE_FATAL_ERROR_READING_BINLOG,
            source_server_id: text(row, "master_server_id").parse().unwrap_or(0),
            user: text(row, "master_user").to_owned(),
            by_gtid: matches!(text(row, "using_gtid"), "Slave_Pos" | "Current_Pos"),
        }
    }

    fn set_semi_sync_source(&self, on: bool) -> Vec<String> {
        if !on {
            return vec!["SET GLOBAL rpl_semi_sync_master_enabled = OFF".to_owned()];
        }
        vec![
            format!("SET GLOBAL rpl_semi_sync_master_timeout = {SEMI_SYNC_TIMEOUT_MS}"),
            "SET GLOBAL rpl_semi_sync_master_wait_no_slave = ON".to_owned(),
            "SET GLOBAL rpl_semi_sync_master_wait_point = 'AFTER_SYNC'".to_owned(),
            "SET GLOBAL rpl_semi_sync_master_enabled = ON".to_owned(),
        ]
    }

    fn set_semi_sync_replica(&self, on: bool) -> String {
        let value = if on { "ON" } else { "OFF" };
        format!("SET GLOBAL rpl_semi_sync_slave_enabled = {value}")
    }

    fn contains(&self, have: &str, want: &str) -> bool {
        match (MariaDbPosition::parse(have), MariaDbPosition::parse(want)) {
            (Some(have), Some(want)) => have.contains(&want),
            _ => false,
        }
    }
}
