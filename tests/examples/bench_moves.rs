//! The figures of data moves, each beside what it is compared with, in one run: `make bench`.
//!
//! `bench_moves [ROWS]` (default 2,000,000): a sysbench table is split 1→2. Needs `sysbench`,
//! `mariadb-dump` (or `mysqldump`) and `mariadb` (or `mysql`).

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Pool};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{KeyspaceName, Records, ShardName};
use vtplan_state::store::{self, OpenMode};
use vtplan_tests::lab::Lab;
use vtplan_tests::servers::Server;

const SCHEMA: &str = "create table sbtest1 (
    id bigint not null primary key,
    k int not null default 0,
    c char(120) not null default '',
    pad char(60) not null default '',
    key k_1 (k)
);
";

#[tokio::main]
async fn main() {
    let rows: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse().expect("ROWS is a number"),
        None => 2_000_000,
    };
    let mut bench = Bench::new(rows).await;
    bench.load().await;
    let dump = bench.dump_and_load().await;
    let infile = bench.load_data().await;
    bench.copy(dump, infile).await;
    bench.vdiff().await;
    bench.follow().await;
    bench.switches(20).await;
    bench.memory();
}

struct Bench {
    rows: u64,
    lab: Lab,
    cluster: Cluster,
    admin: (String, String),
}

/// The first that is installed.
fn program(names: &[&str]) -> String {
    let is_there = |name: &&&str| {
        let found = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        found.is_ok_and(|status| status.success())
    };
    let found = names.iter().find(is_there);
    found
        .unwrap_or_else(|| panic!("none of {names:?} is installed"))
        .to_string()
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

    /// Rows as sysbench makes them, with numbers of all sizes.
    async fn load(&self) {
        let port = self.port("sbtest", "0").await;
        let mut conn = self.connect("sbtest", "0").await;
        conn.query_drop("drop table sbtest1").await.expect("drop");
        drop(conn);
        self.shell(&format!(
            "sysbench oltp_common --mysql-host=127.0.0.1 --mysql-port={port} --mysql-user={} --mysql-password=\"$MYSQL_PWD\" \
             --mysql-db=sbtest --tables=1 --table-size={} --auto-inc=off prepare",
            self.admin.0, self.rows
        ));
        let mut conn = self.connect("sbtest", "0").await;
        conn.query_drop("alter table sbtest1 modify id bigint not null, modify k int not null default 0, \
             modify c char(120) character set utf8mb4 not null default '', modify pad char(60) character set utf8mb4 not null default '', \
             convert to character set utf8mb4").await.expect("alter");
        conn.query_drop("analyze table sbtest1")
            .await
            .expect("analyze");
    }

    async fn dump_and_load(&self) -> Duration {
        let dump = program(&["mariadb-dump", "mysqldump"]);
        let client = program(&["mariadb", "mysql"]);
        let (from, to) = (
            self.client_options("sbtest").await,
            self.client_options("other").await,
        );
        let took = self.shell(&format!(
            "{dump} {from} --single-transaction sbtest sbtest1 | {client} {to} other"
        ));
        println!(
            "{dump} --single-transaction | {client}: {:.1} s",
            took.as_secs_f64()
        );
        took
    }

    async fn load_data(&self) -> Duration {
        let file: PathBuf = self.lab.dir().join("rows.txt");
        let mut conn = self.connect("sbtest", "0").await;
        let query = format!("select * from sbtest1 into outfile '{}'", file.display());
        conn.query_drop(query).await.expect("outfile");
        let mut conn = self.connect("other", "0").await;
        conn.query_drop("truncate table sbtest1")
            .await
            .expect("truncate");
        let begun = Instant::now();
        let query = format!("load data infile '{}' into table sbtest1", file.display());
        conn.query_drop(query).await.expect("load data");
        let took = begun.elapsed();
        println!("load data infile: {:.1} s", took.as_secs_f64());
        let _ = std::fs::remove_file(file);
        took
    }

    async fn copy(&mut self, dump: Duration, infile: Duration) {
        let mut source = self.connect("sbtest", "0").await;
        source
            .query_drop("flush status")
            .await
            .expect("flush status");
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
                records
                    .all_workflows()
                    .next()
                    .filter(|w| w.copied)
                    .map(|_| Instant::now())
            })
            .await;
        apply.wait(Duration::from_secs(60));
        let took = ended - begun;
        let mut handler = 0u64;
        let counters: Vec<(String, u64)> = source
            .query("show global status where variable_name in ('Handler_read_next', 'Handler_read_rnd_next', 'Handler_read_key')")
            .await
            .expect("status");
        for (name, value) in &counters {
            if name != "Handler_read_key" {
                handler += value;
            }
        }
        println!(
            "copy 1→2 of {} rows: {:.1} s; {:.2} of dump and load (limit 0.5), {:.2} of load data; rows read at the source: {handler} ({:.2} each)",
            self.rows,
            took.as_secs_f64(),
            took.as_secs_f64() / dump.as_secs_f64(),
            took.as_secs_f64() / infile.as_secs_f64(),
            handler as f64 / self.rows as f64
        );
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

    async fn vdiff(&self) {
        let mut checksums = Duration::ZERO;
        for shard in ["0", "-80", "80-"] {
            let mut conn = self.connect("sbtest", shard).await;
            let begun = Instant::now();
            conn.query_drop("checksum table sbtest1")
                .await
                .expect("checksum");
            checksums += begun.elapsed();
        }
        let begun = Instant::now();
        self.lab
            .run(&["workflow", "vdiff", "sbtest.sbte2sbte"])
            .expect(0);
        let took = begun.elapsed();
        println!(
            "VDiff: {:.1} s; CHECKSUM TABLE on both sides: {:.1} s; {:.2} of it (limit 1.5)",
            took.as_secs_f64(),
            checksums.as_secs_f64(),
            took.as_secs_f64() / checksums.as_secs_f64()
        );
    }

    /// One connection writes to the source as fast as it can; then the time until the targets have it.
    async fn follow(&self) {
        let mut source = self.connect("sbtest", "0").await;
        let time = Duration::from_secs(10);
        let begun = Instant::now();
        let mut written = 0u64;
        while begun.elapsed() < time {
            let id = written.wrapping_mul(7919) % self.rows + 1;
            source
                .query_drop(format!(
                    "update sbtest1 set k = k + 1, pad = '{written}' where id = {id}"
                ))
                .await
                .expect("update");
            written += 1;
        }
        let last = self.rows + 1_000_000;
        source
            .query_drop(format!(
                "insert into sbtest1 (id, k) values ({last}, 1), ({}, 1), ({}, 1), ({}, 1)",
                last + 1,
                last + 2,
                last + 3
            ))
            .await
            .expect("insert");
        let begun = Instant::now();
        let mut found = 0u64;
        while found < 4 {
            found = 0;
            for shard in ["-80", "80-"] {
                let mut conn = self.connect("sbtest", shard).await;
                let count: Option<u64> = conn
                    .query_first(format!("select count(*) from sbtest1 where id >= {last}"))
                    .await
                    .expect("count");
                found += count.unwrap_or(0);
            }
            assert!(
                begun.elapsed() < Duration::from_secs(300),
                "the streams do not catch up"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!(
            "follow: {:.0} updates/s by one connection for {} s, the targets were {:.2} s behind at the end",
            written as f64 / time.as_secs_f64(),
            time.as_secs(),
            begun.elapsed().as_secs_f64()
        );
    }

    async fn switches(&self, count: usize) {
        let split = self.lab.dir().join("split.yaml").display().to_string();
        self.lab
            .run(&[
                "apply",
                &split,
                "--auto-approve",
                "--approve-destructive",
                "--approve",
                "switch_reads",
            ])
            .expect(3);
        let pool = self.lab.client("zone1", "sbtest");
        let load = Load::start(&pool, 8, self.rows);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut pauses = Vec::new();
        for number in 0..count {
            let verb = if number % 2 == 0 { "reverse" } else { "switch" };
            load.longest.store(0, Ordering::Relaxed);
            self.lab
                .run(&["workflow", verb, "sbtest.sbte2sbte", "--auto-approve"])
                .expect(0);
            tokio::time::sleep(Duration::from_millis(300)).await;
            pauses.push(load.longest.load(Ordering::Relaxed));
        }
        let (statements, failures) = load.finish().await;
        pauses.sort_unstable();
        println!(
            "switch of writes, {count} times under 8 writing clients: the longest statement took {} ms in the middle, {} ms at worst (limit 500); {statements} statements, {} failed",
            pauses[pauses.len() / 2] / 1000,
            pauses[pauses.len() - 1] / 1000,
            failures.len()
        );
        for failure in failures.iter().take(5) {
            println!("  {failure}");
        }
        let _ = pool.disconnect().await;
    }

    fn memory(&self) {
        let pid = self.lab.agents["host1"].pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        println!(
            "the agent's memory at its peak: {}",
            peak.unwrap_or("unknown").trim()
        );
    }
}

/// Clients that write through the gate, and the longest time that a statement took.
struct Load {
    stop: Arc<AtomicBool>,
    longest: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<(u64, Vec<String>)>>,
}

impl Load {
    fn start(pool: &Pool, clients: u64, rows: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let longest = Arc::new(AtomicU64::new(0));
        let clients = (0..clients)
            .map(|number| {
                let (pool, stop, longest) = (pool.clone(), stop.clone(), longest.clone());
                tokio::spawn(async move {
                    let mut conn = pool.get_conn().await.expect("the gate");
                    let (mut done, mut failures) = (0u64, Vec::new());
                    while !stop.load(Ordering::Relaxed) {
                        let id = (done * 104_729 + number * 7919) % rows + 1;
                        let begun = Instant::now();
                        let result = conn
                            .exec_drop("update sbtest1 set k = k + 1 where id = ?", (id,))
                            .await;
                        longest.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                        if let Err(error) = result {
                            failures.push(error.to_string());
                        }
                        done += 1;
                    }
                    (done, failures)
                })
            })
            .collect();
        Load {
            stop,
            longest,
            clients,
        }
    }

    async fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut done, mut failures) = (0, Vec::new());
        for client in self.clients {
            let (more, failed) = client.await.expect("a client panicked");
            done += more;
            failures.extend(failed);
        }
        (done, failures)
    }
}
