use super::*;
use crate::plan::types::SqlModes;

fn gate(sql: &str) -> Option<GateStatement> {
    let statement = Statement::new(sql.as_bytes(), SqlModes::default());
    parse(&statement, false).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

fn set(sql: &str) -> Vec<(SetVariable, SetValue)> {
    match gate(sql) {
        Some(GateStatement::Set(list)) => list.into_iter().map(|a| (a.variable, a.value)).collect(),
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn transactions_are_the_gates() {
    let begin = GateStatement::Begin {
        read_only: None,
        consistent_snapshot: false,
    };
    assert_eq!(gate("begin"), Some(begin.clone()));
    assert_eq!(gate("START TRANSACTION;"), Some(begin));
    assert_eq!(
        gate("start transaction with consistent snapshot, read only"),
        Some(GateStatement::Begin {
            read_only: Some(true),
            consistent_snapshot: true
        })
    );
    assert_eq!(
        gate("commit and chain"),
        Some(GateStatement::Commit {
            chain: true,
            release: false
        })
    );
    assert_eq!(
        gate("rollback to savepoint `a b`"),
        Some(GateStatement::RollbackToSavepoint("a b".to_owned()))
    );
    assert_eq!(
        gate("rollback work to savepoint"),
        Some(GateStatement::RollbackToSavepoint("savepoint".to_owned()))
    );
    assert_eq!(gate("begin not atomic select 1; end"), None);
    assert_eq!(gate("start slave"), None);
}

#[test]
fn set_takes_every_form_of_assignment() {
    let session = |name: &str| SetVariable::Session(name.to_owned());
    let text = |text: &str| SetValue::Text(text.to_owned());
    let number = |text: &str| SetValue::Number(text.to_owned());
    assert_eq!(
        set(
            "set autocommit=1, @@session.sql_mode = 'ANSI', @X := 1 + f(2, 3), time_zone = default"
        ),
        [
            (session("autocommit"), number("1")),
            (session("sql_mode"), text("ANSI")),
            (
                SetVariable::User("x".to_owned()),
                SetValue::Expression("1 + f(2, 3)".to_owned())
            ),
            (session("time_zone"), SetValue::Default),
        ]
    );
    assert_eq!(
        set("set global a = 1, b = on"),
        [
            (SetVariable::Global("a".to_owned()), number("1")),
            (SetVariable::Global("b".to_owned()), text("on")),
        ]
    );
    let names = SetVariable::Names {
        collation: Some("utf8mb4_bin".to_owned()),
    };
    assert_eq!(
        set("set names utf8mb4 collate utf8mb4_bin"),
        [(names, text("utf8mb4"))]
    );
    assert_eq!(
        set("set session transaction isolation level read committed, read only"),
        [
            (
                SetVariable::TransactionIsolation { next_only: false },
                text("READ COMMITTED")
            ),
            (
                SetVariable::TransactionReadOnly { next_only: false },
                number("1")
            ),
        ]
    );
    assert_eq!(
        set("/*!40101 SET character_set_client = latin1 */"),
        [(session("character_set_client"), text("latin1"))]
    );
    assert_eq!(gate("set password = 'x'"), None);
}

#[test]
fn shows_of_the_cluster_are_the_gates() {
    let keyspaces = |filter| {
        Some(GateStatement::Show(Show::Keyspaces {
            column: "Database",
            filter,
        }))
    };
    assert_eq!(gate("show databases"), keyspaces(ShowFilter::All));
    assert_eq!(
        gate("show keyspaces like 'c%'"),
        keyspaces(ShowFilter::Like("c%".to_owned()))
    );
    assert_eq!(
        gate("show vschema tables"),
        Some(GateStatement::Show(Show::VschemaTables))
    );
    let vindexes = Show::VschemaVindexes {
        keyspace: Some("ks".to_owned()),
        table: Some("t".to_owned()),
    };
    assert_eq!(
        gate("show vschema vindexes on ks.t"),
        Some(GateStatement::Show(vindexes))
    );
    assert_eq!(gate("show tables"), None);
    let shard = Statement::new(b"show databases", SqlModes::default());
    assert_eq!(parse(&shard, true), Ok(None));
}

#[test]
fn use_takes_targets_with_shard_and_type() {
    for (sql, target) in [
        ("use commerce", "commerce"),
        ("use `customer:-80@replica`", "customer:-80@replica"),
        ("use customer/80-@rdonly", "customer/80-@rdonly"),
        ("use @replica", "@replica"),
    ] {
        assert_eq!(
            gate(sql),
            Some(GateStatement::Use(target.to_owned())),
            "{sql}"
        );
    }
}

#[test]
fn kill_names_a_connection() {
    let kill = |query_only| {
        Some(GateStatement::Kill {
            query_only,
            connection_id: 7,
        })
    };
    assert_eq!(gate("kill 7"), kill(false));
    assert_eq!(gate("kill query 7"), kill(true));
}
