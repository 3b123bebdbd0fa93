//! The store that the command line names, and the cluster in it.

use std::sync::Arc;

use vtplan_agent::client::{AgentClients, Timeouts};
use vtplan_state::cluster::{Cluster, list_clusters};
use vtplan_state::model::RECORD_FORMAT;
use vtplan_state::store::{OpenMode, Store, StoreError, open};

use crate::args::Global;
use crate::error::CliError;

/// Opens the store; a SQLite file that is missing is made.
pub async fn create_store(global: &Global) -> Result<Arc<dyn Store>, CliError> {
    open(&global.state, OpenMode::Create)
        .await
        .map_err(|e| store_error(&e))
}

/// Opens the store if it is there. Nothing is made.
pub async fn store_if_there(global: &Global) -> Result<Option<Arc<dyn Store>>, CliError> {
    match open(&global.state, OpenMode::MustExist).await {
        Ok(store) => Ok(Some(store)),
        Err(StoreError::NotThere { .. }) => Ok(None),
        Err(error) => Err(store_error(&error)),
    }
}

/// The names of the clusters in a store. One that a newer vtplan wrote is an error.
pub async fn cluster_names(store: &Arc<dyn Store>) -> Result<Vec<String>, CliError> {
    let clusters = list_clusters(store).await.map_err(|e| store_error(&e))?;
    if let Some(newer) = clusters.iter().find(|c| c.format > RECORD_FORMAT) {
        return Err(store_error(&StoreError::NewerFormat {
            url: store.url().to_owned(),
            found: newer.format,
            known: RECORD_FORMAT,
        }));
    }
    Ok(clusters.into_iter().map(|c| c.name).collect())
}

/// The cluster that a command without a spec is about: `--cluster`, or the only one of the store.
pub async fn cluster(global: &Global) -> Result<Cluster, CliError> {
    let store = open(&global.state, OpenMode::MustExist)
        .await
        .map_err(|e| store_error(&e))?;
    let names = cluster_names(&store).await?;
    let url = store.url().to_owned();
    let name = match (&global.cluster, names.as_slice()) {
        (Some(name), _) if names.contains(name) => name.clone(),
        (Some(name), []) => return Err(no_cluster(&url, name, &[])),
        (Some(name), names) => return Err(no_cluster(&url, name, names)),
        (None, [one]) => one.clone(),
        (None, []) => {
            return Err(CliError::new(
                "no-cluster",
                format!("the state store {url} holds no cluster"),
            )
            .help(START));
        }
        (None, many) => {
            return Err(CliError::new(
                "which-cluster",
                format!(
                    "the state store {url} holds several clusters: {}",
                    ticked(many)
                ),
            )
            .help("say which with `--cluster NAME`"));
        }
    };
    of(store, &name)
}

/// The cluster `name` of a store, whether or not there is anything of it.
pub fn of(store: Arc<dyn Store>, name: &str) -> Result<Cluster, CliError> {
    Cluster::new(store, name).map_err(|e| store_error(&e))
}

/// Refuses a spec's cluster when `--cluster` or the store say another one.
pub async fn check_spec_cluster(
    global: &Global,
    store: Option<&Arc<dyn Store>>,
    spec: &str,
) -> Result<(), CliError> {
    if let Some(named) = &global.cluster
        && named != spec
    {
        return Err(CliError::new(
            "other-cluster",
            format!("the spec is for cluster `{spec}`, but `--cluster` says `{named}`"),
        )
        .help("correct one of the two; with a spec, `--cluster` can be left out"));
    }
    let Some(store) = store else { return Ok(()) };
    // The usual case first: names are found by reading everything that the store holds.
    let own = of(store.clone(), spec)?.record().await;
    if own.map_err(|e| store_error(&e))?.is_some() {
        return Ok(());
    }
    let names = cluster_names(store).await?;
    check_not_lost(store, spec).await?;
    if !names.is_empty() {
        return Err(CliError::new(
            "other-cluster",
            format!(
                "the spec is for cluster `{spec}`, but the state store {} holds {}",
                store.url(),
                ticked(&names)
            ),
        )
        .help("correct `cluster` in the spec, or name another store with `--state URL`"));
    }
    Ok(())
}

/// Refuses a store without the cluster in which hosts are registered: agents make the cluster before
/// they register, and go on registering when its records are lost.
async fn check_not_lost(store: &Arc<dyn Store>, name: &str) -> Result<(), CliError> {
    let cluster = of(store.clone(), name)?;
    let hosts = format!("{}hosts/", cluster.keys().prefix());
    let hosts = store.list(&hosts).await.map_err(|e| store_error(&e))?;
    if hosts.entries.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the records of cluster `{name}` are lost: the state store {} holds none of them, but {} of it",
        store.url(),
        crate::render::table::count(hosts.entries.len(), "running host")
    );
    Err(CliError::new("store-lost", message).help(
        "put them back with `vtplan import cluster` on a host of the cluster, or with \
         `vtplan state import FILE` from a backup",
    ))
}

const START: &str = "start one with `vtplan up SPEC` on a single machine, or with \
    `vtplan agent --cluster NAME` on each database host";

fn no_cluster(url: &str, name: &str, names: &[String]) -> CliError {
    let error = CliError::new(
        "no-cluster",
        format!("the state store {url} holds no cluster `{name}`"),
    );
    if names.is_empty() {
        error.help(START)
    } else {
        error.help(format!("it holds {}", ticked(names)))
    }
}

/// `a`, `b`.
pub fn ticked(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    names.join(", ")
}

/// Clients for the agents of a cluster.
pub async fn agents(cluster: &Cluster) -> Result<AgentClients, CliError> {
    AgentClients::of_cluster(cluster, Timeouts::default())
        .await
        .map_err(|e| store_error(&e))
}

/// What a store says, with what to do.
pub fn store_error(error: &StoreError) -> CliError {
    match error {
        StoreError::NotThere { url } => {
            CliError::new("no-store", format!("there is no state store at {url}")).help(format!(
                "{START}; another store is named with `--state URL` or `VTPLAN_STATE`"
            ))
        }
        StoreError::Unreachable { .. } => CliError::from_error("store-unreachable", error)
            .help("check that it runs, and the address in `--state` or `VTPLAN_STATE`"),
        StoreError::ReadOnly { .. } => CliError::from_error("store-read-only", error)
            .help("another store is named with `--state URL` or `VTPLAN_STATE`"),
        StoreError::NewerFormat { .. } => CliError::from_error("store-newer", error),
        StoreError::BadUrl { .. } => CliError::from_error("bad-state-url", error),
        StoreError::Restoring { .. } => CliError::from_error("restoring", error),
        StoreError::Record { .. } => CliError::from_error("bad-record", error),
        _ => CliError::from_error("store", error),
    }
}
