//! Each part of a cluster is killed at each phase of a switch of writes. The application may see
//! failed statements then, but no write that was acknowledged is lost, no two servers take writes for
//! one row, and the next command (or nobody's) brings the switch to one of its two ends.
//!
//! By default a diagonal of the matrix is run, which has each phase and each victim;
//! `VTPLAN_FAULTS=all` runs all of it (some minutes).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mysql_async::OptsBuilder;
use mysql_async::prelude::Queryable;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{Records, ShardName, Side};
use vtplan_state::store::{self, OpenMode};
use vtplan_tests::Proc;
use vtplan_tests::lab::{Lab, PATIENCE};
use vtplan_tests::prober::{PROBE_ID, PROBE_OWNER, Prober};
use vtplan_tests::process::kill9;
use vtplan_tests::servers::{Server, skip};
use vtplan_tests::writer::{Habits, TABLE, Writer, read_all};

/// The moments of a switch, in their order (see the conductor's failpoints).
const PHASES: [&str; 9] = [
    "holding",
    "draining",
    "fencing",
    "fenced",
    "before-flip",
    "flipped",
    "acked",
    "opened",
    "released",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Conductor,
    OtherAgent,
    Gate,
    CommandLine,
    SourcePrimary,
    TargetPrimary,
    Store,
}

const VICTIMS: [Victim; 7] = [
    Victim::Conductor,
    Victim::OtherAgent,
    Victim::Gate,
    Victim::CommandLine,
    Victim::SourcePrimary,
    Victim::TargetPrimary,
    Victim::Store,
];

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// `kill -9`, and started again where nobody else does it.
    Killed,
    /// Cut off from everybody (SIGSTOP) for longer than leases live, then healed: it goes on where it
    /// was, as one does whose network was gone.
    CutOff,
}

/// Longer than any lease of the cluster.
const CUT: Duration = Duration::from_secs(20);

/// The Reshard's name.
const WORKFLOW: &str = "store.stor2stor";

/// Which of the matrix are run: all, or a diagonal that has each phase and each victim, and two that
/// are cut off.
fn chosen() -> Vec<(&'static str, Victim, Fault)> {
    let all = std::env::var("VTPLAN_FAULTS").is_ok_and(|v| v == "all");
    let mut chosen = Vec::new();
    for (p, phase) in PHASES.iter().enumerate() {
        for (v, victim) in VICTIMS.iter().enumerate() {
            if all || p % VICTIMS.len() == v {
                chosen.push((*phase, *victim, Fault::Killed));
            }
            if all
                && *victim != Victim::CommandLine
                && matches!(*phase, "holding" | "fenced" | "flipped")
            {
                chosen.push((*phase, *victim, Fault::CutOff));
            }
        }
    }
    if !all {
        chosen.push(("fenced", Victim::Conductor, Fault::CutOff));
        chosen.push(("flipped", Victim::Gate, Fault::CutOff));
    }
    chosen
}

fn spec(lab: &Lab, name: &str, shards: &str) -> String {
    let schema = lab.write("item.sql", &format!("{TABLE};\n"));
    lab.write(
        name,
        &format!(
            "vtplan: 1
cluster: shop
cells: [zone1]
users: {{ app: {{ password_env: VTPLAN_APP_PASSWORD }} }}
gates: {{ zone1: {{ count: 1 }} }}
changes: {{ vdiff: skip, max_write_pause: 20s, approve: [complete] }}
keyspaces:
  store:
    shards: [{shards}]
    sharded: true
    durability: none
    tablets: {{ zone1: {{ replica: 1 }} }}
    schema: {schema}
    vindexes: {{ xxhash: {{ type: xxhash }} }}
    tables: {{ item: {{ vindexes: [{{ column: owner, name: xxhash }}] }} }}
"
        ),
    )
}

async fn cluster(lab: &Lab) -> Cluster {
    let store = store::open(&lab.state_url(), OpenMode::MustExist)
        .await
        .expect("the store");
    Cluster::open(store, "shop")
        .await
        .expect("the store answers")
        .expect("the cluster is there")
}

async fn records(cluster: &Cluster) -> Records {
    let end = Instant::now() + PATIENCE;
    loop {
        match cluster.load_records().await {
            Ok(records) => return records,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct Field {
    lab: Lab,
    cluster: Cluster,
    armed: std::path::PathBuf,
}

impl Field {
    /// Which side takes the writes, once no switch is under way.
    async fn settled(&mut self) -> Side {
        let end = Instant::now() + PATIENCE;
        loop {
            let records = records(&self.cluster).await;
            let workflow = records.all_workflows().next().expect("the workflow");
            if workflow.switch.is_none() && records.holds.is_empty() {
                return workflow.writes;
            }
            assert!(
                Instant::now() < end,
                "the switch was neither undone nor driven forward by itself: {:?}\n{}",
                workflow.switch,
                self.lab.report()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn agent_of_conductor(&self) -> Option<String> {
        let lock = self.lab.run(&["lock", "show"]).stdout;
        let holder = lock
            .lines()
            .find(|line| line.contains("holder"))?
            .to_owned();
        self.lab
            .agents
            .keys()
            .find(|name| holder.contains(*name))
            .cloned()
    }

    /// The process of the primary of a side's first shard.
    async fn primary(&self, side: Side) -> i32 {
        let records = records(&self.cluster).await;
        let workflow = records.all_workflows().next().expect("the workflow");
        let of = workflow.side(side);
        let shard = records
            .shard(&of.keyspace, &of.shards[0])
            .expect("the shard");
        let alias = shard.primary.as_ref().expect("a primary").to_string();
        self.lab.mysqld_pids()[&alias]
    }

    async fn process_of(&self, victim: Victim, from: Side, command: &Proc) -> i32 {
        let agent = |name: &str| self.lab.agents[name].pid();
        match victim {
            Victim::Conductor => agent(&self.agent_of_conductor().expect("somebody conducts")),
            Victim::OtherAgent => agent(&self.other_agent()),
            Victim::Gate => self.lab.gates["zone1"].proc.pid(),
            Victim::CommandLine => command.pid(),
            Victim::SourcePrimary => self.primary(from).await,
            Victim::TargetPrimary => self.primary(from.other()).await,
            Victim::Store => self
                .lab
                .etcd
                .as_ref()
                .expect("etcd")
                .pid()
                .expect("it runs"),
        }
    }

    fn other_agent(&self) -> String {
        let conductor = self.agent_of_conductor();
        let mut agents = self.lab.agents.keys();
        let other = agents.find(|name| Some(*name) != conductor.as_ref());
        other.expect("another agent").clone()
    }

    /// Cuts a process off and heals it after a while.
    async fn cut_off(&mut self, victim: Victim, from: Side, command: &Proc) {
        let pid = Pid::from_raw(self.process_of(victim, from, command).await);
        signal::kill(pid, Signal::SIGSTOP).expect("stopped");
        tokio::time::sleep(CUT).await;
        signal::kill(pid, Signal::SIGCONT).expect("continued");
    }

    async fn kill(&mut self, victim: Victim, from: Side, command: &mut Proc) {
        match victim {
            Victim::Conductor | Victim::OtherAgent => {
                let name = match victim {
                    Victim::Conductor => self.agent_of_conductor().expect("somebody conducts"),
                    _ => self.other_agent(),
                };
                self.lab.agents.get_mut(&name).expect("the agent").kill9();
                self.lab.start_agent(&name, "zone1");
            }
            Victim::Gate => {
                let port = self.lab.gates["zone1"].mysql_port;
                self.lab
                    .gates
                    .get_mut("zone1")
                    .expect("the gate")
                    .proc
                    .kill9();
                self.lab.restart_gate("zone1", port);
            }
            Victim::CommandLine => command.kill9(),
            Victim::SourcePrimary => kill9(self.primary(from).await),
            Victim::TargetPrimary => kill9(self.primary(from.other()).await),
            Victim::Store => self.lab.etcd.as_mut().expect("etcd").restart(),
        }
    }

    /// Switches (or reverses) with a fault, then without one until it is through.
    async fn switch_with(&mut self, phase: &str, victim: Victim, fault: Fault) {
        let from = self.settled().await;
        let verb = match from {
            Side::Source => "switch",
            Side::Target => "reverse",
        };
        eprintln!("{verb}: {victim:?} is {fault:?} at {phase}");
        let hit = self.armed.with_extension("hit");
        let _ = std::fs::remove_file(&hit);
        std::fs::write(&self.armed, format!("conductor.switch:{phase}=sleep:1500")).expect("armed");
        let args = ["workflow", verb, WORKFLOW, "--auto-approve"];
        let mut command = self.lab.start("switch", &args);
        self.lab
            .until("the phase is reached", |_| hit.exists().then_some(()));
        match fault {
            Fault::Killed => self.kill(victim, from, &mut command).await,
            Fault::CutOff => self.cut_off(victim, from, &command).await,
        }
        command.wait(PATIENCE);
        let settled = self.settled().await;
        if settled == from {
            let end = Instant::now() + PATIENCE;
            while self.lab.run(&args).code != 0 {
                assert!(
                    Instant::now() < end,
                    "{verb} does not get through\n{}",
                    self.lab.report()
                );
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        assert_eq!(
            self.settled().await,
            from.other(),
            "{verb} after {victim:?} at {phase}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_is_killed_at_whatever_phase_of_a_switch_nothing_is_lost() {
    let test = "whatever_is_killed_at_whatever_phase_of_a_switch_nothing_is_lost";
    let Some(mut lab) = Lab::with_etcd("shop", Server::MariaDb) else {
        skip(test, "there is no etcd on PATH");
        return;
    };
    let armed = lab.dir().join("armed");
    let path = armed.display().to_string();
    lab.env.insert("VTPLAN_FAILPOINTS_FILE".into(), path);
    lab.start_agent("host-a", "zone1");
    lab.start_agent("host-b", "zone1");
    let begin = spec(&lab, "begin.yaml", "0");
    lab.run(&["apply", &begin, "--auto-approve"]).expect(0);
    lab.start_gate("zone1");
    let pool = lab.client("zone1", "store");
    let mut conn = pool.get_conn().await.expect("the gate");
    let probe = format!(
        "insert into item (id, owner, body, price) values ({PROBE_ID}, {PROBE_OWNER}, 'probe', 0)"
    );
    conn.query_drop(probe).await.expect("the row to probe with");
    drop(conn);

    // Split, switched, and not completed: so that it can be switched back and forth.
    let split = spec(&lab, "split.yaml", "-80, 80-");
    lab.run(&["apply", &split, "--auto-approve", "--approve-destructive"])
        .expect(3);

    let cluster = cluster(&lab).await;
    let credentials = cluster
        .credentials()
        .await
        .expect("readable")
        .expect("there");
    let all = records(&cluster).await;
    let servers = all
        .tablets
        .values()
        .filter(|tablet| {
            let zero = tablet.shard == ShardName::unsharded();
            zero || tablet.shard.to_string() == "-80" || tablet.shard.to_string() == "80-"
        })
        .map(|tablet| {
            OptsBuilder::default()
                .ip_or_hostname("127.0.0.1")
                .tcp_port(tablet.mysql_port)
                .user(Some(credentials.gate_user.clone()))
                .pass(Some(credentials.gate_password.clone()))
                .db_name(Some("store"))
                .prefer_socket(false)
                .into()
        })
        .collect();
    let prober = Prober::start(servers);
    let habits = Habits {
        clients: 3,
        may_change_owner: Arc::new(AtomicBool::new(false)),
        table: "item".into(),
        pause: Duration::from_millis(2),
    };
    let writer = Writer::start(&pool, habits, 7);

    let mut field = Field {
        lab,
        cluster,
        armed,
    };
    for (phase, victim, fault) in chosen() {
        field.switch_with(phase, victim, fault).await;
    }

    let (least, most) = prober.finish().await;
    let written = writer.finish().await;
    let lost = written.lost();
    assert!(lost.is_empty(), "{lost:#?}");
    let mut found = read_all(&pool, "item").await.expect("all rows");
    found.remove(&PROBE_ID);
    let differences = written.differences(&found);
    assert!(
        differences.is_empty(),
        "{} rows: {differences:#?}",
        differences.len()
    );
    let mut conn = pool.get_conn().await.expect("the gate");
    let value: Option<u64> = conn
        .query_first(format!(
            "select cast(price as unsigned) from item where id = {PROBE_ID} and owner = {PROBE_OWNER}"
        ))
        .await
        .expect("the row that was probed with");
    let value = value.expect("the row is there");
    assert!(
        (least..=most).contains(&value),
        "{least} to {most} writes were acknowledged past the gates, the row counts {value}"
    );
    eprintln!(
        "{} operations, {} of them failed; {value} probes, {least} to {most} acknowledged",
        written.operations,
        written.failures.len()
    );
    drop(conn);
    let _ = pool.disconnect().await;
}
