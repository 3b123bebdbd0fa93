//! Where statements of a kind go, whatever their values are: the planner's own answer, for a catalog
//! that need not be served by any gate.
//!
//! A kind is asked about by its name (see [`super::normalize`]), which has no values. A value that is
//! not known is taken to be of its column's type. So the answer is what the gate does with all of them;
//! where it does one thing or another depending on values, that is an answer of its own
//! ([`Route::OneShardOrRefused`]).

use std::sync::Arc;

use vtplan_state::model::KeyspaceName;

use super::analyze::analyze;
use super::build;
use super::catalog::{Catalog, Keyspace, Table};
use super::gate_statement;
use super::grammar::{Parsed, ValueExpr};
use super::insert::{InsertShape, InsertTemplate};
use super::literal::{self, ColumnClass, Key};
use super::route::{KeySet, Values};
use super::scan::{Fingerprint, Kind, Lexer, fingerprint};
use super::statement::{Statement, Verb};
use super::template::{Group, Routed, Several, TemplateKind};
use super::types::{BindValue, PlanContext, SqlError, SqlModes, Target};

/// What the gate does with the statements of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// It answers by itself: transactions, SET, some of SHOW.
    Gate,
    /// One server answers, and any shard's would.
    AnyShard {
        keyspace: KeyspaceName,
    },
    /// The one shard of the keyspace.
    Unsharded {
        keyspace: KeyspaceName,
    },
    /// One of several shards.
    OneShard {
        keyspace: KeyspaceName,
        /// What tells which: `customer.customer_id`.
        by: String,
        /// The lookup vindex that is asked for it.
        lookup: Option<String>,
    },
    /// The shards of several values: one at least, all at most.
    SomeShards {
        keyspace: KeyspaceName,
        by: String,
        lookup: Option<String>,
        writes: bool,
    },
    /// Every shard.
    AllShards {
        keyspace: KeyspaceName,
        shards: usize,
        writes: bool,
        /// Why not fewer.
        why: String,
    },
    /// One shard when all values are of one, else it is refused.
    OneShardOrRefused {
        keyspace: KeyspaceName,
        /// What cannot be done over several.
        construct: String,
    },
    Refused {
        errno: u16,
        message: String,
    },
}

/// The route of the statements of a kind for sessions with this target. `kind` is what
/// [`super::normalize::normalize`] gives. Pure; about 20 µs for a short statement.
pub fn route_of(catalog: &Catalog, target: &Target, kind: &str) -> Route {
    explain(catalog, target, kind).unwrap_or_else(|error| Route::Refused {
        errno: error.errno,
        message: error.message,
    })
}

fn explain(catalog: &Catalog, target: &Target, kind: &str) -> Result<Route, SqlError> {
    let context = PlanContext::new(target);
    // The gate's own statements have values where others may have parameters.
    let valued = with_values(kind, true);
    let statement = Statement::new(valued.as_bytes(), SqlModes::default());
    if gate_statement::parse(&statement, target.shard.is_some())?.is_some() {
        return Ok(Route::Gate);
    }
    let sql = with_values(kind, false);
    let statement = Statement::new(sql.as_bytes(), SqlModes::default());
    let template = build::build(&statement, &context, catalog)?;
    let mut print = Fingerprint::default();
    fingerprint(sql.as_bytes(), SqlModes::default(), &mut print);
    let params = print.slots.iter().filter(|s| s.kind == Kind::Param).count();
    // Written to any column but dates and the like, a whole number says where its row goes.
    let binds = vec![BindValue::Int(1); params];
    let values = Values {
        sql: sql.as_bytes(),
        slots: &print.slots,
        modes: SqlModes::default(),
        binds: Some(&binds),
    };
    match &template.kind {
        TemplateKind::Gate(_) => Ok(Route::Gate),
        TemplateKind::Single(shard) => {
            let name = shard.keyspace.as_str();
            let keyspace = catalog.require_keyspace(name, target.tablet_type)?;
            Ok(match (&target.shard, keyspace.shards.len()) {
                (_, ..=1) => unsharded(keyspace),
                (Some(shard), _) => Route::OneShard {
                    keyspace: keyspace.name.clone(),
                    by: format!("the session's target, `{shard}`"),
                    lookup: None,
                },
                (None, _) => any(keyspace),
            })
        }
        TemplateKind::Ddl(keyspace) => Ok(match keyspace.shards.len() {
            0 => return Err(keyspace.not_serving()),
            1 => unsharded(keyspace),
            shards => Route::AllShards {
                keyspace: keyspace.name.clone(),
                shards,
                writes: true,
                why: "it changes the schema".to_owned(),
            },
        }),
        TemplateKind::Routed(routed) => routed_to(routed, &values),
        TemplateKind::Insert(insert) => inserted(insert, &values),
    }
}

/// The kind's text with a `1` in each string, and, where that is asked for, for each `?`.
fn with_values(kind: &str, numbers: bool) -> String {
    let mut text = String::with_capacity(kind.len());
    let mut end = 0;
    for token in Lexer::new(kind.as_bytes(), SqlModes::default()) {
        let value = match token.kind {
            Kind::String => "'1'",
            Kind::Param if numbers => "1",
            _ => continue,
        };
        text.push_str(&kind[end..token.start]);
        text.push_str(value);
        end = token.end;
    }
    text.push_str(&kind[end..]);
    text
}

fn any(keyspace: &Keyspace) -> Route {
    Route::AnyShard {
        keyspace: keyspace.name.clone(),
    }
}

fn unsharded(keyspace: &Keyspace) -> Route {
    Route::Unsharded {
        keyspace: keyspace.name.clone(),
    }
}

/// Where the rows of a group of tables are.
enum Place {
    Any,
    One(By),
    Some(By),
    All(String),
}

/// What tells a shard.
struct By {
    text: String,
    lookup: Option<String>,
}

impl From<String> for By {
    fn from(text: String) -> Self {
        Self { text, lookup: None }
    }
}

fn routed_to(routed: &Routed, values: &Values<'_>) -> Result<Route, SqlError> {
    let keyspace = &routed.keyspace;
    match keyspace.shards.len() {
        0 => return Err(keyspace.not_serving()),
        1 => return Ok(unsharded(keyspace)),
        _ => {}
    }
    let name = keyspace.name.clone();
    let writes = matches!(routed.several, Ok(Several::Dml));
    let mut places: Vec<Place> = routed.groups.iter().map(|g| place(g, values)).collect();
    let all = places.iter().any(|p| matches!(p, Place::All(_)));
    match (places.pop(), places.is_empty(), &routed.several) {
        (None | Some(Place::Any), true, _) => Ok(any(keyspace)),
        (Some(Place::One(by)), true, _) => Ok(Route::OneShard {
            keyspace: name,
            by: by.text,
            lookup: by.lookup,
        }),
        (Some(Place::Some(by)), true, Ok(_)) => Ok(Route::SomeShards {
            keyspace: name,
            by: by.text,
            lookup: by.lookup,
            writes,
        }),
        (Some(Place::All(why)), true, Ok(_)) => Ok(Route::AllShards {
            keyspace: name,
            shards: keyspace.shards.len(),
            writes,
            why,
        }),
        (_, _, Err(construct)) if all => Err(SqlError::unsupported(construct)),
        (_, _, several) => {
            Ok(Route::OneShardOrRefused {
                keyspace: name,
                construct: several.as_ref().err().cloned().unwrap_or_else(|| {
                    "a statement whose tables are on different shards".to_owned()
                }),
            })
        }
    }
}

fn place(group: &Group, values: &Values<'_>) -> Place {
    match group {
        Group::Shard(_) => Place::One(
            "the keyspace id that its table is pinned to"
                .to_owned()
                .into(),
        ),
        Group::Keys(keys) => keyed(keys, values),
        Group::Lookup(keys) => {
            let by = By {
                text: format!("lookup `{}`", keys.lookup.name),
                lookup: Some(keys.lookup.name.clone()),
            };
            match keys.tuples.as_slice() {
                [] => Place::Any,
                [_] if keys.is_unique() => Place::One(by),
                _ => Place::Some(by),
            }
        }
        Group::Unrestricted(Some(table)) => Place::All(unrestricted(table)),
        Group::Unrestricted(None) => Place::All("nothing in it tells the shard".to_owned()),
    }
}

fn unrestricted(table: &Table) -> String {
    match (&table.primary_vindex, &table.vindex_error) {
        (Some(primary), _) => format!(
            "its conditions do not tell the `{}` of `{}`",
            primary.columns.join("`, `"),
            table.name
        ),
        (None, Some(error)) => format!("`{}` cannot be routed: {error}", table.name),
        (None, None) => format!("`{}` has no vindex to route by", table.name),
    }
}

fn keyed(keys: &KeySet, values: &Values<'_>) -> Place {
    let columns = keys.columns();
    let by = format!("{}.{}", keys.table.name, columns.join(", "));
    let unclear = keys.tuples.iter().any(|tuple| {
        let mut parts = tuple.iter().zip(&keys.classes);
        parts.any(|(value, class)| is_unclear(*value, *class, values))
    });
    if unclear {
        return Place::All(format!(
            "a value of `{by}` may be spelled in several ways, so the vindex cannot be asked"
        ));
    }
    let whole = columns.len() == keys.vindex.columns();
    match keys.tuples.as_slice() {
        [] => Place::Any,
        [_] if whole => Place::One(by.into()),
        _ => Place::Some(by.into()),
    }
}

/// Whether the vindex cannot be asked, for whatever value of the column's type.
fn is_unclear(value: ValueExpr, class: ColumnClass, values: &Values<'_>) -> bool {
    if let ValueExpr::Slot { index, .. } = value
        && values
            .slots
            .get(index)
            .is_some_and(|s| s.kind == Kind::Param)
    {
        return class == ColumnClass::Other;
    }
    let scalar = values.get(value);
    scalar.is_none_or(|scalar| literal::key(scalar, class, false) == Key::Unclear)
}

fn inserted(insert: &Arc<InsertTemplate>, values: &Values<'_>) -> Result<Route, SqlError> {
    let keyspace = insert.keyspace();
    let name = keyspace.name.clone();
    insert.check(values)?;
    if keyspace.shards.len() <= 1 {
        return Ok(unsharded(keyspace));
    }
    let by = insert.by();
    Ok(if insert.may_be_split() {
        Route::SomeShards {
            keyspace: name,
            by,
            lookup: None,
            writes: true,
        }
    } else {
        Route::OneShard {
            keyspace: name,
            by,
            lookup: None,
        }
    })
}

/// The tables that the statements of a kind name, where they lead by the catalog's rules. Empty where that
/// cannot be read, as of statements that are neither queries nor changes of rows.
pub fn tables_of(catalog: &Catalog, target: &Target, kind: &str) -> Vec<(KeyspaceName, String)> {
    let sql = with_values(kind, false);
    let statement = Statement::new(sql.as_bytes(), SqlModes::default());
    let found = match statement.verb() {
        Verb::Query | Verb::Update | Verb::Delete => {
            let parsed = Parsed::new(&statement, 0, statement.tokens.len());
            let context = PlanContext::new(target);
            let analysis =
                parsed.and_then(|parsed| analyze(&parsed, &statement, catalog, &context));
            analysis.map(|analysis| analysis.found_tables().cloned().collect())
        }
        Verb::Insert => InsertShape::new(&statement).and_then(|shape| {
            let qualifier = shape.table.qualifier.as_deref();
            let session = target.keyspace.as_ref();
            let name = &shape.table.name;
            let found = catalog.find_table(qualifier, name, session, target.tablet_type);
            found.map(|found| vec![found])
        }),
        _ => return Vec::new(),
    };
    let tables = found.unwrap_or_default().into_iter();
    tables.map(|f| (f.keyspace.name.clone(), f.name)).collect()
}
