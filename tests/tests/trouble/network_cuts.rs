//! The network between two parts of a cluster is cut during a switch of writes, for longer than leases
//! live, and healed. Nothing that was acknowledged is lost, no two servers take writes for one row,
//! and the switch comes to one of its two ends by itself.
//!
//! By default each connection is cut once; `VTPLAN_FAULTS=all` cuts each at each of [`PHASES`]. Each part
//! has a network namespace of its own. Where there are no rights to that, relays cut the
//! connections to the store, and the others are skipped.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use vtplan_state::model::Side;
use vtplan_tests::lab::{Lab, PATIENCE};
use vtplan_tests::net::{Entered, Relay, Spaces};
use vtplan_tests::servers::{Server, skip};
use vtplan_tests::switching::{Switching, WORKFLOW};

const TEST: &str = "network_cuts::whatever_connection_is_cut_during_a_switch_nothing_is_lost";

/// The moments of a switch at which something is cut (see the conductor's failpoints).
const PHASES: [&str; 6] = [
    "holding", "draining", "fencing", "fenced", "flipped", "acked",
];

/// Longer than any lease of the cluster.
const CUT: Duration = Duration::from_secs(12);

const AGENTS: [&str; 3] = ["host-a", "host-b", "host-c"];
const GATE: &str = "gate-zone1";

/// Between whom the network is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    ConductorStore,
    ConductorTarget,
    StreamSource,
    GateStore,
}

const LINKS: [Link; 4] = [
    Link::ConductorStore,
    Link::ConductorTarget,
    Link::StreamSource,
    Link::GateStore,
];

/// What is cut during a switch; that the gate is cut off before one is tried in any case.
fn chosen() -> Vec<(&'static str, Link)> {
    if std::env::var("VTPLAN_FAULTS").is_ok_and(|v| v == "all") {
        let of_phase = |phase| LINKS.into_iter().map(move |link| (phase, link));
        return PHASES.into_iter().flat_map(of_phase).collect();
    }
    ["fencing", "fenced", "fenced"]
        .into_iter()
        .zip(LINKS)
        .collect()
}

struct Field {
    switching: Switching,
    /// By part: its way to the store, where parts have no networks of their own.
    relays: Vec<(&'static str, Relay)>,
    tried: i64,
}

impl Field {
    /// Without rights over networks.
    async fn with_relays() -> Option<Field> {
        let mut lab = Lab::with_etcd("shop", Server::MariaDb)?;
        let store = lab.etcd.as_ref()?.port();
        let mut relays = Vec::new();
        for part in AGENTS.into_iter().chain([GATE]) {
            let relay = Relay::to(store).await;
            let url = format!("etcd://127.0.0.1:{}", relay.port);
            lab.store_urls.insert(part.to_owned(), url);
            relays.push((part, relay));
        }
        Some(Field {
            switching: Switching::begin(lab, &AGENTS).await,
            relays,
            tried: 0,
        })
    }

    fn can_cut(&self, link: Link) -> bool {
        self.relays.is_empty() || matches!(link, Link::ConductorStore | Link::GateStore)
    }

    /// The parts at the ends of a link.
    async fn ends(&self, link: Link, from: Side) -> (String, String) {
        let store = "etcd".to_owned();
        let conductor = || self.switching.conductor().expect("somebody conducts");
        match link {
            Link::ConductorStore => (conductor(), store),
            Link::GateStore => (GATE.to_owned(), store),
            Link::ConductorTarget => {
                // One on another host, which the network is between: of the other side if there is one.
                let conductor = conductor();
                let mut hosts = self.hosts(from.other()).await;
                hosts.extend(self.hosts(from).await);
                let other = hosts.into_iter().find(|host| *host != conductor);
                (conductor, other.expect("there are three hosts"))
            }
            Link::StreamSource => {
                let streams = self.stream_hosts();
                let mut hosts = self.hosts(from).await;
                hosts.extend(self.hosts(from.other()).await);
                let pairs = hosts.iter().flat_map(|host| {
                    let others = streams.iter().filter(move |stream| *stream != host);
                    others.map(move |stream| (stream.clone(), host.clone()))
                });
                let mut pairs = pairs.collect::<Vec<_>>().into_iter();
                pairs.next().expect("there are three hosts")
            }
        }
    }

    /// The hosts of the primaries of a side.
    async fn hosts(&self, side: Side) -> Vec<String> {
        let primaries = self.switching.primaries(side).await;
        let hosts = primaries.into_iter().map(|primary| primary.host);
        hosts.map(|host| host.to_string()).collect()
    }

    /// The hosts whose agents run streams.
    fn stream_hosts(&self) -> Vec<String> {
        let args = ["workflow", "show", WORKFLOW, "--format", "json"];
        let shown = self.switching.lab.run(&args).expect(0);
        let shown: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
        let streams = shown["streams"].as_array().expect("streams").iter();
        let hosts = streams.filter_map(|stream| stream["host"].as_str());
        hosts.map(str::to_owned).collect()
    }

    fn cut(&self, (one, other): &(String, String), heal: bool) {
        match (&self.switching.lab.spaces, heal) {
            (Some(spaces), false) => spaces.cut(one, other),
            (Some(spaces), true) => spaces.heal(one, other),
            (None, _) => {
                let relay = self.relays.iter().find(|(part, _)| part == one);
                let (_, relay) = relay.expect("the part has one");
                match heal {
                    false => relay.cut(),
                    true => relay.heal(),
                }
            }
        }
    }

    async fn switch_with(&mut self, phase: &str, link: Link) {
        let what = format!("{link:?} is cut");
        let under_way = self.switching.switch_up_to(phase, &what).await;
        let ends = self.ends(link, under_way.from).await;
        eprintln!("  between {} and {}", ends.0, ends.1);
        self.cut(&ends, false);
        tokio::time::sleep(CUT).await;
        self.cut(&ends, true);
        self.switching.converge(under_way).await;
    }

    /// A gate that is cut off from the store takes no writes once its lease is over; the others need not
    /// wait for it, and it takes writes again when it is healed.
    async fn gate_is_cut_off(&mut self) {
        let ends = (GATE.to_owned(), "etcd".to_owned());
        let from = self.switching.settled().await;
        self.cut(&ends, false);
        tokio::time::sleep(CUT).await;
        self.gate_refuses().await;
        let under_way = self
            .switching
            .switch_up_to("fenced", "the gate is cut off")
            .await;
        self.switching.converge(under_way).await;
        assert_ne!(self.switching.settled().await, from);
        self.gate_refuses().await;
        self.cut(&ends, true);
        let lab = &mut self.switching.lab;
        let end = Instant::now() + PATIENCE;
        let update = "update item set body = 'healed' where id = 1 and owner = -1";
        while let Err(error) = lab.query::<u64>("zone1", "store", update).await {
            assert!(Instant::now() < end, "{error}\n{}", lab.report());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn gate_refuses(&mut self) {
        self.tried -= 1;
        let id = 8_000_000_000_000 + self.tried;
        let insert = format!("insert into item (id, owner, body) values ({id}, 1, 'late')");
        let lab = &self.switching.lab;
        let sent = lab.query::<u64>("zone1", "store", &insert);
        let answer = tokio::time::timeout(PATIENCE, sent).await;
        let refused = match answer.expect("the gate answers") {
            Err(mysql_async::Error::Server(refused)) => refused,
            other => panic!("a write was not refused by a gate without a lease: {other:?}"),
        };
        assert!(
            refused.message.contains("lease"),
            "refused for another reason: {}",
            refused.message
        );
        for side in [Side::Source, Side::Target] {
            for primary in self.switching.primaries(side).await {
                let host = lab.address(primary.host.as_str());
                let server = self.switching.inside.as_gate(&primary, &host);
                let mut conn = Conn::new(server).await.expect("the server answers");
                let query = format!("select count(*) from item where id = {id}");
                let there: Option<u64> = conn.query_first(query).await.expect("a count");
                assert_eq!(there, Some(0), "{} has the row", primary.alias);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_connection_is_cut_during_a_switch_nothing_is_lost() {
    let mut parts = AGENTS.to_vec();
    parts.push(GATE);
    let field = match Spaces::enter(TEST) {
        Entered::Done => return,
        Entered::Here(spaces) => match Lab::in_spaces("shop", Server::MariaDb, spaces, &parts) {
            Some(lab) => Some(Field {
                switching: Switching::begin(lab, &AGENTS).await,
                relays: Vec::new(),
                tried: 0,
            }),
            None => None,
        },
        Entered::Impossible(why) => {
            skip(
                &format!("{TEST}: between agents and servers"),
                &format!("network namespaces cannot be made here: {why}"),
            );
            Field::with_relays().await
        }
    };
    let Some(mut field) = field else {
        return skip(TEST, "there is no etcd on PATH");
    };
    field.gate_is_cut_off().await;
    for (phase, link) in chosen() {
        if field.can_cut(link) {
            field.switch_with(phase, link).await;
        }
    }
    field.switching.finish().await;
}
