//! Transactions that are done once, however often they have to be sent.
//!
//! When a connection breaks before the answer is there, nobody knows whether the transaction was
//! done. To send it again would do it twice, or would be refused because of its own first success. So
//! each transaction also writes a *marker* key that belongs to this client, and compares that the
//! marker is as the client left it:
//!
//! ```text
//! if marker unchanged { if compares hold { ops; marker = "1" } else { marker = "0" } }
//! else { read marker }
//! ```
//!
//! A repetition either is the first to arrive, or finds the marker changed and reads from it what
//! came of the earlier try and at which revision. A try that arrives late, after its repetition,
//! does nothing. Markers are leased, outside of every cluster's prefix, and used again.

use std::sync::Mutex;
use std::time::Duration;

use etcd_client::{
    Compare as EtcdCompare, CompareOp, DeleteOptions, PutOptions, Txn as EtcdTxn, TxnOp,
    TxnOpResponse, TxnResponse,
};
use tokio::time::Instant;

use super::{Shared, revision, signed};
use crate::store::{Compare, Op, StoreError, Txn, TxnOutcome};

/// Where markers live. Listings and watches leave them out.
const MARKERS: &str = "/vtplan-txns/";

const DONE: &str = "1";
const REFUSED: &str = "0";

/// A marker lives this long after it was written last, at least [`LEASE_USE`] less.
const LEASE_TTL: Duration = Duration::from_secs(600);

/// For how long new markers are put under one lease.
const LEASE_USE: Duration = Duration::from_secs(200);

/// A marker is used again only if it surely still exists: well below `LEASE_TTL - LEASE_USE`.
const MARKER_USE: Duration = Duration::from_secs(300);

pub fn is_marker(key: &[u8]) -> bool {
    key.starts_with(MARKERS.as_bytes())
}

/// One marker. It is taken out of the pool for a transaction and put back once the outcome is
/// known: one whose outcome is not known is never used again.
struct Marker {
    key: String,
    /// Revision of its last write; 0: it was never written.
    written: i64,
    used_at: Instant,
}

/// The markers of a client that are free.
pub struct Markers {
    pool: Mutex<Pool>,
}

struct Pool {
    /// Tells this client from all others.
    client: u64,
    made: u64,
    free: Vec<Marker>,
    lease: Option<(i64, Instant)>,
}

impl Markers {
    pub fn new() -> Self {
        Self {
            pool: Mutex::new(Pool {
                client: rand::random(),
                made: 0,
                free: Vec::new(),
                lease: None,
            }),
        }
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        // No code panics while holding it; if one did, the pool would still be whole.
        self.pool
            .lock()
            .unwrap_or_else(|broken| broken.into_inner())
    }

    fn take(&self) -> Marker {
        let mut pool = self.pool();
        pool.free.retain(|m| m.used_at.elapsed() < MARKER_USE);
        pool.free.pop().unwrap_or_else(|| {
            pool.made += 1;
            Marker {
                key: format!("{MARKERS}{:016x}/{}", pool.client, pool.made),
                written: 0,
                used_at: Instant::now(),
            }
        })
    }

    fn put_back(&self, mut marker: Marker, written: i64) {
        marker.written = written;
        self.pool().free.push(marker);
    }

    fn lease(&self) -> Option<i64> {
        let lease = self.pool().lease;
        lease.and_then(|(id, granted_at)| (granted_at.elapsed() < LEASE_USE).then_some(id))
    }

    /// Forgets the lease, and with it the markers, because the server does not know it.
    fn forget(&self) {
        let mut pool = self.pool();
        pool.lease = None;
        pool.free.clear();
    }
}

impl Shared {
    /// Commits a transaction, or does nothing.
    pub(super) async fn txn(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        match self.try_txn(txn).await {
            // It may be the marker's lease that is gone, or the marker, because the server has lost
            // its data. Either way nothing was done.
            Ok(None) | Err(StoreError::LeaseEnded { .. }) => {
                self.markers.forget();
                let outcome = self.try_txn(txn).await?;
                outcome.ok_or_else(|| self.unknown_outcome())
            }
            Ok(Some(outcome)) => Ok(outcome),
            Err(error) => Err(error),
        }
    }

    fn unknown_outcome(&self) -> StoreError {
        StoreError::Failed {
            url: self.url().to_owned(),
            why: "it is not known whether a transaction was done: its marker is gone".to_owned(),
        }
    }

    async fn marker_lease(&self) -> Result<i64, StoreError> {
        if let Some(lease) = self.markers.lease() {
            return Ok(lease);
        }
        let granted_at = Instant::now();
        let lease = self.grant(LEASE_TTL).await?;
        self.markers.pool().lease = Some((lease, granted_at));
        Ok(lease)
    }

    /// `None`: the marker was gone at the first try, so nothing was done.
    async fn try_txn(&self, txn: &Txn) -> Result<Option<TxnOutcome>, StoreError> {
        let lease = self.marker_lease().await?;
        let mut marker = self.markers.take();
        marker.used_at = Instant::now();
        let request = request(txn, &marker, lease);
        let mut tries = 0;
        let send = || {
            tries += 1;
            let (mut kv, request) = (self.kv(), request.clone());
            async move { kv.txn(request).await }
        };
        let response = self.caller.call(send).await?;
        match read(&response) {
            Some((outcome, written)) => {
                self.markers.put_back(marker, written);
                Ok(Some(outcome))
            }
            None if tries == 1 => Ok(None),
            None => {
                self.markers.forget();
                Err(self.unknown_outcome())
            }
        }
    }
}

fn request(txn: &Txn, marker: &Marker, lease: i64) -> EtcdTxn {
    let key = marker.key.as_str();
    let unchanged = match marker.written {
        0 => EtcdCompare::version(key, CompareOp::Equal, 0),
        written => EtcdCompare::mod_revision(key, CompareOp::Equal, written),
    };
    let mark = |what| TxnOp::put(key, what, Some(PutOptions::new().with_lease(lease)));
    let mut ops: Vec<TxnOp> = txn.ops.iter().map(op).collect();
    ops.push(mark(DONE));
    let compares: Vec<EtcdCompare> = txn.compares.iter().flat_map(compare).collect();
    let inner = EtcdTxn::new()
        .when(compares)
        .and_then(ops)
        .or_else([mark(REFUSED)]);
    EtcdTxn::new()
        .when([unchanged])
        .and_then([TxnOp::txn(inner)])
        .or_else([TxnOp::get(key, None)])
}

/// What came of it, and the revision at which the marker was written.
fn read(response: &TxnResponse) -> Option<(TxnOutcome, i64)> {
    let outcome = |done: bool, written: i64| {
        let outcome = if done {
            TxnOutcome::Committed(revision(written))
        } else {
            TxnOutcome::Refused
        };
        (outcome, written)
    };
    match response.op_responses().into_iter().next()? {
        TxnOpResponse::Txn(inner) => {
            let written = response.header()?.revision();
            Some(outcome(inner.succeeded(), written))
        }
        TxnOpResponse::Get(found) => {
            let marker = found.kvs().first()?;
            let done = marker.value() == DONE.as_bytes();
            Some(outcome(done, marker.mod_revision()))
        }
        _ => None,
    }
}

fn compare(compare: &Compare) -> Vec<EtcdCompare> {
    let exists = |key: &str| EtcdCompare::version(key, CompareOp::Greater, 0);
    let equal = CompareOp::Equal;
    match compare {
        // To etcd the revisions of a key that does not exist are 0.
        Compare::ModRevision(key, at) => vec![
            exists(key),
            EtcdCompare::mod_revision(key.as_str(), equal, signed(*at)),
        ],
        Compare::CreateRevision(key, at) => vec![
            exists(key),
            EtcdCompare::create_revision(key.as_str(), equal, signed(*at)),
        ],
        Compare::Exists(key) => vec![exists(key)],
        Compare::Absent(key) => vec![EtcdCompare::version(key.as_str(), equal, 0)],
    }
}

fn op(op: &Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(key.as_str(), value.clone(), options)
        }
        Op::Delete { key } => TxnOp::delete(key.as_str(), None),
        Op::DeletePrefix { prefix } => {
            let options = DeleteOptions::new().with_prefix();
            TxnOp::delete(prefix.as_str(), Some(options))
        }
    }
}
