//! Users of the gate.

use serde::{Deserialize, Serialize};

/// Key `users/<name>`: who may connect to the gates. Only verifiers are kept, from which the
/// password cannot be read back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRecord {
    pub name: String,
    /// `SHA1(SHA1(password))`, hex: what `mysql_native_password` checks against. Empty for an
    /// empty password.
    pub native_verifier: String,
    /// `SHA256(SHA256(password))`, hex: what the fast path of `caching_sha2_password` checks
    /// against. Empty for an empty password.
    pub sha2_verifier: String,
}

impl std::fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserRecord")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl UserRecord {
    /// The record for a user with this password.
    pub fn from_password(name: impl Into<String>, password: &str) -> Self {
        use sha1::Digest as _;
        let name = name.into();
        if password.is_empty() {
            return Self {
                name,
                native_verifier: String::new(),
                sha2_verifier: String::new(),
            };
        }
        Self {
            name,
            native_verifier: hex::encode(sha1::Sha1::digest(sha1::Sha1::digest(password))),
            sha2_verifier: hex::encode(sha2::Sha256::digest(sha2::Sha256::digest(password))),
        }
    }
}
