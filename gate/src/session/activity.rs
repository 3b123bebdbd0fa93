//! What a session has under way on primaries, so that a hold knows when nothing of what it is
//! about is left.
//!
//! A session says that it is about to plan *before* it takes a snapshot, and what the statement
//! touches before it runs it. Whoever has published a snapshot with a hold and then looks at the
//! sessions thus finds every statement that was planned without knowing of the hold.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::plan::{Action, QueryPlan, ShardId, Touches};
use crate::topology::Hold;

/// Of one session.
#[derive(Debug, Default)]
pub struct Activity(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    planning: bool,
    /// What the statement that runs touches.
    statement: Uses,
    /// What the open transaction has touched.
    transaction: Uses,
    /// What `LOCK TABLES` has locked.
    locked: Uses,
}

#[derive(Debug, Default)]
struct Uses {
    touches: Vec<Arc<Touches>>,
    shards: Vec<Arc<ShardId>>,
}

impl Uses {
    fn clear(&mut self) {
        self.touches.clear();
        self.shards.clear();
    }

    fn covered_by(&self, hold: &Hold) -> bool {
        self.touches
            .iter()
            .any(|touches| hold.covers(touches, &self.shards))
    }

    fn take_from(&mut self, other: &mut Self) {
        for touches in other.touches.drain(..) {
            if !self
                .touches
                .iter()
                .any(|known| Arc::ptr_eq(known, &touches))
            {
                self.touches.push(touches);
            }
        }
        for shard in other.shards.drain(..) {
            if !self.shards.contains(&shard) {
                self.shards.push(shard);
            }
        }
        // A transaction of ever new statements: they touch few tables.
        if self.touches.len() > MAX_TOUCHES {
            let mut one = Touches::default();
            for touch in self.touches.iter().flat_map(|t| &t.list) {
                if !one.list.contains(touch) {
                    one.list.push(touch.clone());
                }
            }
            self.touches = vec![Arc::new(one)];
        }
    }
}

/// Statements of a transaction that are remembered one by one.
const MAX_TOUCHES: usize = 64;

impl Activity {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot is going to be taken and a statement planned by it.
    pub fn plan(&self) {
        self.lock().planning = true;
    }

    /// The statement that was planned runs.
    pub fn run(&self, plan: &QueryPlan) {
        let mut state = self.lock();
        state.planning = false;
        state.statement.touches.push(plan.touches.clone());
        match &plan.action {
            // The hot path allocates nothing.
            Action::Single(part) => state.statement.shards.push(part.shard.clone()),
            _ => state.statement.shards.extend(plan.shards()),
        }
    }

    /// The statement is over, or waits. `open`: it was in a transaction that goes on.
    pub fn end(&self, open: bool) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.planning = false;
        let locks = |flag: fn(&Touches) -> bool| state.statement.touches.iter().any(|t| flag(t));
        if locks(|t| t.unlocks_tables) {
            state.locked.clear();
        } else if locks(|t| t.locks_tables) {
            state.locked.clear();
            state.locked.take_from(&mut state.statement);
        }
        if open {
            state.transaction.take_from(&mut state.statement);
        } else {
            state.transaction.clear();
        }
        state.statement.clear();
    }

    /// The statement had no effect, and will be planned again.
    pub fn undo(&self) {
        let mut state = self.lock();
        state.planning = false;
        state.statement.clear();
    }

    /// The session has nothing any more.
    pub fn clear(&self) {
        *self.lock() = State::default();
    }

    /// Whether the open transaction, or `LOCK TABLES`, has touched what a hold is about.
    pub fn has_begun(&self, hold: &Hold) -> bool {
        let state = self.lock();
        state.transaction.covered_by(hold) || state.locked.covered_by(hold)
    }

    /// Whether the session keeps a hold from being drained.
    pub fn blocks(&self, hold: &Hold) -> bool {
        let state = self.lock();
        state.planning
            || state.statement.covered_by(hold)
            || state.transaction.covered_by(hold)
            || state.locked.covered_by(hold)
    }
}
