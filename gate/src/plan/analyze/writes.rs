//! UPDATE and DELETE: what they may change.

use sqlparser::ast::{AssignmentTarget, Delete, Expr, FromTable, ObjectName, Update};

use super::{Change, Found, Place, Scope, Walker};
use crate::plan::catalog::{FoundTable, TableKind};
use crate::plan::grammar::constant;
use crate::plan::lookup::usable;
use crate::plan::types::SqlError;

fn owns_lookup(construct: &str, table: &str, lookup: &str) -> SqlError {
    SqlError::unsupported(format!(
        "{construct} `{table}`, which owns lookup vindex `{lookup}`"
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
            self.check_assignment(name, &assignment.value, scope)?;
            self.subqueries(&assignment.value, Some(scope))?;
        }
        if let Some((lookup, of)) = self.changed_lookup() {
            let construct = if tables.len() != 1 {
                "UPDATE of joined tables that changes a column of"
            } else if update.limit.is_some() {
                "UPDATE ... LIMIT of a column of"
            } else {
                ""
            };
            if !construct.is_empty() {
                return Err(owns_lookup(construct, &of, &lookup));
            }
        }
        if !update.order_by.is_empty() {
            self.construct("UPDATE ... ORDER BY");
        }
        if update.limit.is_some() {
            self.construct("UPDATE ... LIMIT");
        }
        self.subqueries(&update.order_by, Some(scope))?;
        self.check_written(scope)
    }

    /// A row whose sharding column changes would have to move to another shard. Columns of lookups
    /// that the table owns are noted with their value.
    pub(super) fn check_assignment(
        &mut self,
        name: &ObjectName,
        value: &Expr,
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
            let Some(spread) = of.spread().and_then(|found| found.table.clone()) else {
                continue;
            };
            let lower = column.value.to_lowercase();
            if spread.primary_column(&lower).is_some() {
                return Err(SqlError::unsupported(format!(
                    "UPDATE of sharding column `{lower}` of `{}`",
                    of.alias
                )));
            }
            let mut owned = spread.owned_lookups();
            let Some(lookup) = owned.find(|lookup| lookup.columns.contains(&lower)) else {
                continue;
            };
            usable(lookup, &spread.name)?;
            let Some(value) = constant(value) else {
                return Err(SqlError::unsupported(format!(
                    "expression for column `{lower}` of lookup vindex `{}` in an UPDATE of `{}`: give it a value",
                    lookup.name, of.alias
                )));
            };
            let change = self.out.change.get_or_insert_with(|| Change {
                table: *at,
                assigned: Vec::new(),
            });
            change.assigned.retain(|(column, _)| *column != lower);
            change.assigned.push((lower, value));
        }
        Ok(())
    }

    /// A lookup that an UPDATE changes, and its table.
    fn changed_lookup(&self) -> Option<(String, String)> {
        let change = self.out.change.as_ref()?;
        let found = self.out.tables[change.table].spread()?;
        let mut owned = found.table.as_ref()?.owned_lookups();
        let changed = owned.find(|l| {
            let mut assigned = change.assigned.iter();
            assigned.any(|(column, _)| l.columns.contains(column))
        })?;
        Some((changed.name.clone(), found.name.clone()))
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
        let joined = tables != 1 || !delete.tables.is_empty() || delete.using.is_some();
        for at in &scope.tables {
            let found = self.out.tables[*at].spread();
            let Some(table) = found.and_then(|found| found.table.clone()) else {
                continue;
            };
            for lookup in table.owned_lookups() {
                usable(lookup, &table.name)?;
                if joined {
                    let construct = "DELETE of joined tables, of which one is";
                    return Err(owns_lookup(construct, &table.name, &lookup.name));
                }
                self.out.change = Some(Change {
                    table: *at,
                    assigned: Vec::new(),
                });
            }
        }
        self.check_written(scope)
    }

    pub(super) fn check_written(&self, scope: &Scope<'_>) -> Result<(), SqlError> {
        for at in &scope.tables {
            if let Found::Table(FoundTable {
                table: Some(table),
                keyspace,
                ..
            }) = &self.out.tables[*at].found
                && keyspace.sharded
                && table.kind == TableKind::Reference
                && keyspace.shards.len() > 1
            {
                return Err(SqlError::unsupported(format!(
                    "writes to reference table `{}`",
                    table.name
                )));
            }
        }
        Ok(())
    }
}
