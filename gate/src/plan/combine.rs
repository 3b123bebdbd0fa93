//! From what was found in a statement to where it goes: tables that are together make a group,
//! and a group's restrictions say on which shards its rows are.

use std::sync::Arc;

use super::analyze::{Analysis, Equal, Found, Relation};
use super::catalog::{Keyspace, TableKind};
use super::grammar::ValueExpr;
use super::lookup::LookupKeys;
use super::route::KeySet;
use super::template::{Group, Routed, Several};
use super::types::SqlError;

/// Of more combinations of values than this no use is made.
const MAX_TUPLES: usize = 1000;

impl Analysis {
    /// The keyspace of all tables; `None` if there are none but the server's own.
    pub(super) fn keyspace(&self) -> Result<Option<&Arc<Keyspace>>, SqlError> {
        let mut keyspace: Option<&Arc<Keyspace>> = None;
        for table in &self.tables {
            let Found::Table(found) = &table.found else {
                continue;
            };
            match keyspace {
                Some(first) if first.name != found.keyspace.name => {
                    return Err(SqlError::unsupported(format!(
                        "a statement over keyspaces `{}` and `{}`",
                        first.name, found.keyspace.name
                    )));
                }
                _ => keyspace = Some(&found.keyspace),
            }
        }
        Ok(keyspace)
    }

    /// The route, for tables of one sharded keyspace.
    pub(super) fn route(&self, keyspace: &Arc<Keyspace>) -> Result<Routed, SqlError> {
        let roots = self.roots();
        let mut groups = Vec::new();
        let mut members: Vec<(usize, usize)> = Vec::new();
        for (table, root) in roots.iter().enumerate() {
            if let Some(root) = root {
                members.push((*root, table));
            }
        }
        let mut order: Vec<usize> = members.iter().map(|(root, _)| *root).collect();
        order.sort_unstable();
        order.dedup();
        for root in &order {
            groups.push(self.group(*root, keyspace)?);
        }
        Ok(Routed {
            keyspace: keyspace.clone(),
            groups,
            several: self.several(&order, &roots),
        })
    }

    /// For each spread table the class of its group: the tables it is together with, or follows.
    fn roots(&self) -> Vec<Option<usize>> {
        let classes = self.classes();
        let followed = |class: usize| {
            self.equals.iter().find_map(|e| {
                let (a, b) = (classes[e.a.0]?, classes[e.b.0]?);
                (a == class && b != class && e.relation != Relation::Together && self.is_whole(e))
                    .then_some(b)
            })
        };
        (0..self.tables.len())
            .map(|table| {
                let mut class = classes[table]?;
                // Longer than this it goes in circles.
                for _ in 0..self.tables.len() {
                    match followed(class) {
                        Some(next) => class = next,
                        None => break,
                    }
                }
                Some(class)
            })
            .collect()
    }

    /// For each spread table the lowest one that it is together with.
    fn classes(&self) -> Vec<Option<usize>> {
        let mut classes: Vec<Option<usize>> = (0..self.tables.len())
            .map(|at| self.tables[at].spread().map(|_| at))
            .collect();
        for equal in &self.equals {
            // What WHERE demands of an optional table makes the outer join an inner one.
            let restricted = |table| {
                self.restrictions
                    .iter()
                    .any(|r| r.holds && r.table == table)
            };
            let together = match equal.relation {
                Relation::Together => true,
                Relation::Optional => restricted(equal.a.0),
                Relation::Subquery => false,
            };
            let (Some(a), Some(b)) = (classes[equal.a.0], classes[equal.b.0]) else {
                continue;
            };
            if together && self.is_whole(equal) {
                let (low, high) = (a.min(b), a.max(b));
                for class in classes.iter_mut().filter(|c| **c == Some(high)) {
                    *class = Some(low);
                }
            }
        }
        classes
    }

    /// Whether all sharding columns of the two tables are equal, under the same vindex.
    fn is_whole(&self, equal: &Equal) -> bool {
        let primary = |table: usize| {
            let found = self.tables[table].spread()?;
            found.table.as_ref()?.primary_vindex.as_ref()
        };
        let (Some(a), Some(b)) = (primary(equal.a.0), primary(equal.b.0)) else {
            return false;
        };
        let same = Arc::ptr_eq(&a.vindex, &b.vindex)
            || format!("{:?}", a.vindex) == format!("{:?}", b.vindex);
        same && (0..a.columns.len()).all(|column| {
            self.equals.iter().any(|e| {
                let pair = (e.a.0, e.b.0);
                let one_way = pair == (equal.a.0, equal.b.0);
                let other = pair == (equal.b.0, equal.a.0) && e.relation == Relation::Together;
                (one_way || other)
                    && e.a.1 == column
                    && e.b.1 == column
                    && (e.relation == Relation::Together || e.relation == equal.relation)
            })
        })
    }

    fn group(&self, root: usize, keyspace: &Keyspace) -> Result<Group, SqlError> {
        let classes = self.classes();
        let mut best: Option<KeySet> = None;
        for (table, class) in classes.iter().enumerate() {
            if *class != Some(root) {
                continue;
            }
            let Some(of) = self.tables[table].spread().and_then(|f| f.table.as_ref()) else {
                continue;
            };
            if let TableKind::Pinned(id) = &of.kind {
                let at = keyspace.shard_index(id);
                return Ok(Group::Shard(at.ok_or_else(|| keyspace.not_serving())?));
            }
            let Some(primary) = &of.primary_vindex else {
                continue;
            };
            let takes = |columns: usize| {
                columns == primary.columns.len() || primary.vindex.takes_prefix() && columns > 0
            };
            let positions: Vec<usize> = (0..primary.columns.len()).collect();
            let tuples = self.tuples(table, &positions);
            let Some((columns, tuples)) = tuples.filter(|(columns, _)| takes(*columns)) else {
                continue;
            };
            let better = best.as_ref().is_none_or(|b| tuples.len() < b.tuples.len());
            if better {
                best = Some(KeySet {
                    table: of.clone(),
                    vindex: primary.vindex.clone(),
                    classes: primary.columns[..columns]
                        .iter()
                        .map(|c| of.class_of(c))
                        .collect(),
                    tuples,
                });
            }
        }
        // A lookup is asked when nothing computes the shard.
        let whole = |keys: &KeySet| keys.classes.len() == keys.vindex.columns();
        if !best.as_ref().is_some_and(whole)
            && let Some(lookup) = self.lookup(root, &classes)
            && (lookup.is_unique() || best.is_none())
        {
            return Ok(Group::Lookup(lookup));
        }
        let table = || {
            let found = self.tables[root].spread();
            Group::Unrestricted(found.and_then(|f| f.table.clone()))
        };
        Ok(best.map_or_else(table, Group::Keys))
    }

    /// The best lookup whose columns are given for a table of a group: unique ones first, then those
    /// with the fewest values.
    fn lookup(&self, root: usize, classes: &[Option<usize>]) -> Option<LookupKeys> {
        let mut best: Option<LookupKeys> = None;
        for (table, class) in classes.iter().enumerate() {
            if *class != Some(root) {
                continue;
            }
            let Some(of) = self.tables[table].spread().and_then(|f| f.table.as_ref()) else {
                continue;
            };
            for lookup in &of.lookups {
                let Some(definition) = lookup.readable() else {
                    continue;
                };
                let positions = lookup.columns.iter().map(|c| of.vindex_column(c));
                let positions: Option<Vec<usize>> = positions.collect();
                let given = positions.and_then(|positions| self.tuples(table, &positions));
                let Some((columns, tuples)) = given else {
                    continue;
                };
                // A row with a NULL behind the columns that are given is not in it.
                if columns < lookup.columns.len() && definition.ignore_nulls {
                    continue;
                }
                let keys = LookupKeys {
                    lookup: lookup.clone(),
                    columns,
                    tuples,
                };
                let rank = |keys: &LookupKeys| (!keys.is_unique(), keys.tuples.len());
                if best.as_ref().is_none_or(|best| rank(&keys) < rank(best)) {
                    best = Some(keys);
                }
            }
        }
        best
    }

    /// The values that the first of some columns of a table, given by position, may have: how many
    /// columns, and tuples.
    fn tuples(&self, table: usize, columns: &[usize]) -> Option<(usize, Vec<Vec<ValueExpr>>)> {
        let restrictions = || self.restrictions.iter().filter(move |r| r.table == table);
        let mut product: Vec<Vec<ValueExpr>> = vec![Vec::new()];
        let mut known = 0;
        for column in columns {
            let single = restrictions()
                .filter(|r| r.columns == [*column])
                .min_by_key(|r| r.tuples.len());
            let Some(single) = single else {
                break;
            };
            if product.len() * single.tuples.len() > MAX_TUPLES {
                break;
            }
            product = product
                .iter()
                .flat_map(|start| {
                    single.tuples.iter().map(move |value| {
                        let mut tuple = start.clone();
                        tuple.extend(value);
                        tuple
                    })
                })
                .collect();
            known += 1;
        }
        // A list of rows that has more of the columns is better.
        for rows in restrictions().filter(|r| r.columns.len() > 1) {
            let has = |column: usize| rows.columns.iter().position(|c| *c == column);
            let given = columns.iter().map_while(|c| has(*c));
            let given: Vec<usize> = given.collect();
            if given.len() > known {
                known = given.len();
                product = rows
                    .tuples
                    .iter()
                    .map(|row| given.iter().map(|i| row[*i]).collect())
                    .collect();
            }
        }
        (known > 0).then_some((known, product))
    }

    /// Whether the statement may run on several shards, each for itself.
    fn several(&self, groups: &[usize], roots: &[Option<usize>]) -> Result<Several, String> {
        let name = |root: usize| {
            let found = self.tables[root].spread();
            found.map_or_else(|| self.tables[root].alias.clone(), |f| f.name.clone())
        };
        let table = groups.first().map(|root| name(*root)).unwrap_or_default();
        let over = |construct: &str| Err(format!("{construct} over several shards of `{table}`"));
        if let Some(construct) = self.constructs.first() {
            return over(construct);
        }
        if let [first, second, ..] = groups {
            return Err(format!(
                "`{}` and `{}` in one statement without equal sharding columns",
                name(*first),
                name(*second)
            ));
        }
        let outermost = self
            .tables
            .iter()
            .any(|t| t.outermost && t.spread().is_some());
        if !outermost && !groups.is_empty() {
            return over("a subquery");
        }
        if self.tables.iter().any(|t| matches!(t.found, Found::System)) && !groups.is_empty() {
            return over("a table of the server beside others");
        }
        if let Some((construct, columns)) = &self.grouped {
            let whole = (0..self.tables.len()).any(|at| {
                let of = self.tables[at].spread().and_then(|f| f.table.as_ref());
                let primary = of.and_then(|t| t.primary_vindex.as_ref());
                roots[at] == groups.first().copied()
                    && self.tables[at].outermost
                    && self.classes()[at] == roots[at]
                    && primary
                        .is_some_and(|p| (0..p.columns.len()).all(|c| columns.contains(&(at, c))))
            });
            if !whole {
                return over(construct);
            }
        }
        Ok(if self.written {
            Several::Dml
        } else {
            Several::Rows { limit: self.limit }
        })
    }
}
