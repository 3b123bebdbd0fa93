//! The tables of FROM: finding them, and following routing rules in the text.

use sqlparser::ast::{
    Ident, JoinOperator, ObjectName, Statement as Ast, TableFactor, TableWithJoins, Visit,
};

use super::visitors::Relations;
use super::{Found, JoinCondition, Scope, TableRef, Walker};
use crate::plan::catalog::FoundTable;
use crate::plan::rewrite::{Piece, Splice, quoted};
use crate::plan::statement::Statement;
use crate::plan::types::SqlError;

const SYSTEM: [&str; 4] = ["information_schema", "performance_schema", "mysql", "sys"];

impl Walker<'_> {
    /// A table and what is joined to it; gives the tables.
    pub(super) fn joined<'e>(
        &mut self,
        item: &'e TableWithJoins,
        scope: &mut Scope<'_>,
        outermost: bool,
        conditions: &mut Vec<JoinCondition<'e>>,
    ) -> Result<Vec<usize>, SqlError> {
        let mut left = self.factor(&item.relation, scope, outermost, conditions)?;
        for join in &item.joins {
            let right = self.factor(&join.relation, scope, outermost, conditions)?;
            let (constraint, optional) = match &join.join_operator {
                JoinOperator::Join(c)
                | JoinOperator::Inner(c)
                | JoinOperator::CrossJoin(c)
                | JoinOperator::StraightJoin(c) => (c, None),
                JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (c, Some(right.clone())),
                JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (c, Some(left.clone())),
                _ => return Err(SqlError::unsupported("this kind of JOIN")),
            };
            if let Some(optional) = &optional {
                let kept = if optional == &right { &left } else { &right };
                let spread =
                    |list: &[usize]| list.iter().any(|t| self.out.tables[*t].spread().is_some());
                if spread(optional) && !spread(kept) {
                    self.construct("an outer join that keeps the rows of a table without shards");
                }
            }
            conditions.push(JoinCondition {
                constraint,
                left: left.clone(),
                right: right.clone(),
                optional,
            });
            left.extend(right);
        }
        Ok(left)
    }

    pub(super) fn factor<'e>(
        &mut self,
        factor: &'e TableFactor,
        scope: &mut Scope<'_>,
        outermost: bool,
        conditions: &mut Vec<JoinCondition<'e>>,
    ) -> Result<Vec<usize>, SqlError> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                let alias = alias.as_ref().map(|a| &a.name);
                let Some(at) = self.table(name, alias, outermost)? else {
                    return Ok(Vec::new());
                };
                if matches!(self.out.tables[at].found, Found::Table(_)) {
                    scope.tables.push(at);
                } else {
                    scope.opaque.push(self.out.tables[at].alias.clone());
                }
                Ok(vec![at])
            }
            TableFactor::Derived {
                subquery,
                alias,
                lateral,
                ..
            } => {
                let before = self.out.tables.len();
                let outer = Scope {
                    tables: scope.tables.clone(),
                    opaque: scope.opaque.clone(),
                    outer: scope.outer,
                };
                self.query(subquery, lateral.then_some(&outer), false)?;
                if self.out.tables[before..]
                    .iter()
                    .any(|t| t.spread().is_some())
                {
                    self.construct("a derived table");
                }
                scope
                    .opaque
                    .extend(alias.iter().map(|a| a.name.value.clone()));
                Ok(Vec::new())
            }
            TableFactor::NestedJoin {
                table_with_joins, ..
            } => self.joined(table_with_joins, scope, outermost, conditions),
            TableFactor::JsonTable {
                json_expr, alias, ..
            } => {
                self.subqueries(json_expr, Some(scope))?;
                scope
                    .opaque
                    .extend(alias.iter().map(|a| a.name.value.clone()));
                Ok(Vec::new())
            }
            _ => Err(SqlError::unsupported("this kind of table in FROM")),
        }
    }

    /// Finds a table; `None` for `DUAL`.
    pub(super) fn table(
        &mut self,
        name: &ObjectName,
        alias: Option<&Ident>,
        outermost: bool,
    ) -> Result<Option<usize>, SqlError> {
        let parts: Option<Vec<&Ident>> = name.0.iter().map(|p| p.as_ident()).collect();
        let (qualifier, table) = match parts.as_deref() {
            Some([table]) => (None, *table),
            Some([qualifier, table]) => (Some(*qualifier), *table),
            _ => return Err(SqlError::unsupported(format!("the table name `{name}`"))),
        };
        let shown = alias.unwrap_or(table).value.clone();
        let found = match qualifier {
            None if self.common.contains(&table.value) => Found::Common,
            None if table.value.eq_ignore_ascii_case("dual") && table.quote_style.is_none() => {
                Found::System
            }
            Some(q) if SYSTEM.iter().any(|s| q.value.eq_ignore_ascii_case(s)) => Found::System,
            _ => {
                let target = self.context.target;
                Found::Table(self.catalog.find_table(
                    qualifier.map(|q| q.value.as_str()),
                    &table.value,
                    target.keyspace.as_ref(),
                    target.tablet_type,
                )?)
            }
        };
        if let Found::Table(found) = &found {
            self.check_sequence(found)?;
            let first = qualifier.unwrap_or(table);
            let moved = qualifier.is_some_and(|q| q.value != found.keyspace.name.as_str());
            let renamed = found.name != table.value;
            if moved || renamed {
                if renamed && self.out.written {
                    return Err(SqlError::unsupported(
                        "UPDATE or DELETE of a table that a routing rule gives another name",
                    ));
                }
                let (from, to) = (self.parsed.token_of(first), self.parsed.token_of(table));
                let (Some(from), Some(to)) = (from, to) else {
                    return Err(SqlError::unsupported(format!("the table name `{name}`")));
                };
                let mut text = match qualifier {
                    Some(_) => format!(
                        "{}.{}",
                        quoted(found.keyspace.name.as_str()),
                        quoted(&found.name)
                    ),
                    None => quoted(&found.name),
                };
                if renamed && alias.is_none() {
                    text = format!("{text} AS {}", quoted(&table.value));
                }
                self.out.splices.push(Splice {
                    from,
                    to: to + 1,
                    with: Piece::Text(text),
                });
            }
        }
        self.out.tables.push(TableRef {
            alias: shown,
            qualifier: qualifier.map(|q| q.value.clone()),
            found,
            outermost,
        });
        Ok(Some(self.out.tables.len() - 1))
    }

    /// A table that cannot be routed is refused with the reason.
    pub(super) fn check_sequence(&self, found: &FoundTable) -> Result<(), SqlError> {
        let Some(table) = &found.table else {
            return Ok(());
        };
        match &table.vindex_error {
            Some(why) if found.keyspace.sharded && found.keyspace.shards.len() > 1 => Err(
                SqlError::unsupported(format!("table `{}`: {why}", table.name)),
            ),
            _ => Ok(()),
        }
    }

    /// Every table that the grammar found was looked at.
    pub(super) fn check_complete(&self) -> Result<(), SqlError> {
        let mut relations = Relations::default();
        let _ = self.parsed.ast.visit(&mut relations);
        let multi_delete =
            matches!(&self.parsed.ast, Ast::Delete(d) if !d.tables.is_empty() || d.using.is_some());
        if relations.count != self.out.tables.len() && !multi_delete {
            return Err(SqlError::unsupported(
                "a table in this place of a statement",
            ));
        }
        Ok(())
    }

    /// Columns qualified with a keyspace (`ks.t.c`, `ks.t.*`) follow a table that moved. So do the
    /// tables before the FROM of a DELETE.
    pub(super) fn rename_columns(&mut self, statement: &Statement<'_>) -> Result<(), SqlError> {
        let mut splices = Vec::new();
        for column in statement.qualified_columns() {
            let Some(found) = self.moved(&column.qualifier, &column.table) else {
                continue;
            };
            let (to, text) = if found.name == column.table {
                (column.at + 1, quoted(found.keyspace.name.as_str()))
            } else {
                (column.at + 3, quoted(&column.table))
            };
            splices.push(Splice {
                from: column.at,
                to,
                with: Piece::Text(text),
            });
        }
        if let Ast::Delete(delete) = &self.parsed.ast {
            for name in &delete.tables {
                let [first, second] = name.0.as_slice() else {
                    continue;
                };
                let (Some(qualifier), Some(table)) = (first.as_ident(), second.as_ident()) else {
                    continue;
                };
                let Some(found) = self.moved(&qualifier.value, &table.value) else {
                    continue;
                };
                let Some(at) = self.parsed.token_of(qualifier) else {
                    return Err(SqlError::unsupported(format!("the table name `{name}`")));
                };
                splices.push(Splice {
                    from: at,
                    to: at + 1,
                    with: Piece::Text(quoted(found.keyspace.name.as_str())),
                });
            }
        }
        self.out.splices.extend(splices);
        Ok(())
    }

    /// The table that `qualifier.table` means outside of FROM, if it is elsewhere than it says. A
    /// table without a qualifier is one of the session's keyspace.
    fn moved(&self, qualifier: &str, table: &str) -> Option<&FoundTable> {
        let session = self.context.target.keyspace.as_ref().map(|k| k.as_str());
        let of =
            self.out.tables.iter().find(|t| {
                t.alias == table && t.qualifier.as_deref().or(session) == Some(qualifier)
            })?;
        let Found::Table(found) = &of.found else {
            return None;
        };
        (found.keyspace.name.as_str() != qualifier || found.name != table).then_some(found)
    }
}
