//! SELECT, UPDATE and DELETE: which tables they read, what restricts each of them, and whether
//! their rows can be had shard by shard.
//!
//! Two tables are *together* when their sharding columns are equal in every row of the join, so
//! that what belongs to one row is on one shard. A table *follows* another when that is true for
//! the rows it adds to the other's (the optional side of an outer join, a correlated subquery).

mod conditions;
mod tables;
mod visitors;
mod writes;

use sqlparser::ast::{
    Distinct, GroupByExpr, JoinConstraint, LimitClause, Query, Select, SelectItem, SetExpr,
    Statement as Ast, Visit,
};

use super::catalog::{Catalog, FoundTable, TableKind};
use super::grammar::{Parsed, ValueExpr, constant};
use super::rewrite::Splice;
use super::statement::Statement;
use super::types::{PlanContext, SqlError};
use visitors::{Functions, Subqueries};

/// A table of the statement.
#[derive(Debug)]
pub(in crate::plan) struct TableRef {
    /// The name that columns are qualified with.
    pub alias: String,
    /// What it was called, if it was qualified.
    qualifier: Option<String>,
    pub found: Found,
    /// In the FROM of the outermost SELECT, not in a derived table.
    pub outermost: bool,
}

#[derive(Debug)]
pub(in crate::plan) enum Found {
    Table(FoundTable),
    /// A table of the server itself: `information_schema` and its like.
    System,
    /// A common table expression.
    Common,
}

impl TableRef {
    /// The sharded table, for those whose rows are spread over shards.
    pub(in crate::plan) fn spread(&self) -> Option<&FoundTable> {
        match &self.found {
            Found::Table(found) if found.keyspace.sharded => {
                let kind = found.table.as_ref().map(|t| &t.kind);
                (kind != Some(&TableKind::Reference)).then_some(found)
            }
            _ => None,
        }
    }

    /// The position of a column among those that may tell where rows are: see
    /// [`super::catalog::Table::vindex_column`].
    fn vindex_column(&self, column: &str) -> Option<usize> {
        self.spread()?.table.as_ref()?.vindex_column(column)
    }
}

/// `columns` have one of `tuples`.
#[derive(Debug)]
pub(in crate::plan) struct Restriction {
    pub table: usize,
    /// Positions among the columns that may tell where rows are.
    pub columns: Vec<usize>,
    pub tuples: Vec<Vec<ValueExpr>>,
    /// It stands in WHERE, or in the ON of an inner join: every row of the answer obeys it.
    pub holds: bool,
}

/// A pair of equal sharding columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) struct Equal {
    pub a: (usize, usize),
    pub b: (usize, usize),
    pub relation: Relation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Relation {
    Together,
    /// `a` is on the optional side of an outer join with `b`.
    Optional,
    /// `a` is in a subquery of the query that `b` is in.
    Subquery,
}

/// What was found in a statement.
#[derive(Debug, Default)]
pub(in crate::plan) struct Analysis {
    pub tables: Vec<TableRef>,
    pub equals: Vec<Equal>,
    pub restrictions: Vec<Restriction>,
    /// Constructs that allow one shard only.
    pub constructs: Vec<String>,
    /// The outermost SELECT groups, or is DISTINCT, by these columns of tables; what it computes
    /// for a group is exact if they hold a sharding key.
    pub grouped: Option<(String, Vec<(usize, usize)>)>,
    pub limit: Option<ValueExpr>,
    pub splices: Vec<Splice>,
    /// For UPDATE and DELETE.
    pub written: bool,
    /// What is written that lookups must follow.
    pub change: Option<Change>,
}

/// An UPDATE or DELETE of a table that owns lookups.
#[derive(Debug)]
pub(in crate::plan) struct Change {
    /// The table, by its position.
    pub table: usize,
    /// Columns of lookups (lower case) that get a value; none in a DELETE.
    pub assigned: Vec<(String, ValueExpr)>,
}

impl Analysis {
    /// The tables of keyspaces in it.
    pub(in crate::plan) fn found_tables(&self) -> impl Iterator<Item = &FoundTable> {
        self.tables.iter().filter_map(|table| match &table.found {
            Found::Table(found) => Some(found),
            Found::System | Found::Common => None,
        })
    }
}

/// Reads a statement.
pub(in crate::plan) fn analyze(
    parsed: &Parsed,
    statement: &Statement<'_>,
    catalog: &Catalog,
    context: &PlanContext<'_>,
) -> Result<Analysis, SqlError> {
    let mut walker = Walker {
        parsed,
        catalog,
        context,
        common: Vec::new(),
        out: Analysis::default(),
    };
    match &parsed.ast {
        Ast::Query(query) => {
            walker.query(query, None, true)?;
        }
        Ast::Update(update) => {
            walker.out.written = true;
            let mut scope = Scope::default();
            walker.update(update, &mut scope)?;
        }
        Ast::Delete(delete) => {
            walker.out.written = true;
            let mut scope = Scope::default();
            walker.delete(delete, &mut scope)?;
        }
        _ => {
            return Err(SqlError::unsupported(
                "this statement on a sharded keyspace",
            ));
        }
    }
    walker.check_complete()?;
    walker.rename_columns(statement)?;
    Ok(walker.out)
}

/// The tables that columns may be of.
#[derive(Default)]
struct Scope<'p> {
    tables: Vec<usize>,
    /// Derived tables and the like, whose columns are not known.
    opaque: Vec<String>,
    outer: Option<&'p Scope<'p>>,
}

/// Where a condition stands.
#[derive(Clone, Copy)]
enum Place<'p> {
    /// WHERE, or ON of an inner join.
    Holds,
    /// ON of an outer join: it only restricts these tables, its optional side.
    Optional(&'p [usize]),
}

struct Walker<'c> {
    parsed: &'c Parsed,
    catalog: &'c Catalog,
    context: &'c PlanContext<'c>,
    /// Names of common table expressions that are visible.
    common: Vec<String>,
    out: Analysis,
}

impl Walker<'_> {
    fn construct(&mut self, construct: impl Into<String>) {
        self.out.constructs.push(construct.into());
    }

    /// A query; gives the column that it selects, when that is one sharding column of one of
    /// its tables and no row is left out.
    fn query(
        &mut self,
        query: &Query,
        outer: Option<&Scope<'_>>,
        outermost: bool,
    ) -> Result<Option<(usize, usize)>, SqlError> {
        let visible = self.common.len();
        if let Some(with) = &query.with {
            if outermost {
                self.construct("WITH");
            }
            for cte in &with.cte_tables {
                if with.recursive {
                    self.common.push(cte.alias.name.value.clone());
                }
                self.query(&cte.query, None, false)?;
                if !with.recursive {
                    self.common.push(cte.alias.name.value.clone());
                }
            }
        }
        let plain_body = matches!(&*query.body, SetExpr::Select(_));
        let mut selected = self.body(&query.body, outer, outermost)?;
        if !plain_body || query.limit_clause.is_some() {
            selected = None;
        }
        if let Some(order_by) = &query.order_by {
            if outermost {
                self.construct("ORDER BY");
            }
            self.subqueries(order_by, outer)?;
        }
        if outermost {
            self.limit(query.limit_clause.as_ref());
            if query.fetch.is_some() {
                self.construct("FETCH");
            }
        }
        self.common.truncate(visible);
        Ok(selected)
    }

    fn limit(&mut self, clause: Option<&LimitClause>) {
        match clause {
            None => {}
            Some(LimitClause::LimitOffset {
                limit: Some(limit),
                offset: None,
                ..
            }) => match constant(limit) {
                Some(limit) => self.out.limit = Some(limit),
                None => self.construct("LIMIT"),
            },
            Some(_) => self.construct("OFFSET"),
        }
    }

    fn body(
        &mut self,
        body: &SetExpr,
        outer: Option<&Scope<'_>>,
        outermost: bool,
    ) -> Result<Option<(usize, usize)>, SqlError> {
        match body {
            SetExpr::Select(select) => self.select(select, outer, outermost),
            SetExpr::Query(query) => {
                if outermost && (query.order_by.is_some() || query.limit_clause.is_some()) {
                    self.construct("a query in parentheses");
                }
                self.query(query, outer, outermost)
            }
            SetExpr::SetOperation { left, right, .. } => {
                if outermost {
                    self.construct("UNION");
                }
                self.body(left, outer, false)?;
                self.body(right, outer, false)?;
                Ok(None)
            }
            SetExpr::Values(values) => {
                if outermost {
                    self.construct("VALUES");
                }
                self.subqueries(values, outer)?;
                Ok(None)
            }
            _ => Err(SqlError::unsupported("TABLE")),
        }
    }

    fn select(
        &mut self,
        select: &Select,
        outer: Option<&Scope<'_>>,
        outermost: bool,
    ) -> Result<Option<(usize, usize)>, SqlError> {
        let mut scope = Scope {
            outer,
            ..Scope::default()
        };
        let mut conditions = Vec::new();
        for item in &select.from {
            self.joined(item, &mut scope, outermost, &mut conditions)?;
        }
        self.conditions(&conditions, &scope)?;
        if let Some(selection) = &select.selection {
            self.condition(selection, &scope, Place::Holds)?;
        }
        for item in &select.projection {
            self.subqueries(item, Some(&scope))?;
        }
        self.subqueries(&select.group_by, Some(&scope))?;
        self.subqueries(&select.having, Some(&scope))?;
        self.subqueries(&select.named_window, Some(&scope))?;
        if outermost {
            self.outermost(select, &scope);
        }
        let plain = select.having.is_none()
            && matches!(&select.group_by, GroupByExpr::Expressions(list, _) if list.is_empty());
        match select.projection.as_slice() {
            [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] if plain => {
                Ok(self
                    .column(expr, &scope)
                    .filter(|(table, _)| scope.tables.contains(table)))
            }
            _ => Ok(None),
        }
    }

    /// What the outermost SELECT does that cannot be put together from shards.
    fn outermost(&mut self, select: &Select, scope: &Scope<'_>) {
        let mut functions = Functions::default();
        let _ = select.projection.visit(&mut functions);
        let _ = select.having.visit(&mut functions);
        if let Some(window) = functions.window {
            self.construct(format!("window function {window}()"));
        }
        if let Some(modifiers) = &select.select_modifiers
            && modifiers.sql_calc_found_rows
        {
            self.construct("SQL_CALC_FOUND_ROWS");
        }
        if select.into.is_some() {
            self.construct("SELECT ... INTO");
        }
        let mut grouped = None;
        match &select.group_by {
            GroupByExpr::Expressions(list, modifiers) if !list.is_empty() => {
                if !modifiers.is_empty() {
                    self.construct("GROUP BY ... WITH ROLLUP");
                }
                let columns = list.iter().filter_map(|e| self.column(e, scope)).collect();
                grouped = Some(("GROUP BY".to_owned(), columns));
            }
            GroupByExpr::Expressions(..) => {
                if let Some(aggregate) = functions.aggregate {
                    self.construct(format!("{aggregate}()"));
                } else if select.having.is_some() {
                    self.construct("HAVING");
                }
            }
            GroupByExpr::All(_) => self.construct("GROUP BY ALL"),
        }
        if select
            .distinct
            .as_ref()
            .is_some_and(|d| !matches!(d, Distinct::All))
        {
            let columns = |item: &SelectItem| match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    self.column(expr, scope)
                }
                _ => None,
            };
            let columns = select.projection.iter().filter_map(columns).collect();
            if grouped.is_some() {
                self.construct("DISTINCT with GROUP BY");
            }
            grouped = Some(("DISTINCT".to_owned(), columns));
        }
        self.out.grouped = grouped;
    }

    /// The subqueries of an expression.
    fn subqueries<T: Visit>(
        &mut self,
        node: &T,
        scope: Option<&Scope<'_>>,
    ) -> Result<(), SqlError> {
        let mut direct = Subqueries::default();
        let _ = node.visit(&mut direct);
        for query in direct.queries {
            self.query(&query, scope, false)?;
        }
        Ok(())
    }
}

/// A join's condition, looked at when all tables of the FROM are known.
struct JoinCondition<'e> {
    constraint: &'e JoinConstraint,
    left: Vec<usize>,
    right: Vec<usize>,
    optional: Option<Vec<usize>>,
}
