//! What a store promises, held against both stores: every case runs on SQLite and on a real etcd
//! server. [`lab`] starts them; [`helper`] is a second process for the cases that need one.

mod cluster;
mod etcd_faults;
mod export;
mod helper;
mod kv;
mod lab;
mod lease;
mod lock;
mod sqlite_faults;
mod watch;

/// Runs async functions of a `&Lab` as tests on both stores: `sqlite::NAME` and `etcd::NAME`.
macro_rules! on_both_stores {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&crate::lab::Lab::sqlite()).await;
            })*
        }
        mod etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(lab) = crate::lab::Lab::etcd().await {
                    super::$name(&lab).await;
                }
            })*
        }
    };
}
pub(crate) use on_both_stores;
