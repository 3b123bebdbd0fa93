//! The shapes of listings. Field names are written with underscores by `vtctldclient` and without by
//! other gRPC clients; enums as numbers or as names; fields that are not set may be there with a null.

use serde_json::{Map, Value};
use vtplan_state::model::VSchemaKeyspace;

use super::{ImportError, Text};

/// A tablet as far as a spec is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tablet {
    pub alias: String,
    pub cell: String,
    pub keyspace: String,
    pub shard: String,
    /// In capitals: `PRIMARY`, `REPLICA`, ...
    pub tablet_type: String,
}

/// A shard: whether its primary serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub name: String,
    pub serving: bool,
}

/// Names of tablet types, by their numbers.
const TYPES: [&str; 9] = [
    "UNKNOWN",
    "PRIMARY",
    "REPLICA",
    "RDONLY",
    "SPARE",
    "EXPERIMENTAL",
    "BACKUP",
    "RESTORE",
    "DRAINED",
];

pub fn json(text: &Text) -> Result<Value, ImportError> {
    serde_json::from_slice(&text.text).map_err(|error| {
        let file = text.name.clone();
        if error.is_eof() && !text.text.trim_ascii().is_empty() {
            let lines = text.text.iter().filter(|&&byte| byte == b'\n').count();
            return ImportError::CutOff { file, lines };
        }
        let why = if text.text.trim_ascii().is_empty() {
            "it is empty".to_owned()
        } else {
            error.to_string()
        };
        ImportError::NotJson { file, why }
    })
}

/// A field under either of its names.
fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = map.get(name).or_else(|| {
        let mut camel = String::new();
        for part in name.split('_') {
            match part.chars().next() {
                Some(first) if !camel.is_empty() => {
                    camel.push(first.to_ascii_uppercase());
                    camel.push_str(&part[first.len_utf8()..]);
                }
                _ => camel.push_str(part),
            }
        }
        map.get(&camel)
    });
    found.filter(|value| !value.is_null())
}

fn text_of<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    field(map, name)?.as_str().filter(|text| !text.is_empty())
}

/// The list in a listing: alone, or in an object under `name`.
fn list<'a>(value: &'a Value, name: &str) -> Option<&'a Vec<Value>> {
    value.as_array().or_else(|| value.get(name)?.as_array())
}

pub fn tablets(text: &Text) -> Result<Vec<Tablet>, ImportError> {
    let command = "vtctldclient GetTablets --format json";
    let unexpected = |why: String| ImportError::Unexpected {
        file: text.name.clone(),
        command,
        why,
    };
    let value = json(text)?;
    let items = list(&value, "tablets").ok_or_else(|| unexpected("it is no list".to_owned()))?;
    let tablet = |(number, item): (usize, &Value)| {
        let item = item.as_object();
        // VTAdmin puts a tablet into an object with its cluster and state.
        let item = item.map(|item| {
            item.get("tablet")
                .and_then(Value::as_object)
                .unwrap_or(item)
        });
        let lacks = |what: &str| unexpected(format!("its tablet {} has no {what}", number + 1));
        let item = item.ok_or_else(|| lacks("fields"))?;
        let alias = field(item, "alias").and_then(Value::as_object);
        let alias = alias.ok_or_else(|| lacks("alias with a cell and a uid"))?;
        let cell = text_of(alias, "cell").ok_or_else(|| lacks("cell"))?;
        let uid = field(alias, "uid").and_then(Value::as_u64);
        let number = field(item, "type").and_then(Value::as_u64);
        let by_number = number.and_then(|n| TYPES.get(usize::try_from(n).ok()?));
        let tablet_type = match (by_number, text_of(item, "type")) {
            (Some(name), _) => (*name).to_owned(),
            (None, Some(name)) => name.to_ascii_uppercase(),
            (None, None) => return Err(lacks("type")),
        };
        Ok(Tablet {
            alias: format!("{cell}-{:010}", uid.ok_or_else(|| lacks("uid"))?),
            cell: cell.to_owned(),
            keyspace: text_of(item, "keyspace")
                .ok_or_else(|| lacks("keyspace"))?
                .to_owned(),
            shard: text_of(item, "shard")
                .ok_or_else(|| lacks("shard"))?
                .to_owned(),
            tablet_type,
        })
    };
    items.iter().enumerate().map(tablet).collect()
}

pub fn shards(text: &Text) -> Result<Vec<Shard>, ImportError> {
    let unexpected = |why: String| ImportError::Unexpected {
        file: text.name.clone(),
        command: "vtctldclient FindAllShardsInKeyspace KEYSPACE",
        why,
    };
    let value = json(text)?;
    let listed = value.get("shards").unwrap_or(&value);
    // By name, a list, or one shard alone as `GetShard` prints it.
    let items: Vec<(Option<&str>, &Value)> = match listed {
        Value::Array(items) => items.iter().map(|item| (None, item)).collect(),
        Value::Object(map) if map.get("name").is_some_and(Value::is_string) => vec![(None, listed)],
        Value::Object(map) => map.iter().map(|(k, v)| (Some(k.as_str()), v)).collect(),
        _ => return Err(unexpected("it is neither a list nor an object".to_owned())),
    };
    let shard = |(key, item): (Option<&str>, &Value)| {
        let item = item.as_object();
        let item = item.ok_or_else(|| unexpected("a shard in it has no fields".to_owned()))?;
        let name = text_of(item, "name").or(key);
        let name = name.ok_or_else(|| unexpected("a shard in it has no name".to_owned()))?;
        let inner = item.get("shard").and_then(Value::as_object).unwrap_or(item);
        Ok(Shard {
            name: name.to_owned(),
            serving: field(inner, "is_primary_serving").and_then(Value::as_bool) == Some(true),
        })
    };
    items.into_iter().map(shard).collect()
}

/// Durability policies by keyspace.
pub fn durabilities(text: &Text) -> Result<Vec<(String, String)>, ImportError> {
    let unexpected = |why: String| ImportError::Unexpected {
        file: text.name.clone(),
        command: "vtctldclient GetKeyspaces",
        why,
    };
    let value = json(text)?;
    let items = list(&value, "keyspaces").ok_or_else(|| unexpected("it is no list".to_owned()))?;
    let keyspace = |item: &Value| {
        let item = item.as_object();
        let item = item.ok_or_else(|| unexpected("a keyspace in it has no fields".to_owned()))?;
        let name = text_of(item, "name");
        let name = name.ok_or_else(|| unexpected("a keyspace in it has no name".to_owned()))?;
        let inner = item
            .get("keyspace")
            .and_then(Value::as_object)
            .unwrap_or(item);
        let policy = text_of(inner, "durability_policy").unwrap_or("none");
        Ok((name.to_owned(), policy.to_owned()))
    };
    items.iter().map(keyspace).collect()
}

/// Rules that lead a name elsewhere than to itself.
pub fn routing_rules(text: &Text) -> Result<Vec<(String, Vec<String>)>, ImportError> {
    let value = json(text)?;
    let unexpected = || ImportError::Unexpected {
        file: text.name.clone(),
        command: "vtctldclient GetRoutingRules",
        why: "it has no list of rules".to_owned(),
    };
    let empty = value.as_object().is_some_and(Map::is_empty);
    if empty {
        return Ok(Vec::new());
    }
    let rules = list(&value, "rules").ok_or_else(unexpected)?.iter();
    let rule = |rule: &Value| {
        let rule = rule.as_object().ok_or_else(unexpected)?;
        let from = text_of(rule, "from_table").ok_or_else(unexpected)?;
        let to = field(rule, "to_tables").and_then(Value::as_array);
        let to = to.into_iter().flatten().filter_map(Value::as_str);
        Ok((from.to_owned(), to.map(str::to_owned).collect()))
    };
    rules.map(rule).collect()
}

/// What a server's databases hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Names with `CREATE TABLE` statements.
    pub tables: Vec<(String, String)>,
    pub views: Vec<String>,
}

pub fn schema(text: &Text) -> Result<Schema, ImportError> {
    let unexpected = |why: &str| ImportError::Unexpected {
        file: text.name.clone(),
        command: "vtctldclient GetSchema TABLET",
        why: why.to_owned(),
    };
    let value = json(text)?;
    let inner = value.get("schema").unwrap_or(&value);
    let map = inner
        .as_object()
        .ok_or_else(|| unexpected("it is no object"))?;
    let tables = field(map, "table_definitions").and_then(Value::as_array);
    let tables = tables.ok_or_else(|| unexpected("it has no table_definitions"))?;
    let mut schema = Schema::default();
    for table in tables {
        let table = table.as_object();
        let table = table.ok_or_else(|| unexpected("a table in it has no fields"))?;
        let name = text_of(table, "name").ok_or_else(|| unexpected("a table in it has no name"))?;
        if text_of(table, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("view")) {
            schema.views.push(name.to_owned());
            continue;
        }
        let statement =
            text_of(table, "schema").ok_or_else(|| unexpected("a table in it has no schema"))?;
        schema.tables.push((name.to_owned(), statement.to_owned()));
    }
    Ok(schema)
}

/// A VSchema, without fields that are there but not set; and the paths of fields that vtplan does not
/// know.
pub fn vschema(text: &Text) -> Result<(VSchemaKeyspace, Vec<String>), ImportError> {
    let unexpected = |why: String| ImportError::Unexpected {
        file: text.name.clone(),
        command: "vtctldclient GetVSchema KEYSPACE",
        why,
    };
    let mut value = json(text)?;
    if let Some(inner) = value.get_mut("v_schema") {
        value = inner.take();
    }
    let map = value.as_object_mut();
    let map = map.ok_or_else(|| unexpected("it is no object".to_owned()))?;
    if map.get("keyspaces").is_some_and(Value::is_object) {
        return Err(unexpected(
            "it holds several keyspaces; write each to a file of its own".to_owned(),
        ));
    }
    clear(map);
    for section in ["tables", "vindexes"] {
        let entries = map.get_mut(section).and_then(Value::as_object_mut);
        for entry in entries.into_iter().flat_map(Map::values_mut) {
            clear_deep(entry);
        }
    }
    let vschema: VSchemaKeyspace =
        serde_json::from_value(value).map_err(|error| unexpected(error.to_string()))?;
    let mut unknown: Vec<String> = vschema.extra.keys().cloned().collect();
    for (name, table) in &vschema.tables {
        unknown.extend(table.extra.keys().map(|f| format!("tables.{name}.{f}")));
    }
    for (name, vindex) in &vschema.vindexes {
        unknown.extend(vindex.extra.keys().map(|f| format!("vindexes.{name}.{f}")));
    }
    Ok((vschema, unknown))
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        // No number in a VSchema means anything but the default when it is 0.
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Bool(true) => false,
    }
}

fn clear(map: &mut Map<String, Value>) {
    map.retain(|_, value| !is_unset(value));
}

fn clear_deep(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(clear_deep);
            clear(map);
            // A number of a column's type means nothing outside of Vitess.
            if map.contains_key("name") && map.get("type").is_some_and(Value::is_number) {
                map.remove("type");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clear_deep),
        _ => {}
    }
}
