//! Hosts that answer slowly, wrongly, twice or not at all: commands see what the others tell, and say of
//! each that they could not see why. No servers: the agents are simulated.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use vtplan_agent::client::{AgentClients, Timeouts};
use vtplan_agent::look::{self, Looked};
use vtplan_planner::desired::Desired;
use vtplan_planner::drift::{self, Kind};
use vtplan_planner::live::Live;
use vtplan_planner::make_plan;
use vtplan_planner::spec::{self, NoSecrets};
use vtplan_state::cluster::Cluster;
use vtplan_state::export::Export;
use vtplan_state::model::{CellName, Durability, HostName, TabletAlias};
use vtplan_state::store::{OpenMode, open};
use vtplan_tests::fake_agent::{Answers, FakeAgent, Manner};
use vtplan_tests::fleet;
use vtplan_tests::lab::vtplan_binary;

const SPEC: &str = "
vtplan: 1
cluster: odd
cells: [zone1]
keyspaces:
  commerce:
    shards: 4
    durability: none
    tablets: { zone1: { replica: 3 } }
    schema: { sql: \"CREATE TABLE product (id bigint NOT NULL, PRIMARY KEY (id))\" }
    vindexes: { xxhash: { type: xxhash } }
    tables: { product: { vindexes: [{ column: id, name: xxhash }] } }
";
const HOSTS: usize = 12;
/// Long for an answer from this machine, short for a test.
const LIMIT: Duration = Duration::from_millis(1500);

struct Fleet {
    _dir: tempfile::TempDir,
    desired: Desired,
    live: Live,
    cluster: Cluster,
    agents: AgentClients,
    _running: Vec<FakeAgent>,
}

impl Fleet {
    /// `odd`: what is wrong with some hosts, by number.
    async fn start(
        odd: &[(usize, Manner)],
        answers: impl FnOnce(&mut BTreeMap<HostName, Answers>),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let spec = dir.path().join("spec.yaml");
        std::fs::write(&spec, SPEC).expect("a file");
        let desired = spec::load(&[spec], &NoSecrets)
            .expect("it is valid")
            .desired;
        let cell = CellName::new("zone1").expect("a name");
        let hosts = (0..HOSTS).map(|n| fleet::host(&format!("host{n:02}"), &cell, 10));
        let mut live = fleet::applied(&desired, hosts);
        let file = dir.path().join("state.db");
        let (cluster, token) = store(&file, &live).await;
        let mut all = Answers::of(&live);
        answers(&mut all);
        let mut running = Vec::new();
        for (number, record) in live.records.hosts.values_mut().enumerate() {
            let manner = odd.iter().find(|(n, _)| *n == number);
            let manner = manner.map_or(Manner::Healthy, |(_, manner)| *manner);
            let of_host = all.remove(&record.name).unwrap_or_default();
            let agent = FakeAgent::start(manner, of_host, &token)
                .await
                .expect("an agent");
            record.agent_url = agent.url();
            running.push(agent);
        }
        store(&file, &live).await;
        let timeouts = Timeouts {
            connect: LIMIT,
            observe: LIMIT,
            canonicalize: LIMIT,
            execute: LIMIT,
        };
        Self {
            _dir: dir,
            desired,
            live,
            cluster,
            agents: AgentClients::new(timeouts, token),
            _running: running,
        }
    }

    async fn look(&self) -> Looked {
        let looked = look::closely(&self.cluster, &self.agents, &self.desired).await;
        looked.expect("the store answers")
    }

    /// The findings, as `kind object`, and which hosts could not be seen.
    fn drift(&self, looked: &Looked) -> Vec<String> {
        let found = drift::find(&drift::Input {
            desired: &self.desired,
            live: &looked.gathered.live,
            seen: &looked.seen,
            serving_revision: looked.gathered.serving_revision,
            active: None,
            now: 0,
        });
        let findings = found.findings.iter();
        findings
            .map(|f| format!("{} {}", f.kind, f.object))
            .collect()
    }

    fn tablet_of(&self, host: usize) -> TabletAlias {
        let host = format!("host{host:02}");
        let mut tablets = self.live.records.tablets.values();
        let tablet = tablets.find(|t| t.host.as_str() == host).expect("a tablet");
        tablet.alias.clone()
    }
}

async fn store(file: &Path, live: &Live) -> (Cluster, String) {
    let token = fleet::write(file, "odd", &live.records)
        .await
        .expect("records");
    let url = format!("sqlite:{}", file.display());
    let store = open(&url, OpenMode::MustExist).await.expect("a store");
    (Cluster::new(store, "odd").expect("a cluster"), token)
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_agents_leave_nothing_to_say() {
    let fleet = Fleet::start(&[], |_| {}).await;
    let looked = fleet.look().await;
    assert_eq!(looked.gathered.unseen, []);
    assert_eq!(looked.seen.len(), 12);
    assert_eq!(fleet.drift(&looked), [] as [&str; 0]);
    let plan = make_plan(&fleet.desired, &looked.gathered.live).expect("a plan");
    assert!(plan.is_empty(), "{:?}", plan.steps);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_host_that_does_not_answer_well_is_named_with_why() {
    let odd = [
        (0, Manner::Slow(LIMIT * 3)),
        (1, Manner::Mute),
        (2, Manner::Closes),
        (3, Manner::HalfCloses),
        (4, Manner::Stranger),
        (5, Manner::Garbage),
        (6, Manner::WrongNames),
        // Slow, and in time.
        (7, Manner::Slow(LIMIT / 10)),
    ];
    let fleet = Fleet::start(&odd, |_| {}).await;
    let looked = fleet.look().await;
    let unseen = &looked.gathered.unseen;
    let hosts: Vec<&str> = unseen.iter().map(|u| u.host.as_str()).collect();
    let expected = [
        "host00", "host01", "host02", "host03", "host04", "host05", "host06",
    ];
    assert_eq!(hosts, expected, "{unseen:?}");
    for (number, why) in [
        (0, "no answer within"),
        (1, "no answer within"),
        (5, "its answer is not understood"),
        (6, "its answer is not understood"),
    ] {
        assert!(unseen[number].why.contains(why), "{:?}", unseen[number]);
    }
    for unseen in unseen {
        let url = &fleet.live.records.hosts[&unseen.host].agent_url;
        assert!(unseen.why.contains(url.as_str()), "{unseen:?}");
    }
    // What the others tell is complete, and what is not seen is neither drift nor to be changed.
    assert_eq!(looked.seen.len(), 12 - expected.len());
    assert_eq!(fleet.drift(&looked), [] as [&str; 0]);
    let plan = make_plan(&fleet.desired, &looked.gathered.live).expect("a plan");
    assert!(plan.is_empty(), "{:?}", plan.steps);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_does_not_speak_for_tablets_of_another_host() {
    let name = |n: usize| HostName::new(format!("host{n:02}")).expect("a name");
    // The first host tells of the second one's tablet too, as if it did not run; and the third leaves its
    // own out.
    let fleet = Fleet::start(&[], |all| {
        let mut down = all[&name(1)].clone();
        down.put_down();
        all.get_mut(&name(0)).expect("answers").extend(&down);
        all.insert(name(2), Answers::default());
    })
    .await;
    let looked = fleet.look().await;
    assert_eq!(fleet.drift(&looked), [] as [&str; 0]);
    let unseen: Vec<_> = looked
        .gathered
        .unseen
        .iter()
        .map(|u| (u.host.as_str(), &u.why))
        .collect();
    let silent = format!("its agent tells nothing of {}", fleet.tablet_of(2));
    assert_eq!(unseen, [("host02", &silent)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tablet_that_nobody_knows_is_told_once_though_two_hosts_have_it() {
    let name = |n: usize| HostName::new(format!("host{n:02}")).expect("a name");
    let fleet = Fleet::start(&[], |all| {
        let mut orphan = Answers::default();
        for (host, number) in [(0, 7000), (1, 7000)] {
            let (_, observed, seen) = all[&name(host)].any();
            let cell = CellName::new("zone1").expect("a name");
            orphan.add(&TabletAlias::new(cell, number), &observed, &seen);
            all.get_mut(&name(host)).expect("answers").extend(&orphan);
        }
    })
    .await;
    let looked = fleet.look().await;
    let expected = format!("{} zone1-0000007000", Kind::OrphanTablet);
    assert_eq!(fleet.drift(&looked), [expected]);
    assert_eq!(looked.gathered.unseen, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_of_several_hosts_come_back_from_the_newest_copy() {
    let dir = tempfile::tempdir().expect("a folder");
    // One host's agent is gone, one has an older copy than the one that is asked from, one a newer.
    let odd = [(0, Manner::Closes)];
    let fleet = Fleet::start(&odd, |_| {}).await;
    let credentials = fleet.cluster.credentials().await.expect("a store");
    let credentials = credentials.expect("credentials");
    let copy = |revision: u64, durability: Durability| {
        let mut records = fleet.live.records.clone();
        records.revision = revision;
        for keyspace in records.keyspaces.values_mut() {
            keyspace.durability = durability;
        }
        Export::of_records(&records, &credentials).expect("a cluster's records")
    };
    let mut agents = Vec::new();
    for (revision, durability) in [(10, Durability::CrossCell), (30, Durability::SemiSync)] {
        let mut answers = Answers::of(&fleet.live)
            .into_values()
            .next()
            .expect("answers");
        answers.records = Some(copy(revision, durability).to_text());
        let agent = FakeAgent::start(Manner::Healthy, answers, &credentials.agent_token).await;
        agents.push(agent.expect("an agent"));
    }
    let local = dir.path().join("data");
    std::fs::create_dir(&local).expect("a folder");
    let text = copy(20, Durability::None).to_text();
    std::fs::write(local.join("records.json"), text).expect("a file");
    let mut vtplan = Command::new(vtplan_binary());
    vtplan
        .current_dir(dir.path())
        .args(["import", "cluster", "--data-dir", "data"]);
    vtplan.args(["--state", "sqlite:new.db", "--spec", "odd.yaml"]);
    for agent in &agents {
        vtplan.args(["--agent", agent.url().trim_start_matches("http://")]);
    }
    let output = tokio::task::spawn_blocking(move || vtplan.output())
        .await
        .expect("it ends");
    let output = output.expect("vtplan starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // The agent that is gone may have had a newer one.
    assert!(
        said.contains("host00") && said.contains("its copy may be newer"),
        "{said}"
    );
    let url = format!("sqlite:{}", dir.path().join("new.db").display());
    let store = open(&url, OpenMode::MustExist).await.expect("a store");
    let cluster = Cluster::new(store, "odd").expect("a cluster");
    let records = cluster.load_records().await.expect("records");
    assert_eq!(records.tablets, fleet.live.records.tablets);
    let durability = records.keyspaces.values().map(|k| k.durability);
    assert_eq!(durability.collect::<Vec<_>>(), [Durability::SemiSync]);
    assert!(dir.path().join("odd.yaml").exists());
}
