//! Users of the gates, compared by their passwords' verifiers. Where a password could not be read,
//! a user that exists is left as it is, and one that does not is in the plan but cannot be created.

use super::draft::{Draft, Order, Phase};
use super::view::View;
use crate::desired::PasswordSource;
use crate::plan::{Action, Risk};

pub(crate) fn steps(view: &View, draft: &mut Draft) {
    let live = &view.live.records.users;
    for (index, (name, user)) in view.desired.users.iter().enumerate() {
        let order = Order::new(Phase::Access, 1, index);
        let there = live.get(name);
        match (there, &user.verifier) {
            (None, verifier) => {
                if verifier.is_none() {
                    let source = match &user.source {
                        PasswordSource::Env(name) => format!("environment variable {name}"),
                        PasswordSource::File(path) => format!("file {path}"),
                    };
                    draft.note(
                        name,
                        format!(
                            "the password of this user was not read; to create the user, apply \
                             with it in the {source}"
                        ),
                    );
                }
                draft.step(
                    order,
                    Action::CreateUser {
                        user: name.clone(),
                        verifier: verifier.clone(),
                    },
                    Risk::Safe,
                    format!("the spec has the user {name}"),
                    Vec::new(),
                );
            }
            (Some(there), Some(verifier)) if there != verifier => draft.step(
                order,
                Action::AlterUser {
                    user: name.clone(),
                    verifier: verifier.clone(),
                },
                Risk::Disruptive,
                format!("the user {name} has another password"),
                Vec::new(),
            ),
            _ => {}
        }
    }
    for (index, name) in live.keys().enumerate() {
        if !view.desired.users.contains_key(name) {
            draft.step(
                Order::new(Phase::Remove, 1, index),
                Action::DeleteUser { user: name.clone() },
                Risk::Disruptive,
                format!("the spec no longer has the user {name}"),
                Vec::new(),
            );
        }
    }
}
