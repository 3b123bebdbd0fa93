//! A catalog from VSchemas, and plans as short texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use vtplan_gate::plan::{
    Action, BindValue, Catalog, PlanContext, Planner, QueryPlan, Sql, SqlError, Target,
};
use vtplan_state::model::{
    Durability, KeyspaceName, KeyspaceRecord, Records, RoutingRules, ShardName, ShardRecord,
};

pub fn keyspace(records: &mut Records, name: &str, shards: &[&str], vschema: Value) {
    let name = KeyspaceName::new(name).unwrap();
    for shard in shards {
        let shard: ShardName = shard.parse().unwrap();
        records.shards.insert(
            (name.clone(), shard.clone()),
            ShardRecord {
                keyspace: name.clone(),
                shard,
                primary: None,
                term: 0,
                serving: true,
                serving_reads: Default::default(),
                fenced: false,
            },
        );
    }
    records.keyspaces.insert(
        name.clone(),
        KeyspaceRecord {
            name: name.clone(),
            durability: Durability::None,
        },
    );
    records
        .vschemas
        .insert(name, serde_json::from_value(vschema).unwrap());
}

/// `commerce` (unsharded, with sequences) and `customer` (two shards by xxhash).
pub fn records() -> Records {
    let mut records = Records {
        revision: 7,
        ..Records::default()
    };
    keyspace(
        &mut records,
        "commerce",
        &["0"],
        json!({ "tables": {
            "product": {}, "customer_seq": { "type": "sequence" }, "both": {},
            "log": { "auto_increment": { "column": "id", "sequence": "customer_seq" } } } }),
    );
    keyspace(
        &mut records,
        "customer",
        &["-80", "80-"],
        json!({
            "sharded": true,
            "vindexes": {
                "xxhash": { "type": "xxhash" },
                "mc": { "type": "multicol", "params": { "column_count": "2" } },
                "lk": { "type": "lookup_unique", "owner": "owner", "params": {
                    "table": "commerce.mail_idx", "from": "mail", "to": "keyspace_id" } },
                "tags": { "type": "consistent_lookup", "owner": "owner", "params": {
                    "table": "tag_idx", "from": "tag", "to": "id" } },
                "late": { "type": "lookup", "owner": "owner", "params": {
                    "table": "tag_idx", "from": "tag", "to": "id", "write_only": "true" } },
                "pair": { "type": "consistent_lookup_unique", "owner": "owner", "params": {
                    "table": "commerce.pair_idx", "from": "a,b", "to": "id" } },
                "broken": { "type": "lookup_hash", "owner": "other" } },
            "tables": {
                "customer": {
                    "column_vindexes": [{ "column": "customer_id", "name": "xxhash" }],
                    "auto_increment": { "column": "customer_id", "sequence": "commerce.customer_seq" } },
                "corder": {
                    "column_vindexes": [{ "column": "customer_id", "name": "xxhash" }],
                    "auto_increment": { "column": "order_id", "sequence": "customer_seq" },
                    "columns": [{ "name": "customer_id", "type": "INT64" }] },
                "named": {
                    "column_vindexes": [{ "column": "name", "name": "xxhash" }],
                    "columns": [{ "name": "name", "type": "VARCHAR" }, { "name": "v" }],
                    "column_list_authoritative": true },
                "pair": { "column_vindexes": [{ "columns": ["a", "b"], "name": "mc" }] },
                "country": { "type": "reference" },
                "settings": { "pinned": "90" },
                "both": { "column_vindexes": [{ "column": "id", "name": "xxhash" }] },
                "tag_idx": { "column_vindexes": [{ "column": "tag", "name": "xxhash" }] },
                "owner": { "column_vindexes": [
                    { "column": "id", "name": "xxhash" }, { "column": "mail", "name": "lk" },
                    { "column": "tag", "name": "tags" }, { "column": "late", "name": "late" },
                    { "columns": ["a", "b"], "name": "pair" }] },
                "other": { "column_vindexes": [
                    { "column": "id", "name": "xxhash" }, { "column": "mail", "name": "broken" }] } } }),
    );
    records
}

pub fn rules(records: &mut Records, rules: &[(&str, &str)]) {
    let list: Vec<Value> = rules
        .iter()
        .map(|(from, to)| {
            let to: Vec<&str> = if to.is_empty() { Vec::new() } else { vec![to] };
            json!({ "from_table": from, "to_tables": to })
        })
        .collect();
    records.routing = serde_json::from_value::<RoutingRules>(json!({ "rules": list })).unwrap();
}

pub struct Gate {
    pub planner: Planner,
    pub catalog: Arc<Catalog>,
}

impl Gate {
    pub fn new(records: &Records) -> Self {
        Self {
            planner: Planner::default(),
            catalog: Arc::new(Catalog::build(records)),
        }
    }

    pub fn plan(&self, target: &str, sql: &str) -> Result<QueryPlan, SqlError> {
        let target: Target = target.parse().unwrap();
        self.planner
            .plan(&self.catalog, &PlanContext::new(&target), sql.as_bytes())
    }

    /// The plan as text; planned twice, so that what comes from the cache is the same.
    pub fn show(&self, target: &str, sql: &str) -> String {
        let first = shown(self.plan(target, sql));
        assert_eq!(
            first,
            shown(self.plan(target, sql)),
            "from the cache: {sql}"
        );
        first
    }

    pub fn execute(&self, target: &str, sql: &str, values: &[BindValue]) -> String {
        let target: Target = target.parse().unwrap();
        let context = PlanContext::new(&target);
        let prepared = self
            .planner
            .prepare(&self.catalog, &context, sql.as_bytes());
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return shown(Err(error)),
        };
        shown(
            self.planner
                .plan_prepared(&self.catalog, &context, &prepared, values),
        )
    }
}

pub fn shown(plan: Result<QueryPlan, SqlError>) -> String {
    let part = |p: &vtplan_gate::plan::ShardSql| match &p.sql {
        Sql::Original => p.shard.to_string(),
        Sql::Rewritten(sql) => format!("{}: {}", p.shard, String::from_utf8_lossy(sql)),
        Sql::Bound(sql) => format!("{}: {}", p.shard, String::from_utf8_lossy(sql)),
    };
    let parts = |list: &[vtplan_gate::plan::ShardSql]| {
        list.iter().map(part).collect::<Vec<_>>().join(" | ")
    };
    match plan {
        Err(error) => format!("{} {}", error.errno, error.message),
        Ok(plan) => match &plan.action {
            Action::Gate(statement) => format!("gate {statement:?}"),
            Action::Single(one) => part(one),
            Action::Scatter(scatter) => match scatter.limit {
                Some(limit) => format!("scatter limit {limit} {}", parts(&scatter.parts)),
                None => format!("scatter {}", parts(&scatter.parts)),
            },
            Action::Dml(list) => format!("dml {}", parts(list)),
            Action::Ddl(list) => format!("ddl {}", parts(list)),
            Action::Insert(insert) => {
                let need = &insert.sequence;
                let bound = insert
                    .bind(100)
                    .map_or_else(|e| e.to_string(), |list| parts(&list));
                format!(
                    "sequence {} {} x{} -> {bound}",
                    need.shard, need.table, need.count
                )
            }
            Action::Lookup(read) => {
                let queries: Vec<_> = read
                    .queries
                    .iter()
                    .map(|sql| String::from_utf8_lossy(sql))
                    .collect();
                format!("lookup {}", queries.join("; "))
            }
            Action::Owned(write) => {
                let lookups: Vec<_> = write.changes.iter().map(|c| &*c.lookup.name).collect();
                let rows = String::from_utf8_lossy(&write.rows_sql);
                format!("owned {}: {rows}", lookups.join(", "))
            }
            Action::OwnedInsert(insert) => {
                let first = insert.sequence.as_ref().map(|_| 100);
                let rows = insert.rows(first).map(|rows| {
                    let rows = rows
                        .iter()
                        .map(|row| format!("{} {:?}", row.shard, row.lookups));
                    rows.collect::<Vec<_>>().join(" | ")
                });
                rows.unwrap_or_else(|e| format!("{} {}", e.errno, e.message))
            }
        },
    }
}

/// A VSchema file of Vitess's tests, in which some vindexes are doubles of lookups.
pub fn without_doubles(file: &str) -> String {
    let mut json: Value = serde_json::from_str(file).unwrap();
    let keyspaces = json["keyspaces"].as_object_mut().unwrap();
    for keyspace in keyspaces.values_mut() {
        let Some(vindexes) = keyspace.get_mut("vindexes").and_then(Value::as_object_mut) else {
            continue;
        };
        for (name, vindex) in vindexes {
            if vindex["type"] == "lookup_cost" {
                vindex["type"] = json!("lookup_unique");
            }
            let lookup = vindex["type"]
                .as_str()
                .is_some_and(|t| t.starts_with("lookup"));
            if !lookup {
                continue;
            }
            // Those of the tests need no tables.
            let double =
                json!({ "table": format!("{name}_idx"), "from": "a", "to": "keyspace_id" });
            let params = vindex.as_object_mut().unwrap();
            let params = params.entry("params").or_insert(double);
            params.as_object_mut().unwrap().remove("cost");
        }
    }
    json.to_string()
}

/// Keyspaces and routing rules of a Vitess VSchema file.
pub fn vitess(file: &Value) -> Records {
    let mut records = Records {
        revision: 1,
        ..Records::default()
    };
    let keyspaces: BTreeMap<String, Value> =
        serde_json::from_value(file["keyspaces"].clone()).unwrap();
    for (name, vschema) in keyspaces {
        let shards: &[&str] = if vschema["sharded"] == json!(true) {
            &["-40", "40-80", "80-c0", "c0-"]
        } else {
            &["0"]
        };
        keyspace(&mut records, &name, shards, vschema);
    }
    if let Some(rules) = file.get("routing_rules") {
        records.routing = serde_json::from_value(rules.clone()).unwrap();
    }
    records
}
