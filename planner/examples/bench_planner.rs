//! How long planning takes, and how much memory, for a large cluster: 100 keyspaces of 100 shards
//! with 10 tablets each, in two cells of 500 hosts. Run by `make bench`, in a release build.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::time::Instant;

use vtplan_planner::desired::{
    ChangePolicy, Desired, DesiredKeyspace, DesiredTable, DesiredTablets, OnRemove,
};
use vtplan_planner::document::{Against, Document};
use vtplan_planner::live::Live;
use vtplan_planner::{make_plan, simulate};
use vtplan_state::model::{
    CellName, Durability, FlavorKind, HostName, HostRecord, KeyspaceName, ShardName, TableName,
    TabletType, VSchemaKeyspace,
};

const KEYSPACES: u32 = 100;
const SHARDS: u32 = 100;
const HOSTS: u32 = 1000;
const TABLES: u32 = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let desired = desired()?;
    let mut live = hosts()?;
    println!(
        "{KEYSPACES} keyspaces of {SHARDS} shards, {} tablets, {HOSTS} hosts, {} tables",
        KEYSPACES * SHARDS * 10,
        KEYSPACES * SHARDS * TABLES
    );

    let start = Instant::now();
    let plan = make_plan(&desired, &live).map_err(|errors| format!("{errors:?}"))?;
    println!(
        "first plan:     {:6} ms, {} steps, peak RSS so far {} MiB",
        start.elapsed().as_millis(),
        plan.steps.len(),
        peak_rss_mib()
    );

    let start = Instant::now();
    let before = peak_rss_mib();
    let mut written = Counted(0);
    let document = Document {
        plan: &plan,
        against: Against::Live,
        workload: None,
    };
    serde_json::to_writer_pretty(BufWriter::new(&mut written), &document)?;
    println!(
        "its JSON:       {:6} ms, {} MiB written, {} MiB of memory for it",
        start.elapsed().as_millis(),
        written.0 >> 20,
        peak_rss_mib() - before
    );

    simulate::apply_all(&mut live, &plan.steps);
    drop(plan);
    let start = Instant::now();
    let plan = make_plan(&desired, &live).map_err(|errors| format!("{errors:?}"))?;
    println!(
        "no-change plan: {:6} ms, {} steps",
        start.elapsed().as_millis(),
        plan.steps.len()
    );
    println!(
        "peak RSS, both states and plans included: {} MiB",
        peak_rss_mib()
    );
    Ok(())
}

/// Takes everything and counts it.
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cells() -> Result<[CellName; 2], vtplan_state::model::NameError> {
    Ok([CellName::new("zone1")?, CellName::new("zone2")?])
}

fn desired() -> Result<Desired, Box<dyn std::error::Error>> {
    let mut keyspaces = BTreeMap::new();
    for index in 0..KEYSPACES {
        let tablets = |cell: &CellName, tablet_type, count| DesiredTablets {
            cell: cell.clone(),
            tablet_type,
            count,
            pin: None,
            adopt: None,
        };
        let [one, two] = cells()?;
        let mut tables = BTreeMap::new();
        for table in 0..TABLES {
            let statement = format!(
                "CREATE TABLE t{table} (id bigint NOT NULL, v varchar(100), PRIMARY KEY (id))"
            );
            let table = DesiredTable {
                statement,
                on_remove: OnRemove::Keep,
            };
            tables.insert(TableName::new(format!("t{}", tables.len()))?, table);
        }
        let keyspace = DesiredKeyspace {
            shards: ShardName::even_split(SHARDS),
            durability: Durability::SemiSync,
            tablets: vec![
                tablets(&one, TabletType::Replica, 4),
                tablets(&one, TabletType::Rdonly, 1),
                tablets(&two, TabletType::Replica, 4),
                tablets(&two, TabletType::Rdonly, 1),
            ],
            tables,
            vschema: VSchemaKeyspace {
                sharded: true,
                ..Default::default()
            },
            on_remove: OnRemove::Keep,
        };
        keyspaces.insert(KeyspaceName::new(format!("keyspace{index:03}"))?, keyspace);
    }
    Ok(Desired {
        cluster: "large".to_owned(),
        cells: cells()?.to_vec(),
        keyspaces,
        changes: ChangePolicy::default(),
        drift: Default::default(),
        backups: None,
        gates: BTreeMap::new(),
        users: BTreeMap::new(),
        policy: Default::default(),
    })
}

fn hosts() -> Result<Live, Box<dyn std::error::Error>> {
    let mut live = Live::default();
    let cells = cells()?;
    for index in 0..HOSTS {
        let name = HostName::new(format!("host{index:04}"))?;
        let host = HostRecord {
            name: name.clone(),
            cell: cells[index as usize % 2].clone(),
            address: format!("10.0.{}.{}", index / 250, index % 250),
            agent_url: String::new(),
            capacity: 120,
            first_mysql_port: 17_100,
            flavor: FlavorKind::MariaDb,
            server_version: "10.11.6".to_owned(),
            version: "0.1.0".to_owned(),
            started_at: 0,
            tablets_dir: "/var/lib/vtplan".to_owned(),
        };
        live.records.hosts.insert(name, host);
    }
    Ok(live)
}

/// The most memory that this process had, MiB; 0 where the system does not tell.
fn peak_rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
