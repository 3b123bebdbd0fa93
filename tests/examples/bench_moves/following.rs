//! What is measured once all rows are copied: comparing, following, switching.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;

use crate::load::Load;
use crate::report::{forget_peak, processor_times};
use crate::{Bench, SHARDS};

impl Bench {
    pub async fn vdiff(&mut self) {
        // All servers have the rows at hand, or not, alike.
        let mut one_by_one = Duration::MAX;
        let mut at_once = Duration::MAX;
        let mut took = Duration::MAX;
        for round in 0..3 {
            let used = processor_times(&self.processes());
            let begun = Instant::now();
            for shard in ["0", SHARDS[0], SHARDS[1]] {
                self.checksum(shard).await;
            }
            one_by_one = one_by_one.min(begun.elapsed());
            if round == 0 {
                self.processors("CHECKSUM TABLE", &used, begun.elapsed());
            }
            let begun = Instant::now();
            tokio::join!(
                self.checksum("0"),
                self.checksum(SHARDS[0]),
                self.checksum(SHARDS[1])
            );
            at_once = at_once.min(begun.elapsed());
            forget_peak(self.agent());
            let used = processor_times(&self.processes());
            let begun = Instant::now();
            self.lab
                .run(&["workflow", "vdiff", "sbtest.sbte2sbte"])
                .expect(0);
            let this = begun.elapsed();
            took = took.min(this);
            if round == 0 {
                self.processors("VDiff", &used, this);
            }
        }
        let other = ("CHECKSUM TABLE of three servers in turn", one_by_one);
        self.report.beside("VDiff", took, other, "1.50");
        let other = ("CHECKSUM TABLE of three servers at once", at_once);
        self.report.beside("VDiff", took, other, "1.50");
        self.memory("VDiff");
    }

    async fn checksum(&self, shard: &str) {
        let mut conn = self.connect("sbtest", shard).await;
        conn.query_drop("checksum table sbtest1")
            .await
            .expect("checksum");
    }

    /// Writes rows to the source that belong to both targets; the time until they are there.
    async fn catch_up(&mut self) -> Duration {
        let mut source = self.connect("sbtest", "0").await;
        let first = self.next_id;
        let ids: Vec<String> = (first..first + 16).map(|id| format!("({id}, 1)")).collect();
        self.next_id += 16;
        let insert = format!("insert into sbtest1 (id, k) values {}", ids.join(", "));
        source.query_drop(insert).await.expect("insert");
        let begun = Instant::now();
        let mut targets = Vec::new();
        for shard in SHARDS {
            targets.push(self.connect("sbtest", shard).await);
        }
        loop {
            let mut found = 0;
            for conn in &mut targets {
                let count: Option<u64> = conn
                    .query_first(format!("select count(*) from sbtest1 where id >= {first}"))
                    .await
                    .expect("count");
                found += count.unwrap_or(0);
            }
            if found == 16 {
                return begun.elapsed();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(900),
                "the streams do not catch up\n{}",
                self.lab.report()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// One connection writes to the source as fast as it can; then the time until the targets have
    /// it. Once more with a source that does not wait for its disk.
    pub async fn follow(&mut self) {
        forget_peak(self.agent());
        for (durable, set) in [
            ("durable commits", "set @durable = 1"),
            (
                "source without fsync",
                "set global sync_binlog = 0, global innodb_flush_log_at_trx_commit = 2",
            ),
        ] {
            let mut source = self.connect("sbtest", "0").await;
            source.query_drop(set).await.expect("settings");
            let begun = Instant::now();
            let used = processor_times(&self.processes());
            let output = self.lab.dir().join("sysbench.out");
            let run = (self.sysbench("oltp_write_only", "--threads=1 --time=15", "run")).await;
            self.shell(&format!("{run} >{}", output.display()));
            let behind = self.catch_up().await;
            let text = std::fs::read_to_string(output).unwrap_or_default();
            let rate = text
                .lines()
                .find_map(|l| l.trim().strip_prefix("transactions:"))
                .and_then(|l| l.split_once('(')?.1.split_once(" per"))
                .map_or("?", |(rate, _)| rate);
            self.report.figure(
                &format!("behind after 15 s of one writer, {durable}"),
                format!("{:.2} s", behind.as_secs_f64()),
                &format!("sysbench oltp_write_only: {rate} transactions of 4 writes/s"),
                "keeps up",
            );
            self.processors("follow", &used, begun.elapsed());
        }
        let mut source = self.connect("sbtest", "0").await;
        source
            .query_drop("set global sync_binlog = 1, global innodb_flush_log_at_trx_commit = 1")
            .await
            .expect("settings");
        self.memory("following");
    }

    /// One transaction that changes every row.
    pub async fn long_transaction(&mut self) {
        forget_peak(self.agent());
        let mut source = self.connect("sbtest", "0").await;
        let begun = Instant::now();
        source
            .query_drop("update sbtest1 set k = k + 1, pad = reverse(pad)")
            .await
            .expect("update");
        let took = begun.elapsed();
        let behind = self.catch_up().await;
        self.report.figure(
            "behind after a transaction of all rows",
            format!("{:.1} s", behind.as_secs_f64()),
            &format!("the source took {:.1} s", took.as_secs_f64()),
            "",
        );
        self.memory("a transaction of all rows");
    }

    pub async fn switches(&mut self, count: usize) {
        let split = self.lab.dir().join("split.yaml").display().to_string();
        let mut apply = vec!["apply", &split, "--auto-approve", "--approve-destructive"];
        apply.extend(["--approve", "switch_reads"]);
        self.lab.run(&apply).expect(3);
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
        self.report.figure(
            &format!("write pause of {count} switches, 8 clients"),
            format!("{} ms at worst", pauses[pauses.len() - 1] / 1000),
            &format!("in the middle {} ms", pauses[pauses.len() / 2] / 1000),
            "500 ms",
        );
        let failed = format!("{} of {statements}", failures.len());
        (self.report).figure("failed statements meanwhile", failed, "", "none");
        for failure in failures.iter().take(5) {
            self.report.note(failure.clone());
        }
        let _ = pool.disconnect().await;
    }
}
