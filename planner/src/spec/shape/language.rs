//! The spec language: every section and field.

use super::extra;
use super::kinds::{Kind, Text};
use super::{Field, Kdl, Shape, Struct};
use crate::drift::Kind as DriftKind;
use crate::lint::names;

const fn text(kind: Text) -> Shape {
    Shape::Scalar(Kind::Text(kind))
}

const fn int(what: &'static str, min: u64, max: u64) -> Shape {
    Shape::Scalar(Kind::Int { what, min, max })
}

const fn word(words: &'static [&'static str]) -> Shape {
    Shape::Scalar(Kind::Enum(words))
}

const fn field(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field {
        name,
        shape,
        required: false,
        kdl: Kdl::Plain,
        doc,
    }
}

const fn required(mut field: Field) -> Field {
    field.required = true;
    field
}

const fn kdl(mut field: Field, kdl: Kdl) -> Field {
    field.kdl = kdl;
    field
}

/// The version of the spec language that this version of vtplan reads.
pub const SPEC_VERSION: u64 = 1;

const ON_REMOVE: Shape = word(&["keep", "drop"]);
const PORT: Shape = int("a port", 1, 65_535);
static CELL: Shape = text(Text::Cell);
static COLUMN: Shape = text(Text::Column);
static FREE: Shape = text(Text::Free);
static SHARD: Shape = text(Text::Shard);

pub static SPEC: Struct = Struct {
    what: "a spec",
    check: None,
    inline: false,
    fields: &[
        required(field(
            "vtplan",
            int(
                "the version of the spec language",
                SPEC_VERSION,
                SPEC_VERSION,
            ),
            "Version of the spec language: 1. May stand in each file.",
        )),
        required(field("cluster", text(Text::Cluster), "The cluster's name.")),
        required(kdl(
            field(
                "cells",
                Shape::List(&CELL),
                "The cells: failure domains such as data centre zones.",
            ),
            Kdl::Args,
        )),
        kdl(
            field(
                "keyspaces",
                Shape::Map(Kind::Text(Text::Keyspace), &KEYSPACE),
                "The keyspaces: logical databases, by name.",
            ),
            Kdl::Named("keyspace"),
        ),
        field("changes", Shape::Struct(&CHANGES), "How data may move."),
        field(
            "drift",
            Shape::Struct(&DRIFT),
            "What `vtplan drift` passes over.",
        ),
        field(
            "backups",
            Shape::Struct(&BACKUPS),
            "Where backups go and when they are taken.",
        ),
        field(
            "lint",
            Shape::Struct(&LINT),
            "Levels of rules of `vtplan lint`, and where rules do not hold.",
        ),
        field(
            "policy",
            Shape::Struct(&POLICY),
            "What is required and forbidden: what goes against it has no plan.",
        ),
        kdl(
            field(
                "gates",
                Shape::Map(Kind::Text(Text::Cell), &GATES),
                "The gates of each cell.",
            ),
            Kdl::Named("gates"),
        ),
        kdl(
            field(
                "users",
                Shape::Map(Kind::Text(Text::User), &USER),
                "Who may connect to the gates, by name.",
            ),
            Kdl::Named("user"),
        ),
    ],
};

static KEYSPACE: Shape = Shape::Struct(&KEYSPACE_FIELDS);
static KEYSPACE_FIELDS: Struct = Struct {
    what: "a keyspace",
    check: None,
    inline: false,
    fields: &[
        kdl(
            field(
                "shards",
                Shape::OneOf(&[int("a number of shards", 1, 4096), Shape::List(&SHARD)]),
                "How many shards of equal width, or the shards' key ranges. Default: 1.",
            ),
            Kdl::Args,
        ),
        field(
            "sharded",
            Shape::Scalar(Kind::Bool),
            "Whether rows are placed by a vindex. Default: whether there is more than one shard. `true` with one shard prepares a keyspace for its first split.",
        ),
        field(
            "durability",
            word(&["none", "semi_sync", "cross_cell"]),
            "What a commit waits for: nothing, a replica, or a replica of another cell. Default: semi_sync.",
        ),
        kdl(
            field(
                "tablets",
                Shape::OneOf(&[
                    Shape::Map(Kind::Text(Text::Cell), &TABLET_COUNTS),
                    Shape::List(&TABLET),
                ]),
                "The tablets of each shard: counts for each cell, or a list, with tablets pinned to hosts and servers that are adopted.",
            ),
            Kdl::Tablets,
        ),
        kdl(
            field(
                "schema",
                Shape::OneOf(&[
                    text(Text::Path),
                    Shape::Struct(&SCHEMA_SQL),
                    Shape::List(&SCHEMA_SOURCE),
                ]),
                "Files, or folders of .sql files, with the tables' CREATE TABLE statements, relative to the spec's file; or the SQL itself.",
            ),
            Kdl::Args,
        ),
        field(
            "vschema",
            text(Text::Path),
            "A Vitess VSchema file (JSON) of the keyspace, instead of `vindexes` and what `tables` says.",
        ),
        kdl(
            field(
                "vindexes",
                Shape::Map(Kind::Text(Text::Vindex), &VINDEX),
                "The vindexes, by name.",
            ),
            Kdl::Named("vindex"),
        ),
        kdl(
            field(
                "tables",
                Shape::Map(Kind::Text(Text::Table), &TABLE),
                "What is to be known of tables beyond their CREATE TABLE, by name.",
            ),
            Kdl::Named("table"),
        ),
        field(
            "require_explicit_routing",
            Shape::Scalar(Kind::Bool),
            "Tables are only found when qualified with the keyspace's name.",
        ),
        field(
            "on_remove",
            ON_REMOVE,
            "What happens when the keyspace is left out of the spec: `keep` (default) or `drop`. Default for its tables too.",
        ),
    ],
};

static TABLET_COUNTS: Shape = Shape::Struct(&TABLET_COUNTS_FIELDS);
static TABLET_COUNTS_FIELDS: Struct = Struct {
    what: "a cell's tablets",
    check: None,
    inline: true,
    fields: &[
        field(
            "replica",
            int("a number of replicas", 0, 100),
            "Tablets for each shard that can be primary; one of them is.",
        ),
        field(
            "rdonly",
            int("a number of rdonly tablets", 0, 100),
            "Tablets for each shard for batch reads, never primary.",
        ),
    ],
};

static TABLET: Shape = Shape::Struct(&TABLET_FIELDS);
static TABLET_FIELDS: Struct = Struct {
    what: "a tablet",
    check: Some(extra::tablet),
    inline: true,
    fields: &[
        required(field("cell", text(Text::Cell), "The cell it is in.")),
        field(
            "server",
            text(Text::Server),
            "A server that is there already, `HOST:PORT`: it is adopted as it runs, with its data. Of a keyspace's servers the first one takes the writes.",
        ),
        field(
            "host",
            text(Text::Host),
            "The host that it is pinned to; of a `server`: the host whose agent looks after it.",
        ),
        field(
            "type",
            word(&["replica", "rdonly"]),
            "The tablet's type, where it is pinned or has a `server`. Default: replica.",
        ),
        field(
            "shard",
            text(Text::Shard),
            "The shard that the pinned tablet is of.",
        ),
        field(
            "uid",
            int("a uid", 1, 4_294_967_295),
            "The number in the pinned tablet's alias, unique over the cluster.",
        ),
        field(
            "mysql_port",
            PORT,
            "The port of the pinned tablet's MySQL server.",
        ),
        field(
            "replica",
            int("a number of replicas", 0, 100),
            "Instead of a pinned tablet: the number of replicas for each shard.",
        ),
        field(
            "rdonly",
            int("a number of rdonly tablets", 0, 100),
            "Instead of a pinned tablet: the number of rdonly tablets for each shard.",
        ),
    ],
};

static SCHEMA_SOURCE: Shape = Shape::OneOf(&[text(Text::Path), Shape::Struct(&SCHEMA_SQL)]);
static SCHEMA_SQL: Struct = Struct {
    what: "an inline schema",
    check: None,
    inline: true,
    fields: &[required(field(
        "sql",
        text(Text::Sql),
        "CREATE TABLE statements.",
    ))],
};

static VINDEX: Shape = Shape::Struct(&VINDEX_FIELDS);
static VINDEX_FIELDS: Struct = Struct {
    what: "a vindex",
    check: None,
    inline: true,
    fields: &[
        required(field(
            "type",
            text(Text::Free),
            "The function, such as `xxhash`.",
        )),
        field(
            "owner",
            text(Text::Table),
            "The table whose rows maintain a lookup vindex.",
        ),
        field(
            "params",
            Shape::Map(Kind::Text(Text::Free), &FREE),
            "The vindex's parameters.",
        ),
    ],
};

static TABLE: Shape = Shape::OrNull(&TABLE_STRUCT);
static TABLE_STRUCT: Shape = Shape::Struct(&TABLE_FIELDS);
static TABLE_FIELDS: Struct = Struct {
    what: "a table",
    check: None,
    inline: true,
    fields: &[
        field(
            "type",
            word(&["sequence", "reference"]),
            "`sequence`: it counts for auto_increment. `reference`: every shard has all its rows.",
        ),
        kdl(
            field(
                "vindexes",
                Shape::List(&TABLE_VINDEX),
                "The table's vindexes; the first one places its rows.",
            ),
            Kdl::Items {
                node: "vindex",
                argument: Some("name"),
            },
        ),
        field(
            "auto_increment",
            Shape::Struct(&AUTO_INCREMENT),
            "A column that takes its values from a sequence.",
        ),
        kdl(
            field(
                "columns",
                Shape::List(&TABLE_COLUMN),
                "Columns and their types, where the gate shall not read them from the servers.",
            ),
            Kdl::Items {
                node: "column",
                argument: Some("name"),
            },
        ),
        field(
            "column_list_authoritative",
            Shape::Scalar(Kind::Bool),
            "Whether `columns` has all columns, in order.",
        ),
        field(
            "pinned",
            text(Text::KeyspaceId),
            "Keyspace id, in hexadecimal, that all rows have.",
        ),
        field(
            "source",
            text(Text::TableRef),
            "For a reference table: the table that it is a copy of, `keyspace.table`.",
        ),
        field(
            "on_remove",
            ON_REMOVE,
            "What happens when the table is left out: `keep` or `drop`. Default: the keyspace's.",
        ),
    ],
};

static TABLE_VINDEX: Shape = Shape::Struct(&TABLE_VINDEX_FIELDS);
static TABLE_VINDEX_FIELDS: Struct = Struct {
    what: "a table's vindex",
    check: None,
    inline: true,
    fields: &[
        required(field(
            "name",
            text(Text::Vindex),
            "The name of one of the keyspace's vindexes.",
        )),
        field("column", text(Text::Column), "The column it is of."),
        kdl(
            field(
                "columns",
                Shape::List(&COLUMN),
                "The columns it is of, where there are several.",
            ),
            Kdl::Args,
        ),
    ],
};

static AUTO_INCREMENT: Struct = Struct {
    what: "auto_increment",
    check: None,
    inline: true,
    fields: &[
        required(field("column", text(Text::Column), "The column.")),
        required(field(
            "sequence",
            text(Text::TableRef),
            "The sequence, `keyspace.table`.",
        )),
    ],
};

static TABLE_COLUMN: Shape =
    Shape::OneOf(&[text(Text::Column), Shape::Struct(&TABLE_COLUMN_FIELDS)]);
static TABLE_COLUMN_FIELDS: Struct = Struct {
    what: "a column",
    check: None,
    inline: true,
    fields: &[
        required(field("name", text(Text::Column), "The column's name.")),
        field(
            "type",
            text(Text::Free),
            "Its Vitess type, such as `VARCHAR`.",
        ),
    ],
};

static APPROVE_POINT: Shape = word(&["switch_reads", "switch_writes", "complete"]);
static CHANGES: Struct = Struct {
    what: "changes",
    check: None,
    inline: false,
    fields: &[
        field(
            "vdiff",
            word(&["required", "every_value", "skip"]),
            "Whether source and target are compared before writes switch; with every_value no \
             checksum is relied on. Default: required.",
        ),
        field(
            "soak",
            text(Text::Duration),
            "Time between SwitchTraffic and Complete. Default: 0.",
        ),
        field(
            "max_write_pause",
            text(Text::Duration),
            "How long writes may wait while they switch, at most. Default: 1s.",
        ),
        kdl(
            field(
                "approve",
                Shape::List(&APPROVE_POINT),
                "Where to pause until approved.",
            ),
            Kdl::Args,
        ),
        field(
            "window",
            text(Text::Window),
            "When traffic may switch: `Sat 02:00-05:00 Europe/Berlin`. Default: always.",
        ),
        field(
            "throttle",
            Shape::Struct(&THROTTLE),
            "What copying holds back for.",
        ),
        field(
            "fit",
            word(&["refuse", "warn"]),
            "What becomes of a plan that needs more disk or connections than there are, by its \
             estimates. Default: refuse.",
        ),
    ],
};

static THROTTLE: Struct = Struct {
    what: "throttle",
    check: None,
    inline: true,
    fields: &[field(
        "max_lag",
        text(Text::Duration),
        "Replication lag above which copying slows down. Default: 5s.",
    )],
};

static DRIFT: Struct = Struct {
    what: "drift",
    check: None,
    inline: false,
    fields: &[kdl(
        field(
            "ignore",
            Shape::List(&IGNORE_DRIFT),
            "Drift that is meant to be, and why.",
        ),
        Kdl::Items {
            node: "ignore",
            argument: Some("kind"),
        },
    )],
};

static IGNORE_DRIFT: Shape = Shape::Struct(&IGNORE_DRIFT_FIELDS);
static IGNORE_DRIFT_FIELDS: Struct = Struct {
    what: "a rule for drift",
    check: None,
    inline: true,
    fields: &[
        required(field(
            "kind",
            word(&DRIFT_KINDS),
            "The kind of drift, such as `stray-table`.",
        )),
        field(
            "object",
            text(Text::Free),
            "The object as `vtplan drift` prints it; `*` stands for any text. Default: any.",
        ),
        required(field(
            "reason",
            text(Text::Free),
            "Why it is meant to be; reports say it.",
        )),
    ],
};

/// The names of the kinds of drift.
static DRIFT_KINDS: [&str; DriftKind::ALL.len()] = {
    let mut names = [""; DriftKind::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = DriftKind::ALL[at].as_str();
        at += 1;
    }
    names
};

static SCHEDULE: Shape = Shape::Struct(&SCHEDULE_FIELDS);
static BACKUPS: Struct = Struct {
    what: "backups",
    check: None,
    inline: false,
    fields: &[
        required(field(
            "location",
            text(Text::Location),
            "Where backups go: file://, s3://, gs:// or az://.",
        )),
        kdl(
            field("schedules", Shape::List(&SCHEDULE), "When they are taken."),
            Kdl::Items {
                node: "schedule",
                argument: Some("cron"),
            },
        ),
    ],
};

static KEYSPACE_PATTERN: Shape = text(Text::KeyspaceOrAll);
static SCHEDULE_FIELDS: Struct = Struct {
    what: "a backup schedule",
    check: None,
    inline: true,
    fields: &[
        required(field(
            "cron",
            text(Text::Cron),
            "When: a crontab(5) line, in UTC.",
        )),
        kdl(
            field(
                "keyspaces",
                Shape::List(&KEYSPACE_PATTERN),
                "Of which keyspaces. Default: all (`*`).",
            ),
            Kdl::Args,
        ),
        field(
            "keep",
            Shape::Struct(&KEEP),
            "Which backups are kept. Default: all.",
        ),
    ],
};

static KEEP: Struct = Struct {
    what: "keep",
    check: None,
    inline: true,
    fields: &[
        field(
            "last",
            int("a number of backups", 1, 100_000),
            "The newest so many of each shard.",
        ),
        field(
            "days",
            int("a number of days", 1, 36_500),
            "Those not older than so many days.",
        ),
    ],
};

static LINT_RULE: Shape = Shape::Struct(&LINT_RULE_FIELDS);
static LINT_IGNORE: Shape = Shape::Struct(&LINT_IGNORE_FIELDS);
static LINT: Struct = Struct {
    what: "lint",
    check: None,
    inline: false,
    fields: &[
        kdl(
            field("rules", Shape::List(&LINT_RULE), "Other levels of rules."),
            Kdl::Items {
                node: "rule",
                argument: Some("name"),
            },
        ),
        kdl(
            field(
                "ignore",
                Shape::List(&LINT_IGNORE),
                "Where rules do not hold, each with a reason.",
            ),
            Kdl::Items {
                node: "ignore",
                argument: Some("rule"),
            },
        ),
    ],
};

static LINT_RULE_FIELDS: Struct = Struct {
    what: "a rule",
    check: None,
    inline: true,
    fields: &[
        required(field("name", word(&names::RULES), "The rule.")),
        required(field("level", word(&names::LEVELS), "Its level.")),
    ],
};

static LINT_IGNORE_FIELDS: Struct = Struct {
    what: "an exception to a rule",
    check: Some(extra::reason),
    inline: true,
    fields: &[
        required(field("rule", word(&names::RULES), "The rule.")),
        field(
            "object",
            text(Text::Free),
            "Of which object: `commerce`, `commerce.product`; `*` stands for any text. Default: all.",
        ),
        field(
            "file",
            text(Text::Free),
            "Of which file: `legacy/*.sql`. Default: all.",
        ),
        required(field("reason", text(Text::Free), "Why.")),
    ],
};

static REQUIREMENT: Shape = word(&names::REQUIRABLE);
static FORBIDDEN: Shape = word(&names::FORBIDDABLE);
static POLICY_EXCEPT: Shape = Shape::Struct(&POLICY_EXCEPT_FIELDS);
static POLICY: Struct = Struct {
    what: "policy",
    check: None,
    inline: false,
    fields: &[
        kdl(
            field(
                "require",
                Shape::List(&REQUIREMENT),
                "What every keyspace, table or change must have.",
            ),
            Kdl::Args,
        ),
        kdl(
            field(
                "forbid",
                Shape::List(&FORBIDDEN),
                "What no spec may have (rules of `vtplan lint`), and what no plan may do.",
            ),
            Kdl::Args,
        ),
        kdl(
            field(
                "except",
                Shape::List(&POLICY_EXCEPT),
                "Where a part of this does not hold, each with a reason.",
            ),
            Kdl::Items {
                node: "except",
                argument: Some("rule"),
            },
        ),
    ],
};

static POLICY_EXCEPT_FIELDS: Struct = Struct {
    what: "an exception to the policy",
    check: Some(extra::policy_exception),
    inline: true,
    fields: &[
        required(field(
            "rule",
            text(Text::Free),
            "A word of `require` or `forbid`.",
        )),
        required(field(
            "object",
            text(Text::Free),
            "For which object; `*` stands for any text.",
        )),
        required(field("reason", text(Text::Free), "Why.")),
    ],
};

static GATES: Shape = Shape::OrNull(&GATES_STRUCT);
static GATES_STRUCT: Shape = Shape::Struct(&GATES_FIELDS);
static GATES_FIELDS: Struct = Struct {
    what: "a cell's gates",
    check: None,
    inline: true,
    fields: &[
        field(
            "count",
            int("a number of gates", 0, 1000),
            "How many run. Default: 1.",
        ),
        field(
            "mysql_port",
            PORT,
            "The port on which they speak the MySQL protocol. Default: 15306.",
        ),
    ],
};

static USER: Shape = Shape::Struct(&USER_FIELDS);
static USER_FIELDS: Struct = Struct {
    what: "a user",
    check: Some(extra::user),
    inline: true,
    fields: &[
        field(
            "password_env",
            text(Text::EnvVar),
            "The environment variable that holds the password when applying.",
        ),
        field(
            "password_file",
            text(Text::Path),
            "The file that holds the password when applying, relative to the spec's file.",
        ),
    ],
};
