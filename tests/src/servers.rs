//! Which MySQL servers the tests run on.

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

/// A flavor of server to run a test on.
#[derive(Debug, Clone)]
pub enum Server {
    /// The `mariadbd` on PATH.
    MariaDb,
    /// The server named by `VTPLAN_TEST_MYSQLD`.
    MySql(PathBuf),
}

impl Server {
    /// The MySQL server, or `None` (said and counted as skipped) where none is named.
    pub fn mysql(test: &str) -> Option<Server> {
        match env::var_os("VTPLAN_TEST_MYSQLD") {
            Some(path) if !path.is_empty() => Some(Server::MySql(PathBuf::from(path))),
            _ => {
                skip(test, "VTPLAN_TEST_MYSQLD names no MySQL server");
                None
            }
        }
    }

    /// What `--mysqld` gets; `None` leaves it to the agent to find MariaDB on PATH.
    pub fn mysqld(&self) -> Option<&PathBuf> {
        match self {
            Server::MariaDb => None,
            Server::MySql(path) => Some(path),
        }
    }
}

/// Notes that a test cannot run here, so that the last line of `make test` counts it.
pub fn skip(test: &str, why: &str) {
    eprintln!("skipped {test}: {why}");
    if let Some(path) = env::var_os("VTPLAN_TEST_SKIPPED") {
        let file = File::options().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    }
}
