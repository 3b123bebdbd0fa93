//! `plan --workload` and `workload export`: what a change of the spec does to the queries that run.

#[path = "../../planner/tests/schema_check/mod.rs"]
mod schema_check;
mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::Place;
use vtplan_gate::plan::{SqlModes, normalize};

const ONE: &str = "specs/walkthrough/stage-1-commerce.yaml";
const TWO: &str = "specs/walkthrough/stage-2-movetables.yaml";
const THREE: &str = "specs/walkthrough/stage-3-reshard.yaml";

/// Statements of an application of the walkthrough, of all kinds.
const LOG: &str = "\
use customer;
select * from customer where customer_id = 5;
select * from customer where customer_id = 6;
select email from customer where customer_id in (1, 2, 3)
select email from customer where customer_id in (4, 5)
select * from customer where email = 'alice@domain.com'
select * from customer where email = 'bob@domain.com'
select count(*) from corder
select count(*) from corder where customer_id in (7, 8)
select * from customer c join corder o on c.customer_id = o.customer_id where c.customer_id = 7
select * from customer c join corder o on c.email = o.sku
insert into customer (email) values ('x@domain.com')
insert into customer (email) values ('x@domain.com'), ('y@domain.com')
update corder set price = 7 where sku = 'SKU-1001'
update corder set price = 8 where customer_id = 3 and order_id = 4
begin; commit
set autocommit = 1
select price from commerce.product where sku = 'SKU-1001'
";

/// Of which nothing gets worse.
const GOOD: &str = "\
use customer
select * from customer where customer_id = 5
update customer set email = 'x' where customer_id = 7
begin
commit
select price from commerce.product where sku = 'SKU-1001'
";

fn report(place: &Place, new: &str, old: &str, workload: &str) -> Value {
    let (code, stdout, stderr) = place.output(&[
        "plan",
        new,
        "--against",
        old,
        "--workload",
        workload,
        "--format",
        "json",
    ]);
    assert_eq!(code, 0, "{stderr}");
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    document["workload"].clone()
}

/// The statements with a change.
fn with<'a>(report: &'a Value, change: &[&str]) -> BTreeSet<&'a str> {
    let kinds = report["kinds"].as_array().expect("kinds").iter();
    let changed = kinds.filter(|k| change.contains(&k["change"].as_str().expect("a change")));
    changed
        .map(|k| k["statement"].as_str().expect("a statement"))
        .collect()
}

#[test]
fn what_gets_worse_is_told_before_the_steps_in_every_format() {
    let place = Place::with_examples();
    place.write("queries.log", LOG);
    let plan = |format| {
        place.run(&[
            "plan",
            THREE,
            "--against",
            TWO,
            "--workload",
            "queries.log",
            "--format",
            format,
        ])
    };
    // Above the changes, which other snapshots have.
    let head = |text: String, end: &str| {
        let at = text.find(end).expect("the changes");
        text[..at].to_owned()
    };
    insta::assert_snapshot!("text", head(plan("text"), "Changes to cluster"));
    insta::assert_snapshot!(
        "markdown",
        head(plan("markdown"), "> [!CAUTION]\n> **These steps")
    );
    let end: Vec<String> = plan("text")
        .lines()
        .filter(|l| l.starts_with("Workload:") || l.starts_with("Plan:"))
        .map(str::to_owned)
        .collect();
    insta::assert_snapshot!("text-end", end.join("\n"));
    let report = report(&place, THREE, TWO, "queries.log");
    insta::assert_snapshot!("json", format!("{report:#}"));
}

#[test]
fn the_report_names_exactly_the_statements_that_get_worse() {
    let place = Place::with_examples();
    place.write("queries.log", LOG);
    let resharded = report(&place, THREE, TWO, "queries.log");
    assert_eq!(
        with(&resharded, &["refused"]),
        BTreeSet::from([
            "select count(*) from corder",
            "select count(*) from corder where customer_id in (?, ? /*, ...*/)",
            "select * from customer c join corder o on c.email = o.sku",
        ])
    );
    assert_eq!(
        with(&resharded, &["worse"]),
        BTreeSet::from([
            "select email from customer where customer_id in (?, ? /*, ...*/)",
            "select * from customer where email = '?'",
            "insert into customer (email) values ('?'), ('?') /*, ...*/",
            "update corder set price = ? where sku = '?'",
        ])
    );
    // The way back is for the better. What was refused is served.
    let merged = report(&place, TWO, THREE, "queries.log");
    assert!(with(&merged, &["refused", "worse", "more_shards"]).is_empty());
    assert_eq!(
        with(&merged, &["newly_served"]),
        with(&resharded, &["refused"])
    );
    assert_eq!(with(&merged, &["better"]), with(&resharded, &["worse"]));
}

#[test]
fn who_goes_on_using_the_keyspace_that_a_table_leaves_is_refused() {
    let place = Place::with_examples();
    let log = "select * from customer where customer_id = 1\nuse commerce\n\
               select * from customer where customer_id = 2\n\
               insert into commerce.corder (order_id) values (3)\n\
               select * from product\nselect p.sku from product p where p.price in (1, 2)\n";
    place.write("queries.log", log);
    let moved = report(&place, TWO, ONE, "queries.log");
    let kinds = moved["kinds"].as_array().expect("kinds").iter();
    let refused = kinds.filter(|k| k["change"] == "refused");
    let refused: Vec<(Option<&str>, &str, &str)> = refused
        .map(|k| {
            let why = k["after"]["why"].as_str().expect("why");
            (
                k["target"].as_str(),
                k["statement"].as_str().expect("a statement"),
                why,
            )
        })
        .collect();
    assert_eq!(
        refused,
        [
            (
                Some("commerce"),
                "insert into commerce.corder (order_id) values (?)",
                "`commerce` has no table `corder` any more"
            ),
            (
                Some("commerce"),
                "select * from customer where customer_id = ?",
                "`commerce` has no table `customer` any more"
            ),
        ]
    );
    // Who names no keyspace is led to where the table is.
    assert_eq!(
        with(&moved, &["moved"]),
        BTreeSet::from(["select * from customer where customer_id = ?"])
    );
}

#[test]
fn nothing_worse_is_one_line() {
    let place = Place::with_examples();
    place.write("queries.log", GOOD);
    check!(
        place,
        "nothing-worse-same",
        ["plan", TWO, "--against", TWO, "--workload", "queries.log"]
    );
    let args = ["plan", THREE, "--against", TWO, "--workload", "queries.log"];
    let (code, stdout, _) = place.output(&args);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("Changes to cluster"), "{stdout}");
    insta::assert_snapshot!("nothing-worse", stdout.lines().last().unwrap_or_default());
    place.write("empty.log", "");
    check!(
        place,
        "nothing-in-it",
        ["plan", TWO, "--against", TWO, "--workload", "empty.log"]
    );
}

#[test]
fn the_exit_code_says_what_it_is_asked_to() {
    let place = Place::with_examples();
    place.write("bad.log", LOG);
    place.write("good.log", GOOD);
    place.write(
        "worse.log",
        "select * from customer where email = 'x'\nselect * from customer where customer_id = 4\n",
    );
    let code = |log: &str, more: &[&str]| {
        let args = ["plan", THREE, "--against", TWO, "--workload", log];
        place.output(&[&args[..], more].concat()).0
    };
    let keyspace = ["--workload-keyspace", "customer"];
    for (log, fail_on, expected) in [
        ("bad.log", "refused", 1),
        ("worse.log", "refused", 0),
        ("worse.log", "worse", 1),
        ("good.log", "worse", 0),
        ("good.log", "more-shards", 0),
    ] {
        let more = [&keyspace[..], &["--workload-fail-on", fail_on]].concat();
        assert_eq!(code(log, &more), expected, "{log} {fail_on}");
    }
    assert_eq!(code("bad.log", &[]), 0);
    assert_eq!(code("bad.log", &["--detailed-exitcode"]), 2);
    let (_, stdout, stderr) = place.output(&[
        "plan",
        THREE,
        "--against",
        TWO,
        "--workload",
        "bad.log",
        "--workload-fail-on",
        "worse",
        "--format",
        "json",
    ]);
    serde_json::from_str::<Value>(&stdout).expect("stdout is one document");
    insta::assert_snapshot!("fail-on", stderr);
}

fn digest(kinds: &Value) -> String {
    // The fields are in the order in which they are written.
    format!(
        "{{\n  \"vtplan_workload\": 1,\n  \"made_by\": \"0.1.0\",\n  \"cluster\": \"shop\",\n  \"gates\": [\"gate-1\"],\n  \
         \"unseen\": [],\n  \"since\": 1,\n  \"left_out\": 3,\n  \"kinds\": {kinds:#}\n}}\n"
    )
}

fn kind(target: &str, statement: &str, count: u64) -> Value {
    json!({
        "statement": statement, "target": target, "count": count, "errors": 1, "total_us": 2500 * count,
        "max_us": 9000, "rows": count, "shards": count, "first_seen": 1, "last_seen": 2,
    })
}

#[test]
fn an_export_of_the_gates_is_read_with_its_counts_and_times() {
    let place = Place::with_examples();
    let text = digest(&json!([
        kind(
            "customer",
            "select * from customer where email = '?'",
            1_000_000
        ),
        kind(
            "customer@replica",
            "select * from customer where email = '?'",
            30
        ),
        kind(
            "customer",
            "select * from customer where customer_id = ?",
            34_221
        ),
        kind("no/such/target", "select ?", 5),
        kind("customer", "nonsense", 7),
    ]));
    place.write("workload.json", &text);
    let args = [
        "plan",
        THREE,
        "--against",
        TWO,
        "--workload",
        "workload.json",
    ];
    let (code, stdout, _) = place.output(&args);
    assert_eq!(code, 0);
    let shown = stdout
        .split("Changes to cluster")
        .next()
        .unwrap_or_default();
    let end = stdout.find("Workload:").expect("the last line");
    insta::assert_snapshot!("export", format!("{shown}...\n{}", &stdout[end..]));
    let report = report(&place, THREE, TWO, "workload.json");
    assert_eq!(report["kinds"][0]["total_us"], 2_500_000_000u64);

    let (_, schema, _) = place.output(&["schema", "workload"]);
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        schema_check::problems(&schema, &value),
        Vec::<String>::new()
    );
}

#[test]
fn reports_fit_the_published_schema_and_are_the_same_each_time() {
    let place = Place::with_examples();
    place.write("queries.log", &format!("{LOG}nonsense\n"));
    let args = |format| {
        [
            "plan",
            THREE,
            "--against",
            TWO,
            "--workload",
            "queries.log",
            "--format",
            format,
        ]
    };
    let (_, schema, _) = place.output(&["schema", "plan"]);
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let (_, stdout, _) = place.output(&args("json"));
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        schema_check::problems(&schema, &document),
        Vec::<String>::new()
    );
    for format in ["text", "json", "markdown", "dot"] {
        assert_eq!(
            place.output(&args(format)),
            place.output(&args(format)),
            "{format}"
        );
    }
}

#[test]
fn a_comment_stays_within_its_limit_and_begins_with_what_gets_worse() {
    let place = Place::with_examples();
    let mut log = String::from("use customer\n");
    for n in 0..3000 {
        let column = "x".repeat(n % 200);
        log.push_str(&format!(
            "select c{n}_{column} from customer where email = 'a|b'\n"
        ));
    }
    place.write("queries.log", &log);
    let args = [
        "plan",
        THREE,
        "--against",
        TWO,
        "--workload",
        "queries.log",
        "--format",
        "markdown",
    ];
    let (_, stdout, _) = place.output(&args);
    assert!(stdout.chars().count() <= 65_536);
    let lines: Vec<&str> = stdout.lines().take(5).collect();
    assert_eq!(lines[0], "<!-- vtplan-plan -->");
    assert!(
        lines[4].starts_with("> **Queries that get worse: 3,000 kinds"),
        "{lines:?}"
    );
    assert!(stdout.contains("2980 more kinds"), "{}", &stdout[..3000]);
}

#[test]
fn bad_workloads_are_told_and_bad_lines_only_counted() {
    let place = Place::with_examples();
    let plan = |log: &str| ["plan", TWO, "--against", TWO, "--workload", log].map(str::to_owned);
    let run = |log: &str| {
        let args = plan(log);
        place.run(&args.each_ref().map(String::as_str))
    };
    let long = "y".repeat(2 << 20);
    let mixed = format!(
        "select 1\nnonsense with a value 'secret'\nselect 'not ended\n\x01\x02\x03\nselect '{long}'\n\
         select from where 1 = 1\nselect \u{fffd}"
    );
    place.write("mixed.log", &mixed);
    insta::assert_snapshot!("bad-lines", run("mixed.log"));
    assert!(!run("mixed.log").contains("secret"));
    std::fs::write(place.path("binary"), b"\x7fELF\0\0\0\x01\xff\n\xfe\xff").expect("a file");
    insta::assert_snapshot!("binary", run("binary"));
    let text = digest(&json!([kind("customer", "select ?", 1)]));
    place.write("cut.json", &text[..text.len() / 2]);
    insta::assert_snapshot!("cut", run("cut.json"));
    place.write(
        "newer.json",
        &text.replace("\"vtplan_workload\": 1", "\"vtplan_workload\": 2"),
    );
    insta::assert_snapshot!("newer", run("newer.json"));
    place.write("other.json", "{ \"vtplan_export\": 1 }\n");
    insta::assert_snapshot!("other", run("other.json"));
    insta::assert_snapshot!("nowhere", run("none.log"));
    insta::assert_snapshot!("folder", run("specs"));
    let sparse = std::fs::File::create(place.path("huge")).expect("a file");
    sparse.set_len(1 << 30).expect("a hole of a file");
    insta::assert_snapshot!("huge", run("huge"));
}

#[test]
fn a_keyspace_that_is_no_name_is_refused() {
    let place = Place::with_examples();
    check!(
        place,
        "bad-keyspace",
        [
            "plan",
            TWO,
            "--workload",
            "x.log",
            "--workload-keyspace",
            "a/b/c d"
        ]
    );
    check!(
        place,
        "keyspace-alone",
        ["plan", TWO, "--workload-keyspace", "customer"]
    );
}

#[tokio::test]
async fn gates_that_do_not_answer_are_told() {
    let place = Place::with_examples();
    check!(place, "no-store", ["workload", "export"]);
    place.cluster("shop").await;
    check!(place, "no-gate", ["workload", "export"]);
    // Nothing listens on port 1.
    check!(
        place,
        "gate-gone",
        ["workload", "export", "--gate", "127.0.0.1:1"]
    );
}

/// What a corpus spec says of the table `user`.
#[derive(Clone, Copy, PartialEq)]
enum User {
    ById,
    /// In a keyspace of its own.
    ByName,
    /// By its id, and with Vitess's lookup by its name.
    WithLookup,
}

/// Vitess's own planner test queries, on tables of its VSchema `user`, in the spec's words.
fn corpus_spec(place: &Place, name: &str, user: User) -> String {
    let table = |name: &str| {
        format!("create table {name} (pk bigint primary key, id bigint, user_id bigint);\n")
    };
    let others = ["user_extra", "music", "music_extra", "authoritative"];
    let mut of_user: String = others.map(table).concat();
    let mut vindexes: String = others
        .map(|t| format!("      {t}: {{ vindexes: [{{ name: hash, column: user_id }}] }}\n"))
        .concat();
    let mut people = String::new();
    let (mut lookup, mut index) = ("", "");
    if user == User::ByName {
        place.write(
            &format!("{name}-people.sql"),
            "create table user (pk bigint primary key, id bigint, name varchar(64));\n",
        );
        people = format!(
            "  people:\n    shards: [-80, 80-]\n    tablets: {{ zone1: {{ replica: 2 }} }}\n    \
             schema: {name}-people.sql\n    vindexes: {{ xxhash: {{ type: xxhash }} }}\n    tables:\n      \
             user: {{ vindexes: [{{ name: xxhash, column: name }}] }}\n"
        );
    } else {
        of_user.push_str(
            "create table user (pk bigint primary key, id bigint, name varchar(64), key (name));\n",
        );
        let mut used = "";
        if user == User::WithLookup {
            lookup = "      name_user_map: { type: lookup, owner: user, params: { table: main.name_user_vdx, \
                      from: name, to: keyspace_id, ignore_nulls: true } }\n";
            index = "create table name_user_vdx (name varchar(64), keyspace_id varbinary(128), \
                     primary key (name, keyspace_id));\n";
            used = ", { name: name_user_map, column: name }";
        }
        let of_user = format!("      user: {{ vindexes: [{{ name: hash, column: id }}{used}] }}\n");
        vindexes.push_str(&of_user);
    }
    place.write(&format!("{name}.sql"), &of_user);
    place.write(
        &format!("{name}-main.sql"),
        &format!("create table unsharded (pk bigint primary key);\n{index}"),
    );
    let text = format!(
        "vtplan: 1\ncluster: corpus\ncells: [zone1]\nkeyspaces:\n  main:\n    tablets: {{ zone1: {{ replica: 2 }} }}\n    \
         schema: {name}-main.sql\n  user:\n    shards: [-40, 40-80, 80-c0, c0-]\n    \
         tablets: {{ zone1: {{ replica: 2 }} }}\n    schema: {name}.sql\n    \
         vindexes:\n      hash: {{ type: hash }}\n{lookup}    tables:\n{vindexes}{people}"
    );
    let file = format!("{name}.yaml");
    place.write(&file, &text);
    file
}

/// `user` goes to a keyspace where it is sharded by `name`: what found one row by its id now asks all
/// shards. Which statements those are, Vitess's planner says (`EqualUnique`), and their texts.
#[test]
fn of_vitess_queries_exactly_the_lookups_by_the_old_column_become_scatters() {
    let place = Place::new();
    let (old, new) = (
        corpus_spec(&place, "old", User::ById),
        corpus_spec(&place, "new", User::ByName),
    );
    let mut log = String::new();
    let mut lookups = BTreeSet::new();
    let mut mentions = BTreeSet::new();
    let by_id = regex::Regex::new(r"(?i)\b(\w+\.)?id = \d+( |$)").expect("a pattern");
    let by_name = regex::Regex::new(r"(?i)\bname ?= ?'").expect("a pattern");
    let word = regex::Regex::new(r"(?i)\buser\b").expect("a pattern");
    let other = regex::Regex::new(r"(?i)\b(user_extra|music|ref|unsharded|route1|user\.user)\b")
        .expect("a pattern");
    let corpus = include_str!("../../gate/tests/data/vtgate_queries.jsonl");
    for line in corpus.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let set = case["set"].as_str().expect("a set");
        if ["tpch", "tpcc", "oltp", "use"].contains(&set) {
            continue;
        }
        let query = case["query"].as_str().expect("a query").replace('\n', " ");
        log.push_str(&format!("{query}\n"));
        let Ok(kind) = normalize(query.as_bytes(), SqlModes::default()) else {
            continue;
        };
        if word.is_match(&query) || query.contains("route1") {
            mentions.insert(kind.clone());
        }
        let operators = &case["vitess"]["operators"];
        let unique = operators.as_array().is_some_and(|list| {
            list.len() == 1
                && list[0]
                    .as_str()
                    .is_some_and(|op| op.ends_with(":EqualUnique:user"))
        });
        if unique
            && by_id.is_match(&query)
            && word.is_match(&query)
            && !by_name.is_match(&query)
            && !other.is_match(&query)
        {
            lookups.insert(kind);
        }
    }
    place.write("corpus.log", &log);
    let report = report(&place, &new, &old, "corpus.log");
    let bad = with(&report, &["refused", "worse", "more_shards"]);
    for kind in &bad {
        assert!(mentions.contains(*kind), "{kind} is not about what moves");
    }
    let kinds = report["kinds"].as_array().expect("kinds");
    let by_old_column = |k: &&Value| k["before"]["text"] == "one shard of user, by user.id";
    let served: BTreeSet<&str> = kinds
        .iter()
        .filter(by_old_column)
        .map(|k| k["statement"].as_str().expect("a statement"))
        .collect();
    let missed: Vec<_> = lookups
        .iter()
        .filter(|k| served.contains(k.as_str()) && !bad.contains(k.as_str()))
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
    let scatters = |before: &str| -> BTreeSet<&str> {
        let worse = kinds.iter().filter(|k| k["change"] == "worse");
        let scatters =
            worse.filter(|k| k["before"]["kind"] == before && k["after"]["kind"] == "all_shards");
        scatters
            .map(|k| k["statement"].as_str().expect("a statement"))
            .collect()
    };
    let one: BTreeSet<&str> = scatters("one_shard");
    assert!(one.iter().all(|kind| lookups.contains(*kind)), "{one:#?}");
    // The others of them do what cannot be put together from several shards.
    let refused = with(&report, &["refused"]);
    let both: BTreeSet<&str> = one.union(&refused).copied().collect();
    let served: Vec<_> = lookups
        .iter()
        .filter(|k| served.contains(k.as_str()))
        .collect();
    assert!(served.iter().all(|kind| both.contains(kind.as_str())));
    assert!(one.len() >= 4 && served.len() >= 20, "{one:#?} {served:#?}");
    assert_eq!(
        scatters("some_shards"),
        BTreeSet::from([
            "delete from user where id in (?, ? /*, ...*/)",
            "select col from user where (id = ? or id = ?) or (id = ? or id = ?)",
            "select col from user where id = ? or id = ?",
            "select id from user where id in (?, ? /*, ...*/)",
            "select id from user where user.col = ? and user.id in (?, ? /*, ...*/)",
        ])
    );
}

/// Vitess's own lookup comes to `user`, and goes: what asked all shards by a name is served by it.
#[test]
fn of_vitess_queries_those_by_name_are_served_by_a_lookup() {
    let place = Place::new();
    let without = corpus_spec(&place, "without", User::ById);
    let with_lookup = corpus_spec(&place, "with", User::WithLookup);
    let corpus = include_str!("../../gate/tests/data/vtgate_queries.jsonl");
    let mut log = String::new();
    for line in corpus.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let set = case["set"].as_str().expect("a set");
        if !["tpch", "tpcc", "oltp", "use"].contains(&set) {
            let query = case["query"].as_str().expect("a query").replace('\n', " ");
            log.push_str(&format!("{query}\n"));
        }
    }
    place.write("corpus.log", &log);
    let comes = report(&place, &with_lookup, &without, "corpus.log");
    let goes = report(&place, &without, &with_lookup, "corpus.log");
    let by_name = regex::Regex::new(r"(?i)\bname\b").expect("a pattern");
    let served: BTreeSet<&str> = with(&comes, &["better", "newly_served"]);
    for kind in comes["kinds"].as_array().expect("kinds") {
        let statement = kind["statement"].as_str().expect("a statement");
        if served.contains(statement) {
            // Of several rows with a name the shard may be one.
            let maybe = kind["after"]["kind"] == "one_shard_or_refused";
            assert!(
                maybe || kind["after"]["lookup"] == "name_user_map",
                "{kind}"
            );
            assert!(by_name.is_match(statement), "{statement}");
        }
    }
    assert!(served.len() >= 3, "{served:#?}");
    // Statements that a lookup must follow may be refused: it cannot know what an expression gives.
    assert_eq!(with(&comes, &["worse", "more_shards"]), BTreeSet::new());
    for statement in with(&comes, &["refused"]) {
        let word = statement
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_lowercase();
        assert!(
            ["insert", "update", "delete", "replace"].contains(&word.as_str()),
            "{statement}"
        );
    }
    let lost = with(&goes, &["worse", "refused"]);
    assert!(served.iter().all(|kind| lost.contains(kind)), "{lost:#?}");
}
