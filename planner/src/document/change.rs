//! What a step changes: the object, and what is known of it before and after.

use serde::Serialize;
use serde_json::{Value, json};
use vtplan_state::model::{KeyspaceName, ShardName, Side, TableName, WorkflowName};

use super::SENSITIVE;
use crate::plan::Action;

/// What happens to the object of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    Create,
    Change,
    Delete,
    /// Nothing but the progress of a workflow.
    Advance,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Object {
    /// `cell`, `keyspace`, `shard`, `tablet`, `server`, `table`, `vschema`, `workflow`, `user`, `gates`,
    /// `backups`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `customer/-80`, `customer/-80:corder`, `zone1-0000000100`, ...
    pub name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub object: Object,
    pub verb: Verb,
    /// `Null`: the object is not there, or nothing is known of it.
    pub before: Value,
    /// `Null`: the object is gone.
    pub after: Value,
}

impl Change {
    fn new(
        verb: Verb,
        kind: &'static str,
        name: impl ToString,
        before: Value,
        after: Value,
    ) -> Self {
        let name = name.to_string();
        Self {
            object: Object { kind, name },
            verb,
            before,
            after,
        }
    }

    fn shard(
        verb: Verb,
        keyspace: &KeyspaceName,
        shard: &ShardName,
        before: Value,
        after: Value,
    ) -> Self {
        Self::new(verb, "shard", format!("{keyspace}/{shard}"), before, after)
    }

    fn table(
        verb: Verb,
        (keyspace, shard, table): (&KeyspaceName, &ShardName, &TableName),
        before: Value,
        after: Value,
    ) -> Self {
        let name = format!("{keyspace}/{shard}:{table}");
        Self::new(verb, "table", name, before, after)
    }

    /// A field of a workflow that becomes true.
    fn step_of(keyspace: &KeyspaceName, workflow: &WorkflowName, field: &str) -> Self {
        Self::workflow(
            Verb::Advance,
            (keyspace, workflow),
            json!({ field: false }),
            json!({ field: true }),
        )
    }

    fn workflow(
        verb: Verb,
        (keyspace, workflow): (&KeyspaceName, &WorkflowName),
        before: Value,
        after: Value,
    ) -> Self {
        let name = format!("{keyspace}.{workflow}");
        Self::new(verb, "workflow", name, before, after)
    }
}

/// A text that may not be known.
fn known(text: &str) -> Value {
    match text {
        "" => json!({}),
        text => json!(text),
    }
}

/// What an action does to which object.
pub fn of(action: &Action) -> Change {
    use Verb::{Advance, Change as Alter, Create, Delete};
    match action {
        Action::CreateCell { cell } => Change::new(Create, "cell", cell, Value::Null, json!({})),
        Action::DeleteCell { cell } => Change::new(Delete, "cell", cell, json!({}), Value::Null),
        Action::CreateKeyspace {
            keyspace,
            durability,
        } => {
            let after = json!({ "durability": durability });
            Change::new(Create, "keyspace", keyspace, Value::Null, after)
        }
        Action::SetDurability { keyspace, from, to } => {
            let (before, after) = (json!({ "durability": from }), json!({ "durability": to }));
            Change::new(Alter, "keyspace", keyspace, before, after)
        }
        Action::DeleteKeyspace { keyspace } => {
            Change::new(Delete, "keyspace", keyspace, json!({}), Value::Null)
        }
        Action::CreateShard {
            keyspace,
            shard,
            serving,
        } => {
            let after = json!({ "serving": serving });
            Change::shard(Create, keyspace, shard, Value::Null, after)
        }
        Action::DeleteShard { keyspace, shard } => {
            Change::shard(Delete, keyspace, shard, json!({}), Value::Null)
        }
        Action::CreateTablet {
            alias,
            keyspace,
            shard,
            tablet_type,
            host,
            mysql_port,
            adopt,
        } => {
            let mut after = json!({
                "keyspace": keyspace, "shard": shard, "tablet_type": tablet_type,
                "host": host, "mysql_port": mysql_port,
            });
            if let Some(server) = adopt {
                after["adopted"] = json!(server);
            }
            Change::new(Create, "tablet", alias, Value::Null, after)
        }
        Action::DeleteTablet {
            alias,
            keyspace,
            shard,
            host,
            release,
        } => {
            let mut before = json!({ "keyspace": keyspace, "shard": shard, "host": host });
            if let Some(server) = release {
                before["adopted"] = json!(server);
            }
            Change::new(Delete, "tablet", alias, before, Value::Null)
        }
        Action::ChangeTabletType { alias, from, to } => {
            let (before, after) = (json!({ "tablet_type": from }), json!({ "tablet_type": to }));
            Change::new(Alter, "tablet", alias, before, after)
        }
        Action::InitPrimary {
            keyspace,
            shard,
            primary,
        } => {
            let (before, after) = (json!({ "primary": null }), json!({ "primary": primary }));
            Change::shard(Alter, keyspace, shard, before, after)
        }
        Action::Reparent {
            keyspace,
            shard,
            from,
            to,
        } => {
            let (before, after) = (json!({ "primary": from }), json!({ "primary": to }));
            Change::shard(Alter, keyspace, shard, before, after)
        }
        Action::CreateTable {
            keyspace,
            shard,
            table,
            statement,
        } => Change::table(
            Create,
            (keyspace, shard, table),
            Value::Null,
            json!(statement),
        ),
        Action::AlterTable {
            keyspace,
            shard,
            table,
            before,
            after,
            ..
        } => Change::table(Alter, (keyspace, shard, table), json!(before), json!(after)),
        Action::DropTable {
            keyspace,
            shard,
            table,
            before,
        } => Change::table(Delete, (keyspace, shard, table), known(before), Value::Null),
        Action::InitSequence {
            keyspace,
            shard,
            table,
            next_id,
            cache,
            ..
        } => Change::table(
            Alter,
            (keyspace, shard, table),
            json!({}),
            json!({ "next_id": next_id, "cache": cache }),
        ),
        Action::ApplyVschema {
            keyspace,
            before,
            after,
            ..
        } => {
            let verb = match before {
                None => Create,
                Some(_) => Alter,
            };
            Change::new(verb, "vschema", keyspace, json!(before), json!(after))
        }
        Action::StartWorkflow {
            workflow,
            workflow_kind,
            source,
            target,
            tables,
            ..
        } => {
            let after = json!({
                "workflow_kind": workflow_kind, "source": source, "target": target,
                "tables": tables,
            });
            let of = (&target.keyspace, workflow);
            Change::workflow(Create, of, Value::Null, after)
        }
        Action::WaitForCopy { keyspace, workflow } => Change::step_of(keyspace, workflow, "copied"),
        Action::Vdiff {
            keyspace, workflow, ..
        } => Change::step_of(keyspace, workflow, "compared"),
        Action::WaitForApproval {
            keyspace, workflow, ..
        } => Change::step_of(keyspace, workflow, "approved"),
        Action::SwitchTraffic {
            keyspace,
            workflow,
            tablet_types,
            to,
            ..
        } => {
            let from = match to {
                Side::Source => Side::Target,
                Side::Target => Side::Source,
            };
            let traffic = |side: Side| json!({ "tablet_types": tablet_types, "traffic": side });
            let of = (keyspace, workflow);
            Change::workflow(Advance, of, traffic(from), traffic(*to))
        }
        Action::Soak {
            keyspace, workflow, ..
        } => Change::step_of(keyspace, workflow, "soaked"),
        Action::CompleteWorkflow {
            keyspace,
            workflow,
            workflow_kind,
            source,
            tables,
        } => {
            let before = json!({
                "workflow_kind": workflow_kind, "source": source, "tables": tables,
            });
            Change::workflow(Delete, (keyspace, workflow), before, Value::Null)
        }
        Action::CancelWorkflow {
            keyspace,
            workflow,
            workflow_kind,
            target,
            tables,
        } => {
            let before = json!({
                "workflow_kind": workflow_kind, "target": target, "tables": tables,
            });
            Change::workflow(Delete, (keyspace, workflow), before, Value::Null)
        }
        Action::MendServer {
            alias, deviations, ..
        } => {
            let (mut before, mut after) = (serde_json::Map::new(), serde_json::Map::new());
            for deviation in deviations {
                let (found, expected) = deviation.found_and_expected();
                before.insert(deviation.name(), json!(found));
                after.insert(deviation.name(), json!(expected));
            }
            Change::new(Alter, "server", alias, before.into(), after.into())
        }
        Action::MendRouting { before, after } => {
            let (before, after) = (json!(before), json!(after));
            Change::new(Alter, "routing-rules", "routing", before, after)
        }
        Action::MendShard {
            keyspace,
            shard,
            fenced,
            serving_reads,
        } => {
            let before = json!({ "fenced": fenced, "serving_reads": serving_reads });
            let after = json!({ "fenced": false, "serving_reads": {} });
            Change::new(Alter, "shard", format!("{keyspace}/{shard}"), before, after)
        }
        Action::BackfillLookup {
            keyspace,
            lookup,
            before,
            after,
            ..
        } => {
            let object = format!("{keyspace}.{lookup}");
            Change::new(Alter, "vindex", object, json!(before), json!(after))
        }
        Action::EndHold { hold, since } => {
            let before = json!({ "since": since });
            Change::new(Delete, "hold", hold, before, Value::Null)
        }
        Action::CreateUser { user, verifier } => {
            let password = verifier.as_ref().map(|_| SENSITIVE);
            let after = json!({ "password": password });
            Change::new(Create, "user", user, Value::Null, after)
        }
        Action::AlterUser { user, .. } => {
            let password = json!({ "password": SENSITIVE });
            Change::new(Alter, "user", user, password.clone(), password)
        }
        Action::DeleteUser { user } => Change::new(Delete, "user", user, json!({}), Value::Null),
        Action::ConfigureGates {
            cell,
            count,
            mysql_port,
        } => {
            let after = json!({ "count": count, "mysql_port": mysql_port });
            Change::new(Alter, "gates", cell, Value::Null, after)
        }
        Action::RemoveGates { cell } => Change::new(Delete, "gates", cell, json!({}), Value::Null),
        Action::SetBackups { before, after } => {
            let how = match (before, after) {
                (None, _) => Create,
                (_, None) => Delete,
                _ => Alter,
            };
            Change::new(how, "backups", "schedules", json!(before), json!(after))
        }
    }
}
