//! A second process: this test binary, run again with a role to play.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vtplan_state::store::{
    Compare, Lock, LockRecord, Op, OpenMode, Store, StoreError, Txn, TxnOutcome, open,
};

const ROLE: &str = "VTPLAN_TEST_HELPER_ROLE";
const URL: &str = "VTPLAN_TEST_HELPER_URL";

/// A running helper. Dropped, it is killed.
pub struct Helper {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    pub fn start(role: &str, url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper::plays_its_role", "--nocapture"])
            .env(ROLE, role)
            .env(URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// The next thing it says; what the test harness prints around it is left out.
    pub fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert!(read > 0, "the helper has ended without a word");
            // The harness prints the test's name without ending the line.
            if let Some((_, said)) = line.split_once("SAYS ") {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Lets it go on from where it waits.
    pub fn go_on(&mut self) {
        self.input.write_all(b"go on\n").unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for its end.
    pub fn ends_well(mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: impl std::fmt::Display) {
    println!("SAYS {what}");
    std::io::stdout().flush().unwrap();
}

fn wait_for_go_on() {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
}

/// Plays the role that the environment names; without one it is an empty test.
#[test]
fn plays_its_role() {
    let (Ok(role), Ok(url)) = (std::env::var(ROLE), std::env::var(URL)) else {
        return;
    };
    if role == "read-only" {
        // As root every folder can be written.
        let nobody = nix::unistd::Uid::from_raw(65534);
        if nix::unistd::Uid::effective().is_root() {
            nix::unistd::setuid(nobody).unwrap();
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "read-only" => read_only(&url).await,
            role => {
                let store = open(&url, OpenMode::Create).await.unwrap();
                match role {
                    "counter" => count(&store, "counter", 40).await,
                    "lock-holder" => hold_lock(&store).await,
                    "pairs" => write_pairs(&store).await,
                    role => panic!("no such role: {role}"),
                }
            }
        }
    });
}

/// Adds one to a number `times` times, by compare and put.
pub async fn count(store: &Arc<dyn Store>, key: &str, times: u32) {
    for _ in 0..times {
        add_one(store, key).await;
    }
}

/// Adds one to a number by compare and put, and returns what it became.
pub async fn add_one(store: &Arc<dyn Store>, key: &str) -> u64 {
    loop {
        let entry = store.get(key).await.unwrap();
        let (compare, number) = match entry {
            None => (Compare::Absent(key.to_owned()), 1),
            Some(entry) => (
                Compare::ModRevision(key.to_owned(), entry.mod_revision),
                entry.json::<u64>().unwrap() + 1,
            ),
        };
        let txn = Txn::new().when(compare).then(Op::put(key, &number));
        if let TxnOutcome::Committed(_) = store.txn(txn).await.unwrap() {
            return number;
        }
    }
}

async fn hold_lock(store: &Arc<dyn Store>) {
    let record = LockRecord::new("helper", "tester@here", "holding");
    let guard = Lock::acquire(store, "locks/a", Duration::from_secs(3), &record);
    let guard = guard.await.unwrap();
    say(guard.token());
    // The process is stopped here, and goes on when somebody else has the lock.
    tokio::task::spawn_blocking(wait_for_go_on).await.unwrap();
    let txn = Txn::new()
        .when(guard.compare())
        .then(Op::put("protected", &"helper"));
    say(match store.txn(txn).await.unwrap() {
        TxnOutcome::Committed(_) => "written",
        TxnOutcome::Refused => "refused",
    });
    guard.lost().await;
    say("lost");
}

/// Writes two keys in one transaction, forever.
async fn write_pairs(store: &Arc<dyn Store>) {
    for number in 0_u64.. {
        let txn = Txn::new()
            .then(Op::put("pair/a", &number))
            .then(Op::put("pair/b", &number));
        store.txn(txn).await.unwrap();
        if number == 5 {
            say("writing");
        }
    }
}

async fn read_only(url: &str) {
    for mode in [OpenMode::Create, OpenMode::MustExist] {
        say(match open(url, mode).await {
            Err(StoreError::ReadOnly { why, .. }) => format!("read-only: {why}"),
            Err(other) => format!("another error: {other}"),
            Ok(_) => "opened".to_owned(),
        });
    }
}
