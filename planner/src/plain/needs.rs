//! What a server must be like to be adopted, each with the statement that mends it; and what is so and
//! should be known.

use super::topology::Tree;
use super::{Database, PlainServer, Problem};

/// How many names a message has at most.
const SHOWN: usize = 5;

pub(super) fn check(
    server: &PlainServer,
    tree: &Tree<'_>,
    database: Option<(&str, &Database)>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) {
    let is_primary = std::ptr::eq(server, tree.primary);
    settings(server, is_primary, problems);
    habits(server, is_primary, warnings);
    if is_primary && let Some((name, database)) = database {
        contents(server, name, database, problems, warnings);
    }
}

fn settings(server: &PlainServer, is_primary: bool, problems: &mut Vec<Problem>) {
    let mut problem = |code, problem: String, help: &str| {
        problems.push(Problem {
            code,
            server: server.name(),
            problem,
            help: help.to_owned(),
        });
    };
    let restart = "in its option file, and restart it (this cannot be set while it runs): ";
    let both = |set: &str, option: &str| format!("{set}; and in its option file: {option}");
    if !server.is_on("log_bin") {
        problem(
            "log-bin",
            "it writes no binlog (log_bin is OFF), which replicas and moves of data read".into(),
            &format!("{restart}log_bin = binlog, binlog_format = ROW"),
        );
        // What else is said of the binlog is of no account without one.
        return;
    }
    let format = server.variable("binlog_format");
    if !format.eq_ignore_ascii_case("row") && !format.is_empty() {
        problem(
            "binlog-format",
            format!("its binlog_format is {format}; moves of data read rows, not statements"),
            &both(
                "SET GLOBAL binlog_format = 'ROW', then reconnect the clients that write",
                "binlog_format = ROW",
            ),
        );
    }
    let image = server.variable("binlog_row_image");
    if !image.eq_ignore_ascii_case("full") && !image.is_empty() {
        problem(
            "binlog-row-image",
            format!("its binlog_row_image is {image}; moves of data need whole rows"),
            &both(
                "SET GLOBAL binlog_row_image = 'FULL', then reconnect the clients that write",
                "binlog_row_image = FULL",
            ),
        );
    }
    if !server.is_mariadb() {
        if !server.variable("gtid_mode").eq_ignore_ascii_case("on") {
            problem(
                "gtid-mode",
                format!("its gtid_mode is {}", server.variable("gtid_mode")),
                "SET PERSIST enforce_gtid_consistency = ON, then gtid_mode = OFF_PERMISSIVE, \
                 ON_PERMISSIVE and ON, on each server of the group before the next step on any",
            );
        } else if !server.is_on("enforce_gtid_consistency") {
            problem(
                "gtid-mode",
                "its enforce_gtid_consistency is not ON".into(),
                "SET PERSIST enforce_gtid_consistency = ON",
            );
        }
    }
    let updates = ["log_slave_updates", "log_replica_updates"];
    if !is_primary && !updates.iter().any(|name| server.is_on(name)) {
        problem(
            "log-slave-updates",
            "it does not log what it replicates (log_slave_updates is OFF), so that it could not be \
             made primary"
                .into(),
            &format!("{restart}log_slave_updates = ON"),
        );
    }
    let names = server.variable("lower_case_table_names");
    if !matches!(names, "0" | "") {
        problem(
            "lower-case-table-names",
            format!(
                "its lower_case_table_names is {names}; vtplan's own servers have 0, and tables that \
                 move there would be other names"
            ),
            "this is fixed when a server's data folder is made: dump the data into a server with \
             lower_case_table_names = 0",
        );
    }
}

/// What is so and works, and may surprise.
fn habits(server: &PlainServer, is_primary: bool, warnings: &mut Vec<String>) {
    let name = server.name();
    let mut warn = |text: String| warnings.push(format!("{name}: {text}"));
    if server.is_mariadb() && !server.is_on("gtid_strict_mode") {
        warn(
            "gtid_strict_mode is OFF; with SET GLOBAL gtid_strict_mode = ON a replica refuses what would \
             make it differ"
                .into(),
        );
    }
    if is_primary && server.is_read_only() {
        warn(
            "read_only is on; it takes writes once it is adopted, as its keyspace's primary".into(),
        );
    }
    if !is_primary && !server.is_read_only() {
        warn("read_only is off; it is turned on when it is adopted".into());
    }
    let zone = match server.variable("time_zone") {
        "SYSTEM" => server.variable("system_time_zone"),
        zone => zone,
    };
    if is_primary && !matches!(zone, "UTC" | "+00:00" | "GMT" | "") {
        warn(format!(
            "its time zone is {zone}; vtplan's own servers have +00:00, so NOW() and the texts of \
             TIMESTAMP values differ there"
        ));
    }
    let unbound: Vec<&str> = server
        .unbound_accounts
        .iter()
        .map(String::as_str)
        .filter(|account| !account.starts_with("'root'@") && !account.starts_with("'mysql."))
        .filter(|account| !account.starts_with("'mariadb.sys'@"))
        .collect();
    if is_primary && !unbound.is_empty() {
        warn(format!(
            "read_only does not bind {}: while writes move elsewhere, these accounts must not write",
            some(&unbound)
        ));
    }
}

fn contents(
    server: &PlainServer,
    name: &str,
    database: &Database,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) {
    let tables = |keep: &dyn Fn(&super::Table) -> bool| -> Vec<String> {
        let found = database.tables.iter().filter(|(_, table)| keep(table));
        found.map(|(table, _)| table.clone()).collect()
    };
    let other = tables(&|table| !table.engine.eq_ignore_ascii_case("innodb"));
    if !other.is_empty() {
        let other: Vec<&str> = other.iter().map(String::as_str).collect();
        problems.push(Problem {
            code: "engine",
            server: server.name(),
            problem: format!(
                "tables of {name} are not InnoDB's, so that there is no snapshot of them: {}",
                some(&other)
            ),
            help: "ALTER TABLE ... ENGINE = InnoDB".into(),
        });
    }
    let keyless = tables(&|table| !table.has_key);
    if !keyless.is_empty() {
        let keyless: Vec<&str> = keyless.iter().map(String::as_str).collect();
        warnings.push(format!(
            "{name}: tables without a primary key are served, and cannot be moved or sharded: {}",
            some(&keyless)
        ));
    }
    for (kind, names) in &database.others {
        if names.is_empty() {
            continue;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        warnings.push(format!(
            "{name}: it has {kind}s, which stay on the servers, are not in the schema files and do not \
             move with tables: {}",
            some(&names)
        ));
    }
}

/// The first few of many names.
fn some(names: &[&str]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}
