//! What only a server can suffer: it is killed and started again, it is away, it has lost data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use etcd_client::{Client, Permission};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use vtplan_state::store::{
    Change, Compare, Op, OpenMode, StoreError, Txn, TxnOutcome, WatchEvent, open,
};

use crate::helper::add_one;
use crate::kv::{commit, put};
use crate::lab::{Lab, PATIENCE};
use crate::watch::next;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_the_server_is_killed_under_writes_and_watches() {
    const WRITERS: usize = 3;
    let Some(mut lab) = Lab::etcd().await else {
        return;
    };
    let store = lab.store().await;
    let from = store.list("n/").await.unwrap().revision + 1;
    let mut events = lab.store().await.watch("n/", from).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let (store, stop) = (lab.store().await, stop.clone());
        writers.push(tokio::spawn(async move {
            let mut done = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                done.push(add_one(&store, "n/counter").await);
            }
            done
        }));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let server = lab.etcd.as_mut().unwrap();
        server.kill();
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.start().await;
        // Until writes go through again.
        add_one(&store, "n/other").await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut done = Vec::new();
    for writer in writers {
        done.extend(timeout(PATIENCE, writer).await.unwrap().unwrap());
    }
    // Each number was committed by exactly one writer, and none that nobody knows of.
    done.sort_unstable();
    let total = done.len() as u64;
    assert!(total > 0);
    assert_eq!(done, (1..=total).collect::<Vec<_>>());
    let counter = store.get("n/counter").await.unwrap().unwrap();
    assert_eq!(counter.json::<u64>().unwrap(), total);
    // The watch, over three reconnects, has told each of them once and in order.
    let mut told = 0;
    while told < total {
        let WatchEvent::Changes { changes, .. } = next(&mut events).await else {
            panic!("nothing was compacted");
        };
        for change in changes {
            let Change::Put(entry) = change else {
                panic!("nothing was deleted");
            };
            if entry.key == "n/counter" {
                told += 1;
                assert_eq!(entry.json::<u64>().unwrap(), told);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_over_a_restart_and_a_compaction_starts_over_from_a_listing() {
    let Some(mut lab) = Lab::etcd().await else {
        return;
    };
    let store = lab.store().await;
    let from = commit(&store, put("w/a", "1")).await;
    let watcher = lab.store().await;
    let mut events = watcher.watch("w/", from).await.unwrap();
    next(&mut events).await;
    let server = lab.etcd.as_mut().unwrap();
    server.kill();
    server.start().await;
    // The watch is not polled meanwhile, so it cannot have been told of these.
    commit(&store, put("w/b", "1")).await;
    commit(&store, put("w/a", "2")).await;
    lab.compact().await;
    let last = commit(&store, put("w/c", "1")).await;
    let mut at = from;
    while at < last {
        at = match next(&mut events).await {
            WatchEvent::Resync(listing) => listing.revision,
            WatchEvent::Changes { revision, .. } => revision,
        };
    }
    assert_eq!(at, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_data_leads_to_a_fresh_listing() {
    let Some(mut lab) = Lab::etcd().await else {
        return;
    };
    let store = lab.store().await;
    for number in 0..20 {
        commit(&store, put("w/old", &number.to_string())).await;
    }
    let from = store.list("w/").await.unwrap().revision + 1;
    let mut events = store.watch("w/", from).await.unwrap();
    let told = tokio::spawn(async move { next(&mut events).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let data = lab.folder().join("etcd");
    let server = lab.etcd.as_mut().unwrap();
    server.kill();
    std::fs::remove_dir_all(data).unwrap();
    server.start().await;
    let WatchEvent::Resync(listing) = timeout(PATIENCE, told).await.unwrap().unwrap() else {
        panic!("not a listing");
    };
    assert!(listing.entries.is_empty());
    // What the client remembers of the old data does not stand in its way, once it is connected.
    assert_eq!(store.get("w/old").await.unwrap(), None);
    commit(&store, put("w/new", "1")).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_named_with_the_cause() {
    let Some(mut lab) = Lab::etcd().await else {
        return;
    };
    let store = lab.store().await;
    lab.etcd.as_mut().unwrap().kill();
    let (opened, read) = tokio::join!(open(&lab.url, OpenMode::MustExist), store.get("k"));
    let errors = [
        opened.map(|_| ()).unwrap_err(),
        read.map(|_| ()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&lab.url) && text.contains("refused"),
            "{text}"
        );
    }
}

/// Passes connections on to a server. While told to, it passes on what is asked but not the answer,
/// and then breaks the connection.
struct Proxy {
    url: String,
    swallow: Arc<AtomicU32>,
}

impl Proxy {
    async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("etcd://{}", listener.local_addr().unwrap());
        let swallow = Arc::new(AtomicU32::new(0));
        let state = swallow.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(Self::pass_on(client, server, state.clone()));
            }
        });
        Self { url, swallow }
    }

    async fn pass_on(client: TcpStream, server: TcpStream, swallow: Arc<AtomicU32>) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let asking = tokio::io::copy(&mut from_client, &mut to_server);
        let answering = async {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let read = from_server.read(&mut buffer).await.unwrap_or(0);
                if read == 0 {
                    return;
                }
                if swallow.load(Ordering::SeqCst) > 0 {
                    // More than what etcd needs to commit.
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    swallow.fetch_sub(1, Ordering::SeqCst);
                    return;
                }
                if to_client.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = asking => {}
            () = answering => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_answer_is_lost_is_done_once_and_told_so() {
    let Some(lab) = Lab::etcd().await else {
        return;
    };
    let proxy = Proxy::start(lab.etcd.as_ref().unwrap().client_port).await;
    let direct = lab.store().await;
    let store = open(&proxy.url, OpenMode::Create).await.unwrap();
    let mut at = commit(&store, put("k", "0")).await;
    let mut events = direct.watch("k", at + 1).await.unwrap();
    for number in 1..4 {
        // Done again, it would be refused: its own first success has changed the revision.
        let txn = Txn::new()
            .when(Compare::ModRevision("k".to_owned(), at))
            .then(Op::put("k", &number.to_string()));
        proxy.swallow.store(1, Ordering::SeqCst);
        let outcome = store.txn(txn.clone()).await.unwrap();
        assert_eq!(proxy.swallow.load(Ordering::SeqCst), 0, "nothing was lost");
        at = outcome.committed().expect("it was done");
        let entry = direct.get("k").await.unwrap().unwrap();
        assert_eq!(
            (entry.json::<String>().unwrap(), entry.mod_revision),
            (number.to_string(), at)
        );
        let WatchEvent::Changes { revision, .. } = next(&mut events).await else {
            panic!("nothing was compacted");
        };
        assert_eq!(revision, at);
        // So is a refusal.
        proxy.swallow.store(1, Ordering::SeqCst);
        assert_eq!(store.txn(txn).await.unwrap(), TxnOutcome::Refused);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_passwords_are_checked_and_new_tokens_fetched() {
    let Some(mut lab) = Lab::etcd().await else {
        return;
    };
    let port = lab.etcd.as_ref().unwrap().client_port;
    let endpoint = format!("127.0.0.1:{port}");
    let mut admin = Client::connect([&endpoint], None).await.unwrap();
    admin.role_add("root").await.unwrap();
    admin.user_add("root", "r00t", None).await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.role_add("shop").await.unwrap();
    let permission = Permission::read_write("/vtplan").with_prefix();
    admin
        .role_grant_permission("shop", permission)
        .await
        .unwrap();
    admin.user_add("me", "p@ss", None).await.unwrap();
    admin.user_grant_role("me", "shop").await.unwrap();
    admin.user_add("stranger", "x", None).await.unwrap();
    admin.auth_enable().await.unwrap();

    let url = |user: &str| format!("etcd://{user}{endpoint}");
    for (user, hint) in [
        ("", "USER:PASSWORD@"),
        ("me:wrong@", "password"),
        ("stranger:x@", "needs a role"),
    ] {
        let error = open(&url(user), OpenMode::Create)
            .await
            .map(|_| ())
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains(hint) && !text.contains("wrong"), "{text}");
    }
    let store = open(&url("me:p%40ss@"), OpenMode::Create).await.unwrap();
    assert!(!store.url().contains("p@ss") && !store.url().contains("p%40ss"));
    let mut at = commit(&store, put("/vtplan/a", "1")).await;
    let mut events = store.watch("/vtplan/", at).await.unwrap();
    next(&mut events).await;

    // Users are changed: older tokens are void.
    let options = etcd_client::ConnectOptions::new().with_user("root", "r00t");
    let mut admin = Client::connect([&endpoint], Some(options)).await.unwrap();
    admin.user_add("another", "x", None).await.unwrap();
    at = at.max(commit(&store, put("/vtplan/a", "2")).await);
    next(&mut events).await;
    // The server is started anew: it knows no tokens.
    let server = lab.etcd.as_mut().unwrap();
    server.kill();
    server.start().await;
    at = at.max(commit(&store, put("/vtplan/a", "3")).await);
    let WatchEvent::Changes { revision, .. } = next(&mut events).await else {
        panic!("nothing was compacted");
    };
    assert_eq!(revision, at);
}
