//! Opens many connections to a gate, leaves them idle, and prints what the gate's process holds:
//! `idle_clients PORT USER PASSWORD DATABASE COUNT GATE_PID`.

use std::fs;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

/// A field of `/proc/PID/status`, in KiB.
fn status_kib(pid: &str, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the gate runs");
    let line = text
        .lines()
        .find(|line| line.starts_with(field))
        .expect("the field");
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, user, password, database, count, pid] = args.as_slice() else {
        eprintln!("usage: idle_clients PORT USER PASSWORD DATABASE COUNT GATE_PID");
        std::process::exit(2);
    };
    let count: usize = count.parse().expect("COUNT is a number");
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port.parse().expect("PORT is a number"))
        .user(Some(user))
        .pass(Some(password))
        .db_name(Some(database))
        .prefer_socket(false);
    let before = status_kib(pid, "VmRSS:");
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let batch = (0..100.min(count - clients.len())).map(|_| Conn::new(options.clone()));
        for client in futures::future::join_all(batch).await {
            let mut client = client.unwrap_or_else(|error| {
                panic!("client {} cannot connect: {error}", clients.len() + 1)
            });
            client.query_drop("select 1").await.expect("a query");
            clients.push(client);
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let after = status_kib(pid, "VmRSS:");
    let threads: u64 = clients[0]
        .query_first::<(String, String), _>("show status like 'Threads_connected'")
        .await
        .expect("a query")
        .and_then(|(_, n)| n.parse().ok())
        .expect("a number");
    println!(
        "{count} idle clients: the gate holds {} MiB ({} MiB before, {:.1} KiB a client); \
         the server has {threads} connections",
        after / 1024,
        before / 1024,
        (after.saturating_sub(before)) as f64 / count as f64,
    );
}
