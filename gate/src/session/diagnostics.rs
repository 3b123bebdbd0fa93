//! `SHOW WARNINGS` after a statement must speak of that statement, though the connection that ran
//! it may serve others. It stays with the session for a moment; if the client does not ask, the
//! warnings are read and kept, and the connection is given back.

use std::sync::Arc;

use vtplan_state::model::TabletType;

use super::{Held, Order, Session};
use crate::backend::Conn;
use crate::plan::ShardId;
use crate::protocol::SqlError;

/// Where the warnings of the last statement are.
#[derive(Debug, Default)]
pub enum Diagnostics {
    /// There are none.
    #[default]
    None,
    /// On a connection that the session keeps anyway.
    Held(Arc<ShardId>, TabletType),
    /// On this one.
    Pinned(Box<Held>),
    /// Here: level, code, message.
    Stored(Vec<[String; 3]>),
}

impl Diagnostics {
    pub fn pin(&mut self, held: Held) {
        *self = Self::Pinned(Box::new(held));
    }

    pub fn on_held(&mut self, held: &Held) {
        *self = Self::Held(held.shard.clone(), held.tablet_type);
    }

    /// An error that came from the gate, not from a server.
    pub fn error(&mut self, error: &SqlError) {
        *self = Self::Stored(vec![[
            "Error".to_owned(),
            error.code.to_string(),
            error.message.clone(),
        ]]);
    }
}

async fn read(conn: &mut Conn) -> Option<Vec<[String; 3]>> {
    let result = conn.query(b"SHOW WARNINGS").await.ok()?;
    let text =
        |value: Option<Vec<u8>>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
    let rows = result.rows.into_iter().map(|row| {
        let mut values = row.into_iter().map(text);
        std::array::from_fn(|_| values.next().unwrap_or_default())
    });
    Some(rows.collect())
}

impl Session {
    /// Reads warnings from the connection that has them, and gives it back.
    pub(crate) async fn harvest(&mut self) {
        let found = match std::mem::take(&mut self.diagnostics) {
            Diagnostics::Pinned(mut held) => {
                let found = read(&mut held.pooled.conn).await;
                if found.is_some() {
                    self.give_back(*held);
                }
                found
            }
            Diagnostics::Held(shard, tablet_type) => {
                let same = |h: &&mut Held| {
                    h.order == Order::Normal && h.tablet_type == tablet_type && h.shard == shard
                };
                match self.held.iter_mut().find(same) {
                    Some(held) => read(&mut held.pooled.conn).await,
                    None => None,
                }
            }
            other => {
                self.diagnostics = other;
                return;
            }
        };
        self.diagnostics = found.map_or(Diagnostics::None, Diagnostics::Stored);
    }

    /// A new statement begins: the warnings of the last one are gone.
    pub(crate) fn clear_diagnostics(&mut self) {
        if let Diagnostics::Pinned(held) = std::mem::take(&mut self.diagnostics) {
            self.give_back(*held);
        }
    }
}
