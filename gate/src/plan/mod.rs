//! From a statement's text to how it is carried out. Pure: no IO, no clock.
//!
//! [`Planner::plan`] is called once per statement. A fast tokenizer gives the statement's
//! fingerprint (its text without literals), under which a template is cached: for a statement that
//! was seen before, a plan is the template's route applied to the literals.
//!
//! The way of a statement: [`scan`] (tokens) → [`statement`] (what kind it is) → [`build`], which asks
//! [`gate_statement`], [`insert`], or [`grammar`], [`analyze`] and [`combine`] → [`template`], which
//! with the values, by [`route`] and [`rewrite`], is a plan.
//!
//! [`normalize`] names kinds of statements, [`record`] counts them, and [`explain`] tells where those of a
//! kind go.

mod analyze;
mod build;
mod cache;
pub mod catalog;
mod combine;
pub mod explain;
mod gate_statement;
mod grammar;
mod insert;
mod literal;
pub mod lookup;
pub mod normalize;
pub mod record;
mod rewrite;
mod route;
mod scan;
mod split;
mod statement;
mod template;
mod text;
pub mod touches;
pub mod types;

use std::cell::RefCell;
use std::sync::Arc;

pub use catalog::{Catalog, FoundTable, Keyspace, Table, TableKind, TableLookup};
pub use explain::{Route, route_of, tables_of};
pub(crate) use literal::write_bytes as write_literal;
pub use lookup::{
    InsertKind, LookupChange, LookupRead, LookupRow, NewValue, OwnedInsert, OwnedRow, OwnedWrite,
};
pub use normalize::{Prints, Unreadable, normalize};
pub use record::{Ended, KindCounts, Recorded, Recorder};
pub use split::split_statements;
pub use touches::{Touch, Touches};
pub use types::{
    Action, BindValue, GateStatement, InsertWithSequence, PlanContext, Props, QueryPlan,
    ReserveReason, Scatter, SequenceNeed, SessionValues, SetAssignment, SetValue, SetVariable,
    ShardId, ShardSql, Show, ShowFilter, Sql, SqlError, SqlModes, Target,
};

use cache::{Cache, Key};
use route::Values;
use scan::{Fingerprint, Slot, fingerprint};
use statement::Statement;
use template::{Template, TemplateKind};
use vtplan_state::model::Revision;

/// Plans statements; shared by all sessions of a gate. Keeps templates of what it planned, within
/// limits, for one revision of the catalog.
#[derive(Debug)]
pub struct Planner {
    cache: Cache,
    recorder: Recorder,
}

/// What the plan cache may hold.
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    pub entries: usize,
    /// Of statement texts and templates, about.
    pub bytes: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            entries: 10_000,
            bytes: 32 << 20,
        }
    }
}

impl Default for Planner {
    fn default() -> Self {
        Self::new(CacheLimits::default())
    }
}

/// A statement with `?` parameters, planned as far as it can be without their values.
#[derive(Debug, Clone)]
pub struct Prepared {
    text: Arc<[u8]>,
    parameters: usize,
    describe: Option<ShardSql>,
    slots: Arc<[Slot]>,
    template: Arc<Template>,
    /// What the template was made for.
    revision: Revision,
    target: Target,
    modes: SqlModes,
}

impl Prepared {
    pub fn text(&self) -> &Arc<[u8]> {
        &self.text
    }

    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Where the statement may be prepared to learn its result's columns; `None` for statements
    /// of the gate itself.
    pub fn describe(&self) -> Option<&ShardSql> {
        self.describe.as_ref()
    }

    pub fn props(&self) -> &Props {
        &self.template.props
    }
}

thread_local! {
    /// Spares two allocations a statement.
    static FINGERPRINT: RefCell<Fingerprint> = RefCell::default();
}

impl Planner {
    pub fn new(limits: CacheLimits) -> Self {
        Self {
            cache: Cache::new(limits),
            recorder: Recorder::default(),
        }
    }

    /// Plans one statement (see [`split_statements`]) of a text query.
    pub fn plan(
        &self,
        catalog: &Catalog,
        context: &PlanContext<'_>,
        sql: &[u8],
    ) -> Result<QueryPlan, SqlError> {
        FINGERPRINT.with_borrow_mut(|print| {
            fingerprint(sql, context.sql_mode, print);
            let template = self.template(catalog, context, sql, print)?;
            let values = Values {
                sql,
                slots: &print.slots,
                modes: context.sql_mode,
                binds: None,
            };
            template.plan(context, &values)
        })
    }

    /// For `COM_STMT_PREPARE`.
    pub fn prepare(
        &self,
        catalog: &Catalog,
        context: &PlanContext<'_>,
        sql: &[u8],
    ) -> Result<Prepared, SqlError> {
        FINGERPRINT.with_borrow_mut(|print| {
            fingerprint(sql, context.sql_mode, print);
            let template = self.template(catalog, context, sql, print)?;
            let params = print.slots.iter().filter(|s| s.kind == scan::Kind::Param);
            let describe = template.describe_at().map(|shard| ShardSql {
                shard: shard.clone(),
                sql: template.rewrite.sql(context, sql),
            });
            Ok(Prepared {
                text: sql.into(),
                parameters: params.count(),
                describe,
                slots: print.slots.as_slice().into(),
                template,
                revision: catalog.revision(),
                target: context.target.clone(),
                modes: context.sql_mode,
            })
        })
    }

    /// For `COM_STMT_EXECUTE`: the plan for these values of the parameters. The catalog may be a
    /// newer one than at [`Planner::prepare`].
    pub fn plan_prepared(
        &self,
        catalog: &Catalog,
        context: &PlanContext<'_>,
        prepared: &Prepared,
        values: &[BindValue],
    ) -> Result<QueryPlan, SqlError> {
        if values.len() != prepared.parameters {
            return Err(SqlError::new(
                1210,
                "HY000",
                "Incorrect arguments to mysqld_stmt_execute",
            ));
        }
        // A statement means what it meant when it was prepared, whatever the session's mode is now.
        let context = &PlanContext {
            sql_mode: prepared.modes,
            ..*context
        };
        let current = prepared.revision == catalog.revision() && prepared.target == *context.target;
        let template = if current {
            prepared.template.clone()
        } else {
            FINGERPRINT.with_borrow_mut(|print| {
                fingerprint(&prepared.text, context.sql_mode, print);
                self.template(catalog, context, &prepared.text, print)
            })?
        };
        let values = Values {
            sql: &prepared.text,
            slots: &prepared.slots,
            modes: context.sql_mode,
            binds: Some(values),
        };
        template.plan(context, &values)
    }

    /// What is counted of the statements that are planned.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Where a statement that has no plan is counted.
    pub fn recorded(&self, context: &PlanContext<'_>, sql: &[u8]) -> Option<Arc<Recorded>> {
        self.recorder.kind(context.target, sql, context.sql_mode)
    }

    fn template(
        &self,
        catalog: &Catalog,
        context: &PlanContext<'_>,
        sql: &[u8],
        print: &Fingerprint,
    ) -> Result<Arc<Template>, SqlError> {
        let key = Key {
            fingerprint: &print.text,
            target: context.target,
            modes: context.sql_mode,
        };
        let revision = catalog.revision();
        if !print.unkept
            && let Some(template) = self.cache.get(revision, key)
        {
            return Ok(template);
        }
        let statement = Statement::new(sql, context.sql_mode);
        let mut template = build::build(&statement, context, catalog)?;
        template.recorded = self.recorded(context, sql);
        let template = Arc::new(template);
        // What the gate does itself may have values within.
        let whole = matches!(template.kind, TemplateKind::Gate(_)) && !print.slots.is_empty();
        if !print.unkept && !whole {
            self.cache.put(revision, key, template.clone());
        }
        Ok(template)
    }
}
