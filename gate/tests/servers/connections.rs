//! Sessions share server connections, and leave nothing on them.

use std::process::Command;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use super::lab::{Flavor, PASSWORD, USER, on_each};

/// Waits for what must come true by itself.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn a_client_that_goes_in_a_transaction_leaves_nothing() {
    on_each("a_client_that_goes_in_a_transaction", async |lab| {
        let mut client = lab.client("commerce").await;
        client
            .query_drop("DELETE FROM item WHERE name = 'gone'")
            .await
            .unwrap();
        client.query_drop("BEGIN").await.unwrap();
        client
            .query_drop("INSERT INTO item (name, n) VALUES ('gone', 1)")
            .await
            .unwrap();
        // Closed without a COM_QUIT.
        drop(client);
        let mut other = lab.client("commerce").await;
        // The insert waits for the lock of the open transaction, if it is still open.
        until("the row is not there", async || {
            let sql = "INSERT INTO item (name, n) VALUES ('gone', 2)";
            other.query_drop(sql).await.is_ok()
        })
        .await;
        let n: Option<i32> = other
            .query_first("SELECT n FROM item WHERE name = 'gone'")
            .await
            .unwrap();
        assert_eq!(n, Some(2));
    })
    .await;
}

#[tokio::test]
async fn settings_and_variables_stay_in_their_session() {
    on_each("settings_and_variables_stay", async |lab| {
        let (mut one, mut two) = (lab.client("commerce").await, lab.client("commerce").await);
        for i in 0..5 {
            one.query_drop(format!("SET @v = {i}, SESSION sort_buffer_size = 300000"))
                .await
                .unwrap();
            let sql = "SELECT @v, @@sort_buffer_size = 300000";
            let row: Option<(Option<i64>, i64)> = one.query_first(sql).await.unwrap();
            assert_eq!(row, Some((Some(i), 1)));
            let row: Option<(Option<i64>, i64)> = two.query_first(sql).await.unwrap();
            assert_eq!(row, Some((None, 0)));
        }
        one.query_drop("SELECT GET_LOCK('l', 0)").await.unwrap();
        let free = "SELECT IS_FREE_LOCK('l')";
        let row: Option<i64> = two.query_first(free).await.unwrap();
        assert_eq!(row, Some(0));
        one.reset().await.unwrap();
        let row: Option<Option<i64>> = one.query_first("SELECT @v").await.unwrap();
        assert_eq!(row, Some(None));
        drop(one);
        until("the lock is free", async || {
            two.query_first::<i64, _>(free).await.unwrap() == Some(1)
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn two_thousand_idle_clients_hold_no_server_connections() {
    on_each("two_thousand_idle_clients", async |lab| {
        // Eight at a time: the machine may be slow, and a login has its time.
        let mut clients = Vec::new();
        for _ in 0..250 {
            let some = (0..8).map(|_| async {
                let mut client = lab.client("commerce").await;
                let one: Option<i32> = client.query_first("SELECT 1").await.unwrap();
                assert_eq!(one, Some(1));
                client
            });
            clients.extend(futures::future::join_all(some).await);
        }
        assert_eq!(clients.len(), 2000);
        assert!(
            lab.server_connections() <= 300,
            "{}",
            lab.server_connections()
        );
        let snapshot = lab.shared.topology.snapshot();
        let used = || -> usize {
            let pools = snapshot.tablets.values().map(|t| t.pool.status());
            pools.map(|s| s.open - s.idle).sum()
        };
        // Other tests of this process may be using some.
        until("connections are given back", async || used() < 20).await;
        let last = clients.last_mut().unwrap();
        let one: Option<i32> = last.query_first("SELECT 1").await.unwrap();
        assert_eq!(one, Some(1));
    })
    .await;
}

fn stock_client(flavor: Flavor) -> Command {
    match flavor {
        Flavor::MariaDb => Command::new("mariadb"),
        Flavor::MySql => {
            let server = std::env::var_os("VTPLAN_TEST_MYSQLD").unwrap_or_default();
            let beside = std::path::Path::new(&server).with_file_name("mysql");
            if beside.exists() {
                Command::new(beside)
            } else {
                Command::new("mariadb")
            }
        }
    }
}

#[tokio::test]
async fn the_stock_client_works_with_and_without_tls() {
    on_each("the_stock_client_works", async |lab| {
        for tls in [false, true] {
            let mut command = stock_client(lab.flavor);
            command
                .args(["--no-defaults", "--protocol=tcp", "-h127.0.0.1"])
                .arg(format!("-P{}", lab.mysql.port()))
                .args([format!("-u{USER}"), format!("-p{PASSWORD}")])
                .args(["-N", "-B"]);
            let is_mysql = command.get_program() != "mariadb";
            command.arg(match (is_mysql, tls) {
                (true, true) => "--ssl-mode=REQUIRED",
                (true, false) => "--ssl-mode=DISABLED",
                (false, true) => "--ssl",
                (false, false) => "--skip-ssl",
            });
            command.args([
                "-e",
                "SELECT 1+1, DATABASE(); SHOW TABLES LIKE 'item'",
                "commerce",
            ]);
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                text, "2\tcommerce\nitem\n",
                "{:?} tls {tls}: {error}",
                lab.flavor
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_running_statement_can_be_killed() {
    on_each("a_running_statement_can_be_killed", async |lab| {
        let mut victim = lab.client("commerce").await;
        let id = victim.id();
        let running = tokio::spawn(async move {
            let result = victim
                .query_drop("SELECT id FROM item WHERE SLEEP(100) = 0 UNION SELECT SLEEP(100)")
                .await;
            (result.is_err(), victim.ping().await.is_ok())
        });
        let mut other = lab.client("commerce").await;
        while !running.is_finished() {
            other.query_drop(format!("KILL QUERY {id}")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (_, lives) = running.await.unwrap();
        assert!(lives);
        let error = other.query_drop("KILL 4000000000").await;
        let Err(mysql_async::Error::Server(error)) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.code, 1094);
    })
    .await;
}
