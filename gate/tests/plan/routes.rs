//! Where kinds of statements go, by the gate's own planner, whatever their values are.

use std::collections::BTreeMap;

use serde_json::Value;
use vtplan_gate::plan::{
    Action, PlanContext, Planner, Route, SqlModes, Target, normalize, route_of,
};

use crate::support::{Gate, records, vitess, without_doubles};

fn route(target: &str, sql: &str) -> String {
    let gate = Gate::new(&records());
    let target: Target = target.parse().unwrap();
    let kind = normalize(sql.as_bytes(), SqlModes::default()).unwrap();
    match route_of(&gate.catalog, &target, &kind) {
        Route::Gate => "gate".to_owned(),
        Route::AnyShard { keyspace } => format!("any of {keyspace}"),
        Route::Unsharded { keyspace } => format!("unsharded {keyspace}"),
        Route::OneShard { keyspace, by, .. } => format!("one of {keyspace} by {by}"),
        Route::SomeShards {
            keyspace,
            by,
            writes,
            ..
        } => format!("some of {keyspace} by {by}{}", wrote(writes)),
        Route::AllShards {
            keyspace,
            shards,
            writes,
            why,
        } => format!("all {shards} of {keyspace}{}: {why}", wrote(writes)),
        Route::OneShardOrRefused {
            keyspace,
            construct,
        } => format!("one of {keyspace} or not {construct}"),
        Route::Refused { errno, message } => format!("{errno} {message}"),
    }
}

fn wrote(writes: bool) -> &'static str {
    if writes { " written" } else { "" }
}

#[test]
fn a_kind_has_one_route_for_all_values() {
    let untold = "all 2 of customer: its conditions do not tell the `customer_id` of `customer`";
    for (target, sql, expected) in [
        ("", "begin", "gate"),
        ("", "set autocommit = 1", "gate"),
        ("customer", "kill 7", "gate"),
        ("customer", "select 1", "any of customer"),
        (
            "customer",
            "select * from country where id = 7",
            "any of customer",
        ),
        (
            "",
            "select * from product where sku = 'x'",
            "unsharded commerce",
        ),
        (
            "",
            "select * from customer where customer_id = 5",
            "one of customer by customer.customer_id",
        ),
        (
            "",
            "select * from customer where customer_id = ?",
            "one of customer by customer.customer_id",
        ),
        (
            "",
            "select * from customer where customer_id = '5'",
            "one of customer by customer.customer_id",
        ),
        (
            "",
            "select * from customer where customer_id = 5 or customer_id = 6",
            "some of customer by customer.customer_id",
        ),
        (
            "",
            "select * from customer where customer_id in (5)",
            "one of customer by customer.customer_id",
        ),
        (
            "",
            "select * from customer where customer_id in (5, 6, 7)",
            "some of customer by customer.customer_id",
        ),
        (
            "",
            "delete from customer where customer_id in (5, 6)",
            "some of customer by customer.customer_id written",
        ),
        (
            "",
            "select * from pair where a = 1",
            "some of customer by pair.a",
        ),
        (
            "",
            "select * from pair where a = 1 and b = 2",
            "one of customer by pair.a, b",
        ),
        (
            "",
            "select * from customer where email = 'x' limit 5",
            untold,
        ),
        (
            "",
            "select count(*) from customer where customer_id = 3",
            "one of customer by customer.customer_id",
        ),
        (
            "",
            "select count(*) from customer where customer_id in (3, 4)",
            "one of customer or not COUNT() over several shards of `customer`",
        ),
        (
            "",
            "select count(*) from customer",
            "1235 This version of vtplan doesn't yet support 'COUNT() over several shards of `customer`'",
        ),
        (
            "",
            "select * from settings",
            "one of customer by the keyspace id that its table is pinned to",
        ),
        (
            "",
            "insert into customer (customer_id) values (1)",
            "one of customer by customer.customer_id",
        ),
        (
            "",
            "insert into customer (email) values ('a')",
            "one of customer by customer.customer_id",
        ),
        (
            "",
            "insert into customer (email) values ('a'), ('b')",
            "some of customer by customer.customer_id written",
        ),
        (
            "",
            "insert into named (name, v) values ('a', 1)",
            "one of customer by named.name",
        ),
        (
            "",
            "select * from customer c join corder o using (customer_id) where c.customer_id = 5",
            "one of customer by customer.customer_id",
        ),
        (
            "",
            "select * from owner where mail = 'x'",
            "one of customer by lookup `lk`",
        ),
        (
            "",
            "select * from owner where id = 1 and mail = 'x'",
            "one of customer by owner.id",
        ),
        (
            "",
            "select * from owner where mail in ('x', 'y')",
            "some of customer by lookup `lk`",
        ),
        (
            "",
            "update owner set v = 1 where tag = 'x'",
            "some of customer by lookup `tags` written",
        ),
        // It is not asked yet, or not all of its columns are given.
        (
            "",
            "select * from owner where late = 'x'",
            "all 2 of customer: its conditions do not tell the `id` of `owner`",
        ),
        (
            "",
            "select * from owner where b = 'x'",
            "all 2 of customer: its conditions do not tell the `id` of `owner`",
        ),
        (
            "",
            "select * from owner where a = 'x'",
            "some of customer by lookup `pair`",
        ),
        (
            "",
            "select count(*) from owner where tag = 'x'",
            "one of customer or not COUNT() over several shards of `owner`",
        ),
        ("", "select * from nowhere", "1146 table nowhere not found"),
        ("gone", "select 1", "1049 Unknown database 'gone'"),
        (
            "customer",
            "alter table customer add x int",
            "all 2 of customer written: it changes the schema",
        ),
        (
            "customer/-80",
            "select count(*) from customer",
            "one of customer by the session's target, `-80`",
        ),
        ("customer", "show tables", "any of customer"),
    ] {
        assert_eq!(route(target, sql), expected, "{target} {sql}");
    }
    let write = route("", "update customer set email = 'x'");
    assert_eq!(write, untold.replace("customer:", "customer written:"));
}

/// The route of a kind and the plan of a statement of it, with its values, must not contradict each other.
#[test]
fn routes_are_what_statements_get() {
    let gates: BTreeMap<&str, Gate> = [
        ("main", include_str!("../data/vtgate_vschema.json")),
        ("tpch", include_str!("../data/vtgate_tpch_vschema.json")),
        ("tpcc", include_str!("../data/vtgate_tpcc_vschema.json")),
        ("oltp", include_str!("../data/vtgate_oltp_vschema.json")),
    ]
    .into_iter()
    .map(|(name, file)| {
        let file = without_doubles(file);
        (
            name,
            Gate::new(&vitess(&serde_json::from_str(&file).unwrap())),
        )
    })
    .collect();
    // Their values are not of their columns' types, so a server may find what no vindex would.
    const ODD: [&str; 3] = [
        "SELECT cola, colb, colc, RANK() OVER (PARTITION BY cola, colb ORDER BY colc) as rnk FROM multicol_tbl WHERE",
        "insert into music_extra(music_id, user_id) values(1, 18446744073709551616)",
        "select count(1) from user where id = 'abc' group by",
    ];
    let main = "main".parse::<Target>().unwrap().keyspace;
    let mut judged = 0;
    for line in include_str!("../data/vtgate_queries.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let set = case["set"].as_str().unwrap();
        let name = ["tpch", "tpcc", "oltp"]
            .into_iter()
            .find(|n| set.contains(n));
        let gate = &gates[name.unwrap_or("main")];
        let sql = case["query"].as_str().unwrap();
        for target in ["", "user", "main", "user/-40", "user@replica"] {
            let target: Target = target.parse().unwrap();
            let Ok(kind) = normalize(sql.as_bytes(), SqlModes::default()) else {
                continue;
            };
            judged += 1;
            let route = route_of(&gate.catalog, &target, &kind);
            let planner = Planner::default();
            let plan = planner.plan(&gate.catalog, &PlanContext::new(&target), sql.as_bytes());
            let fits = match (&route, plan.as_ref().map(|p| &p.action)) {
                (Route::Gate, Ok(Action::Gate(_))) => true,
                // What a lookup tells is known when it is asked.
                (
                    Route::OneShard { .. }
                    | Route::SomeShards { .. }
                    | Route::OneShardOrRefused { .. },
                    Ok(Action::Lookup(_)),
                ) => true,
                (
                    Route::SomeShards { .. }
                    | Route::OneShard { .. }
                    | Route::OneShardOrRefused { .. },
                    Ok(Action::Owned(_)),
                ) => true,
                (
                    Route::AnyShard { .. } | Route::Unsharded { .. } | Route::OneShard { .. },
                    Ok(action),
                ) => action.width() == 1,
                (Route::SomeShards { .. }, Ok(action)) => action.width() >= 1,
                (Route::AllShards { shards, .. }, Ok(action)) => action.width() == *shards,
                (Route::OneShardOrRefused { .. }, Ok(action)) => action.width() == 1,
                (Route::OneShardOrRefused { .. }, Err(error)) => error.errno == 1235,
                (Route::Refused { errno, .. }, Err(error)) => *errno == error.errno,
                _ => false,
            };
            let odd = ODD.iter().any(|start| sql.starts_with(start));
            assert!(
                fits != odd || target.shard.is_some() || target.keyspace == main,
                "{target} {sql}\n{kind}\n{route:?}\n{plan:?}"
            );
        }
    }
    assert!(judged > 3000, "{judged}");
}
