//! The store for several hosts: an etcd cluster, 3.4 or newer.
//!
//! [`address`] is its URL, [`call`] retries what may be retried, [`txn`] makes transactions that are
//! done once however often they have to be sent, [`watch`] survives reconnects.
//!
//! etcd keeps every revision until it is told to compact: run it with `--auto-compaction-retention`.
//! A watch that lags behind a compaction starts over from a listing. A value may be as large as
//! etcd's `--max-request-bytes`, 1.5 MiB by default. A user needs a role that may read and write what
//! starts with `/vtplan`.

mod address;
mod call;
mod txn;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Client, ConnectOptions, Error as EtcdError, GetOptions, KeyValue, Txn as EtcdTxn, TxnOp,
    TxnOpResponse,
};

pub use self::address::EtcdAddress;
use self::call::Caller;
use super::{Entry, LeaseId, Listing, Store, StoreError, Txn, TxnOutcome, WatchStream};
use crate::model::Revision;

/// An opened etcd store.
pub struct EtcdStore {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    caller: Caller,
    markers: txn::Markers,
}

impl EtcdStore {
    /// Connects and checks that the cluster answers.
    pub async fn open(address: EtcdAddress) -> Result<Self, StoreError> {
        let caller = Caller::new(address.url());
        let mut options = ConnectOptions::new()
            .with_connect_timeout(Duration::from_secs(2))
            // A watch has nothing to send: only this tells it that the network is gone. Servers
            // refuse to be asked more often than every five seconds.
            .with_keep_alive(Duration::from_secs(10), Duration::from_secs(5))
            .with_keep_alive_while_idle(true)
            // A member that is cut off from the others ends its watches.
            .with_require_leader(true);
        if let Some((user, password)) = &address.user {
            options = options
                .with_user(user, password)
                .with_auto_token_refresh(true);
        }
        let connect = || Client::connect(address.endpoints.clone(), Some(options.clone()));
        let client = caller.call(connect).await?;
        caller.connected(&client);
        let store = Self {
            shared: Arc::new(Shared {
                client,
                caller,
                markers: txn::Markers::new(),
            }),
        };
        store.get(crate::model::keys::ROOT).await?;
        Ok(store)
    }
}

impl Shared {
    fn url(&self) -> &str {
        self.caller.url()
    }

    fn kv(&self) -> etcd_client::KvClient {
        // The default of 4 MB is less than what large clusters' records are together.
        self.client
            .kv_client()
            .max_decoding_message_size(usize::MAX)
    }

    async fn list_many(&self, prefixes: &[&str]) -> Result<Listing, StoreError> {
        let reads: Vec<TxnOp> = prefixes
            .iter()
            .map(|&prefix| TxnOp::get(prefix, Some(GetOptions::new().with_prefix())))
            .collect();
        let read = || {
            let (mut kv, txn) = (self.kv(), EtcdTxn::new().and_then(reads.clone()));
            async move { kv.txn(txn).await }
        };
        let response = self.caller.call(read).await?;
        let mut entries = Vec::new();
        for part in response.op_responses() {
            if let TxnOpResponse::Get(part) = part {
                let found = part.kvs().iter().filter(|kv| !txn::is_marker(kv.key()));
                entries.extend(found.map(entry));
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        let header = response.header();
        Ok(Listing {
            entries,
            revision: header.map_or(0, |header| revision(header.revision())),
        })
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn url(&self) -> &str {
        self.shared.url()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        if key.is_empty() {
            return Ok(None);
        }
        let read = || {
            let mut kv = self.shared.kv();
            async move { kv.get(key, None).await }
        };
        let response = self.shared.caller.call(read).await?;
        Ok(response.kvs().first().map(entry))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.shared.list_many(&[prefix]).await
    }

    async fn list_many(&self, prefixes: &[&str]) -> Result<Listing, StoreError> {
        self.shared.list_many(prefixes).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.check(self.url())?;
        self.shared.txn(&txn).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        Ok(watch::stream(self.shared.clone(), prefix, from))
    }

    async fn continue_after(&self, _: Revision) -> Result<(), StoreError> {
        Ok(())
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.shared.grant(ttl).await.map(LeaseId)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError> {
        let renew = || {
            let mut leases = self.shared.client.lease_client();
            async move {
                // Asks once; the stream for more is given up.
                match leases.keep_alive(lease.0).await {
                    Ok(_) => Ok(true),
                    Err(EtcdError::LeaseKeepAliveError(why)) if why.contains("not found") => {
                        Ok(false)
                    }
                    Err(error) => Err(error),
                }
            }
        };
        self.shared.caller.call(renew).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let revoke = || {
            let mut leases = self.shared.client.lease_client();
            async move {
                match leases.revoke(lease.0).await {
                    Err(error) if !call::is_not_found(&error) => Err(error),
                    _ => Ok(()),
                }
            }
        };
        self.shared.caller.call(revoke).await
    }
}

impl Shared {
    /// A lease of at least `ttl`: etcd counts whole seconds, and not fewer than its own election
    /// takes.
    async fn grant(&self, ttl: Duration) -> Result<i64, StoreError> {
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(whole.max(1)).unwrap_or(i64::MAX);
        let grant = || {
            let mut leases = self.client.lease_client();
            async move { leases.grant(seconds, None).await }
        };
        self.caller.call(grant).await.map(|response| response.id())
    }
}

/// etcd counts revisions in signed numbers from 1.
fn revision(number: i64) -> Revision {
    Revision::try_from(number).unwrap_or(0)
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn entry(kv: &KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: kv.value().to_vec(),
        create_revision: revision(kv.create_revision()),
        mod_revision: revision(kv.mod_revision()),
    }
}
