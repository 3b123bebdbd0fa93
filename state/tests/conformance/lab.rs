//! The stores under test: a file in a temporary folder, or an etcd server of this test's own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vtplan_state::store::sqlite::{SqliteOptions, SqliteStore};
use vtplan_state::store::{Op, OpenMode, Store, Txn, open};

/// Longer than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A store under test. Dropped, it leaves nothing behind.
pub struct Lab {
    pub url: String,
    pub etcd: Option<EtcdServer>,
    folder: TempDir,
}

impl Lab {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            url: format!("sqlite:{}/state.db", folder.path().display()),
            etcd: None,
            folder,
        }
    }

    /// `None`, with a message, where etcd is not installed.
    pub async fn etcd() -> Option<Self> {
        let found = Command::new("etcd")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            note_skipped("there is no etcd on PATH");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut server = EtcdServer::new(folder.path());
        server.start().await;
        Some(Self {
            url: format!("etcd://127.0.0.1:{}", server.client_port),
            etcd: Some(server),
            folder,
        })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A handle of its own: another connection, as another process would have.
    pub async fn store(&self) -> Arc<dyn Store> {
        open(&self.url, OpenMode::Create).await.unwrap()
    }

    /// Makes the store forget all events up to now.
    pub async fn compact(&self) {
        if let Some(server) = &self.etcd {
            let endpoint = format!("127.0.0.1:{}", server.client_port);
            let mut client = etcd_client::Client::connect([endpoint], None)
                .await
                .unwrap();
            let revision = client.put("compact", "1", None).await.unwrap();
            let revision = revision.header().unwrap().revision();
            client.compact(revision, None).await.unwrap();
            return;
        }
        let options = SqliteOptions { keep_revisions: 1 };
        let path = self.url.strip_prefix("sqlite:").unwrap();
        let store = SqliteStore::open(Path::new(path), OpenMode::Create, options).await;
        let store = store.unwrap();
        for number in 0..3 {
            let txn = Txn::new().then(Op::put("compact", &number));
            store.txn(txn).await.unwrap();
        }
    }
}

/// An etcd server that can be killed and started again on its data and ports.
pub struct EtcdServer {
    pub client_port: u16,
    peer_port: u16,
    data: PathBuf,
    child: Option<Child>,
}

impl EtcdServer {
    fn new(folder: &Path) -> Self {
        Self {
            client_port: free_port(),
            peer_port: free_port(),
            data: folder.join("etcd"),
            child: None,
        }
    }

    /// Starts it and waits until it takes connections. If another process took a port of a new
    /// server in the meantime, others are chosen.
    pub async fn start(&mut self) {
        let started = Instant::now();
        let fresh = !self.data.exists();
        'again: loop {
            assert!(started.elapsed() < PATIENCE, "etcd does not start");
            let client = format!("http://127.0.0.1:{}", self.client_port);
            let peer = format!("http://127.0.0.1:{}", self.peer_port);
            let log = self.data.with_extension("log");
            let log = std::fs::File::options().create(true).append(true).open(log);
            let child = Command::new("etcd")
                .args(["--name", "lab", "--data-dir"])
                .arg(&self.data)
                .args(["--listen-client-urls", &client])
                .args(["--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer])
                .args(["--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &format!("lab={peer}")])
                .args(["--heartbeat-interval", "50", "--election-timeout", "250"])
                .stdout(Stdio::null())
                .stderr(log.unwrap())
                .spawn();
            let child = self.child.insert(child.unwrap());
            loop {
                if child.try_wait().unwrap().is_some() {
                    if fresh {
                        let _ = std::fs::remove_dir_all(&self.data);
                        self.client_port = free_port();
                        self.peer_port = free_port();
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue 'again;
                }
                let address = ("127.0.0.1", self.client_port);
                if tokio::net::TcpStream::connect(address).await.is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port below those that the kernel gives to outgoing connections, so that it is likely to be
/// free again after a kill.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
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
