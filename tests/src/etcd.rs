//! A real etcd with one member.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::net::Spaces;
use crate::ports::free_ports;
use crate::process::Proc;

pub struct Etcd {
    dir: PathBuf,
    address: String,
    /// What runs it in a network of its own, if it has one.
    within: Vec<OsString>,
    port: u16,
    proc: Option<Proc>,
}

impl Etcd {
    /// `None` where there is no `etcd` on PATH.
    pub fn start(dir: &Path) -> Option<Etcd> {
        Self::start_at(dir, "127.0.0.1".to_owned(), Vec::new())
    }

    /// The same in the network of the part `etcd`.
    pub fn start_in(dir: &Path, spaces: &Spaces) -> Option<Etcd> {
        let command = spaces.command("etcd", Path::new("etcd"));
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let within = words.map(OsString::from).collect();
        Self::start_at(dir, spaces.address("etcd"), within)
    }

    fn start_at(dir: &Path, address: String, within: Vec<OsString>) -> Option<Etcd> {
        let found = Command::new("etcd").arg("--version").output();
        if !found.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let mut etcd = Etcd {
            dir: dir.join("etcd"),
            address,
            within,
            port: free_ports(2),
            proc: None,
        };
        etcd.restart();
        Some(etcd)
    }

    pub fn url(&self) -> String {
        format!("etcd://{}:{}", self.address, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.proc.as_ref().map(Proc::pid)
    }

    pub fn kill9(&mut self) {
        if let Some(mut proc) = self.proc.take() {
            proc.kill9();
        }
    }

    /// Starts it (again) on the same data and ports, and waits until it answers.
    pub fn restart(&mut self) {
        self.kill9();
        let client = format!("http://{}:{}", self.address, self.port);
        let peer = format!("http://{}:{}", self.address, self.port + 1);
        let mut command = match &self.within[..] {
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args);
                command
            }
            [] => Command::new("etcd"),
        };
        command
            .args(["--name", "lab"])
            .arg("--data-dir")
            .arg(&self.dir)
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("lab={peer}")]);
        let logs = self.dir.parent().expect("the lab's folder").join("logs");
        let mut proc = Proc::start("etcd", command, &logs);
        let end = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect((self.address.as_str(), self.port)).is_err() {
            assert!(proc.is_alive(), "etcd ended at its start:\n{}", proc.log());
            assert!(
                Instant::now() < end,
                "etcd does not listen:\n{}",
                proc.log()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
        self.proc = Some(proc);
    }
}
