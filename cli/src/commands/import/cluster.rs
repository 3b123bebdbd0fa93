//! `vtplan import cluster`: the records of a cluster whose store is lost, from the copies that its
//! agents keep, and from what they see.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use futures::future::join_all;
use vtplan_agent::client::{AgentClient, AgentClients, CallError, Timeouts};
use vtplan_agent::records_copy;
use vtplan_planner::desired::Desired;
use vtplan_planner::live::{ObservedRole, ObservedTablet, ServerState};
use vtplan_state::export::{Export, Mode, restore};
use vtplan_state::model::keys::Keys;
use vtplan_state::model::{HostName, Records, ShardRecord, TabletAlias};

use super::spec_files;
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::commands::state::file;
use crate::commands::state::import::{restore_error, tell};
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::{err, out, who};
use crate::render::table::count;

const EXAMPLES: &str = "\
Examples:
  vtplan import cluster
  vtplan import cluster --data-dir /var/lib/vtplan --state etcd://etcd1:2379 --spec shop.yaml

Each agent keeps a copy of the cluster's records in its data folder (records.json, mode 0600). Run
this on a host of the cluster: it reads the copy there, asks all other agents that it names for
theirs, takes the newest, looks at which tablets are primary, and puts the records into the store.
Gates and servers go on meanwhile; agents and gates that run need not be restarted, except where the
store was a SQLite file and the new one is elsewhere.

Not in the copies are the history, and plans: apply the spec again to go on with what was under way.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ClusterArgs {
    /// Data folder of an agent of this host; may be given several times
    #[arg(long, value_name = "DIR", default_value = ".vtplan/data")]
    pub data_dir: Vec<PathBuf>,
    /// A further agent to ask, by the address of its gRPC service
    #[arg(long, value_name = "HOST:PORT")]
    pub agent: Vec<String>,
    /// Delete the records of this cluster that are in the store
    #[arg(long)]
    pub replace: bool,
    /// Write the spec that was applied last to this file (.yaml or .kdl), and its schemas beside it
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: ClusterArgs, global: &Global) -> Outcome {
    if let Some(path) = &args.spec {
        spec_files::language(path)?;
    }
    let copies = args.data_dir.iter().map(|dir| local_copy(dir));
    let copies: Vec<Export> = copies.collect::<Result<_, _>>()?;
    let local = newest(copies, global)?;
    let answers = ask(&local, &args.agent).await;
    let mut warnings = Vec::new();
    let mut copies = vec![local];
    for answer in &answers {
        match &answer.records {
            Ok(copy) => copies.push(copy.clone()),
            Err(error) => warnings.push(format!("{error}; its copy may be newer")),
        }
    }
    let seen = answers.into_iter().flat_map(|answer| answer.tablets);
    let seen: BTreeMap<TabletAlias, ObservedTablet> = seen.collect();
    let (export, mended) = with_terms(newest(copies, global)?, &seen)?;
    warnings.extend(mended);
    let records = export.records().map_err(|e| context::store_error(&e))?;
    for tablet in records.tablets.values() {
        if !seen.contains_key(&tablet.alias) {
            warnings.push(format!(
                "tablet {} was not seen on host {}",
                tablet.alias, tablet.host
            ));
        }
    }
    warnings.extend(unfinished(&records));

    let mode = if args.replace {
        Mode::Replace
    } else {
        Mode::IntoEmpty
    };
    let store = context::create_store(global).await?;
    let restored = restore(&store, &export, mode, &who())
        .await
        .map_err(|e| restore_error(&e, "--replace"))?;
    let files = match &args.spec {
        Some(path) => write_spec(path, &records)?,
        None => Vec::new(),
    };
    match args.format {
        Format::Json => {
            let document = serde_json::json!({
                "format": 1, "cluster": export.cluster(), "imported": restored,
                "warnings": warnings, "files": files,
            });
            out(&format!("{document:#}\n"));
        }
        Format::Text => {
            tell(&export, &restored, global);
            if !global.quiet {
                for file in &files {
                    out(&format!("Wrote {}\n", file.display()));
                }
                out(&format!(
                    "{} of {} seen running.\n",
                    seen.len(),
                    count(records.tablets.len(), "tablet")
                ));
            }
            for warning in &warnings {
                err(&format!("warning: {warning}\n"));
            }
        }
    }
    Ok(Exit::Done)
}

fn local_copy(dir: &Path) -> Result<Export, CliError> {
    let path = records_copy::path(dir);
    if !path.exists() {
        let message = format!("there is no copy of the records at `{}`", path.display());
        return Err(CliError::new("no-copy", message).help(
            "run this on a host of the cluster, as the user of its agent, and name the agent's data \
             folder with `--data-dir`; without any copy, use a file of `vtplan state backup`",
        ));
    }
    file::read(&path)
}

/// The newest of copies of one cluster.
fn newest(copies: Vec<Export>, global: &Global) -> Result<Export, CliError> {
    let mut newest: Option<Export> = None;
    for copy in copies {
        if let Some(name) = &global.cluster
            && name != copy.cluster()
        {
            let message = format!("a copy is of cluster `{}`, not of `{name}`", copy.cluster());
            return Err(CliError::new("other-cluster", message)
                .help("name the data folders of that cluster's agents alone"));
        }
        let Some(best) = &newest else {
            newest = Some(copy);
            continue;
        };
        let same = match (best.identity(), copy.identity()) {
            (Some(a), Some(b)) => a.is_same(&b),
            _ => false,
        };
        if !same {
            let message = format!(
                "the copies are of different clusters: `{}`, and `{}` that was made at another time",
                best.cluster(),
                copy.cluster()
            );
            return Err(CliError::new("other-cluster", message).help(
                "an agent that started while the store was empty may have made a new cluster: \
                 leave its copy out",
            ));
        }
        if copy.age_key() > best.age_key() {
            newest = Some(copy);
        }
    }
    // Each of the callers has one at least.
    newest.ok_or_else(|| CliError::new("no-copy", "there is no copy of the records"))
}

/// What one agent said.
struct Answer {
    records: Result<Export, CallError>,
    tablets: BTreeMap<TabletAlias, ObservedTablet>,
}

/// Asks all agents that a copy names, and those given.
async fn ask(copy: &Export, further: &[String]) -> Vec<Answer> {
    let credentials = copy.entries().get("credentials/servers");
    let token = credentials.and_then(|c| c["agent_token"].as_str());
    let clients = AgentClients::new(Timeouts::default(), token.unwrap_or_default());
    let records = copy.records().unwrap_or_default();
    let mut agents: BTreeMap<String, AgentClient> = BTreeMap::new();
    for host in records.hosts.values() {
        agents.insert(host.agent_url.clone(), clients.of(host));
    }
    for address in further {
        let url = format!("http://{address}");
        // Only for messages.
        let name = address
            .rsplit_once(':')
            .map_or(&**address, |(host, _)| host);
        if let Ok(name) = HostName::new(name.to_owned()) {
            let agent = clients.at(name, url.clone());
            agents.entry(url).or_insert(agent);
        }
    }
    join_all(agents.values().map(|agent| async {
        Answer {
            records: agent.records().await,
            tablets: agent
                .observe(false, false)
                .await
                .unwrap_or_default()
                .tablets,
        }
    }))
    .await
}

/// Raises terms that a server has seen and the copy has not: the newest copy is of an agent that
/// cannot be asked.
fn with_terms(
    export: Export,
    seen: &BTreeMap<TabletAlias, ObservedTablet>,
) -> Result<(Export, Vec<String>), CliError> {
    let records = export.records().map_err(|e| context::store_error(&e))?;
    let mut entries = export.entries().clone();
    let (keys, mut notes) = (Keys::new(export.cluster()), Vec::new());
    for (alias, tablet) in seen {
        let ServerState::Running(server) = &tablet.server else {
            continue;
        };
        let (ObservedRole::Primary { term }, Some(tablet)) =
            (&server.role, records.tablets.get(alias))
        else {
            continue;
        };
        let key = keys.shard(&tablet.keyspace, &tablet.shard);
        let key = key.strip_prefix(keys.prefix()).unwrap_or(&key);
        let Some(entry) = entries.get_mut(key) else {
            continue;
        };
        let Ok(mut shard) = serde_json::from_value::<ShardRecord>(entry.clone()) else {
            continue;
        };
        if *term > shard.term {
            notes.push(format!(
                "{}/{} is at term {term} with primary {alias}, newer than the copy says",
                tablet.keyspace, tablet.shard
            ));
            shard.term = *term;
            shard.primary = Some(alias.clone());
            // Records are our own types: maps with string keys, no failing serializers.
            *entry = serde_json::to_value(shard).expect("a record serializes");
        }
    }
    if notes.is_empty() {
        return Ok((export, notes));
    }
    let export = Export::of(export.cluster(), export.revision(), entries);
    Ok((export, notes))
}

/// What waits for somebody to go on with it.
fn unfinished(records: &Records) -> Vec<String> {
    let mut warnings: Vec<String> = records
        .all_workflows()
        .map(|workflow| {
            format!(
                "workflow {} is under way: apply the spec again to go on with it",
                workflow.full_name()
            )
        })
        .collect();
    if !records.holds.is_empty() {
        warnings.push(
            "gates hold writes for a switch that was under way: apply the spec again now"
                .to_owned(),
        );
    }
    warnings
}

fn write_spec(path: &Path, records: &Records) -> Result<Vec<PathBuf>, CliError> {
    let Some(spec) = &records.spec else {
        return Err(
            CliError::new("no-spec", "no spec was ever applied to this cluster")
                .help("the records are back; leave `--spec` out"),
        );
    };
    let desired: Desired = serde_json::from_value(spec.desired.clone()).map_err(|e| {
        CliError::new(
            "bad-record",
            "the spec that was applied last cannot be read",
        )
        .because(&e)
    })?;
    let mut notes = vec![format!(
        "The spec of cluster {} as it was applied last, by {}, without its comments.",
        desired.cluster, spec.applied_by
    )];
    for (name, user) in &desired.users {
        let vtplan_planner::desired::PasswordSource::Env(variable) = &user.source else {
            continue;
        };
        notes.push(format!(
            "The password of user {name} is read from ${variable}; without it the user stays as it is."
        ));
    }
    spec_files::write(path, &desired, &notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vtplan_planner::live::RunningServer;
    use vtplan_state::model::FlavorKind;

    fn copy(created_at: u64, generation: u64, revision: u64) -> Export {
        let entries = json!({
            "cluster": {
                "name": "shop", "format": 1, "created_at": created_at, "created_by": "0.1.0",
                "generation": generation,
            },
            "keyspaces/commerce/shards/0": {
                "keyspace": "commerce", "shard": "0", "primary": "zone1-0000000100", "term": 3,
                "serving": true,
            },
            "tablets/zone1-0000000101": {
                "alias": "zone1-0000000101", "keyspace": "commerce", "shard": "0",
                "tablet_type": "replica", "host": "db1", "mysql_port": 17101, "flavor": "mariadb",
            },
        });
        let entries = serde_json::from_value(entries).unwrap();
        Export::of("shop", revision, entries)
    }

    fn global() -> Global {
        Global {
            state: String::new(),
            cluster: None,
            quiet: false,
            verbose: 0,
            no_color: false,
        }
    }

    #[test]
    fn the_newest_copy_counts_by_generation_first_and_other_clusters_are_refused() {
        let copies = vec![copy(1, 0, 900), copy(1, 7, 5), copy(1, 7, 4)];
        let best = newest(copies, &global()).unwrap();
        assert_eq!(best.age_key(), (7, 5));
        let error = newest(vec![copy(1, 0, 900), copy(2, 0, 901)], &global());
        assert!(error.unwrap_err().text().contains("different clusters"));
        let named = Global {
            cluster: Some("other".to_owned()),
            ..global()
        };
        assert!(newest(vec![copy(1, 0, 1)], &named).is_err());
    }

    #[test]
    fn a_primary_of_a_higher_term_than_the_copys_is_believed() {
        let primary = |term| {
            let server = RunningServer {
                flavor: FlavorKind::MariaDb,
                version: "10.11".to_owned(),
                read_only: false,
                role: ObservedRole::Primary { term },
                replicates_from: None,
                position: String::new(),
                semi_sync: false,
            };
            let tablet = ObservedTablet {
                deviations: Vec::new(),
                server: ServerState::Running(server),
                tables: None,
            };
            let alias: TabletAlias = "zone1-0000000101".parse().unwrap();
            BTreeMap::from([(alias, tablet)])
        };
        let shard = |export: &Export| {
            let records = export.records().unwrap();
            let shard = records.shards.values().next().unwrap();
            (shard.primary.as_ref().unwrap().uid, shard.term)
        };
        let (export, notes) = with_terms(copy(1, 0, 9), &primary(4)).unwrap();
        assert_eq!((shard(&export), notes.len()), ((101, 4), 1));
        // It has not seen yet that another was made primary.
        for term in [2, 3] {
            let (export, notes) = with_terms(copy(1, 0, 9), &primary(term)).unwrap();
            assert_eq!((shard(&export), notes.len()), ((100, 3), 0));
        }
    }
}
