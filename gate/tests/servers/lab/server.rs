//! One server of either flavor.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;

use super::{SERVER_PASSWORD, SERVER_USER};

const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavor {
    MariaDb,
    MySql,
}

impl Flavor {
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::MariaDb => Some("mariadbd".into()),
            Self::MySql => std::env::var_os("VTPLAN_TEST_MYSQLD")
                .filter(|p| !p.is_empty())
                .map(PathBuf::from),
        }
    }
}

/// One server. Stopped when dropped.
pub struct Server {
    child: Child,
    pub port: u16,
    pub socket: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A prepared data folder for a flavor, made once on a machine for each version of the server.
fn template(flavor: Flavor, program: &Path) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let version = Command::new(program).arg("--version").output().unwrap();
    let version: String = String::from_utf8_lossy(&version.stdout)
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
        .collect();
    let folder = std::env::temp_dir().join(format!("vtplan-gate-test-{version}"));
    let data = folder.join("data");
    if data.exists() {
        return data;
    }
    // Another process may be about it too: whoever is first gives it its name.
    let making = tempfile::tempdir().unwrap();
    let made = making.path().join("data");
    match flavor {
        Flavor::MariaDb => run(Command::new("mariadb-install-db")
            .args(["--no-defaults", "--user=root", "--skip-test-db"])
            .arg("--auth-root-authentication-method=normal")
            .arg(format!("--datadir={}", made.display()))),
        Flavor::MySql => run(Command::new(program)
            .args(["--no-defaults", "--initialize-insecure", "--user=root"])
            .arg(format!("--datadir={}", made.display()))),
    }
    fs::create_dir_all(&folder).unwrap();
    if let Err(error) = fs::rename(&made, &data) {
        assert!(data.exists(), "{error}");
    }
    data
}

pub async fn start_server(flavor: Flavor, folder: &Path, id: u32, privileges: &str) -> Server {
    let program = flavor.program().unwrap();
    copy_folder(&template(flavor, &program), &folder.join("data"));
    // Of the copies each is a server of its own.
    let _ = fs::remove_file(folder.join("data/auto.cnf"));
    let (port, socket) = (free_port(), folder.join("mysql.sock"));
    let log = fs::File::create(folder.join("error.log")).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"])
        .args(["--max-allowed-packet=64M", "--max-connections=300"])
        .args(["--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"])
        .args(["--innodb-buffer-pool-size=32M", "--secure-file-priv="])
        .arg(format!("--server-id={id}"))
        .arg(format!("--port={port}"))
        .arg(format!("--socket={}", socket.display()))
        .arg(format!("--datadir={}", folder.join("data").display()))
        .arg(format!("--pid-file={}", folder.join("pid").display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    if flavor == Flavor::MySql {
        command.args(["--mysqlx=OFF", "--performance-schema=OFF"]);
    }
    let mut server = Server {
        child: command.spawn().unwrap(),
        port,
        socket,
    };
    let root = mysql_async::OptsBuilder::default()
        .socket(server.socket.to_str())
        .user(Some("root"));
    let end = Instant::now() + PATIENCE;
    let mut conn = loop {
        match mysql_async::Conn::new(root.clone()).await {
            Ok(conn) => break conn,
            Err(error) => {
                let ended = server.child.try_wait().unwrap();
                let log = || fs::read_to_string(folder.join("error.log")).unwrap_or_default();
                assert!(ended.is_none(), "the server ended: {}", log());
                assert!(Instant::now() < end, "{error}: {}", log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    for host in ["localhost", "127.0.0.1"] {
        let account = format!("'{SERVER_USER}'@'{host}'");
        let create = format!("CREATE USER {account} IDENTIFIED BY '{SERVER_PASSWORD}'");
        conn.query_drop(create).await.unwrap();
        let grant = format!("GRANT {privileges} ON *.* TO {account}");
        conn.query_drop(grant).await.unwrap();
    }
    server
}

/// A connection to a server as `user`.
async fn connect(
    server: &Server,
    user: &str,
    password: &str,
    database: Option<&str>,
) -> mysql_async::Conn {
    let options = mysql_async::OptsBuilder::default()
        .socket(server.socket.to_str())
        .user(Some(user))
        .pass(Some(password).filter(|p| !p.is_empty()))
        .db_name(database)
        .max_allowed_packet(Some(64 << 20));
    mysql_async::Conn::new(options).await.unwrap()
}

/// With the gate's account.
pub async fn direct(server: &Server, database: Option<&str>) -> mysql_async::Conn {
    connect(server, SERVER_USER, SERVER_PASSWORD, database).await
}

/// As the server's administrator, whom `read_only` does not bind.
pub async fn admin(server: &Server, database: Option<&str>) -> mysql_async::Conn {
    connect(server, "root", "", database).await
}
