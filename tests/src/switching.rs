//! A split that is switched to and fro while an application writes and a prober writes past the gates:
//! what faults are tried on. In the end nothing that was acknowledged may be missing, and never may
//! two servers have taken writes for one row.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mysql_async::Pool;
use mysql_async::prelude::Queryable;
use vtplan_state::model::{Side, TabletRecord};

use crate::inside::Inside;
use crate::lab::{Lab, PATIENCE};
use crate::prober::{PROBE_ID, PROBE_OWNER, Prober};
use crate::process::Proc;
use crate::writer::{Habits, TABLE, Writer, read_all};

/// The Reshard's name.
pub const WORKFLOW: &str = "store.stor2stor";

pub struct Switching {
    pub lab: Lab,
    pub inside: Inside,
    armed: PathBuf,
    pool: Pool,
    writer: Writer,
    prober: Prober,
}

/// A switch that has reached a phase and lingers there.
pub struct UnderWay {
    pub from: Side,
    pub command: Proc,
    args: [&'static str; 4],
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

impl Switching {
    /// Starts these agents and a gate in `zone1`, splits shard `0` in two and switches its traffic, but
    /// does not complete it: so that it can be switched back and forth.
    pub async fn begin(mut lab: Lab, agents: &[&str]) -> Switching {
        let armed = lab.dir().join("armed");
        let path = armed.display().to_string();
        lab.env.insert("VTPLAN_FAILPOINTS_FILE".into(), path);
        for agent in agents {
            lab.start_agent(agent, "zone1");
        }
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

        let split = spec(&lab, "split.yaml", "-80, 80-");
        lab.run(&["apply", &split, "--auto-approve", "--approve-destructive"])
            .expect(3);
        let inside = Inside::open(&lab, "shop").await;
        let mut servers = Vec::new();
        for shard in ["0", "-80", "80-"] {
            let primary = inside.primary("store", shard).await;
            servers.push(inside.as_gate(&primary, &lab.address(primary.host.as_str())));
        }
        let habits = Habits {
            clients: 3,
            may_change_owner: Arc::new(AtomicBool::new(false)),
            table: "item".into(),
            pause: Duration::from_millis(2),
        };
        Switching {
            lab,
            inside,
            armed,
            writer: Writer::start(&pool, habits, 7),
            prober: Prober::start(servers),
            pool,
        }
    }

    /// Which side takes the writes, once no switch nor plan is under way.
    pub async fn settled(&mut self) -> Side {
        let end = Instant::now() + PATIENCE;
        loop {
            let records = self.inside.records().await;
            let workflow = records.all_workflows().next().expect("the workflow");
            // Reads are switched after writes, when it goes back. An error: the store is away.
            let plan = self.inside.cluster.active_plan().await;
            let idle = plan.is_ok_and(|plan| plan.is_none());
            if idle && workflow.switch.is_none() && records.holds.is_empty() {
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

    /// The agent that carries out the plan.
    pub fn conductor(&self) -> Option<String> {
        let lock = self.lab.run(&["lock", "show"]).stdout;
        let holder = lock.lines().find(|line| line.contains("holder"))?;
        let mut agents = self.lab.agents.keys();
        agents.find(|name| holder.contains(*name)).cloned()
    }

    /// The primaries of a side's shards.
    pub async fn primaries(&self, side: Side) -> Vec<TabletRecord> {
        let records = self.inside.records().await;
        let workflow = records.all_workflows().next().expect("the workflow");
        let of = workflow.side(side);
        let mut primaries = Vec::new();
        for shard in &of.shards {
            let (keyspace, shard) = (of.keyspace.as_str(), shard.to_string());
            primaries.push(self.inside.primary(keyspace, &shard).await);
        }
        primaries
    }

    /// Switches to the other side, up to a phase: a moment of the conductor's failpoints.
    pub async fn switch_up_to(&mut self, phase: &str, what: &str) -> UnderWay {
        let from = self.settled().await;
        let verb = match from {
            Side::Source => "switch",
            Side::Target => "reverse",
        };
        eprintln!("{verb}: {what} at {phase}");
        let hit = self.armed.with_extension("hit");
        let _ = std::fs::remove_file(&hit);
        let action = format!("conductor.switch:{phase}=sleep:1500");
        std::fs::write(&self.armed, action).expect("armed");
        let args = ["workflow", verb, WORKFLOW, "--auto-approve"];
        let command = self.lab.start("switch", &args);
        self.lab
            .until("the phase is reached", |_| hit.exists().then_some(()));
        UnderWay {
            from,
            command,
            args,
        }
    }

    /// After a fault: the switch comes to one of its two ends by itself, and if that is where it began,
    /// it gets through when it is asked for again.
    pub async fn converge(&mut self, mut under_way: UnderWay) {
        under_way.command.wait(PATIENCE);
        let (from, args) = (under_way.from, under_way.args);
        if self.settled().await == from {
            let end = Instant::now() + PATIENCE;
            while self.lab.run(&args).code != 0 {
                assert!(
                    Instant::now() < end,
                    "{args:?} does not get through\n{}",
                    self.lab.report()
                );
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        assert_eq!(self.settled().await, from.other(), "{args:?}");
    }

    /// Ends the load and compares what was acknowledged with what is there.
    pub async fn finish(self) {
        let (least, most) = self.prober.finish().await;
        let written = self.writer.finish().await;
        let lost = written.lost();
        assert!(lost.is_empty(), "{lost:#?}");
        let mut found = read_all(&self.pool, "item").await.expect("all rows");
        found.remove(&PROBE_ID);
        let differences = written.differences(&found);
        assert!(
            differences.is_empty(),
            "{} rows: {differences:#?}",
            differences.len()
        );
        let mut conn = self.pool.get_conn().await.expect("the gate");
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
        let _ = self.pool.disconnect().await;
    }
}
