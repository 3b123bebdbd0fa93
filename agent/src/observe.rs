//! Makes the planner's second input: the records at one revision, and what the agents see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use thiserror::Error;
use vtplan_planner::desired::Desired;
use vtplan_planner::live::{Canonical, Live, Observed, ObservedRole, RunningServer, ServerState};
use vtplan_state::cluster::{Cluster, Snapshot};
use vtplan_state::model::{
    FlavorKind, HostName, HostRecord, KeyspaceName, Records, Revision, TabletRecord,
};
use vtplan_state::store::StoreError;

use crate::client::{AgentClients, CallError, SeenHost};
use crate::turns;

/// The live state, and which hosts could not be asked about theirs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gathered {
    pub live: Live,
    /// In the order of host names.
    pub unseen: Vec<Unseen>,
    /// The newest change that gates should know of.
    pub serving_revision: Revision,
}

/// A host whose tablets are missing in the observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    pub host: HostName,
    /// Why, and what to do.
    pub why: String,
}

#[derive(Debug, Error)]
pub enum ObserveError {
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The live state. Agents that do not answer in time are left out and listed as unseen. A store
/// that holds nothing of the cluster gives the empty live state.
///
/// `desired`: its tables are shown to a server of each keyspace that exists, so that they can be
/// compared with what is there.
pub async fn gather(
    cluster: &Cluster,
    agents: &AgentClients,
    desired: Option<&Desired>,
) -> Result<Gathered, ObserveError> {
    let observer = Observer {
        // Who plans, plans with what there is now.
        deviations: desired.is_some(),
        ..Observer::new(agents.clone())
    };
    observer.gather(cluster, desired).await
}

/// The records alone, for when no agent is to be asked.
pub async fn gather_records_only(cluster: &Cluster) -> Result<Live, ObserveError> {
    Ok(Live {
        records: cluster.load_records().await?,
        observed: Observed::default(),
    })
}

/// Gathers again and again, and remembers what servers made of desired statements.
#[derive(Debug, Default)]
pub struct Observer {
    agents: AgentClients,
    canonical: Mutex<BTreeMap<CanonicalKey, BTreeMap<String, Canonical>>>,
    /// Whether agents look anew for what is not as they set servers up. A conductor, which looks all the
    /// time, goes by what they found last.
    deviations: bool,
}

/// What a definition depends on: the keyspace's statements (they refer to each other) and the
/// server that prints them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct CanonicalKey {
    keyspace: KeyspaceName,
    mysql: bool,
    version: String,
    statements: Vec<String>,
}

impl Observer {
    pub fn new(agents: AgentClients) -> Self {
        Self {
            agents,
            canonical: Mutex::default(),
            deviations: false,
        }
    }

    /// See [`gather`].
    pub async fn gather(
        &self,
        cluster: &Cluster,
        desired: Option<&Desired>,
    ) -> Result<Gathered, ObserveError> {
        let Snapshot {
            records,
            serving_revision,
        } = cluster.load_snapshot().await?;
        let hosts: Vec<HostRecord> = records.hosts.values().cloned().collect();
        let asked: Vec<_> = hosts
            .into_iter()
            .map(|host| self.observe_host(host))
            .collect();
        let mut answers: Vec<(HostRecord, Answer)> = turns::all(asked).await;
        answers.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let mut gathered = merge(records, answers);
        gathered.serving_revision = serving_revision;
        if let Some(desired) = desired {
            gathered.live.observed.canonical = self.canonicalize(&gathered.live, desired).await;
        }
        Ok(gathered)
    }

    async fn canonicalize(
        &self,
        live: &Live,
        desired: &Desired,
    ) -> BTreeMap<KeyspaceName, BTreeMap<String, Canonical>> {
        let mut judges = judges(live);
        let asked: Vec<_> = statements(live, desired)
            .into_iter()
            .map(|(keyspace, statements)| {
                let judges = judges.remove(&keyspace).unwrap_or_default();
                self.canonicalize_keyspace(live, keyspace, statements, judges)
            })
            .collect();
        turns::all(asked).await.into_iter().flatten().collect()
    }

    async fn observe_host(&self, host: HostRecord) -> (HostRecord, Answer) {
        let answer = self.agents.of(&host).observe(true, self.deviations).await;
        (host, answer)
    }

    /// Asks the best of the keyspace's servers, and others when it does not answer.
    async fn canonicalize_keyspace(
        &self,
        live: &Live,
        keyspace: KeyspaceName,
        statements: Vec<String>,
        judges: Vec<Judge<'_>>,
    ) -> Option<(KeyspaceName, BTreeMap<String, Canonical>)> {
        for (tablet, server) in judges.into_iter().take(3) {
            let key = CanonicalKey {
                keyspace: keyspace.clone(),
                mysql: server.flavor == FlavorKind::MySql,
                version: server.version.clone(),
                statements: statements.clone(),
            };
            if let Some(known) = self.known().get(&key) {
                return Some((keyspace, known.clone()));
            }
            let Some(host) = live.records.hosts.get(&tablet.host) else {
                continue;
            };
            let agent = self.agents.of(host);
            match agent.canonicalize(&tablet.alias, statements.clone()).await {
                Ok(canonical) => {
                    // A refusal may be about the server's state (disk full), so it is asked again.
                    if canonical
                        .values()
                        .all(|c| matches!(c, Canonical::Definition(_)))
                    {
                        self.known().insert(key, canonical.clone());
                    }
                    return Some((keyspace, canonical));
                }
                Err(error) => {
                    tracing::warn!(%keyspace, tablet = %tablet.alias, %error, "cannot compare tables");
                }
            }
        }
        None
    }

    fn known(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<CanonicalKey, BTreeMap<String, Canonical>>> {
        // Nothing panics while it is held.
        self.canonical
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

type Answer = Result<SeenHost, CallError>;

fn merge(records: Records, answers: Vec<(HostRecord, Answer)>) -> Gathered {
    let mut observed = Observed::default();
    let mut unseen = BTreeMap::new();
    for tablet in records.tablets.values() {
        if !records.hosts.contains_key(&tablet.host) {
            unseen.entry(tablet.host.clone()).or_insert_with(|| {
                format!(
                    "no agent is registered for host {}; start `vtplan agent` there",
                    tablet.host
                )
            });
        }
    }
    for (host, answer) in answers {
        match answer {
            Ok(SeenHost { tablets, room }) => {
                observed.hosts.insert(host.name.clone(), room);
                for (alias, tablet) in tablets {
                    // A folder that was left on another host does not speak for the tablet.
                    let elsewhere = records
                        .tablets
                        .get(&alias)
                        .is_some_and(|record| record.host != host.name);
                    if !elsewhere {
                        observed.tablets.insert(alias, tablet);
                    }
                }
            }
            Err(error) => {
                unseen.insert(host.name, error.to_string());
            }
        }
    }
    Gathered {
        live: Live { records, observed },
        unseen: unseen
            .into_iter()
            .map(|(host, why)| Unseen { host, why })
            .collect(),
        serving_revision: 0,
    }
}

/// The statements that the servers of each keyspace are asked about: those of the spec's tables. Where
/// a keyspace has no server yet, one that has tables of these names is asked in its place, for these
/// may be about to move.
fn statements(live: &Live, desired: &Desired) -> BTreeMap<KeyspaceName, Vec<String>> {
    let mut asked: BTreeMap<KeyspaceName, Vec<String>> = BTreeMap::new();
    let records = &live.records;
    let with_servers: BTreeSet<&KeyspaceName> =
        records.tablets.values().map(|t| &t.keyspace).collect();
    for (name, keyspace) in &desired.keyspaces {
        if with_servers.contains(name) {
            let tables = keyspace.tables.values();
            let statements = tables.map(|table| table.statement.clone());
            asked.entry(name.clone()).or_default().extend(statements);
            continue;
        }
        for (alias, observed) in &live.observed.tablets {
            let (Some(tables), Some(tablet)) = (&observed.tables, records.tablets.get(alias))
            else {
                continue;
            };
            let named = keyspace
                .tables
                .iter()
                .filter(|(t, _)| tables.contains_key(*t));
            let statements = named.map(|(_, table)| table.statement.clone());
            let of = asked.entry(tablet.keyspace.clone()).or_default();
            of.extend(statements);
        }
    }
    for statements in asked.values_mut() {
        statements.sort();
        statements.dedup();
    }
    asked.retain(|_, statements| !statements.is_empty());
    asked
}

/// A running server that can be asked about statements.
type Judge<'a> = (&'a TabletRecord, &'a RunningServer);

/// The running servers of each keyspace, the ones that are disturbed least first: replicas, then
/// servers without a role, then primaries.
fn judges(live: &Live) -> BTreeMap<KeyspaceName, Vec<Judge<'_>>> {
    let mut judges: BTreeMap<KeyspaceName, Vec<Judge<'_>>> = BTreeMap::new();
    for tablet in live.records.tablets.values() {
        let Some(observed) = live.observed.tablets.get(&tablet.alias) else {
            continue;
        };
        if let ServerState::Running(server) = &observed.server {
            match judges.get_mut(&tablet.keyspace) {
                Some(of_keyspace) => of_keyspace.push((tablet, server)),
                None => drop(judges.insert(tablet.keyspace.clone(), vec![(tablet, server)])),
            }
        }
    }
    for of_keyspace in judges.values_mut() {
        // Those of a rank stay in the order of their aliases.
        of_keyspace.sort_by_key(|(_, server)| match &server.role {
            ObservedRole::Replica { healthy: true, .. } => 0,
            ObservedRole::Idle => 1,
            ObservedRole::Primary { .. } => 2,
            ObservedRole::Replica { healthy: false, .. } => 3,
        });
    }
    judges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::CallErrorKind;
    use vtplan_planner::live::ObservedTablet;
    use vtplan_state::model::{CellName, ShardName, TabletAlias, TabletType};

    fn host(name: &str) -> HostRecord {
        HostRecord {
            name: HostName::new(name).unwrap(),
            cell: CellName::new("zone1").unwrap(),
            address: "127.0.0.1".into(),
            agent_url: "http://127.0.0.1:1".into(),
            capacity: 10,
            first_mysql_port: 17000,
            flavor: FlavorKind::MariaDb,
            server_version: "10.11.6".into(),
            version: "0.1.0".into(),
            started_at: 0,
            tablets_dir: "/tmp/t".into(),
        }
    }

    fn tablet(uid: u32, on: &str) -> TabletRecord {
        TabletRecord {
            alias: TabletAlias::new(CellName::new("zone1").unwrap(), uid),
            keyspace: KeyspaceName::new("commerce").unwrap(),
            shard: ShardName::unsharded(),
            tablet_type: TabletType::Replica,
            host: HostName::new(on).unwrap(),
            mysql_port: 17000,
            flavor: FlavorKind::MariaDb,
            server: Default::default(),
        }
    }

    fn running(role: ObservedRole) -> ObservedTablet {
        ObservedTablet {
            server: ServerState::Running(RunningServer {
                flavor: FlavorKind::MariaDb,
                version: "10.11.6".into(),
                read_only: true,
                role,
                replicates_from: None,
                position: String::new(),
                semi_sync: true,
            }),
            tables: None,
            deviations: Vec::new(),
        }
    }

    fn records(tablets: &[TabletRecord], hosts: &[&str]) -> Records {
        let mut records = Records::default();
        for tablet in tablets {
            records.tablets.insert(tablet.alias.clone(), tablet.clone());
        }
        for name in hosts {
            let host = host(name);
            records.hosts.insert(host.name.clone(), host);
        }
        records
    }

    fn tablets_alone(tablets: BTreeMap<TabletAlias, ObservedTablet>) -> SeenHost {
        SeenHost {
            tablets,
            ..SeenHost::default()
        }
    }

    #[test]
    fn hosts_without_an_agent_and_agents_without_an_answer_are_unseen() {
        let tablets = [tablet(100, "a"), tablet(101, "b"), tablet(102, "c")];
        let records = records(&tablets, &["a", "b"]);
        let error = CallError {
            host: HostName::new("b").unwrap(),
            url: "http://b:1".into(),
            kind: CallErrorKind::Unreachable("refused".into()),
        };
        let seen = BTreeMap::from([(tablets[0].alias.clone(), running(ObservedRole::Idle))]);
        let gathered = merge(
            records,
            vec![
                (host("a"), Ok(tablets_alone(seen))),
                (host("b"), Err(error)),
            ],
        );
        let observed: Vec<_> = gathered.live.observed.tablets.keys().collect();
        assert_eq!(observed, [&tablets[0].alias]);
        let unseen: Vec<_> = gathered.unseen.iter().map(|u| u.host.as_str()).collect();
        assert_eq!(unseen, ["b", "c"]);
        assert!(gathered.unseen[1].why.contains("vtplan agent"));
    }

    #[test]
    fn a_left_over_of_a_tablet_on_another_host_does_not_speak_for_it() {
        let tablets = [tablet(100, "a")];
        let records = records(&tablets, &["a", "b"]);
        let right = BTreeMap::from([(tablets[0].alias.clone(), running(ObservedRole::Idle))]);
        let stale = BTreeMap::from([(
            tablets[0].alias.clone(),
            running(ObservedRole::Primary { term: 1 }),
        )]);
        let gathered = merge(
            records,
            vec![
                (host("a"), Ok(tablets_alone(right.clone()))),
                (host("b"), Ok(tablets_alone(stale))),
            ],
        );
        assert_eq!(gathered.live.observed.tablets, right);
    }

    #[test]
    fn statements_are_shown_to_a_healthy_replica_before_a_primary() {
        let tablets = [tablet(100, "a"), tablet(101, "a"), tablet(102, "a")];
        let mut live = Live {
            records: records(&tablets, &["a"]),
            observed: Observed::default(),
        };
        let replica = |healthy| ObservedRole::Replica {
            source: tablets[0].alias.clone(),
            healthy,
            lag_seconds: Some(0),
            error: String::new(),
        };
        let roles = [
            ObservedRole::Primary { term: 1 },
            replica(false),
            replica(true),
        ];
        for (tablet, role) in tablets.iter().zip(roles) {
            live.observed
                .tablets
                .insert(tablet.alias.clone(), running(role));
        }
        let order: Vec<u32> = judges(&live)[&tablets[0].keyspace]
            .iter()
            .map(|(tablet, _)| tablet.alias.uid)
            .collect();
        assert_eq!(order, [102, 100, 101]);
    }

    #[test]
    fn tables_of_a_keyspace_without_servers_are_shown_to_those_that_have_them_now() {
        let spec = "{ vtplan: 1, cluster: shop, cells: [zone1], keyspaces: { \
                    commerce: { tablets: { zone1: { replica: 2 } } }, \
                    customer: { tablets: { zone1: { replica: 2 } }, schema: customer.sql } } }";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spec.yaml");
        std::fs::write(&path, spec).unwrap();
        let schema = "CREATE TABLE customer (id bigint PRIMARY KEY);\nCREATE TABLE review (id bigint PRIMARY KEY);";
        std::fs::write(folder.path().join("customer.sql"), schema).unwrap();
        let loaded = vtplan_planner::spec::load(&[path], &vtplan_planner::spec::NoSecrets).unwrap();
        let mut live = Live {
            records: records(&[tablet(100, "a")], &["a"]),
            observed: Observed::default(),
        };
        let mut primary = running(ObservedRole::Primary { term: 1 });
        let table = vtplan_planner::live::ObservedTable {
            definition: String::new(),
            rows: 0,
            bytes: 0,
            sequence_ready: None,
        };
        primary.tables = Some(BTreeMap::from([("customer".parse().unwrap(), table)]));
        live.observed
            .tablets
            .insert(tablet(100, "a").alias, primary);
        let asked = statements(&live, &loaded.desired);
        let commerce = KeyspaceName::new("commerce").unwrap();
        let customer = "CREATE TABLE customer (id bigint PRIMARY KEY)".to_owned();
        assert_eq!(asked, BTreeMap::from([(commerce, vec![customer])]));
    }
}
