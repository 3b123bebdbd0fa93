//! `vtplan export` and `plan --against`.

mod support;

use serde_json::Value;
use support::{Place, put};
use vtplan_state::model::{CellName, FlavorKind, HostName, HostRecord};
use vtplan_state::store::Op;

const STAGES: &str = "specs/walkthrough/stage-";

#[test]
fn two_specs_are_compared_without_a_cluster() {
    let place = Place::with_examples();
    let (one, two) = (
        format!("{STAGES}1-commerce.yaml"),
        format!("{STAGES}2-movetables.yaml"),
    );
    check!(place, "specs", ["plan", &two, "--against", &one]);
    check!(place, "specs-same", ["plan", &one, "--against", &one]);
    check!(
        place,
        "specs-markdown",
        ["plan", &two, "--against", &one, "--format", "markdown"]
    );
    let json = |format: &str| {
        let (code, stdout, _) =
            place.output(&["plan", &two, "--against", &one, "--format", format]);
        assert_eq!(code, 0);
        serde_json::from_str::<Value>(&stdout).expect("JSON")
    };
    assert_eq!(json("json")["against"]["kind"], "spec");
    let detailed = ["plan", &two, "--against", &one, "--detailed-exitcode"];
    assert_eq!(place.output(&detailed).0, 2);
    assert!(!place.path(".vtplan").exists(), "no store was made");
}

#[tokio::test]
async fn an_export_is_planned_against_where_there_is_no_store() {
    let place = Place::with_examples();
    let cluster = place.cluster("shop").await;
    let host = HostRecord {
        name: HostName::new("db1").expect("a name"),
        cell: CellName::new("zone1").expect("a name"),
        address: "127.0.0.1".to_owned(),
        // Nothing listens on port 1.
        agent_url: "http://127.0.0.1:1".to_owned(),
        capacity: 20,
        first_mysql_port: 17100,
        flavor: FlavorKind::MariaDb,
        server_version: "10.11.6".to_owned(),
        version: "0.1.0".to_owned(),
        started_at: 1,
        tablets_dir: "/srv/tablets".to_owned(),
    };
    let key = cluster.keys().host(&host.name);
    put(&cluster, vec![Op::put(key, &host)]).await;
    check!(place, "export", ["export", "--live", "--out", "live.json"]);
    let (_, stdout, _) = place.output(&["export", "--live", "-q"]);
    let file = std::fs::read_to_string(place.path("live.json")).expect("the export");
    assert_eq!(stdout, file, "the same state gives the same bytes");

    let other = Place::with_examples();
    other.write("live.json", &file);
    let spec = "specs/commerce.yaml";
    check!(other, "planned", ["plan", spec, "--against", "live.json"]);
    assert!(!other.path(".vtplan").exists());

    other.write("cut.json", &file[..file.len() / 2]);
    check!(other, "cut", ["plan", spec, "--against", "cut.json"]);
    other.write(
        "newer.json",
        &file.replace("\"vtplan_export\": 1", "\"vtplan_export\": 2"),
    );
    check!(other, "newer", ["plan", spec, "--against", "newer.json"]);
    other.write("other.json", &file.replace("\"shop\"", "\"store\""));
    check!(
        other,
        "other-cluster",
        ["plan", spec, "--against", "other.json"]
    );
    std::fs::write(other.path("binary"), b"\x7fELF\0\0\0\x01\xff").expect("a file");
    check!(other, "binary", ["plan", spec, "--against", "binary"]);
    other.write("empty/readme.txt", "nothing");
    check!(other, "empty-folder", ["plan", spec, "--against", "empty"]);
    check!(other, "nowhere", ["plan", spec, "--against", "none.json"]);
    other.write("bad.yaml", "vtplan: 1\ncluster: [shop\n");
    check!(other, "bad-spec", ["plan", spec, "--against", "bad.yaml"]);
    check!(
        other,
        "out",
        ["plan", spec, "--against", "live.json", "--out", "shop.plan"]
    );
    let sparse = std::fs::File::create(other.path("huge")).expect("a file");
    sparse.set_len(3 << 30).expect("a hole of a file");
    check!(other, "huge", ["plan", spec, "--against", "huge"]);
}
