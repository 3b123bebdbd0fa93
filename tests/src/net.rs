//! Networks between the parts of a cluster that can be cut and healed: what is sent is then dropped, and
//! nobody is told, as with a switch that lost its power.
//!
//! [`Spaces`] gives each part a network namespace of its own, joined by the one of the test, where
//! packets between two parts can be dropped. That needs rights over networks; where there are none,
//! a [`Relay`] between a part and the state store holds back what goes through it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What became of the wish for a network of the test's own.
#[derive(Debug)]
pub enum Entered {
    /// This process is in one.
    Here(Spaces),
    /// The test was run in another process, and went well.
    Done,
    /// There are no rights to it here, or programs are missing.
    Impossible(String),
}

/// Network namespaces of parts. They go with the processes in them.
#[derive(Debug)]
pub struct Spaces {
    parts: BTreeMap<String, Part>,
}

#[derive(Debug)]
struct Part {
    /// It holds the namespace, and ends when the pipe to it is closed, whatever ends this process.
    holder: Child,
    number: usize,
}

impl Spaces {
    /// Runs the test of this name (and no other) again, in a process with a network of its own.
    pub fn enter(test: &str) -> Entered {
        const WITHIN: &str = "VTPLAN_TEST_WITHIN_SPACE";
        if std::env::var_os(WITHIN).is_some() {
            run(Command::new("sh").args(["-ec", BEGIN])).expect("it went well beside this process");
            return Entered::Here(Spaces {
                parts: BTreeMap::new(),
            });
        }
        if let Err(why) = run(Command::new("unshare").args(["-n", "sh", "-ec", BEGIN])) {
            return Entered::Impossible(why);
        }
        let this = std::env::current_exe().expect("the path of the test");
        let status = Command::new("unshare")
            .arg("-n")
            .arg(this)
            .args(["--exact", test, "--nocapture"])
            .env(WITHIN, "1")
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{test} failed in a network of its own: see above"
        );
        Entered::Done
    }

    /// Makes the namespace of a part and joins it to that of the test.
    pub fn add(&mut self, name: &str) {
        let number = self.parts.len() + 1;
        let holder = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut holder = holder.expect("a namespace");
        // It writes a line once it is in there.
        let mut said = [0; 1];
        let mut stdout = holder.stdout.take().expect("a pipe");
        std::io::Read::read_exact(&mut stdout, &mut said).expect("the namespace is there");
        let pid = holder.id();
        let script = format!(
            "ip link add p{number} type veth peer name eth0 netns {pid}
             ip addr add 10.77.{number}.1/24 dev p{number}
             ip link set p{number} up
             in='nsenter -t {pid} -n'
             $in ip link set lo up
             $in ip addr add 10.77.{number}.2/24 dev eth0
             $in ip link set eth0 up
             $in ip route add default via 10.77.{number}.1"
        );
        run(Command::new("sh").args(["-ec", &script]))
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        self.parts.insert(name.to_owned(), Part { holder, number });
    }

    /// Where a part is reached.
    pub fn address(&self, name: &str) -> String {
        format!("10.77.{}.2", self.parts[name].number)
    }

    /// A command that runs a program in a part's namespace.
    pub fn command(&self, name: &str, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.parts[name].holder.id().to_string();
        command.args(["-t", &pid, "-n", "--"]).arg(program);
        command
    }

    /// Drops all that two parts send to each other from now on.
    pub fn cut(&self, one: &str, other: &str) {
        self.rules("add", one, other);
    }

    pub fn heal(&self, one: &str, other: &str) {
        self.rules("del", one, other);
    }

    fn rules(&self, verb: &str, one: &str, other: &str) {
        let (one, other) = (self.address(one), self.address(other));
        for (from, to) in [(&one, &other), (&other, &one)] {
            let args = ["rule", verb, "from", from, "to", to, "blackhole"];
            run(Command::new("ip").args(args)).unwrap_or_else(|why| panic!("{args:?}: {why}"));
        }
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for part in self.parts.values_mut() {
            let _ = part.holder.kill();
            let _ = part.holder.wait();
        }
    }
}

/// What a new namespace needs to stand between others, and a try of what cuts them.
const BEGIN: &str = "ip link set lo up
    echo 1 > /proc/sys/net/ipv4/ip_forward
    ip link add p0 type veth peer name q0
    ip link del p0
    ip rule add from 10.77.254.1 to 10.77.254.2 blackhole
    ip rule del from 10.77.254.1 to 10.77.254.2 blackhole";

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// A way to a port of this machine that can be cut.
#[derive(Debug)]
pub struct Relay {
    pub port: u16,
    open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub async fn to(port: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a free port");
        let here = listener.local_addr().expect("an address").port();
        let (open, seen) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, port, seen.clone()));
            }
        });
        Relay {
            port: here,
            open,
            _tasks: tasks,
        }
    }

    /// Holds back all that is sent from now on.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    pub fn heal(&self) {
        self.open.send_replace(true);
    }
}

async fn relay(client: TcpStream, port: u16, mut open: watch::Receiver<bool>) {
    if open.wait_for(|open| *open).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        pump(from_client, to_server, open.clone()),
        pump(from_server, to_client, open)
    );
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        // Also that a connection was closed is not told while the way is cut.
        if open.wait_for(|open| *open).await.is_err()
            || read == 0
            || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
}
