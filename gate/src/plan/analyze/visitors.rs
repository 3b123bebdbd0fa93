//! What is looked for in any place of a statement.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Function, ObjectName, Query, Visitor};

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

/// The subqueries of a node that are not within others.
#[derive(Default)]
pub(super) struct Subqueries {
    depth: usize,
    pub queries: Vec<Query>,
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
pub(super) struct Functions {
    depth: usize,
    pub aggregate: Option<String>,
    pub window: Option<String>,
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
pub(super) struct Relations {
    pub count: usize,
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_relation(&mut self, _relation: &ObjectName) -> ControlFlow<()> {
        self.count += 1;
        ControlFlow::Continue(())
    }
}
