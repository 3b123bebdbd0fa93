//! Which server of a shard rows are read from: an rdonly or a replica that replicates, so that the
//! primary is left alone; the primary where there is none.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;
use vtplan_state::model::{
    Credentials, HostName, KeyspaceName, Records, ShardName, TabletRecord, TabletType,
};

use super::VDiffError;
use crate::stream::Position;
use crate::stream::server::ServerAddress;
use crate::stream::source::SourceServer;

/// How long a replica may take to have what the primary had at the beginning.
const HEALTHY_WITHIN: Duration = Duration::from_secs(5);
/// Pause between looks at a position.
const POLL: Duration = Duration::from_millis(20);

/// Where servers are, and as whom they are used.
#[derive(Clone)]
pub struct Access<'a> {
    pub records: &'a Records,
    /// The agent's own host.
    pub here: &'a HostName,
    pub credentials: &'a Credentials,
}

impl Access<'_> {
    fn address(&self, tablet: &TabletRecord) -> Option<ServerAddress> {
        let host = self.records.hosts.get(&tablet.host)?;
        Some(ServerAddress::of_tablet(
            tablet,
            host,
            self.here,
            self.credentials,
        ))
    }

    /// The server of a shard's primary.
    pub fn primary(
        &self,
        keyspace: &KeyspaceName,
        shard: &ShardName,
    ) -> Result<ServerAddress, VDiffError> {
        let record = self.records.shard(keyspace, shard);
        let primary = record.and_then(|s| s.primary.as_ref());
        primary
            .and_then(|alias| self.records.tablets.get(alias))
            .and_then(|tablet| self.address(tablet))
            .ok_or_else(|| {
                VDiffError::NotYet(format!(
                    "shard {keyspace}/{shard} has no primary on a host whose agent is alive"
                ))
            })
    }

    /// A server to read a shard from: one that has all that the primary has now, or soon after.
    pub async fn reader(
        &self,
        keyspace: &KeyspaceName,
        shard: &ShardName,
    ) -> Result<SourceServer, VDiffError> {
        let primary = self.primary(keyspace, shard)?;
        let primary = SourceServer::connect(&primary, keyspace).await;
        let has = match &primary {
            Ok(primary) => Some(primary.position().await?),
            Err(_) => None,
        };
        let primary_alias = (self.records.shard(keyspace, shard)).and_then(|s| s.primary.clone());
        let mut replicas: Vec<&TabletRecord> = (self.records.tablets_of(keyspace, shard))
            .filter(|t| Some(&t.alias) != primary_alias.as_ref())
            .collect();
        replicas.sort_by_key(|t| (t.tablet_type != TabletType::Rdonly, t.alias.clone()));
        for tablet in replicas {
            let Some(address) = self.address(tablet) else {
                continue;
            };
            let looked = async {
                let server = SourceServer::connect(&address, keyspace).await?;
                let fit = match &has {
                    Some(position) => reaches(&server, position, HEALTHY_WITHIN).await?,
                    // There is nothing to measure it by.
                    None => true,
                };
                Ok::<_, VDiffError>(fit.then_some(server))
            };
            match looked.await {
                Ok(Some(server)) => return Ok(server),
                Ok(None) => debug!(tablet = %tablet.alias, "it lags: not compared from"),
                Err(error) => debug!(tablet = %tablet.alias, %error, "not compared from"),
            }
        }
        Ok(primary?)
    }
}

/// Waits until a server has executed all of a position. `false`: not within `patience`.
pub async fn reaches(
    server: &SourceServer,
    position: &Position,
    patience: Duration,
) -> Result<bool, VDiffError> {
    let give_up = Instant::now() + patience;
    loop {
        if server.position().await?.contains(position) {
            return Ok(true);
        }
        if Instant::now() >= give_up {
            return Ok(false);
        }
        sleep(POLL).await;
    }
}
