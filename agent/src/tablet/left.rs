//! What workflows have put on a primary: fences on tables, positions of streams, parked rows. Whether
//! their workflow is there or over says whoever plans; before something is cleared away the store is
//! asked once more.

use std::sync::Arc;

use vtplan_planner::live::{ObservedRole, ServerState};
use vtplan_planner::seen::Deviation;

use super::Tablet;
use super::inspect::text;
use crate::error::AgentError;
use crate::fence::{Fence, PREPARE_PATIENCE, tables};
use crate::flavor::{identifier, literal};
use crate::sql::Sql;

impl Tablet {
    /// What is there, on a primary.
    pub(super) async fn find_left(&self, sql: &mut Sql) -> Result<Vec<Deviation>, AgentError> {
        if self.primary_of().is_none() {
            return Ok(Vec::new());
        }
        let what = "reading what workflows have left";
        let keyspace = self.record().keyspace;
        let query =
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = '_vt'";
        let in_vt = sql.column(what, query).await?;
        let has = |table: &str| in_vt.iter().any(|name| name == table);
        let mut found = Vec::new();
        let mut fenced_by = Vec::new();
        if has("fence") {
            let query = format!(
                "SELECT workflow, closed FROM _vt.fence WHERE keyspace = {}",
                literal(keyspace.as_str())
            );
            for row in sql.rows(what, &query).await? {
                let workflow = text(&row, "workflow").to_owned();
                let closed = text(&row, "closed") != "0";
                let triggers = tables::count_triggers(sql, keyspace.as_str(), &workflow).await?;
                fenced_by.push(workflow.clone());
                // The open row of a fence that was removed keeps nobody out.
                if closed || triggers > 0 {
                    found.push(Deviation::Fence {
                        workflow,
                        closed,
                        triggers,
                    });
                }
            }
        }
        let nobodys = tables::triggers_of_others(sql, keyspace.as_str(), &fenced_by).await?;
        if !nobodys.is_empty() {
            found.push(Deviation::Fence {
                workflow: String::new(),
                closed: true,
                triggers: u32::try_from(nobodys.len()).unwrap_or(u32::MAX),
            });
        }
        if has("vreplication") {
            let query =
                "SELECT DISTINCT workflow FROM _vt.vreplication WHERE epoch > 0 ORDER BY workflow";
            let workflows = sql.column(what, query).await?.into_iter();
            found.extend(workflows.map(|workflow| Deviation::Streams { workflow }));
        }
        let parked = in_vt.into_iter().filter(|name| name.starts_with("parked_"));
        found.extend(parked.map(|table| Deviation::Parked { table }));
        Ok(found)
    }

    /// The term in which the tablet is primary.
    fn primary_of(&self) -> Option<u64> {
        match self.status().server {
            ServerState::Running(server) => match server.role {
                ObservedRole::Primary { term } => Some(term),
                _ => None,
            },
            _ => None,
        }
    }

    /// Clears away what is left of workflows that are over.
    ///
    /// # Errors
    /// When a workflow of that name has begun since, or something keeps the tables in use.
    pub(super) async fn clear_left(
        self: &Arc<Self>,
        sql: &mut Sql,
        left: &[&Deviation],
    ) -> Result<(), AgentError> {
        let Some(term) = self.primary_of() else {
            return Err(AgentError::Refused(format!(
                "tablet {} is not primary any more; plan again",
                self.alias
            )));
        };
        let keyspace = self.record().keyspace;
        let records = self.host.cluster.load_records().await?;
        let is_there = |name: &str| records.all_workflows().any(|w| w.full_name() == name);
        let moves = (records.all_workflows())
            .any(|w| w.source.keyspace == keyspace || w.target.keyspace == keyspace);
        for deviation in left {
            let is_used = match deviation {
                Deviation::Streams { workflow } => is_there(workflow),
                Deviation::Fence { workflow, .. } if !workflow.is_empty() => is_there(workflow),
                _ => moves,
            };
            if is_used {
                return Err(AgentError::Refused(format!(
                    "{} on tablet {} may be in use: a workflow has begun since; plan again",
                    deviation.name(),
                    self.alias
                )));
            }
        }
        for deviation in left {
            if let Deviation::Fence { workflow, .. } = deviation {
                let revision = records.revision;
                self.clear_fence(term, keyspace.as_str(), workflow, revision)
                    .await?;
            }
        }
        let _scratch = self.scratch.lock().await;
        self.with_admin_writes(sql, async |sql| {
            for deviation in left {
                clear_rows(sql, deviation).await?;
            }
            Ok(())
        })
        .await
    }

    async fn clear_fence(
        self: &Arc<Self>,
        term: u64,
        keyspace: &str,
        workflow: &str,
        decided: u64,
    ) -> Result<(), AgentError> {
        if !workflow.is_empty() {
            let fence = Fence {
                keyspace: keyspace.to_owned(),
                workflow: workflow.to_owned(),
                decided,
            };
            // Each time some of the triggers go at least.
            while !(self.remove_fence(term, fence.clone(), Some(PREPARE_PATIENCE))).await? {}
            return Ok(());
        }
        self.remove_triggers_of_nobody(term, keyspace, PREPARE_PATIENCE)
            .await
    }
}

async fn clear_rows(sql: &mut Sql, deviation: &Deviation) -> Result<(), AgentError> {
    let what = format!("clearing {}", deviation.name());
    match deviation {
        Deviation::Streams { workflow } => {
            let of = format!("workflow = {}", literal(workflow));
            for table in ["copy_state", "vreplication_worker"] {
                sql.run(&what, &format!("DELETE FROM _vt.{table} WHERE {of}"))
                    .await?;
            }
            // The mark that a workflow has ended stays: streams that come late see it.
            let rows = format!("DELETE FROM _vt.vreplication WHERE {of} AND epoch > 0");
            sql.run(&what, &rows).await?;
        }
        Deviation::Parked { table } => {
            let drop = format!("DROP TABLE IF EXISTS _vt.{}", identifier(table));
            sql.run(&what, &drop).await?;
        }
        _ => {}
    }
    Ok(())
}
