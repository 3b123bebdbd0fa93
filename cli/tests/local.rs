//! `up` and `down` on a real MariaDB: what is started is found again, stopped, and deleted only
//! when asked.

mod support;

use std::net::TcpListener;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::Place;

/// Stops everything, whatever became of the test.
struct Local {
    place: Place,
}

impl Drop for Local {
    fn drop(&mut self) {
        let (code, stdout, stderr) = self.place.output(&["down", "--purge", "--yes"]);
        if std::thread::panicking() {
            eprintln!("down: {code}\n{stdout}{stderr}");
        } else {
            assert_eq!(code, 0, "{stdout}{stderr}");
        }
    }
}

impl Local {
    fn run(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.place.output(args);
        assert_eq!(code, 0, "{args:?}\n{stdout}{stderr}{}", self.logs());
        stdout
    }

    fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--format", "json"]].concat();
        serde_json::from_str(&self.run(&args)).expect("JSON")
    }

    fn logs(&self) -> String {
        let log = |name: &str| {
            let text = std::fs::read_to_string(self.place.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(30)..].join("\n")
        };
        let (agent, gate) = (log(".vtplan/logs/agent.log"), log(".vtplan/logs/gate.log"));
        format!("--- agent\n{agent}\n--- gate\n{gate}\n")
    }

    fn tablet_states(&self) -> Vec<String> {
        let status = self.json(&["status"]);
        let shards = status["keyspaces"][0]["shards"][0]["tablets"].as_array();
        let tablets = shards.expect("tablets").iter();
        tablets
            .map(|t| t["state"].as_str().expect("a state").to_owned())
            .collect()
    }
}

/// The first of `count` ports that are free in a row.
fn free_ports(count: u16) -> u16 {
    for _ in 0..100 {
        let any = TcpListener::bind("127.0.0.1:0").expect("a port");
        let first = any.local_addr().expect("its address").port();
        drop(any);
        let Some(last) = first.checked_add(count) else {
            continue;
        };
        if (first..last).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no free ports");
}

fn pid(value: &Value) -> i32 {
    let pid = value["pid"].as_i64().expect("a process id");
    pid.try_into().expect("a process id")
}

#[test]
fn what_up_starts_is_found_again_and_down_stops_it() {
    let installed = Command::new("mariadbd").arg("--version").output();
    if installed.is_err() {
        note_skipped("there is no mariadbd on PATH");
        return;
    }
    let place = Place::with_examples().env("VTPLAN_APP_PASSWORD", "geheim");
    let local = Local { place };
    let ports: Vec<String> = {
        let first = free_ports(10);
        (first..first + 4).map(|p| p.to_string()).collect()
    };
    let spec = "specs/commerce.yaml";
    let up = local.json(&[
        "up",
        spec,
        "--agent-port",
        &ports[0],
        "--mysql-port",
        &ports[1],
        "--http-port",
        &ports[2],
        "--tablet-port",
        &ports[3],
    ]);
    assert_eq!(up["cluster"], "shop");
    assert_eq!(up["agent"]["started"], true);
    assert_eq!(up["gate"]["started"], true);
    let (agent, gate) = (pid(&up["agent"]), pid(&up["gate"]));

    // Again: nothing is started. Another cluster: refused.
    let again = local.json(&["up", spec]);
    assert_eq!(again["agent"]["started"], false);
    assert_eq!((pid(&again["agent"]), pid(&again["gate"])), (agent, gate));
    let (code, _, stderr) = local.place.output(&["up", "--cluster", "orders"]);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("`shop`") && stderr.contains("`orders`"),
        "{stderr}"
    );

    let applied = local.run(&["apply", spec, "--auto-approve"]);
    assert!(applied.contains("Done: 13 steps"), "{applied}");
    assert_eq!(
        local.tablet_states(),
        ["serving", "replicating", "replicating"]
    );
    let unchanged = local.run(&["plan", spec, "--detailed-exitcode"]);
    assert!(unchanged.starts_with("No changes."), "{unchanged}");

    // A dead agent is started again; the gate and the servers were not touched by its death.
    kill(Pid::from_raw(agent), Signal::SIGKILL).expect("the agent runs");
    let restarted = local.json(&["up"]);
    assert_eq!(restarted["agent"]["started"], true);
    assert_eq!(pid(&restarted["gate"]), gate);
    assert_eq!(
        local.tablet_states(),
        ["serving", "replicating", "replicating"]
    );

    // Down and up: the same ports, the same tablets.
    let down = local.json(&["down"]);
    assert_eq!(down["processes"], serde_json::json!(["gate", "agent"]));
    assert_eq!(down["servers"].as_array().map(Vec::len), Some(3));
    assert!(TcpListener::bind(format!("127.0.0.1:{}", ports[1])).is_ok());
    let nothing = local.run(&["down"]);
    assert_eq!(nothing, "Nothing runs in `.vtplan`.\n");
    let back = local.json(&["up"]);
    assert_eq!(
        back["tablets"],
        serde_json::json!({ "here": 3, "not_up": 0 })
    );
    let address = back["gate"]["gate"]["mysql_address"].as_str();
    assert_eq!(address, Some(format!("127.0.0.1:{}", ports[1]).as_str()));
    assert_eq!(
        local.tablet_states(),
        ["serving", "replicating", "replicating"]
    );

    // Destroyed, nothing is left to plan away, and purged nothing is left at all.
    let destroyed = local.run(&["destroy", "--auto-approve"]);
    assert!(destroyed.contains("Cluster shop is empty."), "{destroyed}");
    local.run(&["down", "--purge", "--yes"]);
    assert!(
        !local.place.path(".vtplan").exists(),
        "`--purge` left something behind"
    );
}

/// Notes what the running test cannot do here, for the last lines of `make test`.
fn note_skipped(why: &str) {
    use std::io::Write as _;
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    eprintln!("skipped {test}: {why}");
    if let Some(path) = std::env::var_os("VTPLAN_TEST_SKIPPED") {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    }
}
