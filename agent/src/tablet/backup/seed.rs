//! A new replica's data from a backup, in the place of an empty folder and the whole binlog.

use std::fs;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use vtplan_planner::live::ServerState;
use vtplan_state::model::Records;

use crate::backup::restore::restore;
use crate::backup::seed::{self, Seed};
use crate::error::AgentError;
use crate::mysqld::folder::{read_json, write_json};
use crate::sql::{Endpoint, Sql};
use crate::tablet::Tablet;

/// `seeded.json`: the server's data is a backup's, and the server does not know yet where to go on.
#[derive(Debug, Serialize, Deserialize)]
struct Seeded {
    backup: String,
    position: String,
}

impl Tablet {
    /// Makes the tablet's folder of a backup, if there is one that it can go on from. `false`: it is made as
    /// one without data; why, where there are backups, is in the log.
    pub(in crate::tablet) async fn seed(&self, records: &Records) -> bool {
        match self.try_seed(records).await {
            Ok(seeded) => seeded,
            Err(error) => {
                self.dir.give_up();
                warn!(tablet = %self.alias, %error, "it does not start from a backup, but from nothing");
                false
            }
        }
    }

    async fn try_seed(&self, records: &Records) -> Result<bool, AgentError> {
        let (host, record) = (&self.host, self.record());
        let shard = records.shard(&record.keyspace, &record.shard);
        let primary = shard.and_then(|shard| shard.primary.as_ref());
        let Some(primary) = primary.filter(|primary| **primary != self.alias) else {
            return Ok(false);
        };
        let version = host.program.version;
        let Some(Seed {
            location,
            place,
            manifest,
        }) = seed::find(&host.cluster, records, &record, version).await?
        else {
            return Ok(false);
        };
        let source = records.tablets.get(primary).and_then(|source| {
            let address = records.hosts.get(&source.host).map(|h| h.address.clone());
            let address = address.or_else(|| host.address_of(&source.host));
            source.address(address.as_deref())
        });
        let Some(source) = source else {
            return Err(AgentError::Refused(format!(
                "the address of its primary {primary} is not known"
            )));
        };
        self.check_goes_on(Endpoint::Tcp(source), &manifest.position)
            .await?;
        info!(tablet = %self.alias, backup = place.id, "making the tablet's folder of a backup");
        self.set_status(
            ServerState::Creating {
                message: format!("its folder is being made of the backup {}", place.id),
            },
            String::new(),
        );
        let tmp = self.dir.begin()?;
        let data = tmp.join("data");
        restore(location, &place, &manifest, &data, &host.program).await?;
        let seeded = Seeded {
            backup: place.id.clone(),
            position: manifest.position.clone(),
        };
        let file = self.dir.seeded_file();
        let name = file.file_name().unwrap_or_default();
        write_json(&tmp.join(name), &seeded)?;
        self.dir.finish(&self.new_marker(version.to_string()))?;
        Ok(true)
    }

    /// A position that the primary does not have is not one of its history.
    async fn check_goes_on(&self, primary: Endpoint, position: &str) -> Result<(), AgentError> {
        let credentials = &self.host.credentials;
        let connected = Sql::connect(
            &primary,
            &credentials.admin_user,
            Some(&credentials.admin_password),
            None,
        );
        let mut sql = connected.await.map_err(|e| {
            AgentError::Refused(format!("its primary at {primary} does not answer: {e:?}"))
        })?;
        let facts = self.facts(&mut sql).await?;
        sql.close().await;
        if self.flavor().contains(&facts.position, position) {
            return Ok(());
        }
        Err(AgentError::Refused(format!(
            "the primary is at {}, which does not contain the backup's position {position}",
            facts.position
        )))
    }

    /// Tells a server on a backup's data what of its primary's binlog it has.
    pub(in crate::tablet) async fn go_on_from_backup(
        &self,
        sql: &mut Sql,
    ) -> Result<(), AgentError> {
        let path = self.dir.seeded_file();
        let Some(seeded) = read_json::<Seeded>(&path)? else {
            return Ok(());
        };
        let statements = self.flavor().start_from(&seeded.position);
        sql.run_all("setting where the backup ends", statements)
            .await?;
        fs::remove_file(&path).map_err(|e| AgentError::io(&path, "it cannot be removed", e))?;
        info!(tablet = %self.alias, backup = seeded.backup, position = seeded.position, "goes on from the backup");
        Ok(())
    }
}
