//! Statements in an unsharded keyspace: as they are, but for the gate's own.

use crate::support::{Gate, records, rules};
use proptest::prelude::*;
use vtplan_gate::plan::{
    Action, PlanContext, ReserveReason, SessionValues, Sql, SqlModes, Target, split_statements,
};

fn show(sql: &str) -> String {
    Gate::new(&records()).show("commerce", sql)
}

#[test]
fn every_statement_passes_as_it_is() {
    for sql in [
        "select c from t where id = 1",
        "select * from a join b using (x) group by 1 order by 2 limit 3 offset 4",
        "select * from information_schema.tables",
        "select * from mysql.user",
        "create table t (a int)",
        "create procedure p() begin select 1; end",
        "call p(1)",
        "load data local infile 'x' into table t",
        "grant all on *.* to x@'%'",
        "lock tables t write",
        "show tables",
        "show create table t",
        "what is this",
        "'unterminated",
        "insert into product values (1) on duplicate key update a = 1",
        "explain select 1",
        "select `customer` from t",
    ] {
        assert_eq!(show(sql), "commerce/0", "{sql}");
    }
}

#[test]
fn tables_of_other_keyspaces_are_found_there() {
    assert_eq!(
        show("select * from customer.customer where customer_id = 8"),
        "customer/-80"
    );
    assert!(show("select * from product join customer.customer").starts_with("1235 "));
    assert_eq!(show("show tables from customer"), "customer/-80");
    assert_eq!(
        show("insert into customer.named (name) values ('a')"),
        "customer/-80"
    );
}

#[test]
fn an_unsharded_table_may_have_a_sequence() {
    let shown = show("insert into log (a) values (1), (2)");
    let shown: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(
        shown.join(" "),
        "sequence commerce/0 customer_seq x2 -> commerce/0: insert into log (a, `id`) values (1, 100),(2, 101)"
    );
}

#[test]
fn statements_of_the_gate_are_taken_out() {
    for sql in [
        "begin",
        "set autocommit = 0",
        "use x",
        "show vitess_tablets",
        "kill 5",
        "",
        "-- x",
    ] {
        assert!(show(sql).starts_with("gate "), "{sql}");
    }
}

#[test]
fn what_the_session_knows_is_written_into_the_statement() {
    let gate = Gate::new(&records());
    let target: Target = "commerce".parse().unwrap();
    let mut context = PlanContext::new(&target);
    let sql = b"select last_insert_id(), f(row_count()), last_insert_id(5) from t";
    for last_insert_id in [7, 8] {
        context.values = SessionValues {
            last_insert_id,
            found_rows: 2,
            row_count: -1,
        };
        let plan = gate.planner.plan(&gate.catalog, &context, sql).unwrap();
        let Action::Single(part) = plan.action else {
            panic!("{plan:?}")
        };
        let Sql::Rewritten(text) = part.sql else {
            panic!("{part:?}")
        };
        assert_eq!(
            String::from_utf8_lossy(&text),
            format!(
                "select {last_insert_id} AS `last_insert_id()`, f(-1), last_insert_id(5) from t"
            )
        );
    }
}

#[test]
fn properties_say_what_an_executor_needs() {
    let gate = Gate::new(&records());
    let props = |sql: &str| gate.plan("commerce@replica", sql).unwrap().props;
    assert!(props("select 1").is_read && props("select 1").returns_rows);
    assert!(props("insert into t values (1)").is_dml);
    assert!(props("alter table t add x int").is_ddl);
    assert!(props("select 1 from t for update").locks_rows);
    assert_eq!(
        props("select @x").reserve,
        Some(ReserveReason::UserVariable)
    );
    assert_eq!(
        props("select release_lock('x')").reserve,
        Some(ReserveReason::UserLock)
    );
}

#[test]
fn targets_are_read_as_vitess_writes_them() {
    for (text, printed) in [
        ("", ""),
        ("ks", "ks"),
        ("ks/-80", "ks/-80"),
        ("ks:-80", "ks/-80"),
        ("ks/0", "ks/0"),
        ("ks@replica", "ks@replica"),
        ("ks/-80@rdonly", "ks/-80@rdonly"),
        ("@replica", "@replica"),
        ("ks@primary", "ks"),
        ("ks@master", "ks"),
    ] {
        assert_eq!(text.parse::<Target>().unwrap().to_string(), printed);
    }
    for bad in ["ks@spare", "ks@x", "/-80", "ks/x", "a b", "mysql"] {
        assert_eq!(bad.parse::<Target>().unwrap_err().errno, 1049, "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn planning_never_panics(
        sql in proptest::collection::vec(any::<u8>(), 0..120),
        target in prop_oneof![Just(""), Just("commerce"), Just("customer"), Just("customer/-80")],
    ) {
        never_panics(target, &sql);
    }

    #[test]
    fn planning_words_in_any_order_never_panics(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..25),
        target in prop_oneof![Just(""), Just("commerce"), Just("customer")],
    ) {
        never_panics(target, words.join(" ").as_bytes());
        never_panics(target, words.concat().as_bytes());
    }
}

const WORDS: &[&str] = &[
    "select",
    "insert",
    "into",
    "update",
    "delete",
    "replace",
    "from",
    "where",
    "set",
    "values",
    "(",
    ")",
    ",",
    ".",
    "=",
    "in",
    "and",
    "or",
    "join",
    "left",
    "on",
    "using",
    "customer",
    "corder",
    "customer_id",
    "commerce",
    "product",
    "both",
    "`",
    "'",
    "\"",
    "1",
    "'a'",
    "?",
    "null",
    "default",
    "explain",
    "show",
    "create",
    "table",
    "tables",
    "index",
    "as",
    "c",
    "*",
    "-",
    "@a",
    ":=",
    "@@x",
    "order",
    "by",
    "group",
    "limit",
    "duplicate",
    "key",
    "union",
    "with",
    "exists",
    "/*",
    "*/",
    "/*!",
    "--",
    "#",
    "\n",
    ";",
    "begin",
    "use",
    "kill",
    "desc",
    "rename",
    "to",
    "last_insert_id",
    "database",
    "x'1f'",
    "0x1f",
    "pair",
    "a",
    "b",
    "row",
    "returning",
];

fn never_panics(target: &str, sql: &[u8]) {
    let mut records = records();
    rules(
        &mut records,
        &[
            ("product", "customer.customer"),
            ("commerce.both", "customer.both"),
        ],
    );
    let gate = Gate::new(&records);
    let target: Target = target.parse().unwrap();
    let context = PlanContext::new(&target);
    let first = gate.planner.plan(&gate.catalog, &context, sql);
    let again = gate.planner.plan(&gate.catalog, &context, sql);
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
    for statement in split_statements(sql, SqlModes::default()) {
        let _ = gate.planner.plan(&gate.catalog, &context, statement);
    }
    if let Ok(prepared) = gate.planner.prepare(&gate.catalog, &context, sql) {
        let values = vec![vtplan_gate::plan::BindValue::Int(8); prepared.parameters()];
        let _ = gate
            .planner
            .plan_prepared(&gate.catalog, &context, &prepared, &values);
    }
}
