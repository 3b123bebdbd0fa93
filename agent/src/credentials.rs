//! The accounts that vtplan itself uses on every server: made once for a cluster, by whichever
//! agent comes first, and kept in the store.

use rand::RngExt as _;
use rand::distr::Alphanumeric;
use vtplan_state::model::Credentials;
use vtplan_state::model::keys::Keys;
use vtplan_state::store::{Compare, Op, Store, Txn};

use crate::error::AgentError;

/// Letters and digits only: passwords stand in SQL statements and in option files.
const PASSWORD_LENGTH: usize = 32;

/// The cluster's credentials; generated when there are none.
pub async fn ensure(store: &dyn Store, keys: &Keys) -> Result<Credentials, AgentError> {
    let key = keys.credentials();
    loop {
        if let Some(entry) = store.get(&key).await? {
            return Ok(entry.json()?);
        }
        let made = generate();
        let txn = Txn::new()
            .when(Compare::Absent(key.clone()))
            .then(Op::put(key.clone(), &made));
        // Refused: another agent was first, and the next round reads what it made.
        if store.txn(txn).await?.committed().is_some() {
            return Ok(made);
        }
    }
}

fn generate() -> Credentials {
    let password = || -> String {
        rand::rng()
            .sample_iter(Alphanumeric)
            .take(PASSWORD_LENGTH)
            .map(char::from)
            .collect()
    };
    Credentials {
        admin_user: "vt_admin".to_owned(),
        admin_password: password(),
        gate_user: "vt_gate".to_owned(),
        gate_password: password(),
        repl_user: "vt_repl".to_owned(),
        repl_password: password(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_differ_and_need_no_quoting() {
        let made = generate();
        assert_ne!(made.admin_password, made.gate_password);
        assert_ne!(made.admin_password, made.repl_password);
        for password in [made.admin_password, made.gate_password, made.repl_password] {
            assert_eq!(password.len(), PASSWORD_LENGTH);
            assert!(password.bytes().all(|b| b.is_ascii_alphanumeric()));
        }
    }
}
