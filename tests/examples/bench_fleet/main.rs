//! `bench_fleet VTPLAN`: how long the commands take, and how much memory, over a cluster of 100 keyspaces,
//! 10,000 shards and 100,000 tablets on 1,010 hosts. The records are in a SQLite store; the agents are
//! simulated, in this process, and answer over gRPC as those of healthy hosts would. Part of `make bench`.

mod measure;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures::stream::{self, StreamExt as _};
use vtplan_agent::client::{AgentClients, Timeouts};
use vtplan_planner::live::Live;
use vtplan_planner::seen::Deviation;
use vtplan_planner::spec::{self, ProcessSecrets};
use vtplan_state::model::{CellName, HostName, HostRecord};
use vtplan_state::store::{OpenMode, open};
use vtplan_tests::fake_agent::{Answers, FakeAgent, Manner};
use vtplan_tests::fleet;

use measure::Runs;

const KEYSPACES: usize = 100;
const SHARDS: usize = 100;
const HOSTS: usize = 1010;
/// Of the hosts that do not answer, half refuse connections and half accept them and say nothing.
const ILL: usize = 10;
type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [vtplan] = args.as_slice() else {
        return Err("usage: bench_fleet VTPLAN".into());
    };
    let folder = tempfile::tempdir()?;
    let dir = folder.path();
    let spec = write_spec(dir, "fleet.yaml", 4, 5)?;
    // One replica and one table more for each shard.
    let changed = write_spec(dir, "changed.yaml", 5, 6)?;
    let desired = spec::load(std::slice::from_ref(&spec), &ProcessSecrets)
        .map_err(|errors| format!("{errors:?}"))?
        .desired;
    let cells = [CellName::new("zone1")?, CellName::new("zone2")?];
    let hosts = (0..HOSTS).map(|n| fleet::host(&format!("host{n:04}"), &cells[n % 2], 120));
    let live = fleet::applied(&desired, hosts);
    println!(
        "{KEYSPACES} keyspaces, {} shards, {} tablets, {HOSTS} hosts",
        live.records.shards.len(),
        live.records.tablets.len()
    );

    let all = Fleet::start(dir, "all", &live, Ill::None).await?;
    let ill = Fleet::start(dir, "ill", &live, Ill::Hosts).await?;
    let mut deviating = live.clone();
    for tablet in deviating.observed.tablets.values_mut().step_by(10) {
        tablet.deviations.push(Deviation::Variable {
            name: "sync_binlog".to_owned(),
            expected: "1".to_owned(),
            found: "0".to_owned(),
            needs_restart: false,
        });
    }
    let drifted = Fleet::start(dir, "drifted", &deviating, Ill::None).await?;

    let mut runs = Runs::new(vtplan, dir);
    all.beside(&mut runs).await?;
    let (spec, changed) = (path(&spec), path(&changed));
    runs.run("plan, no change", &all.state, &["plan", &spec])?;
    runs.run("plan, every shard", &all.state, &["plan", &changed])?;
    let json = ["plan", changed.as_str(), "--format", "json"];
    runs.run("the same as JSON", &all.state, &json)?;
    runs.run("drift, none", &all.state, &["drift", &spec])?;
    runs.run("drift of 10,000 tablets", &drifted.state, &["drift", &spec])?;
    let json = ["drift", spec.as_str(), "--format", "json"];
    runs.run("the same as JSON", &drifted.state, &json)?;
    runs.run("drift, 10 hosts ill", &ill.state, &["drift", &spec])?;
    runs.run("plan, 10 hosts ill", &ill.state, &["plan", &spec])?;
    Ok(())
}

/// The spec, with so many replicas of each shard in the first cell.
fn write_spec(dir: &Path, name: &str, replicas: u32, tables: u32) -> Result<PathBuf, Error> {
    let mut text = "vtplan: 1\ncluster: fleet\ncells: [zone1, zone2]\nkeyspaces:\n".to_owned();
    for keyspace in 0..KEYSPACES {
        text += &format!(
            "  keyspace{keyspace:03}:\n    shards: {SHARDS}\n    durability: none\n    tablets:\n      \
             zone1: {{ replica: {replicas}, rdonly: 1 }}\n      zone2: {{ replica: 4, rdonly: 1 }}\n    \
             schema: {name}.sql\n    vindexes:\n      xxhash: {{ type: xxhash }}\n    tables:\n"
        );
        for table in 0..tables {
            text += &format!("      t{table}: {{ vindexes: [{{ name: xxhash, column: id }}] }}\n");
        }
    }
    let mut sql = String::new();
    for table in 0..tables {
        sql += &format!(
            "CREATE TABLE t{table} (id bigint NOT NULL, v varchar(100), PRIMARY KEY (id));\n"
        );
    }
    fs::write(dir.join(format!("{name}.sql")), sql)?;
    let path = dir.join(name);
    fs::write(&path, text)?;
    Ok(path)
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Which hosts do not answer.
#[derive(Clone, Copy, PartialEq)]
enum Ill {
    None,
    Hosts,
}

/// A store and its agents.
struct Fleet {
    state: String,
    hosts: Vec<HostRecord>,
    token: String,
    // They answer as long as they are held.
    _agents: Vec<FakeAgent>,
}

impl Fleet {
    async fn start(dir: &Path, name: &str, live: &Live, ill: Ill) -> Result<Self, Error> {
        let file = dir.join(format!("{name}.db"));
        let mut records = live.records.clone();
        records.hosts = BTreeMap::new();
        let token = fleet::write(&file, "fleet", &records).await?;
        let mut answers = Answers::of(live);
        let mut agents = Vec::new();
        for (number, (host, record)) in live.records.hosts.iter().enumerate() {
            let mut record = record.clone();
            let of_host = answers.remove(host).unwrap_or_default();
            let manner = match (ill, number % (HOSTS / ILL), number % 2) {
                (Ill::Hosts, 0, 0) => {
                    // Nobody listens any more once it is dropped.
                    let gone = TcpListener::bind("127.0.0.1:0")?;
                    record.agent_url = format!("http://{}", gone.local_addr()?);
                    None
                }
                (Ill::Hosts, 0, _) => Some(Manner::Mute),
                _ => Some(Manner::Healthy),
            };
            if let Some(manner) = manner {
                let agent = FakeAgent::start(manner, of_host, &token).await?;
                record.agent_url = agent.url();
                agents.push(agent);
            }
            records.hosts.insert(HostName::new(host.as_str())?, record);
        }
        let hosts = vtplan_state::model::Records {
            hosts: records.hosts,
            ..Default::default()
        };
        fleet::write(&file, "fleet", &hosts).await?;
        Ok(Self {
            state: format!("sqlite:{}", file.display()),
            hosts: hosts.hosts.into_values().collect(),
            token,
            _agents: agents,
        })
    }

    /// What no command can be faster than: reading the rows, and asking the agents.
    async fn beside(&self, runs: &mut Runs) -> Result<(), Error> {
        let start = Instant::now();
        let store = open(&self.state, OpenMode::MustExist).await?;
        let listing = store.list("/vtplan/fleet/").await?;
        runs.beside("reading the records, not decoded", start.elapsed());
        drop(listing);
        let clients = AgentClients::new(Timeouts::default(), self.token.as_str());
        let start = Instant::now();
        let calls = self.hosts.iter().map(|host| {
            let agent = clients.of(host);
            async move { agent.observe(true, true).await.map(|t| t.tablets.len()) }
        });
        let calls: Vec<_> = calls.collect();
        let answers: Vec<_> = stream::iter(calls).buffer_unordered(64).collect().await;
        let mut tablets = 0;
        for answer in answers {
            tablets += answer?;
        }
        runs.beside("asking the agents once, decoded", start.elapsed());
        assert!(tablets > 0, "agents answer");
        Ok(())
    }
}
