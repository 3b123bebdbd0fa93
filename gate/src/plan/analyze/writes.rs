//! UPDATE and DELETE: what they may change.

use sqlparser::ast::{AssignmentTarget, Delete, FromTable, ObjectName, Update};

use super::{Found, Place, Scope, Walker};
use crate::plan::catalog::{FoundTable, TableKind};
use crate::plan::types::SqlError;

fn owns_lookup(table: &str, lookup: &str) -> SqlError {
    SqlError::unsupported(format!(
        "writes to `{table}`, which owns lookup vindex `{lookup}`"
    ))
}

impl Walker<'_> {
    pub(super) fn update(
        &mut self,
        update: &Update,
        scope: &mut Scope<'_>,
    ) -> Result<(), SqlError> {
        let mut conditions = Vec::new();
        let tables = self.joined(&update.table, scope, true, &mut conditions)?;
        if update.from.is_some() || update.or.is_some() {
            return Err(SqlError::unsupported("UPDATE ... FROM"));
        }
        if tables.len() != 1 {
            self.construct("UPDATE of joined tables");
        }
        self.conditions(&conditions, scope)?;
        if let Some(selection) = &update.selection {
            self.condition(selection, scope, Place::Holds)?;
        }
        for assignment in &update.assignments {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(SqlError::unsupported("UPDATE of a tuple"));
            };
            self.check_assignment(name, scope)?;
            self.subqueries(&assignment.value, Some(scope))?;
        }
        if !update.order_by.is_empty() {
            self.construct("UPDATE ... ORDER BY");
        }
        if update.limit.is_some() {
            self.construct("UPDATE ... LIMIT");
        }
        self.subqueries(&update.order_by, Some(scope))?;
        self.check_written(scope, false)
    }

    /// A row whose sharding column changes would have to move to another shard.
    pub(super) fn check_assignment(
        &self,
        name: &ObjectName,
        scope: &Scope<'_>,
    ) -> Result<(), SqlError> {
        let Some(column) = name.0.last().and_then(|p| p.as_ident()) else {
            return Ok(());
        };
        let table = name.0.iter().rev().nth(1).and_then(|p| p.as_ident());
        for at in &scope.tables {
            let of = &self.out.tables[*at];
            if table.is_some_and(|t| !of.alias.eq_ignore_ascii_case(&t.value)) {
                continue;
            }
            let lower = column.value.to_lowercase();
            if of.vindex_column(&lower).is_some() {
                return Err(SqlError::unsupported(format!(
                    "UPDATE of sharding column `{lower}` of `{}`",
                    of.alias
                )));
            }
            let spread = of.spread().and_then(|found| found.table.as_ref());
            let lookups = spread
                .map(|t| t.owned_lookups.as_slice())
                .unwrap_or_default();
            if let Some((lookup, _)) = lookups.iter().find(|(_, columns)| columns.contains(&lower))
            {
                return Err(owns_lookup(&of.alias, lookup));
            }
        }
        Ok(())
    }

    pub(super) fn delete(
        &mut self,
        delete: &Delete,
        scope: &mut Scope<'_>,
    ) -> Result<(), SqlError> {
        let mut conditions = Vec::new();
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let mut tables = 0;
        // `DELETE FROM a USING a JOIN b` names a's rows, and reads the tables after USING.
        for item in delete.using.as_ref().unwrap_or(from) {
            tables += self.joined(item, scope, true, &mut conditions)?.len();
        }
        if tables != 1 || !delete.tables.is_empty() || delete.using.is_some() {
            self.construct("DELETE of joined tables");
        }
        self.conditions(&conditions, scope)?;
        if let Some(selection) = &delete.selection {
            self.condition(selection, scope, Place::Holds)?;
        }
        if !delete.order_by.is_empty() {
            self.construct("DELETE ... ORDER BY");
        }
        if delete.limit.is_some() {
            self.construct("DELETE ... LIMIT");
        }
        self.subqueries(&delete.order_by, Some(scope))?;
        self.check_written(scope, true)
    }

    pub(super) fn check_written(&self, scope: &Scope<'_>, deletes: bool) -> Result<(), SqlError> {
        for at in &scope.tables {
            if let Found::Table(FoundTable {
                table: Some(table),
                keyspace,
                ..
            }) = &self.out.tables[*at].found
            {
                if keyspace.sharded
                    && table.kind == TableKind::Reference
                    && keyspace.shards.len() > 1
                {
                    return Err(SqlError::unsupported(format!(
                        "writes to reference table `{}`",
                        table.name
                    )));
                }
                if let Some((lookup, _)) = table.owned_lookups.first().filter(|_| deletes) {
                    return Err(owns_lookup(&table.name, lookup));
                }
            }
        }
        Ok(())
    }
}
