//! Tables: the schema, the VSchema and what they say of each other.

use vtplan_state::model::VSchemaTable;
use vtplan_state::vindex;

use crate::spec::diag::Problems;
use crate::spec::resolve::ResolvedKeyspace;
use crate::spec::shape::kinds::unknown_help;
use crate::spec::sql::CreateTable;

pub fn check(
    keyspace: &ResolvedKeyspace<'_>,
    all: &[ResolvedKeyspace<'_>],
    problems: &mut Problems,
) {
    if keyspace.spec.vschema.is_some() {
        beside_a_file(keyspace, problems);
    }
    for (name, entry) in &keyspace.vschema.vschema.tables {
        let table = TableCheck {
            keyspace,
            name,
            entry,
            definition: keyspace.tables.get(name.as_str()),
        };
        table.in_schema(problems);
        table.kind(all, problems);
        table.vindexes(problems);
        table.auto_increment(all, problems);
        table.columns(problems);
    }
    schema_only(keyspace, problems);
}

/// With a VSchema file, the spec says only what is not a VSchema's.
fn beside_a_file(keyspace: &ResolvedKeyspace<'_>, problems: &mut Problems) {
    let spec = keyspace.spec;
    let vindexes = spec.vindexes.iter().map(|v| v.name.span);
    let tables = spec
        .tables
        .iter()
        .filter(|t| t.has_vschema())
        .map(|t| t.name.span);
    let routing = spec.require_explicit_routing.as_ref().map(|r| r.span);
    let Some(file) = &spec.vschema else {
        return;
    };
    if let Some(span) = vindexes.chain(tables).chain(routing).next() {
        problems
            .error(
                "two-vschemas",
                span,
                format!(
                    "keyspace `{}` has a VSchema file; this belongs into it",
                    keyspace.name()
                ),
            )
            .related(file.span, "the VSchema file")
            .help("say it in the file, or leave `vschema` out and say all of it here");
    }
    for table in spec.tables.iter().filter(|t| !t.has_vschema()) {
        if !keyspace.has_table(table.name.as_str()) {
            let known = keyspace.vschema.vschema.tables.keys().map(String::as_str);
            problems
                .error(
                    "unknown-table",
                    table.name.span,
                    format!(
                        "keyspace `{}` has no table `{}`",
                        keyspace.name(),
                        *table.name
                    ),
                )
                .maybe_help(unknown_help(table.name.as_str(), known));
        }
    }
}

/// What is to be said of the schema's tables, whatever the VSchema says.
fn schema_only(keyspace: &ResolvedKeyspace<'_>, problems: &mut Problems) {
    for (name, table) in &keyspace.tables {
        if !table.has_primary_key {
            problems
                .warning("no-primary-key", table.name.span, format!("table `{name}` has no primary key: it cannot be moved or resharded while it is in use"))
                .help("add one");
        }
        if !keyspace.vschema.vschema.tables.contains_key(name.as_str()) {
            let message = format!(
                "the VSchema of keyspace `{}` has no table `{name}`",
                keyspace.name()
            );
            let at = table.name.span;
            if keyspace.is_sharded() {
                problems
                    .error("no-vindex", at, message)
                    .help("add it to the VSchema file with its column vindexes");
            } else {
                problems
                    .warning("not-in-vschema", at, message)
                    .help("it is found only when no other keyspace could have it; add it to the VSchema file");
            }
        }
    }
}

struct TableCheck<'a> {
    keyspace: &'a ResolvedKeyspace<'a>,
    name: &'a str,
    entry: &'a VSchemaTable,
    definition: Option<&'a CreateTable>,
}

impl TableCheck<'_> {
    fn at(&self, rest: &str) -> crate::spec::source::Span {
        let name = self.name;
        self.keyspace.vschema.at(&format!("tables/{name}{rest}"))
    }

    fn in_schema(&self, problems: &mut Problems) {
        let keyspace = self.keyspace;
        if self.definition.is_some() || !keyspace.has_schema || !keyspace.schema_complete {
            return;
        }
        let known = keyspace.tables.keys().map(|t| t.as_str());
        problems
            .error(
                "unknown-table",
                self.at(""),
                format!(
                    "the schema of keyspace `{}` has no table `{}`",
                    keyspace.name(),
                    self.name
                ),
            )
            .maybe_help(unknown_help(self.name, known));
    }

    fn kind(&self, all: &[ResolvedKeyspace<'_>], problems: &mut Problems) {
        let name = self.name;
        let sharded = self.keyspace.is_sharded();
        match self.entry.table_type.as_deref() {
            None => {}
            Some("sequence") => {
                if sharded && self.entry.pinned.is_none() {
                    problems
                        .error(
                            "sharded-sequence",
                            self.at("/type"),
                            format!(
                                "sequence `{name}` is in the sharded keyspace `{}`",
                                self.keyspace.name()
                            ),
                        )
                        .help(
                            "move it to an unsharded keyspace: each shard would count for itself",
                        );
                }
                if !self.entry.column_vindexes.is_empty() || self.entry.auto_increment.is_some() {
                    problems.error(
                        "bad-sequence",
                        self.at("/type"),
                        format!("sequence `{name}` can have no vindexes and no auto_increment"),
                    );
                }
                self.sequence_definition(problems);
            }
            Some("reference") => self.reference(all, problems),
            Some(other) => {
                problems
                    .error(
                        "unknown-word",
                        self.at("/type"),
                        format!("`{other}` is not a type of tables"),
                    )
                    .maybe_help(unknown_help(other, ["sequence", "reference"]));
            }
        }
        if let Some(pinned) = &self.entry.pinned {
            if !sharded {
                problems.warning(
                    "not-sharded",
                    self.at("/pinned"),
                    format!(
                        "keyspace `{}` is not sharded, so `pinned` has no use",
                        self.keyspace.name()
                    ),
                );
            }
            if !self.entry.column_vindexes.is_empty() {
                problems
                    .error("pinned-vindex", self.at("/pinned"), format!("table `{name}` is pinned to `{pinned}` and has vindexes"))
                    .help("leave one of them out: either all rows have one keyspace id, or a vindex gives it");
            }
        }
    }

    fn sequence_definition(&self, problems: &mut Problems) {
        let Some(table) = self.definition else {
            return;
        };
        let lacking: Vec<_> = ["id", "next_id", "cache"]
            .into_iter()
            .filter(|c| table.column(c).is_none())
            .collect();
        if !lacking.is_empty() {
            problems
                .error(
                    "bad-sequence",
                    table.name.span,
                    format!(
                        "sequence `{}` lacks the column `{}`",
                        self.name,
                        lacking.join("`, `")
                    ),
                )
                .related(self.at("/type"), "declared as sequence here")
                .help("leave it out of the schema to have it made");
        } else if !table.is_sequence() {
            problems
                .error(
                    "bad-sequence",
                    table.name.span,
                    format!("sequence `{}` lacks the table comment", self.name),
                )
                .related(self.at("/type"), "declared as sequence here")
                .help(
                    "add COMMENT 'vitess_sequence', or leave it out of the schema to have it made",
                );
        }
    }

    fn reference(&self, all: &[ResolvedKeyspace<'_>], problems: &mut Problems) {
        if !self.entry.column_vindexes.is_empty() {
            problems
                .error("reference-vindex", self.at("/type"), format!("reference table `{}` has vindexes", self.name))
                .help("every shard has all rows of a reference table; leave its vindexes or its type out");
        }
        let Some(source) = &self.entry.source else {
            return;
        };
        let at = self.at("/source");
        let Some((keyspace, table)) = source.split_once('.') else {
            problems
                .error(
                    "unknown-table",
                    at,
                    format!("`{source}` does not say which keyspace"),
                )
                .help(format!("write `KEYSPACE.{source}`"));
            return;
        };
        let Some(other) = find_keyspace(keyspace, all, at, problems) else {
            return;
        };
        if other.name() == self.keyspace.name() {
            problems.error(
                "unknown-table",
                at,
                format!(
                    "table `{}` cannot be a copy of a table of its own keyspace",
                    self.name
                ),
            );
        } else if !other.has_table(table)
            && (other.schema_complete || !other.has_schema)
            && (other.has_schema || !other.vschema.vschema.tables.is_empty())
        {
            let known = other.vschema.vschema.tables.keys().map(String::as_str);
            problems
                .error(
                    "unknown-table",
                    at,
                    format!("keyspace `{keyspace}` has no table `{table}`"),
                )
                .maybe_help(unknown_help(table, known));
        }
    }

    fn vindexes(&self, problems: &mut Problems) {
        let name = self.name;
        let entry = self.entry;
        let keyspace = self.keyspace;
        let placed = !entry.column_vindexes.is_empty()
            || entry.pinned.is_some()
            || entry.is_sequence()
            || entry.is_reference();
        if keyspace.is_sharded() && !placed && !keyspace.is_broken("tables", problems) {
            problems
                .error("no-vindex", self.at(""), format!("table `{name}` of the sharded keyspace `{}` has no vindex, so no row of it has a shard", keyspace.name()))
                .help("give it `vindexes`, or `type: reference` if every shard shall have all its rows");
        }
        if keyspace.is_broken("vindexes", problems) || keyspace.is_broken("shards", problems) {
            return;
        }
        if !keyspace.is_sharded()
            && !entry.column_vindexes.is_empty()
            && keyspace.vschema.vschema.vindexes.is_empty()
        {
            problems
                .error(
                    "not-sharded",
                    self.at("/column_vindexes/0/name"),
                    format!(
                        "keyspace `{}` is not sharded, so table `{name}` can have no vindex",
                        keyspace.name()
                    ),
                )
                .help("give it more shards, or `sharded: true` to prepare it for a split");
            return;
        }
        for (i, column_vindex) in entry.column_vindexes.iter().enumerate() {
            let path = format!("/column_vindexes/{i}");
            let vindex_name = &column_vindex.name;
            let columns: Vec<&str> = column_vindex.column_names().collect();
            let at_name = self.at(&format!("{path}/name"));
            match (
                column_vindex.column.is_some(),
                column_vindex.columns.is_empty(),
            ) {
                (true, true) | (false, false) => {}
                (true, false) => {
                    problems
                        .error(
                            "vindex-columns",
                            at_name,
                            "both `column` and `columns` are given",
                        )
                        .help("leave one of them out");
                }
                (false, true) => {
                    problems
                        .error(
                            "vindex-columns",
                            at_name,
                            format!("vindex `{vindex_name}` of table `{name}` has no column"),
                        )
                        .help("give `column: NAME`");
                }
            }
            for (j, column) in columns.iter().enumerate() {
                let one = column_vindex.column.is_some();
                let rest = if one {
                    format!("{path}/column")
                } else {
                    format!("{path}/columns/{j}")
                };
                self.known_column(column, &rest, problems);
            }
            let Some(definition) = keyspace.vschema.vschema.vindexes.get(vindex_name) else {
                let known = keyspace.vschema.vschema.vindexes.keys().map(String::as_str);
                let help = unknown_help(vindex_name, known).or_else(|| {
                    Some(format!(
                        "define it: `vindexes: {{ {vindex_name}: {{ type: xxhash }} }}`"
                    ))
                });
                problems
                    .error(
                        "unknown-vindex",
                        at_name,
                        format!(
                            "keyspace `{}` has no vindex `{vindex_name}`",
                            keyspace.name()
                        ),
                    )
                    .maybe_help(help);
                continue;
            };
            // What is wrong with the definition itself is reported there.
            let lookup = vindex::lookup::read(definition);
            let takes = match &lookup {
                Ok(Some(lookup)) => Some(lookup.from.len()),
                Ok(None) => vindex::build(definition).ok().map(|v| v.columns()),
                Err(_) => None,
            };
            if let (Ok(Some(_)), 0) = (&lookup, i) {
                problems
                    .error(
                        "lookup-primary",
                        at_name,
                        format!("the first vindex of table `{name}` is the lookup `{vindex_name}`, which cannot say where a new row goes"),
                    )
                    .help("put a functional vindex first, such as one of type `xxhash`");
            }
            if let Some(takes) = takes.filter(|takes| *takes != columns.len())
                && !columns.is_empty()
            {
                problems.error(
                    "vindex-columns",
                    at_name,
                    format!(
                        "vindex `{vindex_name}` takes {takes} column(s), table `{name}` gives it {}",
                        columns.len()
                    ),
                );
            }
        }
    }

    fn auto_increment(&self, all: &[ResolvedKeyspace<'_>], problems: &mut Problems) {
        let name = self.name;
        let Some(auto) = &self.entry.auto_increment else {
            let column = self
                .definition
                .and_then(|t| t.columns.iter().find(|c| c.auto_increment));
            if let Some(column) = column
                && self.keyspace.is_sharded()
                && self.entry.pinned.is_none()
                && !self.entry.is_reference()
            {
                problems
                    .warning("auto-increment", column.name.span, format!("each shard of keyspace `{}` numbers `{name}.{}` for itself, so numbers will occur twice", self.keyspace.name(), *column.name))
                    .help("take the numbers from a sequence: `auto_increment: { column: ..., sequence: KEYSPACE.TABLE }`");
            }
            return;
        };
        self.known_column(&auto.column, "/auto_increment/column", problems);
        let at = self.at("/auto_increment/sequence");
        if let Some((keyspace, table)) = auto.sequence.split_once('.') {
            let Some(other) = find_keyspace(keyspace, all, at, problems) else {
                return;
            };
            if other.is_sequence(table) {
                return;
            }
            let known = sequences(std::slice::from_ref(other));
            let exists = other.has_table(table);
            let message = if exists {
                format!("table `{}` is not a sequence", auto.sequence)
            } else {
                format!("there is no sequence `{}`", auto.sequence)
            };
            let help = match unknown_help(&auto.sequence, known.iter().map(String::as_str)) {
                Some(help) if !exists => help,
                _ => format!(
                    "declare it in keyspace `{keyspace}`: `tables: {{ {table}: {{ type: sequence }} }}`"
                ),
            };
            problems.error("unknown-sequence", at, message).help(help);
            return;
        }
        let homes: Vec<_> = all
            .iter()
            .filter(|k| k.is_sequence(&auto.sequence))
            .collect();
        match homes.as_slice() {
            [_] => {}
            [] => {
                let known = sequences(all);
                problems
                    .error(
                        "unknown-sequence",
                        at,
                        format!("there is no sequence `{}`", auto.sequence),
                    )
                    .maybe_help(
                        unknown_help(&auto.sequence, known.iter().map(String::as_str)).or_else(
                            || {
                                Some(
                                    "declare it in an unsharded keyspace: `type: sequence`"
                                        .to_owned(),
                                )
                            },
                        ),
                    );
            }
            several => {
                let homes: Vec<_> = several.iter().map(|k| k.name()).collect();
                problems
                    .error(
                        "unknown-sequence",
                        at,
                        format!(
                            "there are several sequences `{}`: in `{}`",
                            auto.sequence,
                            homes.join("`, `")
                        ),
                    )
                    .help(format!("write `{}.{}`", homes[0], auto.sequence));
            }
        }
    }

    fn columns(&self, problems: &mut Problems) {
        for (i, column) in self.entry.columns.iter().enumerate() {
            self.known_column(&column.name, &format!("/columns/{i}/name"), problems);
        }
        if self.entry.column_list_authoritative && self.entry.columns.is_empty() {
            problems
                .error(
                    "no-columns",
                    self.at("/column_list_authoritative"),
                    format!("table `{}` lists no columns", self.name),
                )
                .help("give `columns`, or leave `column_list_authoritative` out");
        }
    }

    fn known_column(&self, column: &str, rest: &str, problems: &mut Problems) {
        let Some(table) = self.definition else {
            return;
        };
        if table.column(column).is_some() {
            return;
        }
        let known = table.columns.iter().map(|c| c.name.as_str());
        problems
            .error(
                "unknown-column",
                self.at(rest),
                format!("table `{}` has no column `{column}`", self.name),
            )
            .maybe_help(unknown_help(column, known))
            .related(table.name.span, "defined here");
    }
}

fn find_keyspace<'a>(
    name: &str,
    all: &'a [ResolvedKeyspace<'a>],
    at: crate::spec::source::Span,
    problems: &mut Problems,
) -> Option<&'a ResolvedKeyspace<'a>> {
    let found = all.iter().find(|k| k.name() == name);
    if found.is_none() {
        let known = all.iter().map(ResolvedKeyspace::name);
        problems
            .error(
                "unknown-keyspace",
                at,
                format!("there is no keyspace `{name}`"),
            )
            .maybe_help(unknown_help(name, known.clone()));
    }
    found
}

fn sequences(keyspaces: &[ResolvedKeyspace<'_>]) -> Vec<String> {
    let mut out: Vec<String> = keyspaces
        .iter()
        .flat_map(|k| {
            let declared = k.vschema.vschema.tables.keys().map(String::as_str);
            declared
                .filter(|t| k.is_sequence(t))
                .map(|t| format!("{}.{t}", k.name()))
        })
        .collect();
    out.sort();
    out
}
