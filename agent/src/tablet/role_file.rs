//! `role.json`: what the agent made of a tablet last, so that an agent that restarts knows it, and
//! nobody acts for an older term than one that was acted for.

use serde::{Deserialize, Serialize};
use vtplan_state::model::TabletAlias;

use crate::error::AgentError;
use crate::mysqld::TabletDir;
use crate::mysqld::folder::{read_json, write_json};

/// What stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleFile {
    /// The highest term that was acted for.
    pub term: u64,
    /// Whether the tablet is primary of it.
    pub primary: bool,
    /// What it replicates from, when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TabletAlias>,
    /// `HOST:PORT` under which an adopted server replicated from there when it was adopted, and still
    /// may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_at: Option<String>,
}

impl RoleFile {
    /// What the file says; a tablet that had no role yet has none.
    pub fn read(dir: &TabletDir) -> Result<Self, AgentError> {
        Ok(read_json(&dir.role_file())?.unwrap_or_default())
    }

    /// Puts down a role before it is acted on.
    ///
    /// # Errors
    /// When a higher term was acted for.
    pub fn write(&self, dir: &TabletDir) -> Result<(), AgentError> {
        let current = Self::read(dir)?;
        current.check_term(self.term)?;
        if current != *self {
            write_json(&dir.role_file(), self)?;
        }
        Ok(())
    }

    pub fn check_term(&self, term: u64) -> Result<(), AgentError> {
        if term < self.term {
            return Err(AgentError::Refused(format!(
                "the shard's record says term {term}, but this tablet has acted for term {}: the record is an old one",
                self.term
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::CellName;

    #[test]
    fn a_lower_term_is_refused_after_a_higher_one() {
        let dir = tempfile::tempdir().unwrap();
        let alias = TabletAlias::new(CellName::new("zone1").unwrap(), 100);
        let dir = TabletDir::new(dir.path(), &alias);
        std::fs::create_dir(dir.path()).unwrap();
        assert_eq!(RoleFile::read(&dir).unwrap(), RoleFile::default());
        let role = |term, primary| RoleFile {
            term,
            primary,
            source: None,
            found_at: None,
        };
        role(2, true).write(&dir).unwrap();
        let error = role(1, true).write(&dir).unwrap_err().to_string();
        assert!(
            error.contains("term 1") && error.contains("term 2"),
            "{error}"
        );
        role(2, false).write(&dir).unwrap();
        assert_eq!(RoleFile::read(&dir).unwrap(), role(2, false));
    }
}
