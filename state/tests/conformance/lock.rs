//! The lock and its fencing token.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::timeout;
use vtplan_state::store::lock::TryLock;
use vtplan_state::store::{Lock, LockRecord, Op, Txn, TxnOutcome};

use crate::helper::Helper;
use crate::kv::commit;
use crate::lab::{Lab, PATIENCE};

crate::on_both_stores!(
    a_held_lock_tells_who_holds_it_and_is_free_after_release,
    a_waiting_taker_gets_the_lock_when_it_is_released,
    a_dropped_lock_is_given_back,
    a_broken_lock_fences_its_holder,
    a_holder_that_was_paused_and_superseded_writes_nothing,
    only_one_of_many_takers_holds_the_lock,
);

const KEY: &str = "locks/a";
const LONG: Duration = Duration::from_secs(60);

fn record(holder: &str) -> LockRecord {
    LockRecord::new(holder, "me@here", "testing")
}

async fn a_held_lock_tells_who_holds_it_and_is_free_after_release(lab: &Lab) {
    let (one, two) = (lab.store().await, lab.store().await);
    assert_eq!(Lock::show(&one, KEY).await.unwrap(), None);
    let guard = Lock::acquire(&one, KEY, LONG, &record("one"))
        .await
        .unwrap();
    let held = Lock::try_acquire(&two, KEY, LONG, &record("two"))
        .await
        .unwrap();
    assert!(matches!(held, TryLock::Held(record) if record.holder == "one"));
    assert_eq!(Lock::show(&two, KEY).await.unwrap().unwrap().who, "me@here");
    let first_token = guard.token();
    guard.release().await.unwrap();
    assert_eq!(Lock::show(&two, KEY).await.unwrap(), None);
    let taken = Lock::try_acquire(&two, KEY, LONG, &record("two"))
        .await
        .unwrap();
    let TryLock::Acquired(guard) = taken else {
        panic!("not free");
    };
    assert!(guard.token() > first_token);
    assert!(!guard.is_lost());
}

async fn a_waiting_taker_gets_the_lock_when_it_is_released(lab: &Lab) {
    let (one, two) = (lab.store().await, lab.store().await);
    let guard = Lock::acquire(&one, KEY, LONG, &record("one"))
        .await
        .unwrap();
    let waiting = tokio::spawn(async move {
        Lock::acquire(&two, KEY, LONG, &record("two"))
            .await
            .unwrap()
            .token()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    let token = guard.token();
    guard.release().await.unwrap();
    assert!(timeout(PATIENCE, waiting).await.unwrap().unwrap() > token);
}

async fn a_dropped_lock_is_given_back(lab: &Lab) {
    let (one, two) = (lab.store().await, lab.store().await);
    drop(
        Lock::acquire(&one, KEY, LONG, &record("one"))
            .await
            .unwrap(),
    );
    let taken = timeout(PATIENCE / 2, Lock::acquire(&two, KEY, LONG, &record("two"))).await;
    taken.expect("before the lease ends").unwrap();
}

async fn a_broken_lock_fences_its_holder(lab: &Lab) {
    let (one, two) = (lab.store().await, lab.store().await);
    assert_eq!(Lock::force_release(&two, KEY).await.unwrap(), None);
    let guard = Lock::acquire(&one, KEY, LONG, &record("one"))
        .await
        .unwrap();
    let write = || {
        let txn = Txn::new().when(guard.compare());
        txn.then(Op::put("protected", &"one"))
    };
    commit(&one, write()).await;
    let broken = Lock::force_release(&two, KEY).await.unwrap().unwrap();
    assert_eq!(broken.holder, "one");
    assert_eq!(one.txn(write()).await.unwrap(), TxnOutcome::Refused);
    timeout(PATIENCE / 2, guard.lost()).await.expect("is told");
    assert!(guard.is_lost());
    let other = Lock::acquire(&two, KEY, LONG, &record("two"))
        .await
        .unwrap();
    assert_eq!(one.txn(write()).await.unwrap(), TxnOutcome::Refused);
    // Giving back what is lost does not take it from the next holder.
    guard.release().await.unwrap();
    assert!(Lock::show(&one, KEY).await.unwrap().is_some());
    assert!(!other.is_lost());
}

async fn a_holder_that_was_paused_and_superseded_writes_nothing(lab: &Lab) {
    let store = lab.store().await;
    let mut paused = Helper::start("lock-holder", &lab.url);
    let token: u64 = paused.hear().parse().unwrap();
    paused.signal(Signal::SIGSTOP);
    let guard = timeout(PATIENCE, Lock::acquire(&store, KEY, LONG, &record("me"))).await;
    let guard = guard.unwrap().unwrap();
    assert!(guard.token() > token);
    let txn = Txn::new()
        .when(guard.compare())
        .then(Op::put("protected", &"me"));
    commit(&store, txn).await;
    paused.go_on();
    paused.signal(Signal::SIGCONT);
    assert_eq!(paused.hear(), "refused");
    assert_eq!(paused.hear(), "lost");
    paused.ends_well();
    let entry = store.get("protected").await.unwrap().unwrap();
    assert_eq!(entry.json::<String>().unwrap(), "me");
    assert!(!guard.is_lost());
}

async fn only_one_of_many_takers_holds_the_lock(lab: &Lab) {
    let mut takers = Vec::new();
    for taker in 0..6 {
        let store = lab.store().await;
        takers.push(tokio::spawn(async move {
            for _ in 0..3 {
                let name = taker.to_string();
                let guard = Lock::acquire(&store, KEY, LONG, &record(&name))
                    .await
                    .unwrap();
                // In the lock nobody else comes between reading and writing.
                let number = match store.get("number").await.unwrap() {
                    Some(entry) => entry.json::<u32>().unwrap(),
                    None => 0,
                };
                let txn = Txn::new().when(guard.compare());
                commit(&store, txn.then(Op::put("number", &(number + 1)))).await;
                guard.release().await.unwrap();
            }
        }));
    }
    for taker in takers {
        timeout(PATIENCE, taker).await.unwrap().unwrap();
    }
    let entry = lab.store().await.get("number").await.unwrap().unwrap();
    assert_eq!(entry.json::<u32>().unwrap(), 18);
}
