//! The JSON Schema of plan documents, as `vtplan schema plan` prints it. It is strict: a field that
//! it does not name is not in a document of this format. A new kind of step is added to [`KINDS`].

use serde_json::{Map, Value, json};

use super::DOCUMENT_FORMAT;
use crate::workload::Change;

/// What a field of a step holds.
#[derive(Debug, Clone, Copy)]
enum Type {
    Name,
    /// A name, or null where it is not known.
    NameOrNull,
    PortOrNull,
    Port,
    Shard,
    Alias,
    Text,
    Bool,
    Number,
    Durability,
    OneTablet,
    Tablets,
    Names,
    Columns,
    Raise,
    VSchemaTables,
    WorkflowKind,
    WorkflowSide,
    Side,
    Point,
    Verifier,
    Deviations,
    ServingReads,
}
use Type::*;

/// A field, its type, and whether every step of the kind has it.
type Field = (&'static str, Type, bool);

const KEYSPACE: Field = ("keyspace", Name, true);
const SHARD: Field = ("shard", Shard, true);
const ALIAS: Field = ("alias", Alias, true);
const TABLE: Field = ("table", Name, true);
const WORKFLOW: Field = ("workflow", Name, true);
const WORKFLOW_KIND: Field = ("workflow_kind", WorkflowKind, true);
const TABLES: Field = ("tables", Names, true);
const USER: Field = ("user", Text, true);
const CELL: Field = ("cell", Name, true);

/// The kinds of steps and what each has beside what all have.
const KINDS: &[(&str, &[Field])] = &[
    ("create-cell", &[CELL]),
    ("delete-cell", &[CELL]),
    (
        "create-keyspace",
        &[KEYSPACE, ("durability", Durability, true)],
    ),
    (
        "set-durability",
        &[
            KEYSPACE,
            ("from", Durability, true),
            ("to", Durability, true),
        ],
    ),
    ("delete-keyspace", &[KEYSPACE]),
    ("create-shard", &[KEYSPACE, SHARD, ("serving", Bool, true)]),
    ("delete-shard", &[KEYSPACE, SHARD]),
    (
        "create-tablet",
        &[
            ALIAS,
            KEYSPACE,
            SHARD,
            ("tablet_type", OneTablet, true),
            ("host", NameOrNull, true),
            ("mysql_port", PortOrNull, true),
            ("adopt", Text, false),
        ],
    ),
    (
        "delete-tablet",
        &[
            ALIAS,
            KEYSPACE,
            SHARD,
            ("host", Name, true),
            ("release", Text, false),
        ],
    ),
    (
        "change-tablet-type",
        &[ALIAS, ("from", OneTablet, true), ("to", OneTablet, true)],
    ),
    ("init-primary", &[KEYSPACE, SHARD, ("primary", Alias, true)]),
    (
        "reparent",
        &[KEYSPACE, SHARD, ("from", Alias, true), ("to", Alias, true)],
    ),
    (
        "create-table",
        &[KEYSPACE, SHARD, TABLE, ("statement", Text, true)],
    ),
    (
        "alter-table",
        &[KEYSPACE, SHARD, TABLE, ("statement", Text, true)],
    ),
    ("drop-table", &[KEYSPACE, SHARD, TABLE]),
    (
        "init-sequence",
        &[
            KEYSPACE,
            SHARD,
            TABLE,
            ("next_id", Number, true),
            ("cache", Number, true),
            ("above", Columns, false),
        ],
    ),
    ("apply-vschema", &[KEYSPACE, ("raise", Raise, false)]),
    (
        "backfill-lookup",
        &[KEYSPACE, ("lookup", Text, true), TABLE],
    ),
    (
        "start-workflow",
        &[
            WORKFLOW,
            WORKFLOW_KIND,
            ("source", WorkflowSide, true),
            ("target", WorkflowSide, true),
            TABLES,
            ("throttle_max_lag_seconds", Number, true),
            ("vschema", VSchemaTables, false),
        ],
    ),
    ("wait-for-copy", &[KEYSPACE, WORKFLOW]),
    ("vdiff", &[KEYSPACE, WORKFLOW]),
    (
        "wait-for-approval",
        &[KEYSPACE, WORKFLOW, ("point", Point, true)],
    ),
    (
        "switch-traffic",
        &[
            KEYSPACE,
            WORKFLOW,
            ("tablet_types", Tablets, true),
            ("to", Side, true),
            ("max_write_pause_ms", Number, true),
            ("window", Text, false),
            ("raise", Raise, false),
        ],
    ),
    ("soak", &[KEYSPACE, WORKFLOW, ("seconds", Number, true)]),
    (
        "complete-workflow",
        &[
            KEYSPACE,
            WORKFLOW,
            WORKFLOW_KIND,
            ("source", WorkflowSide, true),
            TABLES,
        ],
    ),
    (
        "cancel-workflow",
        &[
            KEYSPACE,
            WORKFLOW,
            WORKFLOW_KIND,
            ("target", WorkflowSide, true),
            TABLES,
        ],
    ),
    (
        "mend-server",
        &[ALIAS, KEYSPACE, SHARD, ("deviations", Deviations, true)],
    ),
    ("mend-routing", &[]),
    (
        "mend-shard",
        &[
            KEYSPACE,
            SHARD,
            ("fenced", Bool, true),
            ("serving_reads", ServingReads, true),
        ],
    ),
    ("end-hold", &[("hold", Name, true), ("since", Number, true)]),
    ("create-user", &[USER, ("verifier", Verifier, true)]),
    ("alter-user", &[USER, ("verifier", Verifier, true)]),
    ("delete-user", &[USER]),
    (
        "configure-gates",
        &[CELL, ("count", Number, true), ("mysql_port", Port, true)],
    ),
    ("remove-gates", &[CELL]),
    ("set-backups", &[]),
];

/// The kinds of steps that documents may have.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(kind, _)| *kind)
}

/// The schema (JSON Schema 2020-12) of what `plan --format json` prints: a plan, or why there is none.
pub fn json_schema() -> Value {
    let steps: Vec<Value> = KINDS
        .iter()
        .map(|(kind, fields)| step(kind, fields))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vtplan plan",
        "description": "What `vtplan plan --format json` prints: a plan, or why there is none.",
        "anyOf": [{ "$ref": "#/$defs/plan" }, { "$ref": "#/$defs/refusal" }],
        "$defs": {
            "plan": plan(),
            "refusal": refusal(),
            "step": { "anyOf": steps },
            "workload": workload(),
            "route": route(),
            "count": { "type": "integer", "minimum": 0 },
            "name": { "type": "string", "minLength": 1 },
            "digest": { "type": "string", "pattern": "^[0-9a-f]{64}$" },
            "shard": {
                "type": "string",
                "pattern": "^(0|-|[0-9a-f]*-[0-9a-f]*)$",
                "description": "A key range, or `0` for the one shard of an unsharded keyspace.",
            },
            "alias": { "type": "string", "pattern": "^.+-[0-9]{10}$" },
            "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
            "durability": { "enum": ["none", "semi_sync", "cross_cell"] },
            "tablet_type": {
                "enum": ["primary", "replica", "rdonly", "spare", "backup", "restore"],
            },
            "point": { "enum": ["switch_reads", "switch_writes", "complete"] },
            "approval": { "enum": ["destructive", "drift", "switch_reads", "switch_writes", "complete"] },
            "workflow_kind": { "enum": ["move_tables", "reshard"] },
            "workflow_side": object(
                "One side of a workflow.",
                &[("keyspace", json!({ "$ref": "#/$defs/name" }), true),
                  ("shards", list(json!({ "$ref": "#/$defs/shard" })), true)],
            ),
            "column": object(
                "A column that holds numbers.",
                &[("keyspace", json!({ "$ref": "#/$defs/name" }), true),
                  ("table", json!({ "$ref": "#/$defs/name" }), true),
                  ("column", json!({ "type": "string" }), true)],
            ),
            "raise": object(
                "A sequence that is raised above the values of columns.",
                &[("keyspace", json!({ "$ref": "#/$defs/name" }), true),
                  ("shard", json!({ "$ref": "#/$defs/shard" }), true),
                  ("table", json!({ "$ref": "#/$defs/name" }), true),
                  ("above", list(json!({ "$ref": "#/$defs/column" })), true)],
            ),
        },
    })
}

fn list(item: Value) -> Value {
    json!({ "type": "array", "items": item })
}

fn described(mut schema: Value, text: &str) -> Value {
    schema["description"] = json!(text);
    schema
}

/// A closed object of fields: name, schema, whether it is always there.
fn object(text: &str, fields: &[(&str, Value, bool)]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, schema, _)| ((*name).to_owned(), schema.clone()))
        .collect();
    let always = fields.iter().filter(|(_, _, always)| *always);
    let required: Vec<&str> = always.map(|(name, _, _)| *name).collect();
    json!({
        "type": "object",
        "description": text,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn count(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

fn ids() -> Value {
    described(list(json!({ "type": "string" })), "Ids of steps.")
}

fn plan() -> Value {
    object(
        "A plan. The same inputs give the same bytes.",
        &[
            (
                "format",
                described(
                    json!({ "enum": [DOCUMENT_FORMAT] }),
                    "The format of the document.",
                ),
                true,
            ),
            ("cluster", text("The cluster's name."), true),
            ("against", against(), true),
            ("spec_digest", digest("SHA-256 of the desired state."), true),
            (
                "base_revision",
                count("The revision of the store's records that the plan was made from."),
                true,
            ),
            (
                "live_digest",
                digest("SHA-256 of what of the live state the plan depends on."),
                true,
            ),
            ("summary", summary(), true),
            ("inferred", list(inferred()), true),
            ("approvals", list(approval()), true),
            ("waits", list(wait()), true),
            ("notes", list(note()), true),
            ("fit", fit(), true),
            ("workload", json!({ "$ref": "#/$defs/workload" }), false),
            (
                "steps",
                described(
                    list(json!({ "$ref": "#/$defs/step" })),
                    "In an order in which they could be run one by one.",
                ),
                true,
            ),
        ],
    )
}

fn digest(description: &str) -> Value {
    json!({ "$ref": "#/$defs/digest", "description": description })
}

fn against() -> Value {
    let kind = |name: &str| json!({ "enum": [name] });
    let schema = json!({ "anyOf": [
        object("The cluster itself.", &[("kind", kind("live"), true)]),
        object("An exported live state.", &[
            ("kind", kind("export"), true),
            ("revision", count("The store's revision that was exported."), true),
        ]),
        object("Another spec.", &[
            ("kind", kind("spec"), true),
            ("digest", digest("SHA-256 of that spec's desired state."), true),
        ]),
    ]});
    described(schema, "What the spec was compared with.")
}

fn summary() -> Value {
    object(
        "The plan in numbers.",
        &[
            ("steps", count("All steps."), true),
            ("safe", count("Steps that nobody notices."), true),
            (
                "disruptive",
                count("Steps at which queries may wait or be refused for a moment."),
                true,
            ),
            ("destructive", count("Steps that delete data."), true),
            (
                "seconds",
                count(
                    "How long it takes, where steps that do not wait for each other run side by side.",
                ),
                true,
            ),
            (
                "write_pause_ms",
                count("The longest pause of writes that one step causes."),
                true,
            ),
            (
                "rows_to_copy",
                count("As far as it is known; else 0."),
                true,
            ),
            (
                "bytes_to_copy",
                count("As far as it is known; else 0."),
                true,
            ),
        ],
    )
}

fn inferred() -> Value {
    object(
        "What the change of the spec was taken to mean.",
        &[
            (
                "meaning",
                json!({ "anyOf": [{ "$ref": "#/$defs/workflow_kind" }, { "type": "null" }] }),
                true,
            ),
            ("workflow", text("KEYSPACE.NAME"), true),
            (
                "under_way",
                json!({ "type": "boolean", "description": "Whether it began before this plan." }),
                true,
            ),
            ("text", text("For people."), true),
            ("reason", text("Why it was taken for this."), true),
            ("steps", ids(), true),
        ],
    )
}

fn approval() -> Value {
    object(
        "What must be approved beside the plan as a whole.",
        &[
            ("for", json!({ "$ref": "#/$defs/approval" }), true),
            ("why", text("Why."), true),
            ("how", text("How it is given."), true),
            ("steps", ids(), true),
        ],
    )
}

fn wait() -> Value {
    object(
        "A step at which the plan waits for a person, for time or for a window.",
        &[
            ("step", text("Its id."), true),
            (
                "for",
                json!({ "enum": ["approval", "soak", "window"] }),
                true,
            ),
            ("workflow", text("KEYSPACE.NAME"), true),
            ("point", json!({ "$ref": "#/$defs/point" }), false),
            ("seconds", count("Of a soak."), false),
            ("window", text("As in the spec."), false),
        ],
    )
}

fn note() -> Value {
    object(
        "What is so and a person may want to know.",
        &[
            ("object", text("What it is about."), true),
            ("text", text("For people."), true),
        ],
    )
}

fn fit() -> Value {
    let verdict = || json!({ "enum": ["fits", "tight", "does_not_fit", "unknown"] });
    let need = object(
        "What takes room on a disk.",
        &[
            (
                "cause",
                json!({ "enum": ["new_tablets", "copy", "running_copy", "rebuilt_table"] }),
                true,
            ),
            (
                "object",
                text("The workflow or the table that it is for."),
                false,
            ),
            ("bytes", count("How much."), true),
            ("tablets", list(json!({ "$ref": "#/$defs/alias" })), true),
        ],
    );
    let disk = object(
        "A file system that the plan needs room on.",
        &[
            (
                "hosts",
                described(
                    list(json!({ "$ref": "#/$defs/name" })),
                    "Several where agents share a machine.",
                ),
                true,
            ),
            ("needed_bytes", count("An estimate."), true),
            (
                "free_bytes",
                count("When planning; missing where nobody knows."),
                false,
            ),
            (
                "total_bytes",
                count("Its size; missing where nobody knows."),
                false,
            ),
            ("verdict", verdict(), true),
            ("needs", list(need), true),
        ],
    );
    let connections = object(
        "A server to which there may be too many connections.",
        &[
            ("tablet", json!({ "$ref": "#/$defs/alias" }), true),
            ("needed", count("What streams and agents open."), true),
            ("gates", count("What gates may open on top."), true),
            ("limit", count("Its `max_connections`."), true),
            ("verdict", verdict(), true),
        ],
    );
    object(
        "What the plan needs of disks and connections, against what there was when it was made.",
        &[
            ("disks", list(disk), true),
            ("connections", list(connections), true),
        ],
    )
}

/// With `plan --workload`.
fn workload() -> Value {
    let change = json!({ "enum": Change::ALL });
    let route = || json!({ "$ref": "#/$defs/route" });
    let kind = object(
        "A kind of statements.",
        &[
            ("statement", text("Without values."), true),
            (
                "target",
                described(
                    json!({ "type": ["string", "null"] }),
                    "What the sessions use: `customer`, `customer@replica`.",
                ),
                true,
            ),
            ("count", count("How often it ran."), true),
            ("errors", count("How often it failed; of an export."), false),
            (
                "total_us",
                count("Microseconds of all together; of an export."),
                false,
            ),
            (
                "max_us",
                count("Microseconds of the longest; of an export."),
                false,
            ),
            (
                "change",
                described(
                    change,
                    "`refused`: it was served, and is refused, for some values at least. `worse`: more \
                     servers are asked. `more_shards`: of all shards there are more. `moved`: it goes \
                     elsewhere at the same cost.",
                ),
                true,
            ),
            ("before", route(), true),
            ("after", route(), true),
        ],
    );
    let unread = object(
        "A text that is no statement.",
        &[
            (
                "line",
                described(json!({ "type": ["integer", "null"] }), "From 1."),
                true,
            ),
            ("why", text("Why."), true),
            ("text", text("Its beginning, without values."), false),
        ],
    );
    let sums = Change::ALL.map(|change| {
        let sum = object(
            "How many.",
            &[
                ("kinds", count("Kinds."), true),
                ("statements", count("Statements."), true),
            ],
        );
        (json!(change).as_str().unwrap_or_default().to_owned(), sum)
    });
    let sums: Vec<(&str, Value, bool)> = sums
        .iter()
        .map(|(name, sum)| (name.as_str(), sum.clone(), true))
        .collect();
    object(
        "What the plan does to the statements of a workload.",
        &[
            ("statements", count("All that were read."), true),
            (
                "left_out",
                count("Of kinds beyond those that are kept: nothing is known of them."),
                true,
            ),
            ("unread", count("Texts that are no statements."), true),
            ("unread_samples", list(unread), true),
            ("changes", object("Sums by change.", &sums), true),
            ("kinds", described(list(kind), "The worst first."), true),
        ],
    )
}

fn route() -> Value {
    object(
        "Where statements go.",
        &[
            (
                "kind",
                json!({ "enum": [
                    "gate", "any_shard", "unsharded", "one_shard", "some_shards", "all_shards",
                    "one_shard_or_refused", "refused",
                ]}),
                true,
            ),
            ("keyspace", json!({ "$ref": "#/$defs/name" }), false),
            ("shards", count("Of all shards: how many those are."), false),
            (
                "writes",
                json!({ "type": "boolean", "description": "Several shards are written to." }),
                false,
            ),
            (
                "lookup",
                text("The lookup vindex that is asked first."),
                false,
            ),
            ("error", count("MySQL's number of the error."), false),
            ("text", text("For people."), true),
            ("why", text("Why it is not better, or the error."), false),
        ],
    )
}

fn refusal() -> Value {
    let error = object(
        "Why.",
        &[
            ("code", text("A stable name."), true),
            ("message", text("What failed, on which object."), true),
            ("causes", list(json!({ "type": "string" })), false),
            ("details", text("For people."), false),
            ("help", text("What to do."), false),
            ("problems", list(json!({ "type": "object" })), false),
        ],
    );
    object(
        "No plan, and why.",
        &[
            ("format", json!({ "enum": [1] }), true),
            ("error", error, true),
        ],
    )
}

fn step(kind: &str, fields: &[Field]) -> Value {
    let any = json!({ "type": ["object", "string", "null"] });
    let approval = json!({ "anyOf": [{ "$ref": "#/$defs/approval" }, { "type": "null" }] });
    let rate = object(
        "Of a copy or a comparison: how fast one shard of the source is taken to go.",
        &[
            (
                "bytes_per_second",
                count("As statistics of servers count bytes."),
                true,
            ),
            (
                "rows_per_second",
                count("The most that is expected."),
                false,
            ),
            (
                "basis",
                described(
                    json!({ "enum": ["assumed", "measured"] }),
                    "Measured: of earlier workflows of this cluster.",
                ),
                true,
            ),
            ("measurements", count("How many workflows."), false),
        ],
    );
    let estimate = object(
        "What it is expected to take.",
        &[
            ("seconds", count("How long."), true),
            ("rows", count("How many rows it is about."), false),
            ("bytes", count("How many bytes it is about."), false),
            ("write_pause_ms", count("How long writes wait."), false),
            ("rate", rate, false),
        ],
    );
    let changed = object(
        "What it changes.",
        &[
            (
                "type",
                json!({ "enum": [
                    "cell", "keyspace", "shard", "tablet", "server", "table", "vschema", "vindex", "workflow", "routing-rules", "hold", "user",
                    "gates",
                "backups",
                ]}),
                true,
            ),
            ("name", text("Its name in the cluster."), true),
        ],
    );
    let mut all = vec![
        (
            "id",
            text("The same work has the same id in every plan."),
            true,
        ),
        ("kind", json!({ "enum": [kind] }), true),
        ("text", text("What it does, in words."), true),
        (
            "reason",
            text("Why, or what the change was taken to mean."),
            true,
        ),
        (
            "risk",
            json!({ "enum": ["safe", "disruptive", "destructive"] }),
            true,
        ),
        (
            "origin",
            described(
                json!({ "enum": ["drift"] }),
                "`drift`: it takes back what was changed by hand since the spec was applied.",
            ),
            false,
        ),
        (
            "needs_approval",
            described(approval, "Which approval it needs beside that of the plan."),
            true,
        ),
        ("depends_on", ids(), true),
        ("estimate", estimate, true),
        ("object", changed, true),
        (
            "change",
            json!({ "enum": ["create", "change", "delete", "advance"] }),
            true,
        ),
        (
            "before",
            described(
                any.clone(),
                "The object before; null: it is not there, or not known.",
            ),
            true,
        ),
        (
            "after",
            described(any, "The object after; null: it is gone."),
            true,
        ),
    ];
    all.extend(
        fields
            .iter()
            .map(|(name, of, always)| (*name, type_schema(*of), *always)),
    );
    object(&format!("A step of the kind {kind}."), &all)
}

fn type_schema(of: Type) -> Value {
    let refer = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
    let or_null = |name: &str| json!({ "anyOf": [refer(name), { "type": "null" }] });
    match of {
        Name => refer("name"),
        NameOrNull => or_null("name"),
        Port => refer("port"),
        PortOrNull => or_null("port"),
        Shard => refer("shard"),
        Alias => refer("alias"),
        Text => json!({ "type": "string" }),
        Bool => json!({ "type": "boolean" }),
        Number => refer("count"),
        Durability => refer("durability"),
        OneTablet => refer("tablet_type"),
        Tablets => list(refer("tablet_type")),
        Names => list(refer("name")),
        Columns => list(refer("column")),
        Raise => list(refer("raise")),
        VSchemaTables => described(
            json!({ "type": "object" }),
            "What the target's VSchema gets of the tables.",
        ),
        WorkflowKind => refer("workflow_kind"),
        WorkflowSide => refer("workflow_side"),
        Side => json!({ "enum": ["source", "target"] }),
        Point => refer("point"),
        Deviations => list(json!({
            "anyOf": [
                object("A global variable.", &[
                    ("what", json!({ "enum": ["variable"] }), true),
                    ("name", refer("name"), true),
                    ("expected", json!({ "type": "string" }), true),
                    ("found", json!({ "type": "string" }), true),
                    ("needs_restart", json!({ "type": "boolean" }), false),
                ]),
                object("One of vtplan's own accounts.", &[
                    ("what", json!({ "enum": ["account"] }), true),
                    ("name", refer("name"), true),
                    ("found", json!({ "type": "string" }), true),
                ]),
                object("A fence that a workflow has left; without a name: nobody knows which.", &[
                    ("what", json!({ "enum": ["fence"] }), true),
                    ("workflow", json!({ "type": "string" }), true),
                    ("closed", json!({ "type": "boolean" }), true),
                    ("triggers", refer("count"), true),
                ]),
                object("Positions of streams that a workflow has left.", &[
                    ("what", json!({ "enum": ["streams"] }), true),
                    ("workflow", refer("name"), true),
                ]),
                object("A table of rows that streams have parked and left.", &[
                    ("what", json!({ "enum": ["parked"] }), true),
                    ("table", refer("name"), true),
                ]),
            ],
        })),
        ServingReads => described(
            json!({ "type": "object", "additionalProperties": { "type": "boolean" } }),
            "By type of tablet: whether its reads go to the shard.",
        ),
        Verifier => json!({
            "anyOf": [{ "enum": [super::SENSITIVE] }, { "type": "null" }],
            "description": "Never printed; null: the password could not be read.",
        }),
    }
}
