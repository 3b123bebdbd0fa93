//! `vtplan up`: an agent and a gate in the background, for development and single machines.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::signal::Signal;
use owo_colors::OwoColorize as _;
use vtplan_agent::config::{DEFAULT_AGENT_PORT, DEFAULT_FIRST_MYSQL_PORT};
use vtplan_gate::gate::DEFAULT_MYSQL_PORT;
use vtplan_planner::desired::Desired;
use vtplan_planner::spec::NoSecrets;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{CellName, GateName, GateRecord, HostName, HostRecord};
use vtplan_state::store::{Entry, Store};

use super::Outcome;
use crate::args::{ByteSize, Format, Global};
use crate::context;
use crate::error::{CliError, Exit};
use crate::local::home::Home;
use crate::local::service::{self, Kind, Service, Started, Told};
use crate::output::{host_name, out};
use crate::planning;
use crate::render::table::count;
use crate::render::when;

const EXAMPLES: &str = "\
Examples:
  vtplan up shop.yaml                       Cluster name, cell and ports from the spec
  vtplan up --cluster shop --cell zone1     Without a spec
  vtplan up shop.yaml --mysqld /usr/sbin/mysqld

What is said once (name, cell, ports, folders) is kept over `vtplan down`, until it is said anew.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    /// Spec whose cluster, first cell and gate port are used; it is not applied
    #[arg(value_name = "SPEC")]
    pub specs: Vec<PathBuf>,
    /// Cell of this host [default: the spec's first cell, else zone1]
    #[arg(long, value_name = "CELL")]
    pub cell: Option<CellName>,
    /// Name under which this host registers [default: the machine's host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<HostName>,
    /// Port of the gate's MySQL listener [default: the spec's, else 15306]
    #[arg(long, value_name = "PORT")]
    pub mysql_port: Option<u16>,
    /// Port of the gate's `/metrics`, `/healthz` and `/debug/status` [default: 15001]
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<u16>,
    /// Port of the agent's gRPC service [default: 15999]
    #[arg(long, value_name = "PORT")]
    pub agent_port: Option<u16>,
    /// First port that tablets' servers get [default: 17100]
    #[arg(long, value_name = "PORT")]
    pub tablet_port: Option<u16>,
    /// The MySQL server to run [default: `mariadbd` or `mysqld` on PATH]
    #[arg(
        long,
        value_name = "PATH",
        env = "VTPLAN_MYSQLD",
        hide_env_values = true
    )]
    pub mysqld: Option<PathBuf>,
    /// Folder of the tablets' data [default: .vtplan/data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How many tablets may run here [default: 64]
    #[arg(long, value_name = "N")]
    pub capacity: Option<u32>,
    /// Each server's `innodb_buffer_pool_size`, such as `64M` or `4G`
    #[arg(long, value_name = "SIZE")]
    pub buffer_pool: Option<ByteSize>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: UpArgs, global: &Global) -> Outcome {
    let desired = match args.specs.as_slice() {
        [] => None,
        // Passwords are of no use here.
        specs => Some(planning::load_spec(global, specs, &NoSecrets)?.desired),
    };
    let home = Home::of(&global.state);
    home.prepare()?;
    let _lock = service::lock(&home)?;
    let store = context::create_store(global).await?;
    let name = cluster_name(global, &store, desired.as_ref(), &home).await?;
    let cluster = context::of(store, &name)?;
    let up = Up {
        home: &home,
        args: &args,
        global,
        cluster: &cluster,
        desired: desired.as_ref(),
    };
    let (agent, agent_started) = up.agent().await?;
    let (gate, gate_started) = up.gate(&agent).await?;
    let host = HostName::new(agent.name.clone());
    let host = host.map_err(|e| CliError::from_error("bad-name", &e))?;
    let gate_name = GateName::new(gate.name.clone());
    let gate_name = gate_name.map_err(|e| CliError::from_error("bad-name", &e))?;
    let (tablets, missing) = up.tablets(&host).await?;
    let records = cluster
        .load_records()
        .await
        .map_err(|e| context::store_error(&e))?;
    let host = records.hosts.get(&host);
    let gate_record = records.gates.get(&gate_name);
    if args.format == Format::Json {
        let document = serde_json::json!({
            "format": 1,
            "cluster": name,
            "agent": { "pid": agent.process.pid, "started": agent_started, "log": agent.log, "host": host },
            "tablets": { "here": tablets, "not_up": missing },
            "gate": { "pid": gate.process.pid, "started": gate_started, "log": gate.log, "gate": gate_record },
        });
        out(&format!("{document:#}\n"));
        return Ok(Exit::Done);
    }
    if global.quiet {
        return Ok(Exit::Done);
    }
    let state = |started| if started { "started" } else { "runs already" };
    let mut text = format!("Cluster {} is up.\n", name.bold());
    text.push_str(&format!(
        "  agent  {:<13} {} in {}, {}\n",
        state(agent_started),
        agent.name,
        agent.cell,
        host.map_or("", |h| &h.agent_url)
    ));
    let address = gate_record.map_or("", |g| g.mysql_address.as_str());
    text.push_str(&format!(
        "  gate   {:<13} MySQL at {address}, {}\n",
        state(gate_started),
        gate_record.map_or("", |g| &g.http_url)
    ));
    if tablets > 0 {
        let up = if missing == 0 {
            "up".to_owned()
        } else {
            format!("{missing} not up yet: see `vtplan status`")
        };
        text.push_str(&format!("         {:<13} {up}\n", count(tablets, "tablet")));
    }
    text.push_str(&format!("  logs   {}\n", home.logs().display()));
    if records.spec.is_none() {
        let spec = match args.specs.first() {
            Some(path) => path.display().to_string(),
            None => "SPEC".to_owned(),
        };
        text.push_str(&format!(
            "\n{} `vtplan apply {spec}`\n",
            "Next:".cyan().bold()
        ));
    }
    out(&text);
    Ok(Exit::Done)
}

/// The spec's, `--cluster`, the store's only one, or the one that ran here before.
async fn cluster_name(
    global: &Global,
    store: &Arc<dyn Store>,
    desired: Option<&Desired>,
    home: &Home,
) -> Result<String, CliError> {
    if let Some(desired) = desired {
        context::check_spec_cluster(global, Some(store), &desired.cluster).await?;
        return Ok(desired.cluster.clone());
    }
    if let Some(name) = &global.cluster {
        return Ok(name.clone());
    }
    if let [one] = context::cluster_names(store).await?.as_slice() {
        return Ok(one.clone());
    }
    match Service::recorded(home, Kind::Agent) {
        Some(agent) => Ok(agent.cluster),
        None => Err(
            CliError::new("which-cluster", "the new cluster has no name").help(
                "give its spec, as in `vtplan up shop.yaml`, or a name with `--cluster NAME`",
            ),
        ),
    }
}

/// How long a process may take to be ready. It is not a measure of anything: a slow machine
/// gets what it needs, a process that dies is noticed at once.
const PATIENCE: Duration = Duration::from_secs(90);

struct Up<'a> {
    home: &'a Home,
    args: &'a UpArgs,
    global: &'a Global,
    cluster: &'a Cluster,
    desired: Option<&'a Desired>,
}

impl Up<'_> {
    /// The agent, and whether it was started now.
    async fn agent(&self) -> Result<(Service, bool), CliError> {
        if let Some(running) = self.running(Kind::Agent)? {
            return Ok((running, false));
        }
        let args = self.args;
        let before = self.before(Kind::Agent);
        let before = before.as_ref();
        let name = match (&args.name, before) {
            (Some(name), _) => name.to_string(),
            (None, Some(before)) => before.name.clone(),
            (None, None) => host_name(),
        };
        let cell = match (&args.cell, before, self.first_cell()) {
            (Some(cell), _, _) => cell.to_string(),
            (None, Some(before), _) => before.cell.clone(),
            (None, None, Some(cell)) => cell,
            (None, None, None) => "zone1".to_owned(),
        };
        let told = self.told(before);
        let data_dir = told
            .data_dir
            .clone()
            .unwrap_or_else(|| self.home.data_dir());
        let port = told.agent_port.unwrap_or(DEFAULT_AGENT_PORT);
        free(port, "--agent-port")?;
        let mut command = self.command(Kind::Agent, &name, &cell);
        let first = told.tablet_port.unwrap_or(DEFAULT_FIRST_MYSQL_PORT);
        command.extend([
            format!("--listen=127.0.0.1:{port}"),
            "--advertise=127.0.0.1".to_owned(),
            format!("--data-dir={}", data_dir.display()),
            format!("--tablet-port={first}"),
        ]);
        if let Some(capacity) = told.capacity {
            command.push(format!("--capacity={capacity}"));
        }
        if let Some(mysqld) = &told.mysqld {
            command.push(format!("--mysqld={}", mysqld.display()));
        }
        if let Some(bytes) = told.buffer_pool {
            command.push(format!("--buffer-pool={bytes}"));
        }
        let host = HostName::new(&name).map_err(|e| {
            CliError::from_error("bad-name", &e).help("name this host with `--name NAME`")
        })?;
        let since = when::now();
        let started = service::start(self.home, Kind::Agent, &command)?;
        let service = Service {
            kind: Kind::Agent,
            process: started.process.clone(),
            cluster: self.cluster.name().to_owned(),
            cell,
            name,
            told,
            log: started.log.clone(),
        };
        service.write(self.home)?;
        let key = self.cluster.keys().host(&host);
        self.ready(Kind::Agent, started, &key, async |entry| {
            let record: HostRecord = entry.json().ok()?;
            (record.started_at >= since).then_some(())
        })
        .await?;
        Ok((service, true))
    }

    /// The gate, and whether it was started now.
    async fn gate(&self, agent: &Service) -> Result<(Service, bool), CliError> {
        if let Some(running) = self.running(Kind::Gate)? {
            return Ok((running, false));
        }
        let cell = agent.cell.clone();
        let of_spec = || {
            let gates = &self.desired?.gates;
            let gates = gates.iter().find(|(name, _)| name.as_str() == cell)?;
            Some(gates.1.mysql_port)
        };
        let before = self.before(Kind::Gate);
        let told = self.told(before.as_ref());
        let port = told.mysql_port.or_else(of_spec);
        let port = port.unwrap_or(DEFAULT_MYSQL_PORT);
        let http_port = told.http_port.unwrap_or(15001);
        free(port, "--mysql-port")?;
        free(http_port, "--http-port")?;
        let name = format!("{}-{port}", agent.name);
        let mut command = self.command(Kind::Gate, &name, &cell);
        command.extend([
            format!("--mysql-port={port}"),
            format!("--http-port={http_port}"),
        ]);
        let gate = GateName::new(&name).map_err(|e| CliError::from_error("bad-name", &e))?;
        let since = when::now();
        let started = service::start(self.home, Kind::Gate, &command)?;
        let service = Service {
            kind: Kind::Gate,
            process: started.process.clone(),
            cluster: self.cluster.name().to_owned(),
            cell,
            name,
            told,
            log: started.log.clone(),
        };
        service.write(self.home)?;
        let key = self.cluster.keys().gate(&gate);
        self.ready(Kind::Gate, started, &key, async |entry| {
            let record: GateRecord = entry.json().ok()?;
            if record.started_at < since {
                return None;
            }
            let listens = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            listens.is_ok().then_some(())
        })
        .await?;
        Ok((service, true))
    }

    /// What an earlier `up` of this cluster wrote down.
    fn before(&self, kind: Kind) -> Option<Service> {
        Service::recorded(self.home, kind).filter(|s| s.cluster == self.cluster.name())
    }

    /// What was said now, else what was said before.
    fn told(&self, before: Option<&Service>) -> Told {
        let args = self.args;
        let before = before.map(|b| b.told.clone()).unwrap_or_default();
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Told {
            data_dir: args.data_dir.as_ref().map(absolute).or(before.data_dir),
            mysqld: args.mysqld.clone().or(before.mysqld),
            agent_port: args.agent_port.or(before.agent_port),
            tablet_port: args.tablet_port.or(before.tablet_port),
            capacity: args.capacity.or(before.capacity),
            buffer_pool: args.buffer_pool.map(|b| b.0).or(before.buffer_pool),
            mysql_port: args.mysql_port.or(before.mysql_port),
            http_port: args.http_port.or(before.http_port),
        }
    }

    /// Waits until the servers of this host's tablets, which start again after `down`, answer.
    /// Gives the number of those that do not.
    async fn tablets(&self, host: &HostName) -> Result<(usize, usize), CliError> {
        let agents = context::agents(self.cluster).await?;
        let end = Instant::now() + PATIENCE;
        loop {
            let picture = super::status::look(self.cluster, &agents).await?;
            let here = || picture.tablets().filter(|t| t.host == *host);
            let missing = here().filter(|t| !t.state.is_up()).count();
            if missing == 0 || Instant::now() >= end {
                return Ok((here().count(), missing));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The process that runs already; an error if it is another cluster's.
    fn running(&self, kind: Kind) -> Result<Option<Service>, CliError> {
        let Some(running) = Service::running(self.home, kind) else {
            return Ok(None);
        };
        if running.cluster != self.cluster.name() {
            return Err(CliError::new(
                "other-cluster",
                format!(
                    "the {} that runs here (process {}) is of cluster `{}`, not of `{}`",
                    kind.name(),
                    running.process.pid,
                    running.cluster,
                    self.cluster.name()
                ),
            )
            .help("stop that cluster with `vtplan down`, or use another folder"));
        }
        Ok(Some(running))
    }

    fn first_cell(&self) -> Option<String> {
        Some(self.desired?.cells.first()?.to_string())
    }

    fn command(&self, kind: Kind, name: &str, cell: &str) -> Vec<String> {
        let mut command = vec![
            kind.name().to_owned(),
            format!("--state={}", self.global.state),
            format!("--cluster={}", self.cluster.name()),
            format!("--name={name}"),
            format!("--cell={cell}"),
            "--no-color".to_owned(),
        ];
        for _ in 0..self.global.verbose {
            command.push("-v".to_owned());
        }
        command
    }

    /// Waits until the process has registered under `key` to the liking of `check`.
    async fn ready(
        &self,
        kind: Kind,
        mut started: Started,
        key: &str,
        check: impl AsyncFn(Entry) -> Option<()>,
    ) -> Result<(), CliError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let entry = self.cluster.store().get(key).await;
            if let Some(entry) = entry.map_err(|e| context::store_error(&e))?
                && check(entry).await.is_some()
            {
                return Ok(());
            }
            let ended = started.ended();
            let what = match &ended {
                Some(how) => format!("the {} ended at its start ({how})", kind.name()),
                None if Instant::now() >= end => {
                    started.process.signal(Signal::SIGTERM);
                    format!(
                        "the {} was not ready within {} s and was stopped",
                        kind.name(),
                        PATIENCE.as_secs()
                    )
                }
                None => {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    continue;
                }
            };
            let lines = started.last_lines(15);
            let error = CliError::new("not-started", what);
            let error = if lines.is_empty() {
                error
            } else {
                error.details(format!("its log ends with:\n{}", indented(&lines)))
            };
            return Err(error.help(format!("the whole log is `{}`", started.log.display())));
        }
    }
}

fn indented(lines: &str) -> String {
    lines.lines().map(|l| format!("    {l}\n")).collect()
}

/// Refuses a port that something else listens on.
fn free(port: u16, flag: &str) -> Result<(), CliError> {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(e) => Err(CliError::new(
            "port-taken",
            format!("port {port} on 127.0.0.1 cannot be used"),
        )
        .because(&e)
        .help(format!("choose another one with `{flag} PORT`"))),
    }
}
