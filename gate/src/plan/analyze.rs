//! SELECT, UPDATE and DELETE: which tables they read, what restricts each of them, and whether
//! their rows can be had shard by shard.
//!
//! Two tables are *together* when their sharding columns are equal in every row of the join, so
//! that what belongs to one row is on one shard. A table *follows* another when that is true for
//! the rows it adds to the other's (the optional side of an outer join, a correlated subquery).

use std::ops::ControlFlow;

use sqlparser::ast::{
    AssignmentTarget, BinaryOperator, Distinct, Expr, FromTable, Function, GroupByExpr, Ident,
    JoinConstraint, JoinOperator, LimitClause, ObjectName, Query, Select, SelectItem, SetExpr,
    Statement as Ast, TableFactor, TableWithJoins, Visit, Visitor,
};

use super::catalog::{Catalog, FoundTable, TableKind};
use super::grammar::{Parsed, ValueExpr, constant};
use super::rewrite::{Piece, Splice, quoted};
use super::types::{PlanContext, SqlError};

/// A table of the statement.
#[derive(Debug)]
pub(super) struct TableRef {
    /// The name that columns are qualified with.
    pub alias: String,
    /// What it was called, if it was qualified.
    qualifier: Option<String>,
    pub found: Found,
    /// In the FROM of the outermost SELECT, not in a derived table.
    pub outermost: bool,
}

#[derive(Debug)]
pub(super) enum Found {
    Table(FoundTable),
    /// A table of the server itself: `information_schema` and its like.
    System,
    /// A common table expression.
    Common,
}

impl TableRef {
    /// The sharded table, for those whose rows are spread over shards.
    pub(super) fn spread(&self) -> Option<&FoundTable> {
        match &self.found {
            Found::Table(found) if found.keyspace.sharded => {
                let kind = found.table.as_ref().map(|t| &t.kind);
                (kind != Some(&TableKind::Reference)).then_some(found)
            }
            _ => None,
        }
    }

    /// The position of a column in the table's primary vindex.
    fn vindex_column(&self, column: &str) -> Option<usize> {
        let table = self.spread()?.table.as_ref()?;
        table
            .primary_vindex
            .as_ref()?
            .columns
            .iter()
            .position(|c| c == column)
    }
}

/// `columns` have one of `tuples`.
#[derive(Debug)]
pub(super) struct Restriction {
    pub table: usize,
    /// Positions in the primary vindex.
    pub columns: Vec<usize>,
    pub tuples: Vec<Vec<ValueExpr>>,
    /// It stands in WHERE, or in the ON of an inner join: every row of the answer obeys it.
    pub holds: bool,
}

/// A pair of equal sharding columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Equal {
    pub a: (usize, usize),
    pub b: (usize, usize),
    pub relation: Relation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Together,
    /// `a` is on the optional side of an outer join with `b`.
    Optional,
    /// `a` is in a subquery of the query that `b` is in.
    Subquery,
}

/// What was found in a statement.
#[derive(Debug, Default)]
pub(super) struct Analysis {
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
}

/// Reads a statement.
pub(super) fn analyze(
    parsed: &Parsed,
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
    walker.rename_columns();
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

const SYSTEM: [&str; 4] = ["information_schema", "performance_schema", "mysql", "sys"];

const AGGREGATES: [&str; 20] = [
    "COUNT",
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "GROUP_CONCAT",
    "BIT_AND",
    "BIT_OR",
    "BIT_XOR",
    "STD",
    "STDDEV",
    "STDDEV_POP",
    "STDDEV_SAMP",
    "VAR_POP",
    "VAR_SAMP",
    "VARIANCE",
    "JSON_ARRAYAGG",
    "JSON_OBJECTAGG",
    "ANY_VALUE",
    "ST_COLLECT",
];

impl<'c> Walker<'c> {
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
        if let Some(modifiers) = &select.select_modifiers {
            if modifiers.sql_calc_found_rows {
                self.construct("SQL_CALC_FOUND_ROWS");
            }
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

    /// A table and what is joined to it; gives the tables.
    fn joined<'e>(
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

    fn factor<'e>(
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
    fn table(
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
    fn check_sequence(&self, found: &FoundTable) -> Result<(), SqlError> {
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

    fn conditions(
        &mut self,
        conditions: &[JoinCondition<'_>],
        scope: &Scope<'_>,
    ) -> Result<(), SqlError> {
        for join in conditions {
            let place = match &join.optional {
                None => Place::Holds,
                Some(tables) => Place::Optional(tables),
            };
            match join.constraint {
                JoinConstraint::On(condition) => self.condition(condition, scope, place)?,
                JoinConstraint::Using(columns) => {
                    for column in columns {
                        let Some(ident) = column.0.last().and_then(|p| p.as_ident()) else {
                            continue;
                        };
                        let column = ident.value.to_lowercase();
                        // Only between two tables it is certain which columns are meant.
                        if let ([a], [b]) = (join.left.as_slice(), join.right.as_slice()) {
                            let a = self.out.tables[*a].vindex_column(&column).map(|c| (*a, c));
                            let b = self.out.tables[*b].vindex_column(&column).map(|c| (*b, c));
                            if let (Some(a), Some(b)) = (a, b) {
                                self.equal(a, b, scope, place);
                            }
                        }
                    }
                }
                JoinConstraint::Natural | JoinConstraint::None => {}
            }
        }
        Ok(())
    }

    /// A condition: its parts that must all hold.
    fn condition(
        &mut self,
        condition: &Expr,
        scope: &Scope<'_>,
        place: Place<'_>,
    ) -> Result<(), SqlError> {
        match condition {
            Expr::Nested(inner) => self.condition(inner, scope, place),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And,
                right,
            } => {
                self.condition(left, scope, place)?;
                self.condition(right, scope, place)
            }
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } => {
                self.equality(left, right, scope, place);
                self.subqueries(condition, Some(scope))
            }
            Expr::BinaryOp {
                op: BinaryOperator::Or,
                ..
            } => {
                if let Some((column, values)) = self.alternatives(condition, scope) {
                    let tuples = values.into_iter().map(|v| vec![v]).collect();
                    self.restrict(column.0, vec![column.1], tuples, scope, place);
                }
                self.subqueries(condition, Some(scope))
            }
            Expr::InList {
                expr,
                list,
                negated: false,
            } => {
                self.in_list(expr, list, scope, place);
                self.subqueries(condition, Some(scope))
            }
            Expr::InSubquery {
                expr,
                subquery,
                negated: false,
            } => {
                let selected = self.query(subquery, Some(scope), false)?;
                if let (Some(inner), Some(outer)) = (selected, self.column(expr, scope)) {
                    self.out.equals.push(Equal {
                        a: inner,
                        b: outer,
                        relation: Relation::Subquery,
                    });
                }
                self.subqueries(&**expr, Some(scope))
            }
            _ => self.subqueries(condition, Some(scope)),
        }
    }

    fn equality(&mut self, left: &Expr, right: &Expr, scope: &Scope<'_>, place: Place<'_>) {
        if let (Expr::Tuple(left), Expr::Tuple(right)) = (left, right) {
            if left.len() == right.len() {
                for (left, right) in left.iter().zip(right) {
                    self.equality(left, right, scope, place);
                }
            }
            return;
        }
        match (self.column(left, scope), self.column(right, scope)) {
            (Some(a), Some(b)) => self.equal(a, b, scope, place),
            (Some(column), None) => self.equals_constant(column, right, scope, place),
            (None, Some(column)) => self.equals_constant(column, left, scope, place),
            (None, None) => {}
        }
    }

    fn equals_constant(
        &mut self,
        column: (usize, usize),
        value: &Expr,
        scope: &Scope<'_>,
        place: Place<'_>,
    ) {
        if let Some(value) = constant(value) {
            self.restrict(column.0, vec![column.1], vec![vec![value]], scope, place);
        }
    }

    fn equal(&mut self, a: (usize, usize), b: (usize, usize), scope: &Scope<'_>, place: Place<'_>) {
        if a.0 == b.0 {
            return;
        }
        let inner = |t: usize| scope.tables.contains(&t);
        let (a, b, relation) = match (inner(a.0), inner(b.0), place) {
            (true, true, Place::Holds) => (a, b, Relation::Together),
            (true, true, Place::Optional(tables)) => {
                match (tables.contains(&a.0), tables.contains(&b.0)) {
                    (true, true) => (a, b, Relation::Together),
                    (true, false) => (a, b, Relation::Optional),
                    (false, true) => (b, a, Relation::Optional),
                    (false, false) => return,
                }
            }
            // A subquery's table, and one of the query around it.
            (true, false, _) => (a, b, Relation::Subquery),
            (false, true, _) => (b, a, Relation::Subquery),
            (false, false, _) => return,
        };
        self.out.equals.push(Equal { a, b, relation });
    }

    fn restrict(
        &mut self,
        table: usize,
        columns: Vec<usize>,
        tuples: Vec<Vec<ValueExpr>>,
        scope: &Scope<'_>,
        place: Place<'_>,
    ) {
        // A condition on a table of the query around restricts this subquery only.
        if !scope.tables.contains(&table) {
            return;
        }
        let holds = match place {
            Place::Holds => true,
            Place::Optional(tables) if tables.contains(&table) => false,
            Place::Optional(_) => return,
        };
        self.out.restrictions.push(Restriction {
            table,
            columns,
            tuples,
            holds,
        });
    }

    /// `a = 1 OR a IN (2, 3)`: the column and its values.
    fn alternatives(
        &self,
        expr: &Expr,
        scope: &Scope<'_>,
    ) -> Option<((usize, usize), Vec<ValueExpr>)> {
        match expr {
            Expr::Nested(inner) => self.alternatives(inner, scope),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Or,
                right,
            } => {
                let (column, mut values) = self.alternatives(left, scope)?;
                let (other, more) = self.alternatives(right, scope)?;
                values.extend(more);
                (column == other).then_some((column, values))
            }
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } => {
                let (column, value) = match self.column(left, scope) {
                    Some(column) => (column, right),
                    None => (self.column(right, scope)?, left),
                };
                Some((column, vec![constant(value)?]))
            }
            Expr::InList {
                expr,
                list,
                negated: false,
            } => {
                let column = self.column(expr, scope)?;
                Some((column, list.iter().map(constant).collect::<Option<_>>()?))
            }
            _ => None,
        }
    }

    fn in_list(&mut self, expr: &Expr, list: &[Expr], scope: &Scope<'_>, place: Place<'_>) {
        if let Some((table, column)) = self.column(expr, scope) {
            let tuples = list.iter().map(|v| constant(v).map(|v| vec![v]));
            if let Some(tuples) = tuples.collect() {
                self.restrict(table, vec![column], tuples, scope, place);
            }
            return;
        }
        // `(a, b) IN ((1, 2), (3, 4))`: those of the columns that are sharding columns of a table.
        let Expr::Tuple(columns) = expr else {
            return;
        };
        let columns: Vec<_> = columns.iter().map(|c| self.column(c, scope)).collect();
        let Some(table) = columns.iter().flatten().map(|(t, _)| *t).next() else {
            return;
        };
        let used = |i: usize| columns[i].filter(|(t, _)| *t == table).map(|(_, c)| c);
        let tuples = list.iter().map(|row| match row {
            Expr::Tuple(values) if values.len() == columns.len() => (0..values.len())
                .filter(|i| used(*i).is_some())
                .map(|i| constant(&values[i]))
                .collect(),
            _ => None,
        });
        if let Some(tuples) = tuples.collect() {
            let columns = (0..columns.len()).filter_map(used).collect();
            self.restrict(table, columns, tuples, scope, place);
        }
    }

    /// The sharding column that an expression is: table, and position in its vindex.
    fn column(&self, expr: &Expr, scope: &Scope<'_>) -> Option<(usize, usize)> {
        match expr {
            Expr::Nested(inner) => self.column(inner, scope),
            Expr::Identifier(name) => {
                let name = name.value.to_lowercase();
                let mut of = scope
                    .tables
                    .iter()
                    .filter_map(|t| Some((*t, self.out.tables[*t].vindex_column(&name)?)));
                // If two tables have it the server will say that it is ambiguous.
                let column = of.next()?;
                of.next().is_none().then_some(column)
            }
            Expr::CompoundIdentifier(parts) => {
                let (qualifier, table, column) = match parts.as_slice() {
                    [table, column] => (None, table, column),
                    [qualifier, table, column] => (Some(qualifier), table, column),
                    _ => return None,
                };
                let column = column.value.to_lowercase();
                let mut scope = Some(scope);
                while let Some(at) = scope {
                    let found = at.tables.iter().find(|t| {
                        let of = &self.out.tables[**t];
                        of.alias.eq_ignore_ascii_case(&table.value)
                            && qualifier.is_none_or(|q| of.qualifier.as_ref() == Some(&q.value))
                    });
                    if let Some(found) = found {
                        let position = self.out.tables[*found].vindex_column(&column)?;
                        return Some((*found, position));
                    }
                    if at
                        .opaque
                        .iter()
                        .any(|name| name.eq_ignore_ascii_case(&table.value))
                    {
                        return None;
                    }
                    scope = at.outer;
                }
                None
            }
            _ => None,
        }
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

    fn update(
        &mut self,
        update: &sqlparser::ast::Update,
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
        self.check_written(scope)
    }

    /// A row whose sharding column changes would have to move to another shard.
    fn check_assignment(&self, name: &ObjectName, scope: &Scope<'_>) -> Result<(), SqlError> {
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
        }
        Ok(())
    }

    fn delete(
        &mut self,
        delete: &sqlparser::ast::Delete,
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
        if !delete.tables.is_empty() && !self.out.splices.is_empty() {
            return Err(SqlError::unsupported(
                "DELETE of joined tables with a qualified name",
            ));
        }
        self.check_written(scope)
    }

    fn check_written(&self, scope: &Scope<'_>) -> Result<(), SqlError> {
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
                if let Some(lookup) = table.owned_lookups.first() {
                    return Err(SqlError::unsupported(format!(
                        "writes to `{}`, which owns lookup vindex `{lookup}`",
                        table.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// Every table that the grammar found was looked at.
    fn check_complete(&self) -> Result<(), SqlError> {
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

    /// Columns qualified with a keyspace follow a table that moved.
    fn rename_columns(&mut self) {
        let mut columns = QualifiedColumns::default();
        let _ = self.parsed.ast.visit(&mut columns);
        for parts in columns.found {
            let [qualifier, table, _] = parts.as_slice() else {
                continue;
            };
            let of =
                self.out.tables.iter().find(|t| {
                    t.alias == table.value && t.qualifier.as_ref() == Some(&qualifier.value)
                });
            let Some(Found::Table(found)) = of.map(|t| &t.found) else {
                continue;
            };
            let token = self.parsed.token_of(qualifier);
            let (Some(from), true) = (
                token,
                found.keyspace.name.as_str() != qualifier.value || found.name != table.value,
            ) else {
                continue;
            };
            let (to, text) = if found.name == table.value {
                (from + 1, quoted(found.keyspace.name.as_str()))
            } else {
                (from + 3, quoted(&table.value))
            };
            self.out.splices.push(Splice {
                from,
                to,
                with: Piece::Text(text),
            });
        }
    }
}

/// A join's condition, looked at when all tables of the FROM are known.
struct JoinCondition<'e> {
    constraint: &'e JoinConstraint,
    left: Vec<usize>,
    right: Vec<usize>,
    optional: Option<Vec<usize>>,
}

/// The subqueries of a node that are not within others.
#[derive(Default)]
struct Subqueries {
    depth: usize,
    queries: Vec<Query>,
}

impl Visitor for Subqueries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == 0 {
            self.queries.push(query.clone());
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Aggregates and window functions outside of subqueries.
#[derive(Default)]
struct Functions {
    depth: usize,
    aggregate: Option<String>,
    window: Option<String>,
}

impl Functions {
    fn see(&mut self, function: &Function) {
        let name = function.name.to_string().to_uppercase();
        if function.over.is_some() {
            self.window.get_or_insert(name);
        } else if AGGREGATES.contains(&name.as_str()) {
            self.aggregate.get_or_insert(name);
        }
    }
}

impl Visitor for Functions {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let (Expr::Function(function), 0) = (expr, self.depth) {
            self.see(function);
        }
        ControlFlow::Continue(())
    }
}

#[derive(Default)]
struct Relations {
    count: usize,
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_relation(&mut self, _relation: &ObjectName) -> ControlFlow<()> {
        self.count += 1;
        ControlFlow::Continue(())
    }
}

/// `ks.t.c`.
#[derive(Default)]
struct QualifiedColumns {
    found: Vec<Vec<Ident>>,
}

impl Visitor for QualifiedColumns {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr {
            if parts.len() == 3 {
                self.found.push(parts.clone());
            }
        }
        ControlFlow::Continue(())
    }
}
