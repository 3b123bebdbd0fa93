//! MySQL servers that nobody of vtplan has made: what there was before.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, OptsBuilder};

use crate::lab::PATIENCE;
use crate::ports::free_port;
use crate::process::Proc;
use crate::servers::Server;

/// The administrator's account on servers made by hand, and its password.
pub const DBA: (&str, &str) = ("dba", "dba's own secret");

/// A server with binlog, GTIDs and an administrator.
pub struct HandMade {
    pub proc: Proc,
    pub port: u16,
    server: Server,
}

impl HandMade {
    /// Starts one in `folder`, with further options. Its data folder is made anew.
    pub async fn start(server: &Server, folder: &Path, id: u32, options: &[&str]) -> HandMade {
        std::fs::create_dir_all(folder).expect("a folder");
        let data = format!("--datadir={}", folder.join("data").display());
        let (program, mut make) = match server {
            Server::MariaDb => {
                let mut make = Command::new("mariadb-install-db");
                make.arg("--no-defaults")
                    .args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                ("mariadbd".into(), make)
            }
            Server::MySql(program) => {
                let mut make = Command::new(program);
                make.args(["--no-defaults", "--initialize-insecure"]);
                (program.clone(), make)
            }
        };
        let root = nix::unistd::geteuid().is_root();
        let user = root.then_some("--user=root");
        let made = make.arg(&data).args(user).output().expect("a data folder");
        assert!(made.status.success(), "{made:?}");
        let port = free_port();
        let socket = folder.join("mysql.sock");
        let mut command = Command::new(program);
        command
            .args(["--no-defaults", &data])
            .args(user)
            .args(["--bind-address=127.0.0.1", &format!("--port={port}")])
            .args([
                format!("--server-id={id}"),
                format!("--socket={}", socket.display()),
            ])
            .arg(format!(
                "--pid-file={}",
                folder.join("mysqld.pid").display()
            ))
            .args([
                "--log-bin=binlog",
                "--binlog-format=ROW",
                "--innodb-buffer-pool-size=32M",
            ]);
        match server {
            Server::MariaDb => command.args(["--log-slave-updates", "--gtid-strict-mode=ON"]),
            Server::MySql(_) => command.args([
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--mysqlx=OFF",
            ]),
        };
        command.args(options);
        let proc = Proc::start(&format!("hand-made-{id}"), command, folder);
        let end = Instant::now() + PATIENCE;
        let options = OptsBuilder::default()
            .socket(Some(socket.display().to_string()))
            .user(Some("root"));
        let mut conn = loop {
            match Conn::new(options.clone()).await {
                Ok(conn) => break conn,
                Err(error) => assert!(Instant::now() < end, "{error}\n{}", proc.log()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        // Of each server its own: it must not be in the binlog that the other one gets.
        for statement in [
            "SET SESSION sql_log_bin = 0".to_owned(),
            format!(
                "CREATE USER '{}'@'%' IDENTIFIED BY '{}'",
                DBA.0,
                DBA.1.replace('\'', "''")
            ),
            format!(
                "GRANT ALL PRIVILEGES ON *.* TO '{}'@'%' WITH GRANT OPTION",
                DBA.0
            ),
        ] {
            conn.query_drop(&statement).await.expect(&statement);
        }
        let _ = conn.disconnect().await;
        HandMade {
            proc,
            port,
            server: server.clone(),
        }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Replicates from another one, by GTID, as that one's administrator.
    pub async fn replicate_from(&self, source: &HandMade) {
        let password = DBA.1.replace('\'', "''");
        let statements = match self.server {
            Server::MariaDb => [
                format!(
                    "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = '{}', \
                     MASTER_PASSWORD = '{password}', MASTER_USE_GTID = slave_pos",
                    source.port, DBA.0
                ),
                "START SLAVE".to_owned(),
            ],
            Server::MySql(_) => [
                format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, \
                     SOURCE_USER = '{}', SOURCE_PASSWORD = '{password}', SOURCE_AUTO_POSITION = 1, \
                     SOURCE_SSL = 1",
                    source.port, DBA.0
                ),
                "START REPLICA".to_owned(),
            ],
        };
        for statement in statements {
            self.run(&statement).await;
        }
    }

    /// Runs a statement as the administrator, on no database.
    pub async fn run(&self, statement: &str) {
        let mut conn = self.connect().await;
        conn.query_drop(statement).await.expect(statement);
        let _ = conn.disconnect().await;
    }

    pub async fn query<T>(&self, query: &str) -> Vec<T>
    where
        T: FromRow + Send + 'static,
    {
        let mut conn = self.connect().await;
        let rows = conn.query(query).await.expect(query);
        let _ = conn.disconnect().await;
        rows
    }

    async fn connect(&self) -> Conn {
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some(DBA.0))
            .pass(Some(DBA.1))
            .prefer_socket(false);
        Conn::new(options).await.expect("a server made by hand")
    }
}
