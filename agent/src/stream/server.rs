//! Which of a tablet's addresses an agent uses, and as whom.

use std::fmt;
use std::path::PathBuf;

use vtplan_state::model::{Credentials, FlavorKind, HostName, HostRecord, TabletRecord};

/// A server, and the account to use on it. Prints as the tablet's alias.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// What messages call it.
    pub name: String,
    pub flavor: FlavorKind,
    pub host: String,
    pub port: u16,
    /// On this machine: used if it is there, and TCP otherwise.
    pub socket: Option<PathBuf>,
    pub user: String,
    pub password: String,
}

impl ServerAddress {
    /// A tablet's server as vtplan's administrator, whom `read_only` does not bind. `here` is the
    /// host of the agent that connects.
    pub fn of_tablet(
        tablet: &TabletRecord,
        host: &HostRecord,
        here: &HostName,
        credentials: &Credentials,
    ) -> Self {
        let socket = tablet.socket(host).filter(|_| host.name == *here);
        let adopted = tablet.adopted().map(|server| server.machine);
        Self {
            name: tablet.alias.to_string(),
            flavor: tablet.flavor,
            host: adopted.unwrap_or_else(|| host.address.clone()),
            port: tablet.mysql_port,
            socket: socket.map(PathBuf::from),
            user: credentials.admin_user.clone(),
            password: credentials.admin_password.clone(),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl fmt::Debug for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ServerAddress({} at {}:{})",
            self.name, self.host, self.port
        )
    }
}

/// What every connection of a stream sets: values go in and out as [`super::row`] says. `sql_mode`
/// takes everything that a table may hold (zero dates, dates such as 31 February), and nothing
/// that it may not.
pub const SESSION: &str = "SET NAMES binary, time_zone = '+00:00', \
     sql_mode = 'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', \
     foreign_key_checks = 0, net_write_timeout = 3600, net_read_timeout = 3600, \
     wait_timeout = 86400, innodb_lock_wait_timeout = 10";
