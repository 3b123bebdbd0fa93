//! `apply`: asking, attaching, detaching, stopping. The part of the agents is played by the test,
//! which writes the records that the conductor would write.

mod support;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Place, put};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    ActivePlan, CellName, FlavorKind, HostName, HostRecord, PlanControl, PlanRecord, PlanStatus,
    StepProgress, StepState,
};
use vtplan_state::store::Op;

const ID: &str = "20261121-145033-3f2a";
const SPEC: &str = "specs/commerce.yaml";

/// A place with the cluster `shop`, one host whose agent does not answer, and the plan of
/// [`SPEC`] under way, started by somebody else.
async fn with_running_plan() -> (Place, Cluster, PlanRecord) {
    let (place, cluster) = with_host().await;
    let (code, _, stderr) = place.output(&["plan", SPEC, "--out", "shop.json", "-q"]);
    assert_eq!(code, 0, "{stderr}");
    let file = std::fs::read(place.path("shop.json")).expect("the plan file");
    let mut file: Value = serde_json::from_slice(&file).expect("JSON");
    let plan = file["plan"].take();
    let record = PlanRecord {
        id: ID.to_owned(),
        spec_digest: plan["spec_digest"].as_str().expect("a digest").to_owned(),
        base_revision: plan["base_revision"].as_u64().expect("a revision"),
        desired: file["desired"].take(),
        plan,
        chunks: 0,
        destroy: false,
        approved_by: "ada@desk".to_owned(),
        approved_at: 1_795_272_633_000,
        destructive_approved: false,
        operation: None,
        status: PlanStatus::Running,
    };
    let active = ActivePlan {
        id: ID.to_owned(),
        by: "ada@desk".to_owned(),
        since: record.approved_at,
    };
    let keys = cluster.keys();
    let ops = vec![
        Op::put(keys.plan(ID), &record),
        Op::put(keys.active_plan(), &active),
    ];
    put(&cluster, ops).await;
    (place, cluster, record)
}

async fn with_host() -> (Place, Cluster) {
    let place = Place::with_examples().env("VTPLAN_APP_PASSWORD", "geheim");
    let cluster = place.cluster("shop").await;
    let host = HostRecord {
        name: HostName::new("db1").expect("a name"),
        cell: CellName::new("zone1").expect("a name"),
        address: "127.0.0.1".to_owned(),
        // Nothing listens on port 1.
        agent_url: "http://127.0.0.1:1".to_owned(),
        capacity: 20,
        first_mysql_port: 17100,
        flavor: FlavorKind::MariaDb,
        server_version: "10.11.6".to_owned(),
        version: "0.1.0".to_owned(),
        started_at: 1,
        tablets_dir: "/srv/tablets".to_owned(),
    };
    put(
        &cluster,
        vec![Op::put(cluster.keys().host(&host.name), &host)],
    )
    .await;
    (place, cluster)
}

fn progress(step: &str, state: StepState, message: &str) -> StepProgress {
    StepProgress {
        step: step.to_owned(),
        state,
        message: message.to_owned(),
        started_at: 1_795_272_633_000,
        ended_at: (state != StepState::Running).then_some(1_795_272_635_000),
        attempt: 1,
        work: None,
    }
}

async fn write_step(cluster: &Cluster, id: &str, step: &StepProgress) {
    put(cluster, vec![cluster.step_op(id, step)]).await;
}

/// Ends a plan as the conductor does: its status, and no plan is active any more.
async fn end(cluster: &Cluster, id: &str, status: PlanStatus) {
    let mut record = cluster
        .plan(id)
        .await
        .expect("the store")
        .expect("the plan");
    record.status = status;
    let keys = cluster.keys();
    let ops = vec![
        Op::put(keys.plan(id), &record),
        Op::delete(keys.active_plan()),
    ];
    put(cluster, ops).await;
}

/// `vtplan ARGS` beside the test.
struct Running {
    child: Child,
    stdout: std::thread::JoinHandle<String>,
    stderr: std::sync::Arc<std::sync::Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
    keyboard: Option<File>,
}

impl Running {
    /// Without a terminal.
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("vtplan starts");
        let stderr = child.stderr.take().expect("a pipe");
        Self::read(child, stderr, None)
    }

    /// With stdin and stderr on a terminal.
    fn on_terminal(place: &Place, args: &[&str]) -> Self {
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        let (keyboard, screen) = (File::from(pty.master), File::from(pty.slave));
        let mut command = place.command(args);
        command
            .env("TERM", "xterm")
            .stdin(screen.try_clone().expect("a handle"))
            .stdout(Stdio::piped())
            .stderr(screen);
        let child = command.spawn().expect("vtplan starts");
        // The command's own handles on the terminal must go, or reading it never ends.
        drop(command);
        let output = keyboard.try_clone().expect("a handle");
        Self::read(child, output, Some(keyboard))
    }

    fn read(
        mut child: Child,
        mut screen: impl std::io::Read + Send + 'static,
        keyboard: Option<File>,
    ) -> Self {
        let mut pipe = child.stdout.take().expect("a pipe");
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).expect("UTF-8");
            text
        });
        let stderr = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let seen = stderr.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose other side is closed gives an error at its end.
            while let Ok(n @ 1..) = screen.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]);
                seen.lock().expect("no panic").push_str(&text);
            }
        });
        Self {
            child,
            stdout,
            stderr,
            reader,
            keyboard,
        }
    }

    fn seen(&self) -> String {
        let text = self.stderr.lock().expect("no panic").clone();
        anstream::adapter::strip_str(&text).to_string()
    }

    /// Waits until stderr has `text`.
    fn until(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.seen().contains(text) {
            let ended = self.child.try_wait().expect("it can be waited for");
            assert!(
                ended.is_none() && Instant::now() < end,
                "{text:?} does not come ({ended:?}):\n{}",
                self.seen()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn type_line(&mut self, line: &str) {
        let keyboard = self.keyboard.as_mut().expect("a terminal");
        writeln!(keyboard, "{line}").expect("the terminal takes it");
    }

    fn interrupt(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).expect("it runs");
    }

    /// Exit code, stdout and stderr.
    fn end(mut self) -> (i32, String, String) {
        let end = Instant::now() + Duration::from_secs(60);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            if Instant::now() >= end {
                let _ = self.child.kill();
                panic!("it does not end:\n{}", self.seen());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        drop(self.keyboard.take());
        let stdout = self.stdout.join().expect("the reader ends");
        self.reader.join().expect("the reader ends");
        let stderr = self.stderr.lock().expect("no panic").clone();
        let stderr = anstream::adapter::strip_str(&stderr).to_string();
        (status.code().expect("it ended by itself"), stdout, stderr)
    }
}

#[tokio::test]
async fn attached_without_a_terminal_each_thing_that_happens_is_a_line() {
    let (place, cluster, _) = with_running_plan().await;
    let step = "create-tablet:zone1-0000000100";
    let done = progress("create-keyspace:commerce", StepState::Done, "");
    write_step(&cluster, ID, &done).await;
    let mut apply = Running::start(&place, &["apply", "--attach"]);
    apply.until("done    create keyspace commerce");
    write_step(&cluster, ID, &progress(step, StepState::Running, "")).await;
    apply.until("start   create tablet");
    write_step(
        &cluster,
        ID,
        &progress(step, StepState::Running, "starting mysqld"),
    )
    .await;
    apply.until("starting mysqld");
    write_step(&cluster, ID, &progress(step, StepState::Done, "")).await;
    apply.until("done    create tablet");
    end(&cluster, ID, PlanStatus::Done { at: 2 }).await;
    let (code, stdout, stderr) = apply.end();
    assert_eq!(code, 0);
    assert!(stdout.starts_with("Done: 13 steps in "), "{stdout}");
    let lines: Vec<&str> = stderr.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "[ 1/13] done    create keyspace commerce (2 s)",
            "[ 1/13] start   create tablet zone1-0000000100 (commerce/0, replica, on db1:17100)",
            "[ 1/13] ...     create tablet zone1-0000000100 (commerce/0, replica, on db1:17100): starting mysqld",
            "[ 2/13] done    create tablet zone1-0000000100 (commerce/0, replica, on db1:17100) (2 s)",
        ]
    );
}

#[tokio::test]
async fn the_same_spec_attaches_and_another_one_is_told_who_is_at_it() {
    let (place, cluster, _) = with_running_plan().await;
    let mut apply = Running::start(&place, &["apply", SPEC, "--auto-approve"]);
    apply.until("This spec is being applied already");
    let text = std::fs::read_to_string(place.path(SPEC)).expect("the example");
    place.write("specs/other.yaml", &text.replace("rdonly: 1", "rdonly: 2"));
    check!(
        place,
        "another-spec",
        ["apply", "specs/other.yaml", "--auto-approve"]
    );
    check!(place, "running-status", ["status"]);
    check!(place, "running-show", ["show", "plan"]);
    check!(place, "running-show-plans", ["show", "plans"]);
    end(&cluster, ID, PlanStatus::Done { at: 2 }).await;
    let (code, stdout, _) = apply.end();
    assert_eq!(code, 0);
    assert!(
        stdout.contains("Cluster shop is what the spec says."),
        "{stdout}"
    );
}

#[tokio::test]
async fn superseded_the_other_plan_is_stopped_before_this_one_begins() {
    let (place, cluster, _) = with_running_plan().await;
    let text = std::fs::read_to_string(place.path(SPEC)).expect("the example");
    place.write("specs/other.yaml", &text.replace("rdonly: 1", "rdonly: 2"));
    let args = ["apply", "specs/other.yaml", "--auto-approve", "--supersede"];
    let mut apply = Running::start(&place, &args);
    apply.until(&format!("Stopping plan {ID}"));
    let control = cluster.store().get(&cluster.keys().plan_control(ID)).await;
    let control = control.expect("the store").expect("it was asked for");
    assert_eq!(
        control.json::<PlanControl>().expect("a record"),
        PlanControl::Stop
    );
    let (active, _) = cluster
        .active_plan()
        .await
        .expect("the store")
        .expect("a plan");
    assert_eq!(active.id, ID, "nothing begins before it has ended");
    end(&cluster, ID, PlanStatus::Stopped { at: 2 }).await;
    let id = loop {
        match cluster.active_plan().await.expect("the store") {
            Some((active, _)) => break active.id,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_ne!(id, ID);
    end(&cluster, &id, PlanStatus::Done { at: 3 }).await;
    let (code, stdout, _) = apply.end();
    assert_eq!(code, 0);
    assert!(stdout.contains("Done: 14 steps"), "{stdout}");
}

#[tokio::test]
async fn interrupted_while_the_other_plan_stops_nothing_else_is_begun() {
    let (place, cluster, _) = with_running_plan().await;
    let text = std::fs::read_to_string(place.path(SPEC)).expect("the example");
    place.write("specs/other.yaml", &text.replace("rdonly: 1", "rdonly: 2"));
    let args = ["apply", "specs/other.yaml", "--auto-approve", "--supersede"];
    let mut apply = Running::start(&place, &args);
    apply.until(&format!("Stopping plan {ID}"));
    apply.interrupt();
    let (code, _, stderr) = apply.end();
    assert_eq!(code, 130);
    assert!(stderr.contains("nothing else was begun"), "{stderr}");
    let (active, _) = cluster
        .active_plan()
        .await
        .expect("the store")
        .expect("a plan");
    assert_eq!(active.id, ID);
}

#[tokio::test]
async fn a_failed_plan_says_why_and_what_to_do() {
    let (place, cluster, _) = with_running_plan().await;
    let step = "create-tablet:zone1-0000000100";
    let why = "tablet zone1-0000000100: mysqld ended; its log ends with:\nno space left";
    write_step(&cluster, ID, &progress(step, StepState::Failed, why)).await;
    let status = PlanStatus::Failed {
        at: 2,
        message: format!("step {step} failed: {why}"),
    };
    let mut apply = Running::start(&place, &["apply", "--attach"]);
    apply.until("failed  create tablet");
    end(&cluster, ID, status).await;
    let (code, stdout, stderr) = apply.end();
    assert_eq!((code, stdout.as_str()), (1, ""));
    let (_, error) = stderr.split_once("error: ").expect("an error");
    insta::assert_snapshot!("plan-failed", error);
    check!(place, "failed-show", ["show", ID]);
}

#[tokio::test]
async fn json_is_one_document_a_line() {
    let (place, cluster, _) = with_running_plan().await;
    let step = progress("create-keyspace:commerce", StepState::Done, "");
    write_step(&cluster, ID, &step).await;
    let apply = Running::start(&place, &["apply", "--attach", "--format", "json"]);
    end(&cluster, ID, PlanStatus::Done { at: 2 }).await;
    let (code, stdout, _) = apply.end();
    if code == 1 {
        // The plan was over before it was looked for: told so, in JSON too.
        assert!(stdout.contains("no-plan-running"), "{stdout}");
        return;
    }
    assert_eq!(code, 0);
    let types: Vec<String> = stdout
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).expect("JSON"))
        .map(|v| v["type"].as_str().expect("a type").to_owned())
        .collect();
    assert_eq!(types, ["attached", "step", "result"]);
}

#[tokio::test]
async fn interrupted_without_a_terminal_it_detaches_and_the_plan_goes_on() {
    let (place, cluster, _) = with_running_plan().await;
    let step = progress("create-keyspace:commerce", StepState::Done, "");
    write_step(&cluster, ID, &step).await;
    let mut apply = Running::start(&place, &["apply", "--attach"]);
    apply.until("create keyspace commerce");
    apply.interrupt();
    let (code, stdout, stderr) = apply.end();
    assert_eq!((code, stdout.as_str()), (130, ""));
    assert!(
        stderr.contains(&format!("Detached: plan {ID} goes on.")),
        "{stderr}"
    );
    let active = cluster.active_plan().await.expect("the store");
    assert!(active.is_some(), "the plan still runs");
}

#[tokio::test]
async fn interrupted_on_a_terminal_it_asks_and_can_stop_the_plan() {
    let (place, cluster, _) = with_running_plan().await;
    let step = progress("create-keyspace:commerce", StepState::Done, "");
    write_step(&cluster, ID, &step).await;
    let mut apply = Running::on_terminal(&place, &["apply", "--attach"]);
    apply.until("create keyspace commerce");
    apply.interrupt();
    apply.until("[d/s/c]");
    apply.type_line("s");
    apply.until("Stopping");
    let control = cluster.store().get(&cluster.keys().plan_control(ID)).await;
    let control = control.expect("the store").expect("it was asked for");
    assert_eq!(
        control.json::<PlanControl>().expect("a record"),
        PlanControl::Stop
    );
    end(&cluster, ID, PlanStatus::Stopped { at: 2 }).await;
    let (code, stdout, _) = apply.end();
    assert_eq!(code, 130);
    assert_eq!(
        stdout,
        "Stopped after 1 of 13 steps. Apply again to go on.\n"
    );
}

#[tokio::test]
async fn on_a_terminal_only_yes_is_yes() {
    let (place, cluster) = with_host().await;
    let mut apply = Running::on_terminal(&place, &["apply", SPEC]);
    apply.until("Only `yes` is accepted:");
    apply.type_line("y");
    let (code, stdout, stderr) = apply.end();
    assert_eq!(code, 1);
    assert!(stdout.contains("Plan: 13 steps"), "{stdout}");
    assert!(stderr.contains("Nothing was changed."), "{stderr}");
    assert!(cluster.active_plan().await.expect("the store").is_none());

    let mut apply = Running::on_terminal(&place, &["apply", SPEC]);
    apply.until("Only `yes` is accepted:");
    apply.type_line("yes");
    let id = loop {
        if let Some((active, _)) = cluster.active_plan().await.expect("the store") {
            break active.id;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    end(&cluster, &id, PlanStatus::Done { at: 2 }).await;
    let (code, stdout, _) = apply.end();
    assert_eq!(code, 0);
    assert!(stdout.contains("Done: 13 steps"), "{stdout}");
    let (_, history, _) = place.output(&["history"]);
    assert!(history.contains("Approved a plan of 13 steps"), "{history}");
}

#[tokio::test]
async fn without_a_terminal_nothing_is_done_unasked() {
    let (place, cluster) = with_host().await;
    let (code, stdout, stderr) = place.output(&["apply", SPEC]);
    assert_eq!(code, 1);
    assert!(stdout.contains("Plan: 13 steps"), "{stdout}");
    assert!(stderr.contains("--auto-approve"), "{stderr}");
    assert!(cluster.active_plan().await.expect("the store").is_none());
}

#[tokio::test]
async fn detached_it_returns_at_once() {
    let (place, cluster) = with_host().await;
    let (code, stdout, _) = place.output(&["apply", SPEC, "--auto-approve", "--detach"]);
    assert_eq!(code, 0);
    let (active, _) = cluster
        .active_plan()
        .await
        .expect("the store")
        .expect("a plan");
    assert!(stdout.contains(&active.id), "{stdout}");
    assert!(stdout.contains("vtplan apply --attach"), "{stdout}");
}

#[tokio::test]
async fn a_user_whose_password_is_missing_is_not_made() {
    let (place, _) = with_host().await;
    let place = place.env("VTPLAN_APP_PASSWORD", "");
    let (code, _, stderr) = place.output(&["apply", SPEC, "--auto-approve"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("VTPLAN_APP_PASSWORD"), "{stderr}");
}
