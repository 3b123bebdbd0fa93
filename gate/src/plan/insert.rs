//! INSERT and REPLACE: rows grouped by shard, with values of sequences filled in.

use super::types::{ShardSql, SqlError};

/// An INSERT whose statements are known up to the values of its sequence.
#[derive(Debug, Clone, Default)]
pub(super) struct UnboundInsert {
    parts: Vec<ShardSql>,
}

impl UnboundInsert {
    pub(super) fn bind(&self, _first: Option<u64>) -> Result<Vec<ShardSql>, SqlError> {
        Ok(self.parts.clone())
    }
}
