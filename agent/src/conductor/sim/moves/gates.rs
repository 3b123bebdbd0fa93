//! Simulated gates: they route by records that may be old, keep holds, drain, acknowledge, and lose
//! their leases when they stand still; then they may wake up and send one more write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{GateName, GateRecord, Records, Revision};
use vtplan_state::store::{LeaseId, Op, Txn};

use super::data::{Data, OpenWrite, ROWS, RowId};
use super::routes::{holds_on, route};
use crate::conductor::sim::faults::Chance;
use crate::conductor::sim::store::{Handle, MemStore};

/// How long a gate's record outlives its last sign of life.
const TTL: Duration = Duration::from_secs(4);

pub struct Gate {
    pub name: GateName,
    pub data: Arc<Data>,
    pub store: Arc<MemStore>,
    pub chance: Arc<Chance>,
    pub tables: Vec<vtplan_state::model::TableName>,
}

struct Life {
    lease: LeaseId,
    renewed: Instant,
    view: Arc<Records>,
    /// The revision of what it routes by.
    serving: Revision,
    open: Vec<(OpenWrite, Instant)>,
    told: Option<GateRecord>,
}

impl Gate {
    /// Lives for ever; begins anew when its lease has ended.
    pub async fn live(self) {
        let cluster =
            Cluster::new(Handle::of_simulation(&self.store), "sim").expect("the name of a cluster");
        loop {
            let Ok(lease) = cluster.store().grant(TTL).await else {
                continue;
            };
            let serving = self.store.serving_revision();
            let Ok(view) = self.store.records() else {
                continue;
            };
            let mut life = Life {
                lease,
                renewed: Instant::now(),
                view,
                serving,
                open: Vec::new(),
                told: None,
            };
            while self.lives(&cluster, &mut life).await {}
            for (write, _) in life.open {
                self.data.roll_back(&write);
            }
        }
    }

    /// One round; `false`: the lease has ended.
    async fn lives(&self, cluster: &Cluster, life: &mut Life) -> bool {
        sleep(self.chance.millis(8, 70)).await;
        let trouble = self.chance.trouble_now() > 0;
        if trouble && self.chance.happens(6) {
            sleep(self.chance.millis(100, 12_000)).await;
            // It does not know yet how long it has slept.
            if self.chance.happens(500) {
                self.write(life, true).await;
            }
        }
        if life.renewed.elapsed() >= TTL {
            return false;
        }
        if life.renewed.elapsed() > TTL / 4 {
            match cluster.store().keep_alive(life.lease).await {
                Ok(true) => life.renewed = Instant::now(),
                _ => return false,
            }
        }
        let slow = trouble && self.chance.happens(700);
        let serving = self.store.serving_revision();
        if !slow
            && serving != life.serving
            && let Ok(view) = self.store.records()
        {
            life.view = view.clone();
            life.serving = serving;
            let name = self.name.clone();
            self.data.change("a gate's new view", |inner| {
                inner.views.insert(name, view);
            });
        }
        self.end_writes(life);
        self.write(life, false).await;
        self.tell(cluster, life).await
    }

    fn end_writes(&self, life: &mut Life) {
        let now = Instant::now();
        let due = |(_, until): &(OpenWrite, Instant)| *until <= now;
        let (ended, open) = std::mem::take(&mut life.open).into_iter().partition(due);
        life.open = open;
        for (write, _) in ended {
            self.data.commit(&write);
        }
    }

    /// Begins a write, if nothing holds it. `late`: without looking at anything anew.
    async fn write(&self, life: &mut Life, late: bool) {
        if !late && !self.chance.happens(500) {
            return;
        }
        let row: RowId = (
            self.chance.pick(&self.tables).clone(),
            self.chance.number(0, ROWS),
        );
        let Some(at) = route(&life.view, &row) else {
            return;
        };
        if !holds_on(&life.view, &at, &row).is_empty() {
            return;
        }
        if self.chance.trouble_now() > 0 && self.chance.happens(5) {
            // Between looking and sending.
            sleep(self.chance.millis(1, 8_000)).await;
        }
        if let Some(write) = self.data.begin(&at, &row) {
            let takes = match self.chance.number(0, 20) {
                0 if self.chance.trouble_now() > 0 => self.chance.millis(0, 4_000),
                _ => self.chance.millis(0, 15),
            };
            life.open.push((write, Instant::now() + takes));
        }
    }

    async fn tell(&self, cluster: &Cluster, life: &mut Life) -> bool {
        let view = &life.view;
        let busy: BTreeSet<&str> = life
            .open
            .iter()
            .flat_map(|(write, _)| holds_on(view, &write.at, &write.row))
            .collect();
        let drained = view.holds.keys().filter(|id| !busy.contains(id.as_str()));
        let record = GateRecord {
            name: self.name.clone(),
            cell: super::CELL.parse().expect("a valid name"),
            mysql_address: "127.0.0.1:1".into(),
            http_url: "http://127.0.0.1:2".into(),
            version: "0.1.0".into(),
            started_at: 0,
            serving_revision: life.serving,
            drained: drained.cloned().collect(),
        };
        if life.told.as_ref() == Some(&record) {
            return true;
        }
        let key = cluster.keys().gate(&self.name);
        let txn = Txn::new().then(Op::put_leased(key, &record, Some(life.lease)));
        life.told = Some(record);
        cluster.store().txn(txn).await.is_ok()
    }
}
