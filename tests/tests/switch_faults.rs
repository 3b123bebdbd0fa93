//! Each part of a cluster is killed at each phase of a switch of writes. The application may see
//! failed statements then, but no write that was acknowledged is lost, no two servers take writes for
//! one row, and the next command (or nobody's) brings the switch to one of its two ends.
//!
//! By default a diagonal of the matrix is run, which has each phase and each victim;
//! `VTPLAN_FAULTS=all` runs all of it (some minutes).

use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use vtplan_state::model::Side;
use vtplan_tests::lab::Lab;
use vtplan_tests::process::kill9;
use vtplan_tests::servers::{Server, skip};
use vtplan_tests::switching::{Switching, UnderWay};

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

struct Field(Switching);

impl Field {
    /// The process of the primary of a side's first shard.
    async fn primary(&self, side: Side) -> i32 {
        let primaries = self.0.primaries(side).await;
        self.0.lab.mysqld_pids()[&primaries[0].alias.to_string()]
    }

    async fn process_of(&self, victim: Victim, under_way: &UnderWay) -> i32 {
        let agent = |name: &str| self.0.lab.agents[name].pid();
        match victim {
            Victim::Conductor => agent(&self.0.conductor().expect("somebody conducts")),
            Victim::OtherAgent => agent(&self.other_agent()),
            Victim::Gate => self.0.lab.gates["zone1"].proc.pid(),
            Victim::CommandLine => under_way.command.pid(),
            Victim::SourcePrimary => self.primary(under_way.from).await,
            Victim::TargetPrimary => self.primary(under_way.from.other()).await,
            Victim::Store => {
                let etcd = self.0.lab.etcd.as_ref().expect("etcd");
                etcd.pid().expect("it runs")
            }
        }
    }

    fn other_agent(&self) -> String {
        let conductor = self.0.conductor();
        let mut agents = self.0.lab.agents.keys();
        let other = agents.find(|name| Some(*name) != conductor.as_ref());
        other.expect("another agent").clone()
    }

    /// Cuts a process off and heals it after a while.
    async fn cut_off(&mut self, victim: Victim, under_way: &UnderWay) {
        let pid = Pid::from_raw(self.process_of(victim, under_way).await);
        signal::kill(pid, Signal::SIGSTOP).expect("stopped");
        tokio::time::sleep(CUT).await;
        signal::kill(pid, Signal::SIGCONT).expect("continued");
    }

    async fn kill(&mut self, victim: Victim, under_way: &mut UnderWay) {
        match victim {
            Victim::Conductor | Victim::OtherAgent => {
                let name = match victim {
                    Victim::Conductor => self.0.conductor().expect("somebody conducts"),
                    _ => self.other_agent(),
                };
                self.0.lab.agents.get_mut(&name).expect("the agent").kill9();
                self.0.lab.start_agent(&name, "zone1");
            }
            Victim::Gate => {
                let gate = self.0.lab.gates.get_mut("zone1").expect("the gate");
                let port = gate.mysql_port;
                gate.proc.kill9();
                self.0.lab.restart_gate("zone1", port);
            }
            Victim::CommandLine => under_way.command.kill9(),
            Victim::SourcePrimary => kill9(self.primary(under_way.from).await),
            Victim::TargetPrimary => kill9(self.primary(under_way.from.other()).await),
            Victim::Store => self.0.lab.etcd.as_mut().expect("etcd").restart(),
        }
    }

    /// Switches (or reverses) with a fault, then without one until it is through.
    async fn switch_with(&mut self, phase: &str, victim: Victim, fault: Fault) {
        let what = format!("{victim:?} is {fault:?}");
        let mut under_way = self.0.switch_up_to(phase, &what).await;
        match fault {
            Fault::Killed => self.kill(victim, &mut under_way).await,
            Fault::CutOff => self.cut_off(victim, &under_way).await,
        }
        self.0.converge(under_way).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_is_killed_at_whatever_phase_of_a_switch_nothing_is_lost() {
    let test = "whatever_is_killed_at_whatever_phase_of_a_switch_nothing_is_lost";
    let Some(lab) = Lab::with_etcd("shop", Server::MariaDb) else {
        skip(test, "there is no etcd on PATH");
        return;
    };
    let mut field = Field(Switching::begin(lab, &["host-a", "host-b"]).await);
    for (phase, victim, fault) in chosen() {
        field.switch_with(phase, victim, fault).await;
    }
    field.0.finish().await;
}
