//! Statements while tables move, at each stage of the rules of a MoveTables.

use std::sync::Arc;

use crate::support::{Gate, keyspace, rules, shown};
use serde_json::json;
use vtplan_gate::plan::{BindValue, Catalog, PlanContext, Planner, Target, Touch};
use vtplan_state::model::{Records, TabletType};

fn records() -> Records {
    let mut records = Records {
        revision: 7,
        ..Records::default()
    };
    let commerce = json!({ "tables": { "product": {}, "customer": {}, "corder": {} } });
    keyspace(&mut records, "commerce", &["0"], commerce);
    let customer = json!({ "tables": { "customer": {}, "corder": {} } });
    keyspace(&mut records, "customer", &["0"], customer);
    records
}

const SOURCE: &str = "commerce/0";
const TARGET: &str = "customer/0";

/// As a MoveTables begins.
const BEGUN: &[(&str, &str)] = &[
    ("customer", "commerce.customer"),
    ("customer.customer", "commerce.customer"),
    ("corder", "commerce.corder"),
    ("customer.corder", "commerce.corder"),
];

/// After the reads of replicas.
const READS: &[(&str, &str)] = &[
    ("customer", "commerce.customer"),
    ("customer.customer", "commerce.customer"),
    ("customer@replica", "customer.customer"),
    ("commerce.customer@replica", "customer.customer"),
    ("customer.customer@replica", "customer.customer"),
];

/// After writes.
const WRITES: &[(&str, &str)] = &[
    ("customer", "customer.customer"),
    ("commerce.customer", "customer.customer"),
    ("corder", "customer.corder"),
    ("commerce.corder", "customer.corder"),
];

fn at(stage: &[(&str, &str)]) -> Gate {
    let mut records = records();
    rules(&mut records, stage);
    Gate::new(&records)
}

#[test]
fn before_the_switch_every_name_leads_to_the_source() {
    let gate = at(BEGUN);
    for sql in [
        "select * from customer",
        "select c.email from customer c join product p on c.sku = p.sku",
        "update corder set price = 1 where order_id = 2",
        "insert into customer (email) values ('a')",
        "what even is this customer",
    ] {
        assert_eq!(gate.show("commerce", sql), SOURCE, "{sql}");
    }
    assert_eq!(gate.show("", "select * from customer"), SOURCE);
    assert_eq!(
        gate.show("customer", "select customer.email from customer"),
        SOURCE
    );
    assert_eq!(
        gate.show(
            "customer",
            "select p.name, customer.customer.email from customer.customer join commerce.product p using (sku) \
             where customer.customer.customer_id = 5 order by customer.customer.email"
        ),
        format!(
            "{SOURCE}: select p.name, `commerce`.customer.email from `commerce`.`customer` join commerce.product p \
             using (sku) where `commerce`.customer.customer_id = 5 order by `commerce`.customer.email"
        )
    );
}

#[test]
fn reads_of_replicas_go_apart() {
    let gate = at(READS);
    for (target, shard) in [
        ("commerce", SOURCE),
        ("customer", SOURCE),
        ("commerce@replica", TARGET),
        ("customer@replica", TARGET),
        ("@replica", TARGET),
        ("commerce@rdonly", SOURCE),
    ] {
        assert_eq!(
            gate.show(target, "select * from customer"),
            shard,
            "{target}"
        );
    }
}

#[test]
fn after_the_switch_statements_are_rewritten_to_the_target() {
    let gate = at(WRITES);
    for (sql, expected) in [
        ("select * from customer", TARGET),
        (
            "select commerce.customer.email, customer.email from customer where commerce.customer.id = 1",
            "customer/0: select `customer`.customer.email, customer.email from customer where `customer`.customer.id = 1",
        ),
        (
            "select commerce.customer.* from commerce.customer",
            "customer/0: select `customer`.customer.* from `customer`.`customer`",
        ),
        (
            "select c.email from commerce.customer c join corder o on c.id = o.customer_id",
            "customer/0: select c.email from `customer`.`customer` c join corder o on c.id = o.customer_id",
        ),
        (
            "update commerce.customer set commerce.customer.email = 'x' where id in (select customer_id from commerce.corder)",
            "customer/0: update `customer`.`customer` set `customer`.customer.email = 'x' where id in (select customer_id from `customer`.`corder`)",
        ),
        (
            "delete commerce.customer from commerce.customer join corder o on o.customer_id = customer.id",
            "customer/0: delete `customer`.customer from `customer`.`customer` join corder o on o.customer_id = customer.id",
        ),
        ("delete c from customer c where id = 1", TARGET),
        (
            "insert into commerce.customer (email) values ('a') on duplicate key update commerce.customer.email = 'b'",
            "customer/0: insert into `customer`.`customer` (email) values ('a') on duplicate key update `customer`.customer.email = 'b'",
        ),
        (
            "insert into commerce.corder (customer_id) select id from commerce.customer",
            "customer/0: insert into `customer`.`corder` (customer_id) select id from `customer`.`customer`",
        ),
        (
            "replace into corder select * from commerce.corder where order_id = 7",
            "customer/0: replace into corder select * from `customer`.`corder` where order_id = 7",
        ),
        ("alter table customer add x int", TARGET),
        (
            "truncate table commerce.corder",
            "customer/0: truncate table `customer`.`corder`",
        ),
        ("show create table customer", TARGET),
        ("describe customer", TARGET),
        (
            "lock tables commerce.customer as c write, corder read",
            "customer/0: lock tables `customer`.`customer` as c write, corder read",
        ),
        (
            "load data infile 'x' into table commerce.customer",
            "customer/0: load data infile 'x' into table `customer`.`customer`",
        ),
        ("select * from product where name = 'customer'", SOURCE),
    ] {
        assert_eq!(gate.show("commerce", sql), expected, "{sql}");
    }
    for sql in [
        "select * from customer join product using (sku)",
        "lock tables customer read, product read",
        "insert into product select * from customer",
    ] {
        let shown = gate.show("commerce", sql);
        assert!(shown.starts_with("1235 "), "{sql}: {shown}");
    }
}

#[test]
fn a_disabled_table_is_refused_and_others_are_not() {
    let gate = at(&[
        ("commerce.customer", ""),
        ("commerce.customer@replica", "customer.customer"),
    ]);
    assert_eq!(
        gate.show("commerce", "select * from customer"),
        "1105 table customer has been disabled"
    );
    assert_eq!(
        gate.show("commerce@replica", "select * from customer"),
        TARGET
    );
    assert_eq!(gate.show("commerce", "select * from product"), SOURCE);
}

#[test]
fn statements_prepared_before_a_switch_follow_it() {
    let planner = Planner::default();
    let target: Target = "commerce".parse().unwrap();
    let context = PlanContext::new(&target);
    let sql = b"update commerce.customer set email = ? where id = ?";
    let catalog = |stage, revision| {
        let mut records = records();
        records.revision = revision;
        rules(&mut records, stage);
        Catalog::build(&records)
    };
    let before = catalog(BEGUN, 7);
    let prepared = planner.prepare(&before, &context, sql).unwrap();
    let values = [BindValue::Bytes("a".into()), BindValue::Int(1)];
    let plan =
        |catalog: &Catalog| shown(planner.plan_prepared(catalog, &context, &prepared, &values));
    let moved = "customer/0: update `customer`.`customer` set email = ? where id = ?";
    assert_eq!(plan(&before), SOURCE);
    let after = catalog(WRITES, 8);
    assert_eq!(plan(&after), moved);
    assert_eq!(plan(&after), moved);
    // Whoever still has the older snapshot is not led astray by the cache, nor spoils it.
    assert_eq!(plan(&before), SOURCE);
    assert_eq!(plan(&after), moved);
    assert_eq!(plan(&catalog(BEGUN, 9)), SOURCE);
}

#[test]
fn what_a_statement_touches_is_told_after_the_rules() {
    let touches = |gate: &Gate, sql: &str| -> Vec<Touch> {
        let plan = gate.plan("commerce", sql).unwrap();
        plan.touches.list.clone()
    };
    let table =
        |keyspace: &str, name: &str| Touch::Table(keyspace.parse().unwrap(), name.to_owned());
    let moved = at(WRITES);
    assert_eq!(
        touches(&moved, "select * from customer join corder using (id)"),
        [table("customer", "customer"), table("customer", "corder")]
    );
    assert_eq!(
        touches(&moved, "insert into customer select * from commerce.corder"),
        [table("customer", "customer"), table("customer", "corder")]
    );
    // Not read: by words.
    let [Touch::Words(keyspace, words)] = &touches(&moved, "select c.x from `Product` c")[..]
    else {
        panic!()
    };
    assert_eq!(keyspace.as_str(), "commerce");
    let has = |name: &str| words.contains(&vtplan_gate::plan::touches::word(name));
    assert!(has("product") && has("x") && !has("customer"));
    assert_eq!(
        touches(&moved, "call p()"),
        [Touch::Keyspace("commerce".parse().unwrap())]
    );
    assert!(touches(&moved, "begin").is_empty());
}

#[test]
fn shards_serve_by_tablet_type() {
    let mut records = records();
    let sharded = json!({
        "sharded": true,
        "vindexes": { "xxhash": { "type": "xxhash" } },
        "tables": { "customer": { "column_vindexes": [{ "column": "id", "name": "xxhash" }] } } });
    records
        .shards
        .retain(|(keyspace, _), _| keyspace.as_str() != "customer");
    keyspace(&mut records, "customer", &["0", "-80", "80-"], sharded);
    for ((keyspace, shard), record) in &mut records.shards {
        if keyspace.as_str() == "customer" {
            let old = shard.to_string() == "0";
            record.serving = old;
            record.serving_reads.insert(TabletType::Replica, !old);
        }
    }
    let gate = Gate {
        planner: Planner::default(),
        catalog: Arc::new(Catalog::build(&records)),
    };
    let sql = "select * from customer where id = 8";
    assert_eq!(gate.show("customer", sql), "customer/0");
    assert_eq!(gate.show("customer@rdonly", sql), "customer/0");
    assert_eq!(gate.show("customer@replica", sql), "customer/-80");
    assert_eq!(
        gate.show("customer@replica", "select * from customer"),
        "scatter customer/-80 | customer/80-"
    );
    assert_eq!(
        gate.show("customer/-80@replica", "select 1"),
        "customer/-80"
    );
    assert!(gate.show("customer/-80", "select 1").starts_with("1105 "));
}
