//! The VSchema of a keyspace, from the spec or from a Vitess file, with the places of its parts:
//! the checks are the same for both.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;
use vtplan_state::model::{
    AutoIncrement, ColumnVindex, VSchemaColumn, VSchemaKeyspace, VSchemaTable, VindexDefinition,
};

use super::diag::Problems;
use super::model::{Keyspace, Table};
use super::read::yaml;
use super::source::{Sources, Sp, Span};
use super::tree::{Node, Value};

/// A VSchema whose parts can be pointed at.
#[derive(Debug, Clone)]
pub struct Located {
    pub vschema: VSchemaKeyspace,
    /// Whether it comes from a Vitess file.
    pub from_file: bool,
    /// Places by path: `tables/customer/column_vindexes/0/name`.
    spans: HashMap<String, Span>,
    /// The place of the whole.
    whole: Span,
}

impl Located {
    /// The place of a part, or of the smallest part around it whose place is known.
    pub fn at(&self, path: &str) -> Span {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return *span;
            }
            match path.rsplit_once('/') {
                Some((parent, _)) => path = parent,
                None => return self.whole,
            }
        }
    }

    /// Adds a table that only the schema names.
    pub fn add_table(&mut self, name: &str, span: Span) {
        if !self.vschema.tables.contains_key(name) {
            let table = VSchemaTable::default();
            self.vschema.tables.insert(name.to_owned(), table);
            self.spans.insert(format!("tables/{name}"), span);
        }
    }
}

/// What the spec itself says.
pub fn inline(keyspace: &Keyspace, sharded: bool) -> Located {
    let mut spans = HashMap::new();
    let mut vschema = VSchemaKeyspace {
        sharded,
        require_explicit_routing: keyspace
            .require_explicit_routing
            .as_ref()
            .is_some_and(|r| r.value),
        ..VSchemaKeyspace::default()
    };
    for vindex in &keyspace.vindexes {
        let path = format!("vindexes/{}", *vindex.name);
        spans.insert(path.clone(), vindex.name.span);
        let mut keep = |field: &str, value: &Option<Sp<String>>| {
            let value = value.as_ref()?;
            spans.insert(format!("{path}/{field}"), value.span);
            Some(value.value.clone())
        };
        let Some(vindex_type) = keep("type", &vindex.vindex_type) else {
            continue;
        };
        let owner = keep("owner", &vindex.owner);
        let mut params = BTreeMap::new();
        for (name, value) in &vindex.params {
            spans.insert(format!("{path}/params/{}", **name), name.span);
            params.insert(name.value.clone(), value.value.clone());
        }
        let definition = VindexDefinition {
            vindex_type,
            params,
            owner,
            extra: BTreeMap::new(),
        };
        vschema
            .vindexes
            .insert(vindex.name.value.clone(), definition);
    }
    for table in &keyspace.tables {
        let path = format!("tables/{}", *table.name);
        spans.insert(path.clone(), table.name.span);
        let entry = inline_table(table, &path, &mut spans);
        vschema.tables.insert(table.name.as_str().to_owned(), entry);
    }
    Located {
        vschema,
        from_file: false,
        spans,
        whole: keyspace.name.span,
    }
}

fn inline_table(table: &Table, path: &str, spans: &mut HashMap<String, Span>) -> VSchemaTable {
    let mut keep = |field: String, value: &Sp<String>| {
        spans.insert(format!("{path}/{field}"), value.span);
        value.value.clone()
    };
    VSchemaTable {
        table_type: table.table_type.as_ref().map(|t| keep("type".into(), t)),
        column_vindexes: table
            .vindexes
            .iter()
            .enumerate()
            .map(|(i, v)| {
                let at = format!("column_vindexes/{i}");
                let column = v.column.as_ref();
                ColumnVindex {
                    column: column.map(|c| keep(format!("{at}/column"), c)),
                    columns: v
                        .columns
                        .iter()
                        .enumerate()
                        .map(|(j, c)| keep(format!("{at}/columns/{j}"), c))
                        .collect(),
                    name: keep(format!("{at}/name"), &v.name),
                    extra: BTreeMap::new(),
                }
            })
            .collect(),
        auto_increment: table.auto_increment.as_ref().map(|a| AutoIncrement {
            column: keep("auto_increment/column".into(), &a.column),
            sequence: keep("auto_increment/sequence".into(), &a.sequence),
        }),
        columns: table
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| VSchemaColumn {
                name: keep(format!("columns/{i}/name"), &c.name),
                column_type: c.column_type.as_ref().map(|t| t.value.clone()),
                extra: BTreeMap::new(),
            })
            .collect(),
        column_list_authoritative: table
            .column_list_authoritative
            .as_ref()
            .is_some_and(|c| c.value),
        pinned: table.pinned.as_ref().map(|p| keep("pinned".into(), p)),
        source: table.source.as_ref().map(|s| keep("source".into(), s)),
        extra: BTreeMap::new(),
    }
}

/// Reads a Vitess VSchema file, taken as it is.
pub fn from_file(file: u32, sources: &Sources, problems: &mut Problems) -> Option<Located> {
    let source = sources.get(file);
    let whole = Span::new(file, 0, source.line_text(0).len().max(1));
    let mut json: Json = match serde_json::from_str(&source.text) {
        Ok(json) => json,
        Err(e) => {
            let at = source.line_start(e.line().saturating_sub(1)) + e.column().saturating_sub(1);
            let message = e.to_string();
            let what = message.split(" at line ").next().unwrap_or_default();
            problems.error(
                "bad-vschema",
                Span::new(file, at, at + 1),
                format!("this is not JSON: {what}"),
            );
            return None;
        }
    };
    if json.get("keyspaces").is_some() {
        problems
            .error(
                "bad-vschema",
                whole,
                "this is the VSchema of several keyspaces",
            )
            .help("give each keyspace a file with what stands under its name in `keyspaces`");
        return None;
    }
    // JSON is nearly YAML: where that reader can read it, it tells the places, and finds fields
    // that are given twice.
    let mut found = Problems::default();
    let mut spans = HashMap::new();
    if let Some(tree) = yaml::read(file, source, &mut found) {
        problems.append(found);
        collect_spans(&tree, String::new(), &mut spans);
    }
    snake_case(&mut json);
    match serde_json::from_value::<VSchemaKeyspace>(json) {
        Ok(vschema) => Some(Located {
            vschema,
            from_file: true,
            spans,
            whole,
        }),
        Err(e) => {
            problems
                .error("bad-vschema", whole, format!("this is not a VSchema: {e}"))
                .help("the file holds the VSchema of one keyspace, as `vtctldclient GetVSchema` prints it");
            None
        }
    }
}

fn collect_spans(node: &Node, path: String, spans: &mut HashMap<String, Span>) {
    let join = |name: &str| match path.as_str() {
        "" => snake(name),
        // Only the names of fields are Vitess's; those of tables and the like are the author's.
        "tables" | "vindexes" => format!("{path}/{name}"),
        _ => format!("{path}/{}", snake(name)),
    };
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let path = join(&entry.key);
                let scalar = entry.value.text().is_some();
                let span = if scalar {
                    entry.value.span
                } else {
                    entry.key.span
                };
                spans.insert(path.clone(), span);
                collect_spans(&entry.value, path, spans);
            }
        }
        Value::Seq(items) => {
            for (i, item) in items.iter().enumerate() {
                let path = format!("{path}/{i}");
                spans.insert(path.clone(), item.span);
                collect_spans(item, path, spans);
            }
        }
        _ => {}
    }
}

/// Vitess reads its fields' names in both spellings, `columnVindexes` and `column_vindexes`.
fn snake(name: &str) -> String {
    const CAMEL: [(&str, &str); 6] = [
        ("columnVindexes", "column_vindexes"),
        ("autoIncrement", "auto_increment"),
        ("columnListAuthoritative", "column_list_authoritative"),
        ("requireExplicitRouting", "require_explicit_routing"),
        ("foreignKeyMode", "foreign_key_mode"),
        ("multiTenantSpec", "multi_tenant_spec"),
    ];
    let found = CAMEL.iter().find(|(camel, _)| *camel == name);
    found.map_or(name, |(_, snake)| *snake).to_owned()
}

fn snake_case(keyspace: &mut Json) {
    rename_fields(keyspace);
    if let Some(tables) = keyspace.get_mut("tables").and_then(Json::as_object_mut) {
        tables.values_mut().for_each(rename_fields);
    }
}

fn rename_fields(value: &mut Json) {
    if let Some(fields) = value.as_object_mut() {
        let old = std::mem::take(fields);
        fields.extend(old.into_iter().map(|(name, value)| (snake(&name), value)));
    }
}
