//! One cluster of real processes: a state store, agents, gates and what the agents start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::prelude::{FromRow, Queryable};
use tempfile::TempDir;

use crate::etcd::Etcd;
use crate::net::Spaces;
use crate::ports::{free_port, free_ports};
use crate::process::{self, Proc};
use crate::servers::Server;

/// How long the lab waits for what should happen soon. Long, because it only bounds a failure.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Asserts the exit code, printing all of the output otherwise.
    #[track_caller]
    pub fn expect(self, code: i32) -> Output {
        assert_eq!(
            self.code, code,
            "exit code {} instead of {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        );
        self
    }
}

pub struct Lab {
    dir: TempDir,
    cluster: String,
    server: Server,
    pub etcd: Option<Etcd>,
    pub agents: BTreeMap<String, Proc>,
    pub gates: BTreeMap<String, Gate>,
    /// Set for every process of the lab.
    pub env: BTreeMap<String, String>,
    /// Further arguments of agents that are started from now on.
    pub agent_args: Vec<String>,
    /// Where parts have networks of their own: agents by their names, `gate-CELL` and `etcd`.
    pub spaces: Option<Spaces>,
    /// Parts that reach the store by another way than the rest.
    pub store_urls: BTreeMap<String, String>,
}

pub struct Gate {
    pub proc: Proc,
    pub mysql_port: u16,
    pub http_port: u16,
}

/// The binary that `cargo test --workspace` (or `cargo build`) made beside the tests.
pub fn vtplan_binary() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    let folder = test.ancestors().nth(2).expect("target/PROFILE").to_owned();
    let binary = folder.join("vtplan");
    assert!(
        binary.exists(),
        "{} is not built: run `cargo build -p vtplan`",
        binary.display()
    );
    binary
}

/// `specs/examples/NAME` of the project.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../specs/examples")
        .join(name)
}

impl Lab {
    /// A lab on a SQLite store.
    pub fn new(cluster: &str, server: Server) -> Lab {
        let dir = TempDir::with_prefix("vtplan-lab-").expect("a temporary folder");
        Lab {
            dir,
            cluster: cluster.to_owned(),
            server,
            etcd: None,
            agents: BTreeMap::new(),
            gates: BTreeMap::new(),
            env: BTreeMap::from([("VTPLAN_APP_PASSWORD".into(), "app-secret".into())]),
            agent_args: Vec::new(),
            spaces: None,
            store_urls: BTreeMap::new(),
        }
    }

    /// A lab on a real etcd; `None` where there is none.
    pub fn with_etcd(cluster: &str, server: Server) -> Option<Lab> {
        let mut lab = Lab::new(cluster, server);
        lab.etcd = Some(Etcd::start(lab.dir.path())?);
        Some(lab)
    }

    /// The same with each of these parts, and etcd, in a network of its own.
    pub fn in_spaces(
        cluster: &str,
        server: Server,
        mut spaces: Spaces,
        parts: &[&str],
    ) -> Option<Lab> {
        let mut lab = Lab::new(cluster, server);
        for part in parts.iter().chain(&["etcd"]) {
            spaces.add(part);
        }
        lab.etcd = Some(Etcd::start_in(lab.dir.path(), &spaces)?);
        lab.spaces = Some(spaces);
        Some(lab)
    }

    /// The IP address of a part.
    pub fn address(&self, part: &str) -> String {
        match &self.spaces {
            Some(spaces) => spaces.address(part),
            None => "127.0.0.1".to_owned(),
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn state_url(&self) -> String {
        match &self.etcd {
            Some(etcd) => etcd.url(),
            None => format!("sqlite:{}", self.dir.path().join("state.db").display()),
        }
    }

    /// A command of the binary with the lab's store and environment, to add arguments to.
    pub fn command(&self, args: &[&str]) -> Command {
        self.prepare(Command::new(vtplan_binary()), args)
    }

    /// The same for a part of the cluster, which may be in a network of its own.
    fn command_of(&self, part: &str, args: &[&str]) -> Command {
        let command = match &self.spaces {
            Some(spaces) => spaces.command(part, &vtplan_binary()),
            None => Command::new(vtplan_binary()),
        };
        let mut command = self.prepare(command, args);
        if let Some(url) = self.store_urls.get(part) {
            command.env("VTPLAN_STATE", url);
        }
        command
    }

    fn prepare(&self, mut command: Command, args: &[&str]) -> Command {
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("VTPLAN_STATE", self.state_url())
            .env("NO_COLOR", "1")
            .env_remove("VTPLAN_CLUSTER")
            .envs(&self.env)
            .stdin(Stdio::null());
        command
    }

    /// Runs `vtplan ARGS` to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().expect("vtplan starts");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts `vtplan ARGS` beside the test.
    pub fn start(&self, name: &str, args: &[&str]) -> Proc {
        Proc::start(name, self.command(args), &self.logs())
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// Starts an agent (again) on its own data folder and waits until it is registered.
    pub fn start_agent(&mut self, name: &str, cell: &str) {
        self.start_agent_with(name, cell, &[]);
    }

    pub fn start_agent_with(&mut self, name: &str, cell: &str, more: &[(&str, &str)]) {
        let data = self.agent_data(name);
        fs::create_dir_all(&data).expect("the agent's folder");
        // Kept over restarts, as a host keeps its ports.
        let ports = data.join("lab-ports");
        let (listen, mysql) = match fs::read_to_string(&ports) {
            Ok(text) => {
                let mut numbers = text.split(' ').map(|n| n.parse().expect("a port"));
                (
                    numbers.next().expect("listen"),
                    numbers.next().expect("mysql"),
                )
            }
            Err(_) => {
                let chosen = (free_port(), free_ports(40));
                fs::write(&ports, format!("{} {}", chosen.0, chosen.1)).expect("lab-ports");
                chosen
            }
        };
        let address = self.address(name);
        let listen_address = format!("{address}:{listen}");
        let mut command = self.command_of(name, &["agent", "--cluster", &self.cluster]);
        command
            .args(["--name", name, "--cell", cell, "--listen", &listen_address])
            .args(["--advertise", &address, "--tablet-port", &mysql.to_string()])
            .arg("--data-dir")
            .arg(&data)
            .args(&self.agent_args)
            .envs(more.iter().copied());
        if let Some(mysqld) = self.server.mysqld() {
            command.arg("--mysqld").arg(mysqld);
        }
        // It listens before it is registered, and says so when it is. The log goes on over restarts.
        let starts = |log: &str| log.matches("agent started").count();
        let log_file = self.logs().join(format!("agent-{name}.log"));
        let before = starts(&fs::read_to_string(log_file).unwrap_or_default());
        let mut agent = Proc::start(&format!("agent-{name}"), command, &self.logs());
        let end = Instant::now() + PATIENCE;
        while starts(&agent.log()) <= before {
            assert!(
                agent.is_alive(),
                "agent {name} ended at its start:\n{}",
                agent.log()
            );
            assert!(
                Instant::now() < end,
                "agent {name} does not start:\n{}",
                agent.log()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
        self.agents.insert(name.to_owned(), agent);
    }

    /// The first port that an agent gives to its tablets; it is told when the agent starts.
    pub fn first_tablet_port(&self, name: &str) -> u16 {
        let ports = fs::read_to_string(self.agent_data(name).join("lab-ports"));
        let ports = ports.expect("the agent was started");
        let (_, mysql) = ports.split_once(' ').expect("two ports");
        mysql.parse().expect("a port")
    }

    pub fn agent_data(&self, name: &str) -> PathBuf {
        self.dir.path().join("hosts").join(name)
    }

    /// Starts a gate named after its cell and waits until it is healthy.
    pub fn start_gate(&mut self, cell: &str) -> u16 {
        self.restart_gate(cell, free_port())
    }

    /// The same on a given port, as a gate that comes back has it.
    pub fn restart_gate(&mut self, cell: &str, mysql_port: u16) -> u16 {
        let http_port = free_port();
        let name = format!("gate-{cell}");
        let address = self.address(&name);
        let args = ["gate", "--cluster", &self.cluster, "--cell", cell];
        let mut command = self.command_of(&name, &args);
        command
            .args(["--name", &name, "--listen", &address])
            .args(["--mysql-port", &mysql_port.to_string()])
            .args(["--http-port", &http_port.to_string()]);
        let mut proc = Proc::start(&name, command, &self.logs());
        let end = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect((address.as_str(), mysql_port)).is_err() {
            assert!(
                proc.is_alive(),
                "the gate of {cell} ended at its start:\n{}",
                proc.log()
            );
            assert!(
                Instant::now() < end,
                "the gate of {cell} does not listen:\n{}",
                proc.log()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
        self.gates.insert(
            cell.to_owned(),
            Gate {
                proc,
                mysql_port,
                http_port,
            },
        );
        mysql_port
    }

    /// A pool of connections to the gate of a cell, as user `app`, on `target` (empty: on none).
    pub fn client(&self, cell: &str, target: &str) -> mysql_async::Pool {
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname(self.address(&format!("gate-{cell}")))
            .tcp_port(self.gates[cell].mysql_port)
            .user(Some("app"))
            .pass(Some(self.env["VTPLAN_APP_PASSWORD"].clone()))
            .db_name((!target.is_empty()).then_some(target))
            .prefer_socket(false);
        mysql_async::Pool::new(options)
    }

    /// One query through the gate of a cell, on a connection of its own.
    pub async fn query<T>(&self, cell: &str, target: &str, sql: &str) -> mysql_async::Result<Vec<T>>
    where
        T: FromRow + Send + 'static,
    {
        let pool = self.client(cell, target);
        let mut conn = pool.get_conn().await?;
        let rows = conn.query(sql).await;
        drop(conn);
        let _ = pool.disconnect().await;
        rows
    }

    /// Polls until `check` gives a value, up to [`PATIENCE`].
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut check: impl FnMut(&mut Lab) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = check(self) {
                return value;
            }
            if Instant::now() >= end {
                panic!("{what}: not within {PATIENCE:?}\n{}", self.report());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The ends of all logs, for a failure's message.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.logs()).into_iter().flatten().flatten() {
            let log = fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            text += &format!("--- {}\n{}\n", entry.file_name().display(), tail.join("\n"));
        }
        text
    }

    /// The ids of the mysqld processes that the lab's agents started, by tablet alias.
    pub fn mysqld_pids(&self) -> BTreeMap<String, i32> {
        let mut pids = BTreeMap::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.join("my.cnf").is_file() {
                    let alias = entry.file_name().to_string_lossy().into_owned();
                    pids.extend(pid_in(&path).map(|pid| (alias, pid)));
                } else if path.is_dir() && entry.file_name() != "data" {
                    folders.push(path);
                }
            }
        }
        pids
    }

    /// Writes a file of the lab's folder and gives its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file of the lab");
        path.display().to_string()
    }
}

/// The running process of a tablet's folder, from its `*.pid` file.
fn pid_in(tablet: &Path) -> Option<i32> {
    for folder in [tablet.to_owned(), tablet.join("data")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "pid") {
                let text = fs::read_to_string(entry.path()).ok()?;
                let pid = text.trim().parse().ok()?;
                if process::is_running(pid) {
                    return Some(pid);
                }
            }
        }
    }
    None
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
        // Agents first, so that none restarts a server that is killed.
        self.gates.clear();
        self.agents.clear();
        for pid in self.mysqld_pids().into_values() {
            process::kill9(pid);
        }
        self.etcd = None;
    }
}
