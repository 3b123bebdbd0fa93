//! What stands behind a cluster's gates: its records, and its servers asked directly.

use std::time::{Duration, Instant};

use mysql_async::{Conn, Opts, OptsBuilder};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{Credentials, KeyspaceName, Records, ShardName, TabletRecord};
use vtplan_state::store::{self, OpenMode};

use crate::lab::{Lab, PATIENCE};

/// The store of a lab's cluster, once `apply` has made the cluster.
#[derive(Debug, Clone)]
pub struct Inside {
    pub cluster: Cluster,
    pub credentials: Credentials,
}

impl Inside {
    pub async fn open(lab: &Lab, cluster: &str) -> Inside {
        let store = store::open(&lab.state_url(), OpenMode::MustExist)
            .await
            .expect("the store");
        let cluster = Cluster::open(store, cluster)
            .await
            .expect("the store answers")
            .expect("the cluster is there");
        let credentials = cluster.credentials().await.expect("the store answers");
        Inside {
            cluster,
            credentials: credentials.expect("the cluster has accounts"),
        }
    }

    /// All records, waited for while the store does not answer.
    pub async fn records(&self) -> Records {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.cluster.load_records().await {
                Ok(records) => return records,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The record of a shard's primary.
    pub async fn primary(&self, keyspace: &str, shard: &str) -> TabletRecord {
        let records = self.records().await;
        let keyspace: KeyspaceName = keyspace.parse().expect("a name");
        let shard: ShardName = shard.parse().expect("a shard");
        let record = records.shard(&keyspace, &shard).expect("the shard");
        let primary = record.primary.as_ref().expect("a primary");
        records.tablets[primary].clone()
    }

    /// A shard's tablets but its primary.
    pub async fn replicas(&self, keyspace: &str, shard: &str) -> Vec<TabletRecord> {
        let primary = self.primary(keyspace, shard).await.alias;
        let records = self.records().await;
        let of_shard = records.tablets.into_values().filter(|tablet| {
            tablet.keyspace.as_str() == keyspace && tablet.shard.to_string() == shard
        });
        of_shard.filter(|tablet| tablet.alias != primary).collect()
    }

    /// A tablet's server, as the account of the gates; it is on loopback unless `host` says otherwise.
    pub fn as_gate(&self, tablet: &TabletRecord, host: &str) -> Opts {
        let (user, password) = (&self.credentials.gate_user, &self.credentials.gate_password);
        options(tablet, host, user, password)
    }

    /// A tablet's server, as vtplan's administrator.
    pub async fn connect(&self, tablet: &TabletRecord) -> Conn {
        let (user, password) = (
            &self.credentials.admin_user,
            &self.credentials.admin_password,
        );
        let opened = Conn::new(options(tablet, "127.0.0.1", user, password)).await;
        opened.unwrap_or_else(|error| panic!("{}: {error}", tablet.alias))
    }

    /// The server of a shard's primary, as vtplan's administrator.
    pub async fn on_primary(&self, keyspace: &str, shard: &str) -> Conn {
        let primary = self.primary(keyspace, shard).await;
        self.connect(&primary).await
    }
}

fn options(tablet: &TabletRecord, host: &str, user: &str, password: &str) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(tablet.mysql_port)
        .user(Some(user))
        .pass(Some(password))
        .db_name(Some(tablet.keyspace.as_str()))
        .prefer_socket(false)
        .into()
}
