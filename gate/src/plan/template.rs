//! Plans that are complete but for the values: what the cache keeps.

use std::sync::Arc;

use super::catalog::{Keyspace, Table};
use super::grammar::ValueExpr;
use super::insert::InsertTemplate;
use super::literal::Scalar;
use super::record::Recorded;
use super::rewrite::Rewrite;
use super::route::{KeySet, Shards, Values};
use super::touches::Touches;
use super::types::{
    Action, GateStatement, PlanContext, Props, QueryPlan, Scatter, ShardId, ShardSql, Sql, SqlError,
};
use vtplan_state::model::{KeyspaceName, TabletType};

/// A statement's plan as a function of its values.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub props: Props,
    pub tablet_type: TabletType,
    pub rewrite: Rewrite,
    pub touches: Arc<Touches>,
    /// Where its statements are counted.
    pub recorded: Option<Arc<Recorded>>,
    pub kind: TemplateKind,
}

#[derive(Debug, Clone)]
pub(super) enum TemplateKind {
    Gate(GateStatement),
    /// To one shard, whatever the values are.
    Single(Arc<ShardId>),
    /// To every shard.
    Ddl(Arc<Keyspace>),
    Routed(Routed),
    Insert(Arc<InsertTemplate>),
}

impl TemplateKind {
    /// The keyspace that it goes to; `None` for what the gate does itself.
    pub(super) fn keyspace(&self) -> Option<&KeyspaceName> {
        Some(match self {
            Self::Gate(_) => return None,
            Self::Single(shard) => &shard.keyspace,
            Self::Ddl(keyspace) => &keyspace.name,
            Self::Routed(routed) => &routed.keyspace.name,
            Self::Insert(insert) => &insert.keyspace().name,
        })
    }
}

/// A statement over tables of one sharded keyspace.
#[derive(Debug, Clone)]
pub(super) struct Routed {
    pub keyspace: Arc<Keyspace>,
    /// Groups of tables that are joined by their sharding columns, each with what restricts it.
    pub groups: Vec<Group>,
    /// What is needed to run it on several shards, or the construct that forbids it.
    pub several: Result<Several, String>,
}

#[derive(Debug, Clone)]
pub(super) enum Group {
    Keys(KeySet),
    Shard(usize),
    /// Nothing says where its rows are. With one of its tables.
    Unrestricted(Option<Arc<Table>>),
}

#[derive(Debug, Clone)]
pub(super) enum Several {
    Rows { limit: Option<ValueExpr> },
    Dml,
}

impl Template {
    pub(super) fn plan(
        &self,
        context: &PlanContext<'_>,
        values: &Values<'_>,
    ) -> Result<QueryPlan, SqlError> {
        let action = match &self.kind {
            TemplateKind::Gate(statement) => Action::Gate(Box::new(statement.clone())),
            TemplateKind::Single(shard) => Action::Single(ShardSql {
                shard: shard.clone(),
                sql: self.rewrite.sql(context, values.sql),
            }),
            TemplateKind::Ddl(keyspace) => {
                let sql = self.rewrite.sql(context, values.sql);
                match keyspace.shards.as_slice() {
                    [] => return Err(keyspace.not_serving()),
                    [shard] => Action::Single(ShardSql {
                        shard: shard.clone(),
                        sql,
                    }),
                    shards => Action::Ddl(parts(shards.iter(), &sql)),
                }
            }
            TemplateKind::Routed(routed) => {
                let sql = self.rewrite.sql(context, values.sql);
                routed.plan(sql, values)?
            }
            TemplateKind::Insert(insert) => insert.plan(self, context, values)?,
        };
        Ok(QueryPlan {
            props: self.props,
            tablet_type: self.tablet_type,
            touches: self.touches.clone(),
            recorded: self.recorded.clone(),
            action,
        })
    }

    /// Where a statement may be prepared to learn about its columns.
    pub(super) fn describe_at(&self) -> Option<&Arc<ShardId>> {
        match &self.kind {
            TemplateKind::Gate(_) => None,
            TemplateKind::Single(shard) => Some(shard),
            TemplateKind::Ddl(keyspace) => keyspace.shards.first(),
            TemplateKind::Routed(routed) => routed.keyspace.shards.first(),
            TemplateKind::Insert(insert) => insert.keyspace().shards.first(),
        }
    }
}

fn parts<'a>(shards: impl Iterator<Item = &'a Arc<ShardId>>, sql: &Sql) -> Vec<ShardSql> {
    shards
        .map(|shard| ShardSql {
            shard: shard.clone(),
            sql: sql.clone(),
        })
        .collect()
}

impl Routed {
    fn plan(&self, sql: Sql, values: &Values<'_>) -> Result<Action, SqlError> {
        let shards = &self.keyspace.shards;
        let found = self.shards(values);
        let single = |at: usize, sql| {
            let shard = shards.get(at).ok_or_else(|| self.keyspace.not_serving())?;
            Ok(Action::Single(ShardSql {
                shard: shard.clone(),
                sql,
            }))
        };
        // With one shard there is nothing to combine.
        if shards.len() <= 1 {
            return single(0, sql);
        }
        let several = match found {
            Found::One(at) => return single(at, sql),
            Found::Several(several) => several,
            Found::Apart => {
                let several = self.several.as_ref().err().map(String::as_str);
                return Err(SqlError::unsupported(
                    several.unwrap_or("a statement whose tables are on different shards"),
                ));
            }
        };
        let chosen: Vec<&Arc<ShardId>> = match several {
            Shards::All => shards.iter().collect(),
            Shards::Some(list) => list.iter().map(|at| &shards[*at]).collect(),
        };
        match &self.several {
            Err(construct) => Err(SqlError::unsupported(construct)),
            Ok(Several::Dml) => Ok(Action::Dml(parts(chosen.into_iter(), &sql))),
            Ok(Several::Rows { limit }) => Ok(Action::Scatter(Scatter {
                parts: parts(chosen.into_iter(), &sql),
                limit: limit.map(|limit| row_count(values, limit)).transpose()?,
            })),
        }
    }

    fn shards(&self, values: &Values<'_>) -> Found {
        let mut found: Option<Shards> = None;
        let mut apart = false;
        for group in &self.groups {
            let shards = match group {
                Group::Keys(keys) => keys.shards(&self.keyspace, values),
                Group::Shard(at) => Shards::Some(vec![*at]),
                Group::Unrestricted(_) => Shards::All,
            };
            // No row matches: any shard can say so.
            let shards = match shards {
                Shards::Some(list) if list.is_empty() => Shards::Some(vec![0]),
                other => other,
            };
            match &found {
                None => found = Some(shards),
                Some(first)
                    if *first == shards && matches!(&shards, Shards::Some(l) if l.len() == 1) => {}
                Some(_) => apart = true,
            }
        }
        match found {
            _ if apart => Found::Apart,
            None => Found::One(0),
            Some(Shards::Some(list)) if list.len() == 1 => Found::One(list[0]),
            Some(several) => Found::Several(several),
        }
    }
}

enum Found {
    One(usize),
    Several(Shards),
    /// Tables that are not joined by their sharding columns, on more than one shard.
    Apart,
}

fn row_count(values: &Values<'_>, limit: ValueExpr) -> Result<u64, SqlError> {
    match values.get(limit) {
        Some(Scalar::Int(n)) if n >= 0 => Ok(n.unsigned_abs()),
        Some(Scalar::UInt(n)) => Ok(n),
        // While preparing: any number will do.
        None => Ok(0),
        _ => Err(SqlError::new(1210, "HY000", "Incorrect arguments to LIMIT")),
    }
}
