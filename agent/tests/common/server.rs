//! One server for streams to read from and write to, without the rest of a cluster.

use std::path::PathBuf;
use std::sync::Arc;

use vtplan_agent::stream::source::SourceServer;
use vtplan_agent::stream::{Connection, Row, ServerAddress, TableShape};
use vtplan_state::model::{Durability, FlavorKind, KeyspaceName, TableName, TabletType};

use super::{Lab, alias};

/// The database of the lab's keyspace.
pub const KS: &str = "my_commerce";

/// One server of a flavor with the keyspace's database, and a second database for copies.
pub struct Server {
    pub lab: Lab,
    pub address: ServerAddress,
    /// In UTF-8.
    pub sql: Connection,
    /// As streams write.
    pub writer: Connection,
}

impl Server {
    pub async fn start(flavor: FlavorKind, mysqld: Option<PathBuf>) -> Self {
        let mut lab = Lab::new(flavor, mysqld).await;
        lab.start().await;
        lab.put_keyspace(Durability::None).await;
        lab.put_shard(None, 0).await;
        let tablet = lab.tablet(100, TabletType::Replica);
        lab.put_tablet(&tablet).await;
        lab.put_shard(Some(100), 1).await;
        lab.wait_for_shard(100, 1, &[]).await;
        let credentials = lab.cluster.credentials().await.unwrap().unwrap();
        let address = ServerAddress {
            name: alias(100).to_string(),
            flavor,
            host: "127.0.0.1".to_owned(),
            port: tablet.mysql_port,
            socket: Some(lab.tablet_dir(100).join("mysql.sock")),
            user: credentials.admin_user,
            password: credentials.admin_password,
        };
        let mut sql = Connection::open(&address, Some(KS)).await.unwrap();
        let prepare = "SET NAMES utf8mb4; CREATE DATABASE copy";
        sql.run("preparing", prepare).await.unwrap();
        let writer = Connection::open(&address, Some(KS)).await.unwrap();
        Self {
            lab,
            address,
            sql,
            writer,
        }
    }

    pub async fn run(&mut self, statement: &str) {
        self.sql.run(statement, statement).await.unwrap();
    }

    pub async fn source(&self, database: &str) -> SourceServer {
        let database = KeyspaceName::new(database).unwrap();
        SourceServer::connect(&self.address, &database)
            .await
            .unwrap()
    }

    pub async fn shapes(&self, database: &str, names: &[impl AsRef<str>]) -> Vec<Arc<TableShape>> {
        let names: Vec<TableName> = names
            .iter()
            .map(|n| TableName::new(n.as_ref()).unwrap())
            .collect();
        self.source(database).await.tables(&names).await.unwrap()
    }

    /// All rows of tables, from one snapshot.
    pub async fn rows(&self, database: &str, shapes: &[Arc<TableShape>]) -> Vec<Vec<Row>> {
        let source = self.source(database).await;
        let mut snapshot = source.snapshot(shapes).await.unwrap();
        let mut all = Vec::new();
        for shape in shapes {
            let mut rows = Vec::new();
            let mut stream = snapshot.read(shape, None, None).await.unwrap();
            while let Some(batch) = stream.next_batch(1000).await.unwrap() {
                rows.extend(batch.rows().map(|r| r.to_row()));
            }
            all.push(rows);
        }
        snapshot.close().await;
        all
    }
}
