//! What an agent is told when it starts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use vtplan_state::model::{CellName, HostName};

/// TCP port of an agent's gRPC service where nothing else is asked for.
pub const DEFAULT_AGENT_PORT: u16 = 15999;
/// First TCP port that tablets get where nothing else is asked for.
pub const DEFAULT_FIRST_MYSQL_PORT: u16 = 17100;

/// An agent's settings. [`AgentConfig::new`] gives defaults for everything that has one.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    pub cluster: String,
    /// The name under which the host is registered.
    pub name: HostName,
    pub cell: CellName,
    /// Holds `tablets/` and `templates/`. Made if it is missing; a relative path is taken from
    /// the working directory.
    pub data_dir: PathBuf,
    /// Where the gRPC service listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Host name or address at which others reach this host: the agent and its servers. `None`:
    /// the address of `listen`, or the machine's host name when that is unspecified. Servers bind
    /// to a loopback address only when this is one.
    pub advertise: Option<String>,
    /// The server's program. `None`: `mariadbd`, else `mysqld`, found on `PATH`.
    pub mysqld: Option<PathBuf>,
    /// How many tablets the host will run at most.
    pub capacity: u32,
    pub first_mysql_port: u16,
    /// How long the host's record lives on when the agent does not.
    pub lease_ttl: Duration,
    /// Where prepared data folders are kept. `None`: in the data folder. Agents may share it.
    pub templates_dir: Option<PathBuf>,
    pub server: ServerSettings,
}

impl AgentConfig {
    pub fn new(
        cluster: impl Into<String>,
        name: HostName,
        cell: CellName,
        data_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            cluster: cluster.into(),
            name,
            cell,
            data_dir: data_dir.into(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_AGENT_PORT),
            advertise: None,
            mysqld: None,
            capacity: 100,
            first_mysql_port: DEFAULT_FIRST_MYSQL_PORT,
            lease_ttl: Duration::from_secs(10),
            templates_dir: None,
            server: ServerSettings::default(),
        }
    }

    /// An agent that only this machine can reach, with small servers.
    pub fn local(
        cluster: impl Into<String>,
        name: HostName,
        cell: CellName,
        data_dir: impl Into<PathBuf>,
    ) -> Self {
        let mut config = Self::new(cluster, name, cell, data_dir);
        config.listen.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        config.advertise = Some(Ipv4Addr::LOCALHOST.to_string());
        config
    }
}

/// How the host's mysqld servers are set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// `innodb_buffer_pool_size`, bytes.
    pub buffer_pool_bytes: u64,
    /// Size of InnoDB's redo log, bytes.
    pub redo_log_bytes: u64,
    pub max_connections: u32,
    /// Whether a commit is on disk before it is answered. Without it commits survive the end of the
    /// server, not that of the machine: for tests and throw-away clusters.
    pub durable: bool,
    /// Further options for the `[mysqld]` section, after all others. An empty value writes the
    /// option alone.
    pub extra: BTreeMap<String, String>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            buffer_pool_bytes: 64 << 20,
            redo_log_bytes: 48 << 20,
            max_connections: 500,
            durable: true,
            extra: BTreeMap::new(),
        }
    }
}
