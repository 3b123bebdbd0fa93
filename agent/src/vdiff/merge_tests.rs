//! The merge against a model that looks rows up by their keys: any number of shards on either side,
//! rows of all kinds that differ, batches of any size, and a restart at every key that it comes to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use vtplan_state::model::{KeyspaceName, ShardName, TableName, VSchemaKeyspace};

use super::*;
use crate::stream::row::RowBatch;
use crate::stream::table::{ColumnKind, ColumnShape, KeyKind};

fn shape() -> TableShape {
    let column = |name: &str, kind: ColumnKind| ColumnShape {
        name: name.to_owned(),
        kind,
        column_type: String::new(),
        unsigned: false,
        zerofill: false,
        nullable: false,
        charset: None,
        collation: None,
        auto_increment: false,
    };
    TableShape {
        keyspace: KeyspaceName::new("customer").unwrap(),
        name: TableName::new("customer").unwrap(),
        columns: vec![
            column("id", ColumnKind::BigInt),
            column("value", ColumnKind::Blob),
        ],
        generated: Vec::new(),
        key: vec![0],
        key_kind: KeyKind::Primary,
        key_name: "PRIMARY".to_owned(),
        unique_keys: Vec::new(),
    }
}

fn shards(count: usize) -> Vec<ShardName> {
    let names: &[&str] = match count {
        1 => &["-"],
        2 => &["-80", "80-"],
        3 => &["-40", "40-c0", "c0-"],
        _ => &["-40", "40-80", "80-c0", "c0-"],
    };
    names.iter().map(|n| n.parse().unwrap()).collect()
}

fn sharder(count: usize) -> Sharder {
    let vschema: VSchemaKeyspace = serde_json::from_str(
        r#"{"sharded": true, "vindexes": {"xxhash": {"type": "xxhash"}},
            "tables": {"customer": {"column_vindexes": [{"column": "id", "name": "xxhash"}]}}}"#,
    )
    .unwrap();
    Sharder::new(&shape(), &vschema, &shards(count)).unwrap()
}

/// Rows of one shard.
type Side = Vec<BTreeMap<i64, u8>>;

fn belongs(sharder: &Sharder, key: i64) -> usize {
    let text = key.to_string();
    let cells = [Some(text.as_bytes()), Some(&b""[..])];
    match sharder.shards_of(&shape(), |c| cells[c]).unwrap() {
        Shards::One(shard) => shard,
        other => panic!("{other:?}"),
    }
}

/// missing, extra, differing, misplaced
type Counts = [u64; 4];

fn expected(sources: &Side, targets: &Side, to: &Sharder) -> (u64, Counts) {
    let [mut missing, mut extra, mut differing, mut misplaced] = [0; 4];
    let mut keys = BTreeSet::new();
    for (key, value) in sources.iter().flatten() {
        keys.insert(*key);
        let right = belongs(to, *key);
        let elsewhere = (0..targets.len()).filter(|t| *t != right && targets[*t].contains_key(key));
        let elsewhere = elsewhere.count() as u64;
        misplaced += elsewhere;
        match targets[right].get(key) {
            Some(other) if other == value => {}
            Some(_) => differing += 1,
            None if elsewhere == 0 => missing += 1,
            None => {}
        }
    }
    for (shard, rows) in targets.iter().enumerate() {
        for key in rows.keys().filter(|k| !keys.contains(k)) {
            if belongs(to, *key) == shard {
                extra += 1;
            } else {
                misplaced += 1;
            }
        }
    }
    (keys.len() as u64, [missing, extra, differing, misplaced])
}

fn feed(rows: &BTreeMap<i64, u8>, after: Option<i64>, per_batch: usize) -> Feed {
    let rows: Vec<(i64, u8)> = (rows.iter())
        .filter(|(k, _)| after.is_none_or(|a| **k > a))
        .map(|(k, v)| (*k, *v))
        .collect();
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(async move {
        for chunk in rows.chunks(per_batch) {
            let mut batch = RowBatch::new(2);
            for (key, value) in chunk {
                let key = key.to_string();
                batch.push([Some(key.as_bytes()), Some(std::slice::from_ref(value))]);
            }
            if send.send(Ok(Some(batch))).await.is_err() {
                return;
            }
        }
        let _ = send.send(Ok(None)).await;
    });
    Feed::new(receive)
}

async fn compared(
    sources: &Side,
    targets: &Side,
    to: &Sharder,
    per_batch: usize,
    restart: bool,
) -> VDiffTable {
    let shape = shape();
    let names: Vec<String> = (0..targets.len()).map(|i| i.to_string()).collect();
    let mut found = VDiffTable::default();
    let mut after = None;
    let merge_from = |after| Merge {
        shape: &shape,
        sharder: to,
        json: &[],
        sources: (sources.iter().enumerate())
            .map(|(i, rows)| feed(rows, after, per_batch + i))
            .collect(),
        targets: (targets.iter().enumerate())
            .map(|(i, rows)| feed(rows, after, per_batch + 2 * i))
            .collect(),
        target_names: &names,
        order: Order::new(&shape, None),
    };
    let mut merge = merge_from(None);
    loop {
        match merge.run(&mut found, Instant::now()).await.unwrap() {
            Reached::End => return found,
            Reached::Key(key) => {
                let key = key[0].as_deref().unwrap().to_vec();
                let key: i64 = String::from_utf8(key).unwrap().parse().unwrap();
                assert!(after < Some(key), "{after:?} {key}");
                after = Some(key);
                if restart {
                    merge = merge_from(after);
                }
            }
        }
    }
}

/// What is done to a row on its way.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Moved,
    Lost,
    Changed,
    Misplaced,
    Doubled,
    OnlyThere,
    OnlyThereMisplaced,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        20 => Just(Fate::Moved),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Changed),
        1 => Just(Fate::Misplaced),
        1 => Just(Fate::Doubled),
        1 => Just(Fate::OnlyThere),
        1 => Just(Fate::OnlyThereMisplaced),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_differs_is_found_wherever_it_is(
        rows in prop::collection::btree_map(-50i64..200, fate(), 0..120),
        from_shards in 1usize..=4,
        to_shards in 1usize..=4,
        per_batch in 1usize..8,
        restart in any::<bool>(),
    ) {
        let (from, to) = (sharder(from_shards), sharder(to_shards));
        let mut sources: Side = vec![BTreeMap::new(); from_shards];
        let mut targets: Side = vec![BTreeMap::new(); to_shards];
        for (key, fate) in rows {
            let (here, there) = (belongs(&from, key), belongs(&to, key));
            let wrong = (there + 1) % to_shards;
            if !matches!(fate, Fate::OnlyThere | Fate::OnlyThereMisplaced) {
                sources[here].insert(key, 1);
            }
            match fate {
                Fate::Moved | Fate::OnlyThere => drop(targets[there].insert(key, 1)),
                Fate::Changed => drop(targets[there].insert(key, 2)),
                Fate::Misplaced | Fate::OnlyThereMisplaced => {
                    targets[wrong].insert(key, 1);
                }
                Fate::Doubled => {
                    targets[wrong].insert(key, 1);
                    targets[there].insert(key, 1);
                }
                Fate::Lost => {}
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let found = runtime.block_on(compared(&sources, &targets, &to, per_batch, restart));
        let (compared, counts) = expected(&sources, &targets, &to);
        prop_assert_eq!(
            [found.missing, found.extra, found.differing, found.misplaced],
            counts
        );
        prop_assert_eq!(found.rows_compared, compared);
        prop_assert_eq!(found.is_equal(), found.samples.is_empty());
    }
}

#[test]
fn json_is_compared_by_what_it_says() {
    let same = |a: &str, b: &str| same_json(Some(a.as_bytes()), Some(b.as_bytes()));
    assert!(same(r#"{"b": 1, "a": [1, 2]}"#, r#"{"a":[1,2],"b":1}"#));
    assert!(same("1e2", "100.0"));
    assert!(!same("[1, 2]", "[2, 1]"));
    assert!(!same("nonsense", "nonsense"));
}

#[tokio::test]
async fn a_sample_names_the_key_and_what_differs() {
    let to = sharder(1);
    let sources = vec![BTreeMap::from([(1, b'a'), (2, b'a'), (3, b'a')])];
    let targets = vec![BTreeMap::from([(1, b'a'), (2, b'b'), (4, b'a')])];
    let found = compared(&sources, &targets, &to, 10, false).await;
    let samples: Vec<_> = (found.samples.iter())
        .map(|s| (s.found.as_str(), s.key.as_str()))
        .collect();
    assert_eq!(
        samples,
        [
            ("differing", "id=2"),
            ("missing", "id=3"),
            ("extra", "id=4")
        ]
    );
    assert_eq!(found.samples[0].source.as_deref(), Some("value=0x61"));
    assert_eq!(found.samples[0].target.as_deref(), Some("value=0x62"));
}

proptest! {
    #[test]
    fn a_number_is_placed_by_its_digits_as_its_row_is(key in any::<i64>(), count in 1usize..5) {
        let sharder = sharder(count);
        let by_digits = sharder.shards_of_number(key.to_string().as_bytes());
        prop_assert_eq!(by_digits, Some(Shards::One(belongs(&sharder, key))));
    }
}

#[test]
fn bounds_of_more_than_eight_bytes_are_left_to_the_whole_comparison() {
    let vschema: VSchemaKeyspace = serde_json::from_str(
        r#"{"sharded": true, "vindexes": {"xxhash": {"type": "xxhash"}},
            "tables": {"customer": {"column_vindexes": [{"column": "id", "name": "xxhash"}]}}}"#,
    )
    .unwrap();
    let shards = ["-800000000000000001", "800000000000000001-"];
    let shards: Vec<ShardName> = shards.iter().map(|s| s.parse().unwrap()).collect();
    let sharder = Sharder::new(&shape(), &vschema, &shards).unwrap();
    assert_eq!(sharder.shards_of_number(b"1"), None);
}
