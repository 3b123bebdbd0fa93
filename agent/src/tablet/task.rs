//! The task of one tablet: look, do what is missing, tell, wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};
use vtplan_planner::live::{ObservedRole, RunningServer, ServerState};
use vtplan_state::cluster::Snapshot;

use super::Tablet;
use super::role::{RoleMemory, Wanted, wanted};
use super::server::Server;
use crate::error::AgentError;

/// Pause between looks at a tablet that is as it should be.
const SETTLED: Duration = Duration::from_secs(1);
/// Pause between looks at one that is not yet.
const UNSETTLED: Duration = Duration::from_millis(100);
/// Pause after an error.
const AFTER_ERROR: Duration = Duration::from_millis(500);
/// Pause between attempts to remove a tablet.
const REMOVAL_RETRY: Duration = Duration::from_secs(5);

/// What a task should work towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The tablet is as its record says.
    Run,
    /// The tablet's record is gone: no server, no folder.
    Remove,
    /// The tablet is on another host now: no server, the folder stays.
    Halt,
}

impl Tablet {
    /// Works until the order is another one than to run, and was carried out.
    pub async fn run(
        self: Arc<Self>,
        mut records: watch::Receiver<Arc<Snapshot>>,
        mut order: watch::Receiver<Order>,
    ) {
        let mut server = Server::default();
        let mut memory = RoleMemory::default();
        loop {
            let now = *order.borrow_and_update();
            if now != Order::Run {
                match self.end(&mut server, now).await {
                    Ok(()) => return,
                    Err(error) => {
                        warn!(tablet = %self.alias, %error, "cannot be removed");
                        self.set_status(down(&error), String::new());
                        sleep(REMOVAL_RETRY).await;
                        continue;
                    }
                }
            }
            let snapshot = records.borrow_and_update().clone();
            let pause = self.look(&mut server, &mut memory, &snapshot).await;
            select! {
                () = sleep(pause) => {}
                () = self.wake.notified() => {}
                // An error: the agent ends.
                changed = records.changed() => if changed.is_err() { return },
                changed = order.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn end(&self, server: &mut Server, order: Order) -> Result<(), AgentError> {
        let message = match order {
            Order::Halt => "the tablet is another host's",
            _ => "the tablet is being removed",
        };
        self.set_status(
            ServerState::Down {
                message: message.to_owned(),
            },
            String::new(),
        );
        match order {
            Order::Halt => self.halt(server).await,
            _ => self.tear_down(server).await,
        }
    }

    /// One look; returns how long to wait until the next.
    async fn look(
        &self,
        server: &mut Server,
        memory: &mut RoleMemory,
        snapshot: &Snapshot,
    ) -> Duration {
        let recorded = snapshot.tablets.get(&self.alias);
        if let Some(record) = recorded {
            *self
                .record
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = record.clone();
        }
        match self.bring_up(server, snapshot).await {
            Ok(None) => {}
            Ok(Some(state)) => {
                self.set_status(state, String::new());
                return UNSETTLED;
            }
            Err(error) => {
                debug!(tablet = %self.alias, %error, "its server is not up");
                server.drop_connection();
                self.set_status(down(&error), String::new());
                return AFTER_ERROR;
            }
        }
        if recorded.is_some()
            && let Err(error) = self.note_generation(memory, snapshot)
        {
            warn!(tablet = %self.alias, %error, "its folder does not say that the records have it");
        }
        // Without a record nothing says what it should be, and so it stays what it is.
        let wanted = match recorded {
            Some(_) => wanted(snapshot, &self.record(), |host| self.host.address_of(host)),
            None => Wanted::Unknown,
        };
        let (problem, seen) = match self.reconcile(server, memory, &wanted).await {
            Ok(state) => (String::new(), Ok(state)),
            Err(error) => {
                debug!(tablet = %self.alias, %error, "not in its role");
                // What it could not do may have left the connection in the middle of something;
                // what can be seen is told all the same.
                server.drop_connection();
                (error.to_string(), self.observe_anew(&wanted).await)
            }
        };
        match seen {
            Ok(state) => {
                let settled = problem.is_empty() && is_settled(&wanted, &state);
                let fenced = matches!(wanted, Wanted::Primary { fenced: true, .. });
                self.set_status_of(ServerState::Running(state), problem, fenced);
                if settled { SETTLED } else { UNSETTLED }
            }
            Err(error) => {
                server.drop_connection();
                self.set_status(down(&error), problem);
                AFTER_ERROR
            }
        }
    }

    async fn reconcile(
        &self,
        server: &mut Server,
        memory: &mut RoleMemory,
        wanted: &Wanted,
    ) -> Result<RunningServer, AgentError> {
        let Some(sql) = server.sql() else {
            return Err(AgentError::Refused("there is no connection".to_owned()));
        };
        self.make_role(sql, wanted, memory).await?;
        self.observe_with(sql, wanted).await
    }

    async fn observe_anew(&self, wanted: &Wanted) -> Result<RunningServer, AgentError> {
        let mut sql = self.connect(None).await?;
        let seen = self.observe_with(&mut sql, wanted).await;
        sql.close().await;
        seen
    }

    async fn observe_with(
        &self,
        sql: &mut crate::sql::Sql,
        wanted: &Wanted,
    ) -> Result<RunningServer, AgentError> {
        let facts = self.facts(sql).await?;
        let status = self.replication(sql).await?;
        let role = self.observed_role(wanted, status.as_ref())?;
        let replicates_from = status
            .as_ref()
            .filter(|_| self.is_adopted() && role == ObservedRole::Idle)
            .map(|status| status.source());
        Ok(RunningServer {
            flavor: self.flavor().kind(),
            version: facts.version,
            read_only: facts.read_only,
            role,
            replicates_from,
            position: facts.position,
            semi_sync: match wanted {
                Wanted::Primary { .. } => facts.semi_sync_source,
                Wanted::Replica { .. } => facts.semi_sync_replica,
                Wanted::Idle => false,
                Wanted::Unknown => facts.semi_sync_source || facts.semi_sync_replica,
            },
        })
    }
}

/// Whether there is nothing that is about to change by itself: a replica that connects is looked at
/// often, so that those who wait for it learn soon.
fn is_settled(wanted: &Wanted, state: &RunningServer) -> bool {
    use ObservedRole::{Primary, Replica};
    match (wanted, &state.role) {
        (Wanted::Primary { fenced, .. }, Primary { .. }) => *fenced || !state.read_only,
        (Wanted::Replica { .. }, Replica { healthy, error, .. }) => *healthy || !error.is_empty(),
        (Wanted::Idle | Wanted::Unknown, _) => true,
        _ => false,
    }
}

fn down(error: &AgentError) -> ServerState {
    ServerState::Down {
        message: error.to_string(),
    }
}
