//! Who replicates from whom: each primary with its replicas. What vtplan could not keep as it is (chains,
//! circles, several sources, replication by file positions) is a problem with its way out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{PlainServer, Problem, Source};

/// A primary and what replicates from it.
pub(super) struct Tree<'a> {
    pub primary: &'a PlainServer,
    /// In the order of their addresses' texts.
    pub replicas: Vec<&'a PlainServer>,
}

impl<'a> Tree<'a> {
    /// The primary first.
    pub fn servers(&self) -> impl Iterator<Item = &'a PlainServer> {
        std::iter::once(self.primary).chain(self.replicas.iter().copied())
    }
}

pub(super) fn trees<'a>(
    servers: &'a [PlainServer],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Vec<Tree<'a>> {
    let servers = each_once(servers, problems);
    same_ids(&servers, problems);
    let mut sources: BTreeMap<usize, usize> = BTreeMap::new();
    for (index, server) in servers.iter().enumerate() {
        check_sources(server, problems);
        let [source] = server.sources.as_slice() else {
            continue;
        };
        match servers.iter().position(|other| is_source(source, other)) {
            Some(found) => {
                sources.insert(index, found);
            }
            None => problems.push(Problem {
                code: "source-not-given",
                server: server.name(),
                problem: format!(
                    "it replicates from {}:{}, which was not given",
                    source.host, source.port
                ),
                help: format!(
                    "give that server too: vtplan import servers {}:{} ...",
                    source.host, source.port
                ),
            }),
        }
    }
    let mut trees: Vec<Tree> = Vec::new();
    for (index, server) in servers.iter().enumerate() {
        if !server.sources.is_empty() {
            continue;
        }
        let mut replicas: Vec<&PlainServer> = sources
            .iter()
            .filter(|(_, source)| **source == index)
            .map(|(replica, _)| servers[*replica])
            .collect();
        replicas.sort_by_key(|replica| replica.name());
        trees.push(Tree {
            primary: server,
            replicas,
        });
    }
    chains_and_circles(&servers, &sources, problems);
    for tree in &trees {
        not_given(tree, &servers, warnings);
    }
    trees
}

/// Servers by who they are; one that was given by two addresses is told.
fn each_once<'a>(servers: &'a [PlainServer], problems: &mut Vec<Problem>) -> Vec<&'a PlainServer> {
    let mut seen: HashMap<Vec<&str>, &PlainServer> = HashMap::new();
    let mut found = Vec::new();
    for server in servers {
        match seen.insert(server.identity(), server) {
            None => found.push(server),
            Some(first) => problems.push(Problem {
                code: "twice",
                server: server.name(),
                problem: format!(
                    "it is the same server as {}: both say server_id {} and data folder {}",
                    first.name(),
                    server.server_id(),
                    server.variable("datadir")
                ),
                help: "give each server once, by the address that hosts of vtplan reach it by"
                    .into(),
            }),
        }
    }
    found
}

fn same_ids(servers: &[&PlainServer], problems: &mut Vec<Problem>) {
    let mut seen: HashMap<u32, &PlainServer> = HashMap::new();
    for server in servers {
        let Some(first) = seen.insert(server.server_id(), server) else {
            continue;
        };
        problems.push(Problem {
            code: "server-id",
            server: server.name(),
            problem: format!(
                "it has the server_id {} of {}: replicas with one id throw each other out",
                server.server_id(),
                first.name()
            ),
            help: "give it another: SET GLOBAL server_id = N; and the same in its option file"
                .into(),
        });
    }
}

fn is_source(source: &Source, server: &PlainServer) -> bool {
    if source.server_id != 0 {
        return source.server_id == server.server_id();
    }
    let at = server.address.as_ref();
    at.is_some_and(|at| (&at.machine, at.port) == (&source.host, source.port))
}

fn check_sources(server: &PlainServer, problems: &mut Vec<Problem>) {
    let mut problem = |code, problem: String, help: String| {
        problems.push(Problem {
            code,
            server: server.name(),
            problem,
            help,
        });
    };
    if server.sources.len() > 1 {
        let all: Vec<String> = server.sources.iter().map(place).collect();
        problem(
            "several-sources",
            format!("it replicates from several servers: {}", all.join(", ")),
            "leave it out of the import; vtplan's tablets have one source each".into(),
        );
        return;
    }
    let Some(source) = server.sources.first() else {
        return;
    };
    if !source.by_gtid {
        let help = if server.is_mariadb() {
            "on it: STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID = slave_pos; START SLAVE"
        } else {
            "on it: STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION = 1; START REPLICA"
        };
        problem(
            "no-gtid",
            format!(
                "it replicates from {} by positions in files, not by GTID",
                place(source)
            ),
            help.into(),
        );
    }
    if !source.filters.is_empty() {
        problem(
            "filtered",
            format!(
                "it does not replicate everything: {}",
                source.filters.join(", ")
            ),
            "take the filters off and make the replica anew from its primary: a replica serves reads of \
             all that the primary has"
                .into(),
        );
    }
    if !source.healthy {
        let why = if source.error.is_empty() {
            "its threads do not run".to_owned()
        } else {
            source.error.clone()
        };
        problem(
            "not-replicating",
            format!("it does not replicate from {}: {why}", place(source)),
            "mend that, and import again".into(),
        );
    }
}

fn place(source: &Source) -> String {
    format!("{}:{}", source.host, source.port)
}

/// Replicas of replicas, and servers that replicate from each other.
fn chains_and_circles(
    servers: &[&PlainServer],
    sources: &BTreeMap<usize, usize>,
    problems: &mut Vec<Problem>,
) {
    for (replica, source) in sources {
        let mut way = BTreeSet::from([*replica]);
        let mut at = *source;
        while way.insert(at) {
            match sources.get(&at) {
                Some(next) => at = *next,
                None => break,
            }
        }
        let (server, direct) = (servers[*replica], servers[*source]);
        if sources.contains_key(&at) {
            problems.push(Problem {
                code: "circle",
                server: server.name(),
                problem: format!(
                    "it replicates from {}, and that in the end from it: neither is the primary",
                    direct.name()
                ),
                help: "end the replication of the one that shall take the writes (STOP SLAVE; RESET SLAVE \
                       ALL), once nothing writes to the other"
                    .into(),
            });
        } else if at != *source {
            problems.push(Problem {
                code: "chain",
                server: server.name(),
                problem: format!(
                    "it replicates from {}, which is a replica itself",
                    direct.name()
                ),
                help: format!(
                    "let it replicate from the primary, {}, by GTID; or leave it out",
                    servers[at].name()
                ),
            });
        }
    }
}

fn not_given(tree: &Tree<'_>, servers: &[&PlainServer], warnings: &mut Vec<String>) {
    let known: BTreeSet<String> = servers.iter().map(|s| s.name()).collect();
    let others: Vec<&str> = tree
        .primary
        .replicas
        .iter()
        .filter(|replica| !known.contains(*replica))
        .map(String::as_str)
        .collect();
    // A replica says its address if it was told one, else only its machine is seen.
    if tree.primary.replicas.len() > tree.replicas.len() && !others.is_empty() {
        warnings.push(format!(
            "{} has {} replicas, and {} of them were given; it names {}",
            tree.primary.name(),
            tree.primary.replicas.len(),
            tree.replicas.len(),
            others.join(", ")
        ));
    }
}
