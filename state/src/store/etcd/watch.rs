//! Watches that go on after a reconnect where they stood.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream as EtcdStream};
use futures::{StreamExt, stream};
use tokio::time::timeout;

use super::call::{Backoff, describe, is_final};
use super::{Shared, entry, revision, signed, txn};
use crate::model::Revision;
use crate::store::{Change, StoreError, WatchEvent, WatchStream};

/// For how long the server may take to begin a watch.
const BEGIN: Duration = Duration::from_secs(5);

/// Every change under `prefix` from the revision `from` on.
pub fn stream(shared: Arc<Shared>, prefix: &str, from: Revision) -> WatchStream {
    let watch = Watch {
        shared,
        prefix: prefix.to_owned(),
        next: from.max(1),
        stream: None,
        ready: Vec::new().into_iter(),
        backoff: Backoff::new(),
        ended: false,
    };
    stream::unfold(watch, Watch::step).boxed()
}

struct Watch {
    shared: Arc<Shared>,
    prefix: String,
    /// Everything before this revision has been told.
    next: Revision,
    stream: Option<EtcdStream>,
    ready: std::vec::IntoIter<WatchEvent>,
    backoff: Backoff,
    ended: bool,
}

impl Watch {
    async fn step(mut self) -> Option<(Result<WatchEvent, StoreError>, Self)> {
        loop {
            if let Some(event) = self.ready.next() {
                return Some((Ok(event), self));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.ended = true;
                return Some((Err(error), self));
            }
        }
    }

    /// Connects, or takes one message.
    async fn advance(&mut self) -> Result<(), StoreError> {
        let Some(stream) = &mut self.stream else {
            return self.begin().await;
        };
        match stream.message().await {
            Ok(Some(message)) => self.take(&message).await,
            Ok(None) => self.again("the server has ended it").await,
            Err(error) if is_final(&error) => Err(self.shared.caller.error(&error)),
            Err(error) => self.again(&describe(&error)).await,
        }
    }

    async fn begin(&mut self) -> Result<(), StoreError> {
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(signed(self.next));
        let mut client = self.shared.client.watch_client();
        client = client.max_decoding_message_size(usize::MAX);
        let begun = client.watch(self.prefix.as_str(), Some(options));
        match timeout(BEGIN, begun).await {
            Ok(Ok(stream)) => self.stream = Some(stream),
            Ok(Err(error)) if is_final(&error) => return Err(self.shared.caller.error(&error)),
            Ok(Err(error)) => self.again(&describe(&error)).await?,
            Err(_) => self.again("no answer").await?,
        }
        Ok(())
    }

    /// Lets the stream go and waits a little; the next step connects.
    async fn again(&mut self, why: &str) -> Result<(), StoreError> {
        tracing::debug!(url = self.shared.url(), prefix = %self.prefix, %why, "a watch reconnects");
        self.stream = None;
        self.backoff.pause().await;
        Ok(())
    }

    async fn take(&mut self, message: &WatchResponse) -> Result<(), StoreError> {
        if message.compact_revision() > 0 {
            return self.resync(false).await;
        }
        if message.canceled() {
            let why = message.cancel_reason();
            if why.contains("permission denied") || why.contains("auth") {
                // It may only be the token that the server does not know any more. A read gets a
                // new one, or tells that the user may really not.
                self.read_once().await?;
            }
            return self.again(why).await;
        }
        if message.created() {
            // A server that knows less than we were told has lost data (it was restored from a
            // copy), or lags behind the others.
            let known = message
                .header()
                .map_or(0, |header| revision(header.revision()));
            if known + 1 < self.next {
                return self.resync(true).await;
            }
        }
        self.backoff = Backoff::new();
        let events = group(message);
        if let Some(WatchEvent::Changes { revision, .. }) = events.last() {
            self.next = revision + 1;
        }
        self.ready = events
            .into_iter()
            .filter(
                |event| !matches!(event, WatchEvent::Changes { changes, .. } if changes.is_empty()),
            )
            .collect::<Vec<_>>()
            .into_iter();
        Ok(())
    }

    /// Reads what is watched; unlike a watch, a read that is refused logs in anew.
    async fn read_once(&self) -> Result<(), StoreError> {
        match self.shared.list_many(&[&self.prefix]).await {
            Ok(_) | Err(StoreError::Unreachable { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells everything anew. `if_lost`: only if the store really is behind what was told.
    async fn resync(&mut self, if_lost: bool) -> Result<(), StoreError> {
        let listing = loop {
            match self.shared.list_many(&[&self.prefix]).await {
                Ok(listing) => break listing,
                Err(StoreError::Unreachable { .. }) => self.backoff.pause().await,
                Err(error) => return Err(error),
            }
        };
        if if_lost && listing.revision + 1 >= self.next {
            // The member only lags: its watch waits for the revision.
            return Ok(());
        }
        self.stream = None;
        self.next = listing.revision + 1;
        self.ready = vec![WatchEvent::Resync(listing)].into_iter();
        Ok(())
    }
}

/// A message's events by revision, in order.
fn group(message: &WatchResponse) -> Vec<WatchEvent> {
    let mut events: Vec<WatchEvent> = Vec::new();
    for event in message.events() {
        let Some(kv) = event.kv() else { continue };
        let at = revision(kv.mod_revision());
        if !matches!(events.last(), Some(WatchEvent::Changes { revision, .. }) if *revision == at) {
            events.push(WatchEvent::Changes {
                revision: at,
                changes: Vec::new(),
            });
        }
        let Some(WatchEvent::Changes { changes, .. }) = events.last_mut() else {
            continue;
        };
        if txn::is_marker(kv.key()) {
            continue;
        }
        changes.push(match event.event_type() {
            EventType::Put => Change::Put(entry(kv)),
            EventType::Delete => Change::Delete {
                key: String::from_utf8_lossy(kv.key()).into_owned(),
            },
        });
    }
    events
}
