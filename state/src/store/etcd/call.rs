//! Calls with retries, and etcd's errors as ours.

use std::error::Error as _;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use etcd_client::{Client, Error as EtcdError};
use tokio::time::{Instant, sleep, timeout};

use crate::store::StoreError;

/// The codes of gRPC: <https://grpc.io/docs/guides/status-codes/>. Named by their number, so that
/// this crate needs no gRPC library of its own version.
mod code {
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const NOT_FOUND: i32 = 5;
    pub const PERMISSION_DENIED: i32 = 7;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const FAILED_PRECONDITION: i32 = 9;
    pub const OUT_OF_RANGE: i32 = 11;
    pub const UNIMPLEMENTED: i32 = 12;
    pub const UNAUTHENTICATED: i32 = 16;
}

/// For how long a call is tried.
const DEADLINE: Duration = Duration::from_secs(10);

/// For how long one try waits for its answer.
const ATTEMPT: Duration = Duration::from_secs(4);

/// Pauses between tries that double.
pub struct Backoff(Duration);

impl Backoff {
    pub fn new() -> Self {
        Self(Duration::from_millis(20))
    }
    pub async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(1));
    }
}

/// Tries calls until they succeed, fail for good, or the time is over.
pub struct Caller {
    url: String,
    /// Set once connected: it logs in anew when that is asked for.
    client: OnceLock<Client>,
}

impl Caller {
    pub fn new(url: String) -> Self {
        Self {
            url,
            client: OnceLock::new(),
        }
    }

    pub fn connected(&self, client: &Client) {
        // Only the first is kept; there is only one.
        let _ = self.client.set(client.clone());
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// For calls that may be done twice.
    pub async fn call<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let started = Instant::now();
        let mut backoff = Backoff::new();
        loop {
            let why = match timeout(ATTEMPT, attempt()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) if is_login_outdated(&error) => {
                    self.log_in().await;
                    describe(&error)
                }
                Ok(Err(error)) if is_final(&error) => return Err(self.error(&error)),
                Ok(Err(error)) => describe(&error),
                Err(_) => format!("no answer within {} seconds", ATTEMPT.as_secs()),
            };
            if started.elapsed() >= DEADLINE {
                return Err(StoreError::Unreachable {
                    url: self.url.clone(),
                    why: format!("{why} (tried for {} seconds)", DEADLINE.as_secs()),
                });
            }
            tracing::debug!(url = %self.url, %why, "a call of etcd is tried again");
            backoff.pause().await;
        }
    }

    /// Gets a new token. Whether that went well, the next call tells.
    async fn log_in(&self) {
        if let Some(client) = self.client.get() {
            let _ = timeout(ATTEMPT, client.refresh_token()).await;
        }
    }

    /// What an error that is final means.
    pub fn error(&self, error: &EtcdError) -> StoreError {
        let url = self.url.clone();
        let why = describe(error);
        if is_lease_missing(error) {
            return StoreError::LeaseEnded { url };
        }
        if why.contains("space exceeded") {
            return StoreError::ReadOnly {
                url,
                why: format!("{why}; compact and defragment etcd, then `etcdctl alarm disarm`"),
            };
        }
        let help = match status_code(error) {
            Some(code::PERMISSION_DENIED) => {
                "; the user needs a role that reads and writes /vtplan"
            }
            Some(code::UNAUTHENTICATED) => "; name a user: etcd://USER:PASSWORD@HOST:PORT",
            Some(code::INVALID_ARGUMENT) if why.contains("user name is empty") => {
                "; name a user: etcd://USER:PASSWORD@HOST:PORT"
            }
            Some(code::INVALID_ARGUMENT) if why.contains("too large") => {
                "; start etcd with a larger --max-request-bytes"
            }
            _ => "",
        };
        StoreError::Failed {
            url,
            why: format!("{why}{help}"),
        }
    }
}

fn status_code(error: &EtcdError) -> Option<i32> {
    match error {
        EtcdError::GRpcStatus(status) => Some(status.code() as i32),
        _ => None,
    }
}

/// Whether trying again cannot help.
pub fn is_final(error: &EtcdError) -> bool {
    match error {
        EtcdError::GRpcStatus(status) => match status.code() as i32 {
            code::RESOURCE_EXHAUSTED => !status.message().contains("too many requests"),
            code::INVALID_ARGUMENT
            | code::NOT_FOUND
            | code::PERMISSION_DENIED
            | code::FAILED_PRECONDITION
            | code::OUT_OF_RANGE
            | code::UNIMPLEMENTED
            | code::UNAUTHENTICATED => true,
            _ => false,
        },
        EtcdError::InvalidArgs(_)
        | EtcdError::InvalidUri(_)
        | EtcdError::InvalidMetadataValue(_)
        | EtcdError::Utf8Error(_) => true,
        _ => false,
    }
}

/// Whether users or roles were changed since this client logged in: etcd then refuses the token.
/// (That a token has expired, the client library mends by itself.)
fn is_login_outdated(error: &EtcdError) -> bool {
    let text = describe(error);
    text.contains("revision in header is old") || text.contains("revision of auth store is old")
}

pub fn is_not_found(error: &EtcdError) -> bool {
    status_code(error) == Some(code::NOT_FOUND)
}

/// Whether a put named a lease that does not exist.
pub fn is_lease_missing(error: &EtcdError) -> bool {
    is_not_found(error) && describe(error).contains("lease")
}

/// The error with its causes: the outermost of them says only that there was one.
pub fn describe(error: &EtcdError) -> String {
    let (mut text, mut cause) = match error {
        EtcdError::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        EtcdError::TransportError(error) => (error.to_string(), error.source()),
        other => (other.to_string(), None),
    };
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}
