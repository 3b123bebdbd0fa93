//! The figures of data moves, each beside what it is compared with, in one run: `make bench`.
//!
//! `bench_moves [ROWS]` (default 2,000,000): a sysbench table is split 1→2. Needs `sysbench`,
//! `mariadb-dump` (or `mysqldump`) and `mariadb` (or `mysql`). `PARTS` names what is measured beside
//! the copy, all by default: `PARTS="dump infile vdiff follow long switches"`. `BUFFER_POOL` (512M):
//! of each server. What it starts ends with it, also with Ctrl-C.

mod following;
mod load;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{KeyspaceName, Records, ShardName};
use vtplan_state::store::{self, OpenMode};
use vtplan_tests::lab::Lab;
use vtplan_tests::servers::Server;

use report::{Report, forget_peak, peak, processor_times};

/// As sysbench makes it, so that its table is the spec's.
const SCHEMA: &str = "create table sbtest1 (
    id int not null,
    k int not null default 0,
    c char(120) not null default '',
    pad char(60) not null default '',
    primary key (id),
    key k_1 (k)
);
";
const PARTS: [&str; 6] = ["dump", "infile", "vdiff", "follow", "long", "switches"];
/// What a stream may take, MiB.
const MEMORY_LIMIT: &str = "256 MiB";
const SHARDS: [&str; 2] = ["-80", "80-"];

#[tokio::main]
async fn main() -> ExitCode {
    let rows: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse().expect("ROWS is a number"),
        None => 2_000_000,
    };
    let parts = std::env::var("PARTS").unwrap_or_else(|_| PARTS.join(" "));
    let parts: Vec<String> = parts.split_whitespace().map(str::to_owned).collect();
    for part in &parts {
        assert!(PARTS.contains(&part.as_str()), "PARTS are {PARTS:?}");
    }
    let interrupted = async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .expect("a signal's handler");
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::select! {
        () = measure(rows, parts) => ExitCode::SUCCESS,
        () = interrupted => {
            eprintln!("interrupted: what was started is ended");
            ExitCode::FAILURE
        }
    }
}

async fn measure(rows: u64, parts: Vec<String>) {
    let mut bench = Bench::new(rows).await;
    let wanted = |part: &str| parts.iter().any(|p| p == part);
    bench.load().await;
    let dump = match wanted("dump") {
        true => bench.dump_and_load().await,
        false => None,
    };
    let infile = match wanted("infile") {
        true => Some(bench.load_data().await),
        false => None,
    };
    bench.copy(dump, infile).await;
    for part in &PARTS[2..] {
        if !wanted(part) {
            bench.report.not_measured(part, "left out by PARTS");
            continue;
        }
        match *part {
            "vdiff" => bench.vdiff().await,
            "follow" => bench.follow().await,
            "long" => bench.long_transaction().await,
            _ => bench.switches(20).await,
        }
    }
    bench.report.print();
}

struct Bench {
    rows: u64,
    lab: Lab,
    cluster: Cluster,
    admin: (String, String),
    report: Report,
    /// Ids from here on are not in use.
    next_id: u64,
}

/// The first that is installed.
fn program(names: &[&str]) -> Option<String> {
    let is_there = |name: &&&str| {
        let found = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        found.is_ok_and(|status| status.success())
    };
    names.iter().find(is_there).map(ToString::to_string)
}

fn spec(lab: &Lab, name: &str, shards: &str) -> String {
    let schema = lab.write("sbtest.sql", SCHEMA);
    let tablets = "durability: none\n    tablets: { zone1: { replica: 1 } }";
    lab.write(
        name,
        &format!(
            "vtplan: 1
cluster: bench
cells: [zone1]
users: {{ app: {{ password_env: VTPLAN_APP_PASSWORD }} }}
gates: {{ zone1: {{ count: 1 }} }}
changes: {{ vdiff: skip, max_write_pause: 5s, approve: [switch_reads, complete] }}
keyspaces:
  sbtest:
    shards: [{shards}]
    sharded: true
    {tablets}
    schema: {schema}
    vindexes: {{ xxhash: {{ type: xxhash }} }}
    tables: {{ sbtest1: {{ vindexes: [{{ column: id, name: xxhash }}] }} }}
  other:
    {tablets}
"
        ),
    )
}

impl Bench {
    async fn new(rows: u64) -> Bench {
        let mut lab = Lab::new("bench", Server::MariaDb);
        let buffer_pool = std::env::var("BUFFER_POOL").unwrap_or_else(|_| "512M".to_owned());
        lab.agent_args = vec!["--buffer-pool".to_owned(), buffer_pool];
        lab.start_agent("host1", "zone1");
        let begin = spec(&lab, "begin.yaml", "0");
        lab.run(&["apply", &begin, "--auto-approve"]).expect(0);
        lab.start_gate("zone1");
        let store = store::open(&lab.state_url(), OpenMode::MustExist)
            .await
            .expect("the store");
        let cluster = Cluster::open(store, "bench")
            .await
            .expect("readable")
            .expect("a cluster");
        let credentials = cluster
            .credentials()
            .await
            .expect("readable")
            .expect("accounts");
        Bench {
            rows,
            lab,
            cluster,
            admin: (credentials.admin_user, credentials.admin_password),
            report: Report::default(),
            next_id: rows + 1_000_000,
        }
    }

    async fn records(&self) -> Records {
        self.cluster.load_records().await.expect("the records")
    }

    async fn port(&self, keyspace: &str, shard: &str) -> u16 {
        let records = self.records().await;
        let keyspace: KeyspaceName = keyspace.parse().expect("a name");
        let shard: ShardName = shard.parse().expect("a shard");
        let record = records.shard(&keyspace, &shard).expect("the shard");
        let primary = record.primary.as_ref().expect("a primary");
        records.tablets[primary].mysql_port
    }

    async fn connect(&self, keyspace: &str, shard: &str) -> Conn {
        let port = self.port(keyspace, shard).await;
        let opts: Opts = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(port)
            .user(Some(self.admin.0.clone()))
            .pass(Some(self.admin.1.clone()))
            .db_name(Some(keyspace))
            .prefer_socket(false)
            .into();
        Conn::new(opts).await.expect("the server answers")
    }

    /// Options of the stock clients for a server, as a line for a shell; the password is in the environment.
    async fn client_options(&self, keyspace: &str) -> String {
        let port = self.port(keyspace, "0").await;
        format!(
            "--no-defaults --host=127.0.0.1 --port={port} --user={}",
            self.admin.0
        )
    }

    fn shell(&self, line: &str) -> Duration {
        let begun = Instant::now();
        let status = Command::new("bash")
            .args(["-o", "pipefail", "-c", line])
            .env("MYSQL_PWD", &self.admin.1)
            .stdout(Stdio::null())
            .status()
            .expect("bash");
        assert!(status.success(), "{line}");
        begun.elapsed()
    }

    /// How sysbench is told of the source.
    async fn sysbench(&self, script: &str, more: &str, command: &str) -> String {
        let port = self.port("sbtest", "0").await;
        format!(
            "sysbench {script} --mysql-host=127.0.0.1 --mysql-port={port} --mysql-user={} \
             --mysql-password=\"$MYSQL_PWD\" --mysql-db=sbtest --tables=1 --table-size={} \
             --auto-inc=off {more} {command}",
            self.admin.0, self.rows
        )
    }

    async fn load(&self) {
        let mut conn = self.connect("sbtest", "0").await;
        conn.query_drop("drop table sbtest1").await.expect("drop");
        drop(conn);
        let took = self.shell(&self.sysbench("oltp_common", "", "prepare").await);
        let mut conn = self.connect("sbtest", "0").await;
        conn.query_drop("analyze table sbtest1")
            .await
            .expect("analyze");
        println!("    sysbench has made {} rows in {took:.0?}", self.rows);
    }

    async fn dump_and_load(&mut self) -> Option<Duration> {
        let (Some(dump), Some(client)) = (
            program(&["mariadb-dump", "mysqldump"]),
            program(&["mariadb", "mysql"]),
        ) else {
            let why = "no mariadb-dump or mariadb (mysqldump, mysql) is installed";
            self.report.not_measured("dump and load", why);
            return None;
        };
        let (from, to) = (
            self.client_options("sbtest").await,
            self.client_options("other").await,
        );
        let took = self.shell(&format!(
            "{dump} {from} --single-transaction sbtest sbtest1 | {client} {to} other"
        ));
        println!(
            "    {dump} --single-transaction | {client}: {:.1} s",
            took.as_secs_f64()
        );
        Some(took)
    }

    async fn load_data(&self) -> Duration {
        let file: PathBuf = self.lab.dir().join("rows.txt");
        let mut conn = self.connect("sbtest", "0").await;
        let query = format!("select * from sbtest1 into outfile '{}'", file.display());
        conn.query_drop(query).await.expect("outfile");
        let create: Option<(String, String)> = conn
            .query_first("show create table sbtest1")
            .await
            .expect("the definition");
        let mut conn = self.connect("other", "0").await;
        for statement in ["drop table if exists sbtest1", &create.expect("a table").1] {
            conn.query_drop(statement).await.expect("an empty table");
        }
        let begun = Instant::now();
        let query = format!("load data infile '{}' into table sbtest1", file.display());
        conn.query_drop(query).await.expect("load data");
        let took = begun.elapsed();
        println!("    load data infile: {:.1} s", took.as_secs_f64());
        let _ = std::fs::remove_file(file);
        took
    }

    /// The agent, the gate and the servers, by name.
    fn processes(&self) -> BTreeMap<String, i32> {
        let mut pids = self.lab.mysqld_pids();
        pids.insert("agent".to_owned(), self.agent());
        pids
    }

    fn agent(&self) -> i32 {
        self.lab.agents["host1"].pid()
    }

    /// Tells the agent's peak since `forget_peak`, during something.
    fn memory(&mut self, during: &str) {
        let what = format!("agent's memory, {during}");
        match peak(self.agent()) {
            Some(mib) => (self.report).figure(&what, format!("{mib} MiB"), "", MEMORY_LIMIT),
            None => self.report.not_measured(&what, "no /proc here"),
        }
    }

    /// Tells what processor time was used since `before`.
    fn processors(&mut self, during: &str, before: &BTreeMap<String, f64>, took: Duration) {
        let now = processor_times(&self.processes());
        let used = now.iter().filter_map(|(name, now)| {
            let used = now - before.get(name).copied().unwrap_or(0.0);
            (used > 0.2).then(|| format!("{name} {used:.1}"))
        });
        let used: Vec<String> = used.collect();
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        self.report.note(format!(
            "{during}: processor seconds in {:.1} s on {processors} processors: {}",
            took.as_secs_f64(),
            used.join(", ")
        ));
    }

    /// Rows that a server has read one after the other since it began.
    async fn rows_read(conn: &mut Conn) -> u64 {
        let counters: Vec<(String, u64)> = conn
            .query("show global status where variable_name in ('Handler_read_next', 'Handler_read_rnd_next')")
            .await
            .expect("status");
        counters.iter().map(|(_, value)| value).sum()
    }

    async fn copy(&mut self, dump: Option<Duration>, infile: Option<Duration>) {
        let mut other = self.connect("other", "0").await;
        other
            .query_drop("drop table if exists sbtest1")
            .await
            .expect("drop");
        let mut source = self.connect("sbtest", "0").await;
        let read = Self::rows_read(&mut source).await;
        forget_peak(self.agent());
        let used = processor_times(&self.processes());
        let split = spec(&self.lab, "split.yaml", "-80, 80-");
        let mut apply = self.lab.start(
            "apply",
            &["apply", &split, "--auto-approve", "--approve-destructive"],
        );
        let begun = self
            .wait(|records| records.all_workflows().next().map(|_| Instant::now()))
            .await;
        let ended = self
            .wait(|records| {
                let workflow = records.all_workflows().next();
                workflow.filter(|w| w.copied).map(|_| Instant::now())
            })
            .await;
        let took = ended - begun;
        let read = Self::rows_read(&mut source).await - read;
        match dump {
            Some(dump) => {
                let other = ("dump and load into one server", dump);
                self.report.beside("copy 1→2", took, other, "0.50");
            }
            None => self.report.not_measured("dump and load", "left out"),
        }
        match infile {
            Some(infile) => {
                let other = ("LOAD DATA INFILE into one server", infile);
                self.report.beside("copy 1→2", took, other, "");
            }
            None => self.report.not_measured("LOAD DATA", "left out by PARTS"),
        }
        let each = format!("{:.3} times", read as f64 / self.rows as f64);
        let counters = format!("Handler counters of the source: {read}");
        (self.report).figure("each row is read", each, &counters, "once");
        self.processors("copy", &used, took);
        self.memory("copy");
        apply.wait(Duration::from_secs(60));
    }

    async fn wait<T>(&self, mut check: impl FnMut(&Records) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(900);
        loop {
            if let Some(value) = check(&self.records().await) {
                return value;
            }
            assert!(
                Instant::now() < end,
                "not within 15 minutes\n{}",
                self.lab.report()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
