//! Conditions: which of them say what a sharding column is, or that two are equal.

use sqlparser::ast::{BinaryOperator, Expr, JoinConstraint};

use super::{Equal, JoinCondition, Place, Relation, Restriction, Scope, Walker};
use crate::plan::grammar::{ValueExpr, constant};
use crate::plan::types::SqlError;

impl Walker<'_> {
    pub(super) fn conditions(
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
    pub(super) fn condition(
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

    pub(super) fn equality(
        &mut self,
        left: &Expr,
        right: &Expr,
        scope: &Scope<'_>,
        place: Place<'_>,
    ) {
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

    pub(super) fn equals_constant(
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

    pub(super) fn equal(
        &mut self,
        a: (usize, usize),
        b: (usize, usize),
        scope: &Scope<'_>,
        place: Place<'_>,
    ) {
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

    pub(super) fn restrict(
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
    pub(super) fn alternatives(
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

    pub(super) fn in_list(
        &mut self,
        expr: &Expr,
        list: &[Expr],
        scope: &Scope<'_>,
        place: Place<'_>,
    ) {
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
    pub(super) fn column(&self, expr: &Expr, scope: &Scope<'_>) -> Option<(usize, usize)> {
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
}
