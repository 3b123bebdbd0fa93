//! Statements in a sharded keyspace.

use crate::support::{Gate, keyspace, records, rules};
use vtplan_gate::plan::BindValue;

/// Customers 1 to 10: 8 and 10 are in `-80`, the others in `80-`.
fn show(sql: &str) -> String {
    Gate::new(&records()).show("customer", sql)
}

const LOW: &str = "customer/-80";
const HIGH: &str = "customer/80-";
const ALL: &str = "scatter customer/-80 | customer/80-";

fn refused(sql: &str, construct: &str) {
    let shown = show(sql);
    assert!(
        shown.starts_with("1235 ") && shown.contains(construct),
        "{sql}\n  gave: {shown}\n  not:  {construct}"
    );
}

#[test]
fn equality_on_the_sharding_column_goes_to_one_shard() {
    for (sql, shard) in [
        ("select * from customer where customer_id = 1", HIGH),
        ("select * from customer where customer_id = 8", LOW),
        ("select * from customer where 8 = customer_id", LOW),
        ("select * from customer where CUSTOMER_ID = 8", LOW),
        ("select * from customer where customer_id = '8'", LOW),
        (
            "select * from customer c where c.customer_id = 8 and c.name = 'x'",
            LOW,
        ),
        (
            "select * from customer where (customer_id = (8)) and (name = 'x' or 1)",
            LOW,
        ),
        (
            "select * from `customer` where `customer_id` = 8 for update",
            LOW,
        ),
        (
            "select * from customer.customer where customer.customer_id = 8",
            LOW,
        ),
        (
            "select * from customer where customer_id = 8 lock in share mode",
            LOW,
        ),
        (
            "select count(*), max(name) from customer where customer_id = 8 group by name order by 1 limit 1, 2",
            LOW,
        ),
        (
            "select sql_calc_found_rows * from customer where customer_id = 8 limit 1",
            LOW,
        ),
        ("(select 1 from customer where customer_id = 8)", LOW),
        ("select * from customer where customer_id = null", LOW),
        ("select * from customer where customer_id in (8, 10)", LOW),
        (
            "select * from customer where customer_id = 8 or customer_id in (10, 8)",
            LOW,
        ),
        ("select * from corder where customer_id = 8.0", LOW),
        ("select * from corder where customer_id = '008'", LOW),
        (
            "select * from customer where customer_id = 8 union all select * from customer where customer_id = 10",
            LOW,
        ),
        ("select 1", LOW),
        ("select * from country", LOW),
        ("select * from settings where a = 1", HIGH),
        (
            "select * from information_schema.tables where table_name = 'x'",
            LOW,
        ),
        (
            "update customer set name = 'a' where customer_id = 8 limit 1",
            LOW,
        ),
        (
            "delete from customer where customer_id = 8 order by name limit 1",
            LOW,
        ),
        (
            "update ignore customer set name = 'a' where customer_id = 8",
            LOW,
        ),
        (
            "with c as (select * from customer where customer_id = 8) select * from c",
            LOW,
        ),
    ] {
        assert_eq!(show(sql), shard, "{sql}");
    }
}

#[test]
fn values_of_several_shards_reach_just_these() {
    assert_eq!(
        show("select * from customer where customer_id in (1, 8)"),
        ALL
    );
    assert_eq!(show("select * from customer"), ALL);
    assert_eq!(
        show("select name from customer where name like 'a%' limit 5"),
        format!("scatter limit 5 {LOW} | {HIGH}")
    );
    assert_eq!(show("select * from customer where customer_id <> 8"), ALL);
    assert_eq!(
        show("select * from customer where not customer_id = 8"),
        ALL
    );
    assert_eq!(
        show("select * from customer where customer_id = 8 or name = 'x'"),
        ALL
    );
    assert_eq!(
        show("select * from customer where customer_id = -8 * 2"),
        ALL
    );
    assert_eq!(
        show("update customer set name = 'x'"),
        format!("dml {LOW} | {HIGH}")
    );
    assert_eq!(
        show("delete from customer where customer_id in (1, 8)"),
        format!("dml {LOW} | {HIGH}")
    );
    assert_eq!(
        show("alter table customer add column x int"),
        format!("ddl {LOW} | {HIGH}")
    );
    assert_eq!(
        show("create table new_one (a int)"),
        format!("ddl {LOW} | {HIGH}")
    );
}

#[test]
fn a_value_that_may_be_spelled_otherwise_is_looked_for_everywhere() {
    for sql in [
        "select * from customer where customer_id = '08'",
        "select * from customer where customer_id = 8.0",
        "select * from customer where customer_id = 0x8",
        "select * from customer where customer_id = _latin1'a'",
        "select * from corder where customer_id = 'x'",
        "select * from named where name = 8",
        "select * from named where name = 'a '",
    ] {
        assert_eq!(show(sql), ALL, "{sql}");
    }
    assert_eq!(show("select * from corder where customer_id = 0x8"), LOW);
}

#[test]
fn groups_that_lie_on_one_shard_each_are_exact() {
    assert_eq!(
        show("select customer_id, count(*) from corder group by customer_id having count(*) > 1"),
        ALL
    );
    assert_eq!(show("select distinct customer_id, sku from corder"), ALL);
}

#[test]
fn what_cannot_be_put_together_exactly_is_refused_by_name() {
    for (sql, construct) in [
        (
            "select * from customer order by name",
            "ORDER BY over several shards of `customer`",
        ),
        ("select name from customer group by name", "GROUP BY over"),
        ("select distinct name from customer", "DISTINCT over"),
        ("select count(*) from customer", "COUNT() over"),
        ("select max(name) from customer", "MAX() over"),
        (
            "select row_number() over (order by name) from customer",
            "window function ROW_NUMBER()",
        ),
        ("select * from customer limit 2 offset 5", "OFFSET"),
        ("select * from customer limit 5, 2", "OFFSET"),
        (
            "select 1 from customer union select 2 from customer",
            "UNION",
        ),
        ("with c as (select * from customer) select * from c", "WITH"),
        (
            "select * from (select * from customer) t",
            "a derived table",
        ),
        (
            "select * from customer where name in (select name from corder)",
            "without equal sharding columns",
        ),
        (
            "select * from customer, corder",
            "`customer` and `corder` in one statement",
        ),
        (
            "select * from country left join customer on country.id = customer.country",
            "outer join",
        ),
        (
            "select sql_calc_found_rows * from customer limit 1",
            "SQL_CALC_FOUND_ROWS",
        ),
        ("select @a := name from customer", "user variable"),
        ("update customer set name = 'x' limit 5", "UPDATE ... LIMIT"),
        ("delete from customer order by name", "DELETE ... ORDER BY"),
        (
            "update customer set customer_id = 5 where customer_id = 8",
            "UPDATE of sharding column `customer_id`",
        ),
        (
            "delete from other where id = 1",
            "lookup vindex `broken`: vindex type `lookup_hash`",
        ),
        ("update other set mail = 'x'", "lookup vindex `broken`"),
        (
            "delete from owner where id in (1, 8) limit 3",
            "DELETE ... LIMIT",
        ),
        (
            "delete owner from owner join customer on owner.id = customer.customer_id",
            "DELETE of joined tables, of which one is `owner`",
        ),
        (
            "update owner set mail = upper(mail)",
            "expression for column `mail` of lookup vindex `lk`",
        ),
        (
            "update owner set mail = 'x' where id = 1 limit 1",
            "UPDATE ... LIMIT of a column of `owner`",
        ),
        (
            "update owner set mail = 'x' where rand() < 0.5",
            "RAND() in a write to `owner`",
        ),
        ("update country set a = 1", "writes to reference table"),
        ("call p()", "CALL on a sharded keyspace"),
        (
            "lock tables customer read",
            "LOCK TABLES on a sharded keyspace",
        ),
        ("create temporary table x (a int)", "TEMPORARY TABLE"),
        ("create view v as select 1", "CREATE VIEW"),
        ("explain select * from customer", "EXPLAIN"),
        (
            "select * from customer join commerce.product",
            "keyspaces `customer` and `commerce`",
        ),
    ] {
        refused(sql, construct);
    }
    assert_eq!(
        show("select * from nowhere"),
        "1146 table nowhere not found"
    );
    assert!(show("select * from customer where customer_id = (select").starts_with("1064"));
    assert!(show("selec 1").starts_with("1235 "));
}

#[test]
fn joins_by_equal_sharding_columns_stay_on_their_shards() {
    for (sql, expected) in [
        (
            "select * from customer c join corder o on c.customer_id = o.customer_id where c.customer_id = 8",
            LOW,
        ),
        (
            "select * from customer c join corder o using (customer_id) where o.customer_id = 8",
            LOW,
        ),
        (
            "select * from customer c, corder o where c.customer_id = o.customer_id and o.customer_id = 1",
            HIGH,
        ),
        (
            "select * from customer c left join corder o on c.customer_id = o.customer_id where c.customer_id = 8",
            LOW,
        ),
        (
            "select * from customer c left join corder o on c.customer_id = o.customer_id where o.customer_id = 8",
            LOW,
        ),
        (
            "select * from customer c join corder o where c.customer_id = 8 and o.customer_id = 10",
            LOW,
        ),
        (
            "select * from customer c where customer_id = 8 and exists (select 1 from corder o where o.customer_id = c.customer_id)",
            LOW,
        ),
        (
            "select * from customer c join country n on n.id = c.country where c.customer_id = 8",
            LOW,
        ),
        (
            "select * from customer c join corder o on c.customer_id = o.customer_id",
            ALL,
        ),
        (
            "select * from customer c left join corder o on c.customer_id = o.customer_id",
            ALL,
        ),
        (
            "select * from customer c left join corder o on c.customer_id = o.customer_id and o.customer_id = 8",
            ALL,
        ),
        (
            "select * from customer c left join corder o on c.customer_id = o.customer_id and c.customer_id = 8",
            ALL,
        ),
        (
            "select * from corder o right join customer c on c.customer_id = o.customer_id and c.customer_id = 8",
            ALL,
        ),
        (
            "select * from customer c where not exists (select 1 from corder o where o.customer_id = c.customer_id and o.customer_id = 8)",
            ALL,
        ),
        (
            "select * from customer where customer_id in (select customer_id from corder where sku = 'x')",
            ALL,
        ),
        (
            "select (select count(*) from corder o where o.customer_id = c.customer_id) from customer c",
            ALL,
        ),
        (
            "delete from customer where customer_id in (select customer_id from corder)",
            "dml customer/-80 | customer/80-",
        ),
    ] {
        assert_eq!(show(sql), expected, "{sql}");
    }
    for sql in [
        "select * from customer c join corder o where c.customer_id = 8 and o.customer_id = 1",
        "select * from customer where customer_id not in (select customer_id from corder)",
        "select * from customer where customer_id in (select customer_id from corder limit 1)",
        "select * from customer c left join corder o on c.name = o.customer_id",
        "select * from customer c join corder o on c.customer_id = o.customer_id or 1",
    ] {
        refused(sql, "");
    }
}

#[test]
fn vindexes_over_several_columns_take_all_or_the_first() {
    let low = "customer/-80";
    assert_eq!(show("select * from pair where a = 1 and b = 1"), low);
    assert_eq!(show("select * from pair where b = 1 and a = 1"), low);
    assert_eq!(show("select * from pair where a = 1"), low);
    assert_eq!(
        show("select * from pair where (a, b) in ((1, 1), (1, 2))"),
        low
    );
    assert_eq!(show("select * from pair where (b, a) = (1, 1)"), low);
    assert_eq!(show("select * from pair where b = 1"), ALL);
    assert_eq!(
        show("select * from pair p join pair q on p.a = q.a and p.b = q.b"),
        ALL
    );
    refused(
        "select * from pair p join pair q on p.a = q.a",
        "without equal sharding columns",
    );
}

#[test]
fn inserted_rows_go_to_their_shards() {
    for (sql, expected) in [
        (
            "insert into named (name, v) values ('a', 1)",
            LOW.to_owned(),
        ),
        ("insert into named values ('a', 1)", LOW.to_owned()),
        ("insert into named set v = 2, name = 'a'", LOW.to_owned()),
        (
            "replace named (v, name) values (1, 'a'), (2, 'a')",
            LOW.to_owned(),
        ),
        (
            "insert into customer (customer_id, name) values (8, f('x', ')'))",
            LOW.to_owned(),
        ),
        (
            "insert ignore into customer (customer_id, name) values (1, 'a'), (8, ';'), (10, 'c') on duplicate key update name = values(name)",
            format!(
                "dml {HIGH}: insert ignore into customer (customer_id, name) values (1, 'a') on duplicate key update name = values(name) | \
                 {LOW}: insert ignore into customer (customer_id, name) values (8, ';'),(10, 'c') on duplicate key update name = values(name)"
            ),
        ),
        ("insert into settings (a) values (1)", HIGH.to_owned()),
    ] {
        assert_eq!(show(sql), expected, "{sql}");
    }
    for (sql, construct) in [
        (
            "insert into customer select * from customer",
            "INSERT ... SELECT",
        ),
        ("insert into pair values (1, 2)", "column list"),
        (
            "insert into named (name) values (upper('a'))",
            "expression `upper('a')`",
        ),
        (
            "insert into named (name) values ('a') on duplicate key update name = 'b'",
            "ON DUPLICATE KEY UPDATE of sharding column",
        ),
        ("insert into country (a) values (1)", "reference table"),
        (
            "insert into owner (id, mail, tag, late, a, b) values (1, 'x', upper('y'), 'z', 1, 2)",
            "expression `upper('y')` for column `tag` of a lookup vindex",
        ),
        (
            "insert into owner (id, mail, tag, late, a, b) values (1, 'x', 'y', 'z', 1, 2) on duplicate key update tag = 'z'",
            "ON DUPLICATE KEY UPDATE of column `tag` of lookup vindex `tags`",
        ),
        (
            "insert into other (id, mail) values (1, 'x')",
            "lookup vindex `broken`",
        ),
        (
            "insert into both (id) values ('07')",
            "name the type in the VSchema",
        ),
    ] {
        refused(sql, construct);
    }
    assert!(show("insert into named (v) values (1)").starts_with("1364 "));
    assert!(show("insert into named (name, v) values (1)").starts_with("1136 "));
}

#[test]
fn sequences_fill_their_columns() {
    for (sql, expected) in [
        (
            "insert into customer (name) values ('a')",
            "x1 -> customer/-80: insert into customer (name, `customer_id`) values ('a', 100)",
        ),
        (
            "insert into customer (customer_id, name) values (null, 'a'), (8, 'b'), (0, 'c'), (default, 'd')",
            "x3 -> customer/-80: insert into customer (customer_id, name) values ( 100, 'a'),(8, 'b'),( 101, 'c') | \
             customer/80-: insert into customer (customer_id, name) values ( 102, 'd')",
        ),
        (
            "insert into corder (customer_id, sku) values (8, 'x'), (1, 'y')",
            "x2 -> customer/-80: insert into corder (customer_id, sku, `order_id`) values (8, 'x', 100) | \
             customer/80-: insert into corder (customer_id, sku, `order_id`) values (1, 'y', 101)",
        ),
        (
            "insert into corder (order_id, customer_id) values (5, 8)",
            "",
        ),
    ] {
        let shown = show(sql).split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = match expected {
            "" => LOW.to_owned(),
            rest => format!("sequence commerce/0 customer_seq {rest}"),
        };
        assert_eq!(shown, expected, "{sql}");
    }
    refused("insert into corder set customer_id = 8", "INSERT ... SET");
}

#[test]
fn prepared_statements_are_routed_by_what_is_bound() {
    let gate = Gate::new(&records());
    let int = |n| BindValue::Int(n);
    let text = |t: &'static str| BindValue::Bytes(t.as_bytes().into());
    let select = "select * from customer where customer_id = ? and name = ?";
    assert_eq!(gate.execute("customer", select, &[int(8), text("x")]), LOW);
    assert_eq!(gate.execute("customer", select, &[int(1), text("x")]), HIGH);
    assert_eq!(
        gate.execute("customer", select, &[text("8"), text("x")]),
        LOW
    );
    assert_eq!(
        gate.execute("customer", select, &[BindValue::Null, text("x")]),
        LOW
    );
    assert_eq!(
        gate.execute("customer", select, &[BindValue::Double(8.5), text("x")]),
        ALL
    );
    let list = "select * from customer where customer_id in (?, 10) limit ?";
    assert_eq!(gate.execute("customer", list, &[int(8), int(3)]), LOW);
    assert_eq!(
        gate.execute("customer", list, &[int(1), int(3)]),
        format!("scatter limit 3 {LOW} | {HIGH}")
    );
    let insert = "insert into customer (customer_id, name) values (?, ?), (?, ?)";
    let rows = [int(8), text("it's"), int(1), text("b\\")];
    assert_eq!(
        gate.execute("customer", insert, &rows),
        format!(
            "dml {LOW}: insert into customer (customer_id, name) values (8,'it''s')  | \
             {HIGH}: insert into customer (customer_id, name) values (1,'b\\\\') "
        )
        .replace("(8,'", "(8, '")
        .replace("(1,'", "(1, '")
    );
    let same = [int(8), text("a"), int(10), text("b")];
    assert_eq!(gate.execute("customer", insert, &same), LOW);
    assert!(
        gate.execute("customer", insert, &[int(8)])
            .starts_with("1210 ")
    );
    let sequence = "insert into customer (name) values (?)";
    let shown = gate.execute("customer", sequence, &[text("x")]);
    assert!(shown.contains("values ('x',  100)"), "{shown}");
}

#[test]
fn a_shard_as_target_takes_everything() {
    let gate = Gate::new(&records());
    for target in ["customer/-80", "customer:-80", "customer/-80@rdonly"] {
        assert_eq!(
            gate.show(target, "select count(*) from nowhere order by 1"),
            LOW
        );
        assert_eq!(gate.show(target, "create table x (a int)"), LOW);
    }
    assert!(
        gate.show("customer/-40", "select 1")
            .contains("no serving shard")
    );
}

#[test]
fn routing_rules_move_tables_and_their_names() {
    let mut records = records();
    rules(
        &mut records,
        &[
            ("commerce.product", "customer.customer"),
            ("product", "customer.customer"),
            ("commerce.both", "customer.both"),
            ("commerce.both@replica", "commerce.both"),
            ("customer.gone", ""),
        ],
    );
    let gate = Gate::new(&records);
    assert_eq!(
        gate.show(
            "commerce",
            "select product.name from product where customer_id = 8"
        ),
        format!("{LOW}: select product.name from `customer` AS `product` where customer_id = 8")
    );
    assert_eq!(
        gate.show(
            "customer",
            "select commerce.both.id from commerce.both where commerce.both.id = 8"
        ),
        format!(
            "{LOW}: select `customer`.both.id from `customer`.`both` where `customer`.both.id = 8"
        )
    );
    assert_eq!(
        gate.show("commerce", "select * from both where id = 8"),
        LOW
    );
    assert_eq!(
        gate.show("commerce@replica", "select * from both where id = 8"),
        "commerce/0"
    );
    assert_eq!(
        gate.show("commerce", "insert into both (id) values (8)"),
        LOW
    );
    assert_eq!(
        gate.show("commerce", "alter table both add x int"),
        format!("ddl {LOW} | {HIGH}")
    );
    assert!(
        gate.show("customer", "select * from gone")
            .contains("has been disabled")
    );
    assert_eq!(
        gate.show("commerce", "select 'product', both_ from other"),
        "commerce/0"
    );
}

#[test]
fn without_a_keyspace_tables_are_found_by_their_only_name() {
    let gate = Gate::new(&records());
    assert_eq!(gate.show("", "select * from named where name = 'a'"), LOW);
    assert_eq!(gate.show("", "select * from product"), "commerce/0");
    assert_eq!(
        gate.show("", "select * from commerce.anything"),
        "commerce/0"
    );
    assert_eq!(
        gate.show("", "select * from both"),
        "1052 ambiguous table reference: both"
    );
    assert_eq!(
        gate.show("", "select * from nowhere"),
        "1146 table nowhere not found"
    );
    assert_eq!(
        gate.show("", "create table x (a int)"),
        "1046 No database selected"
    );
    assert_eq!(
        gate.show("", "select database()"),
        "commerce/0: select NULL AS `database()`"
    );
}

#[test]
fn one_shard_takes_what_several_cannot() {
    let mut records = records();
    records
        .shards
        .retain(|(ks, _), _| ks.as_str() != "customer");
    let vschema = records
        .vschemas
        .iter()
        .find(|(ks, _)| ks.as_str() == "customer")
        .unwrap()
        .1;
    let vschema = serde_json::to_value(vschema).unwrap();
    keyspace(&mut records, "customer", &["0"], vschema);
    let gate = Gate::new(&records);
    assert_eq!(
        gate.show("customer", "select count(*) from customer order by 1"),
        "customer/0"
    );
    assert!(
        gate.show("customer", "insert into customer (name) values ('x')")
            .starts_with("sequence ")
    );
}

#[test]
fn lookups_are_asked_in_the_words_of_the_statement() {
    for (sql, query) in [
        (
            "select * from owner where mail = 'O''x'",
            "SELECT `keyspace_id` FROM `commerce`.`mail_idx` WHERE `mail` IN ('O''x')",
        ),
        (
            "select * from owner o where o.mail in ('a', 'b') order by id",
            "SELECT `keyspace_id` FROM `commerce`.`mail_idx` WHERE `mail` IN ('a', 'b')",
        ),
        (
            "select * from owner where b = -2 and a = 1",
            "SELECT `id` FROM `commerce`.`pair_idx` WHERE `a` = 1 AND `b` = -2",
        ),
        (
            "select * from owner where (b, a) in ((1, 2), (3, 4))",
            "SELECT `id` FROM `commerce`.`pair_idx` WHERE (`a`, `b`) IN ((2, 1), (4, 3))",
        ),
        (
            "select * from owner join customer on owner.id = customer.customer_id where tag = 'x'",
            "SELECT `id` FROM `customer`.`tag_idx` WHERE `tag` IN ('x')",
        ),
        // A unique one is better.
        (
            "select * from owner where tag = 'x' and mail = 'y'",
            "SELECT `keyspace_id` FROM `commerce`.`mail_idx` WHERE `mail` IN ('y')",
        ),
        (
            "select count(*) from owner where mail = 'y' for update",
            "SELECT `keyspace_id` FROM `commerce`.`mail_idx` WHERE `mail` IN ('y')",
        ),
    ] {
        assert_eq!(show(sql), format!("lookup {query}"), "{sql}");
    }
    assert!(show("select * from owner where mail = 'x' or v = 1").starts_with("scatter"));
    assert!(show("select * from owner where mail like 'x'").starts_with("scatter"));
    let gate = Gate::new(&records());
    assert_eq!(
        gate.execute(
            "",
            "select * from owner where mail in (?, ?)",
            &[BindValue::Bytes("it's".into()), BindValue::Int(-5)]
        ),
        "lookup SELECT `keyspace_id` FROM `commerce`.`mail_idx` WHERE `mail` IN ('it''s', -5)"
    );
}

#[test]
fn what_lookups_lose_and_get_is_asked_by_the_statement_itself() {
    for (sql, expected) in [
        (
            "update owner set v = 1 where id = 8",
            LOW.to_owned(),
        ),
        (
            "update low_priority owner as o set v = (v + 1), o.tag = 'x' where o.id = 8 and v in (select 1)",
            "owned tags: SELECT `o`.`id`, `o`.`tag`, `o`.`tag` <=> 'x' FROM owner as o where o.id = 8 and v in (select 1) FOR UPDATE".to_owned(),
        ),
        (
            "update owner set a = 5 where id = 8",
            "owned pair: SELECT `owner`.`id`, `owner`.`a`, `owner`.`b`, `owner`.`a` <=> 5 FROM owner where id = 8 FOR UPDATE".to_owned(),
        ),
        (
            "delete from customer.owner where mail = 'x' order by id limit 2",
            "owned lk, tags, late, pair: SELECT `owner`.`id`, `owner`.`mail`, `owner`.`tag`, `owner`.`late`, `owner`.`a`, `owner`.`b` FROM customer.owner where mail = 'x' order by id limit 2 FOR UPDATE".to_owned(),
        ),
    ] {
        assert_eq!(show(sql), expected, "{sql}");
    }
    let rows =
        show("insert into owner (id, mail, tag, late, a, b) values (8, 'm', null, 'l', 1, -2)");
    assert!(rows.starts_with("customer/-80 [Values("), "{rows}");
    assert!(rows.contains("Null(0)"), "{rows}");
}
