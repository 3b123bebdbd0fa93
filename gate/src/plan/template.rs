//! Plans that are complete but for the values: what the cache keeps.

use std::sync::Arc;

use super::catalog::{Keyspace, Table};
use super::grammar::ValueExpr;
use super::insert::InsertTemplate;
use super::literal::Scalar;
use super::lookup::{LookupKeys, LookupRead, OwnedTemplate, Unresolved};
use super::record::Recorded;
use super::rewrite::Rewrite;
use super::route::{KeySet, Shards, Values};
use super::text::Text;
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
    /// The shards of the lookups that it asks or keeps.
    pub beside: Option<Arc<[Arc<ShardId>]>>,
    /// What it means for the lookups that its table owns; of UPDATE and DELETE.
    pub owned: Option<Arc<OwnedTemplate>>,
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
    /// A lookup must be asked.
    Lookup(LookupKeys),
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
                let action = routed.plan(sql, values)?;
                match &self.owned {
                    None => action,
                    Some(owned) => {
                        let text = Text::new(&self.rewrite, context, values);
                        let write = owned.plan(action, &routed.keyspace, &text)?;
                        Action::Owned(Box::new(write))
                    }
                }
            }
            TemplateKind::Insert(insert) => insert.plan(self, context, values)?,
        };
        Ok(QueryPlan {
            props: self.props,
            tablet_type: self.tablet_type,
            touches: self.touches.clone(),
            recorded: self.recorded.clone(),
            beside: self.beside.clone(),
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
        let limit = || match &self.several {
            Ok(Several::Rows { limit: Some(limit) }) => row_count(values, *limit).map(Some),
            _ => Ok(None),
        };
        // With one shard there is nothing to find out.
        let one = self.keyspace.shards.len() <= 1;
        if !one && self.groups.iter().any(|g| matches!(g, Group::Lookup(_))) {
            return self.ask(sql, values, limit()?);
        }
        let groups = self.groups.iter().map(|g| self.shards_of(g, values));
        finish(&self.keyspace, groups, &self.several, limit, &sql)
    }

    fn shards_of(&self, group: &Group, values: &Values<'_>) -> Shards {
        match group {
            Group::Keys(keys) => keys.shards(&self.keyspace, values),
            Group::Shard(at) => Shards::Some(vec![*at]),
            Group::Lookup(_) | Group::Unrestricted(_) => Shards::All,
        }
    }

    /// What lookups must say first.
    fn ask(&self, sql: Sql, values: &Values<'_>, limit: Option<u64>) -> Result<Action, SqlError> {
        let mut queries = Vec::new();
        let groups = self.groups.iter().map(|group| match group {
            Group::Lookup(keys) => match keys.query(values) {
                Some(query) => {
                    queries.push(query);
                    None
                }
                None => Some(Shards::All),
            },
            other => Some(self.shards_of(other, values)),
        });
        let groups = groups.collect();
        Ok(Action::Lookup(Box::new(LookupRead {
            queries,
            rest: Unresolved {
                keyspace: self.keyspace.clone(),
                groups,
                several: self.several.clone(),
                limit,
                sql,
            },
        })))
    }
}

/// Where a statement goes, when the shards of each group of its tables are known.
pub(super) fn finish(
    keyspace: &Keyspace,
    groups: impl Iterator<Item = Shards>,
    how: &Result<Several, String>,
    limit: impl FnOnce() -> Result<Option<u64>, SqlError>,
    sql: &Sql,
) -> Result<Action, SqlError> {
    let shards = &keyspace.shards;
    let single = |at: usize| {
        let shard = shards.get(at).ok_or_else(|| keyspace.not_serving())?;
        Ok(Action::Single(ShardSql {
            shard: shard.clone(),
            sql: sql.clone(),
        }))
    };
    // With one shard there is nothing to combine.
    if shards.len() <= 1 {
        return single(0);
    }
    let several = match found(groups) {
        Found::One(at) => return single(at),
        Found::Several(several) => several,
        Found::Apart => {
            let construct = how.as_ref().err().map(String::as_str);
            return Err(SqlError::unsupported(
                construct.unwrap_or("a statement whose tables are on different shards"),
            ));
        }
    };
    let chosen: Vec<&Arc<ShardId>> = match several {
        Shards::All => shards.iter().collect(),
        Shards::Some(list) => list.iter().map(|at| &shards[*at]).collect(),
    };
    match how {
        Err(construct) => Err(SqlError::unsupported(construct)),
        Ok(Several::Dml) => Ok(Action::Dml(parts(chosen.into_iter(), sql))),
        Ok(Several::Rows { .. }) => Ok(Action::Scatter(Scatter {
            parts: parts(chosen.into_iter(), sql),
            limit: limit()?,
        })),
    }
}

fn found(groups: impl Iterator<Item = Shards>) -> Found {
    let mut found: Option<Shards> = None;
    let mut apart = false;
    for shards in groups {
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
