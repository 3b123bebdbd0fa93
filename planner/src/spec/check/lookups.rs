//! Lookup vindexes: their tables, and whose rows they are of.

use std::collections::BTreeSet;

use vtplan_state::model::VindexDefinition;
use vtplan_state::vindex::lookup::{self, Lookup};

use crate::spec::diag::Problems;
use crate::spec::resolve::ResolvedKeyspace;
use crate::spec::shape::kinds::unknown_help;
use crate::spec::source::Span;
use crate::spec::sql::{Column, CreateTable};

/// The longest keyspace id of functions that hash, bytes.
const HASHED: usize = 16;

pub fn check(
    keyspace: &ResolvedKeyspace<'_>,
    all: &[ResolvedKeyspace<'_>],
    problems: &mut Problems,
) {
    if !keyspace.is_sharded() {
        return;
    }
    for (name, definition) in &keyspace.vschema.vschema.vindexes {
        // What is wrong with the definition itself is reported with others.
        let Ok(Some(lookup)) = lookup::read(definition) else {
            continue;
        };
        let check = LookupCheck {
            keyspace,
            name,
            definition,
            lookup: &lookup,
        };
        check.owner(problems);
        if let Some((home, table)) = check.table(all, problems) {
            if check.columns(table, problems) {
                check.keys(table, problems);
            }
            check.home(home, problems);
            check.types(table, problems);
        }
    }
}

struct LookupCheck<'a> {
    keyspace: &'a ResolvedKeyspace<'a>,
    name: &'a str,
    definition: &'a VindexDefinition,
    lookup: &'a Lookup,
}

impl<'a> LookupCheck<'a> {
    fn at(&self, rest: &str) -> Span {
        let path = format!("vindexes/{}/{rest}", self.name);
        self.keyspace.vschema.at(&path)
    }

    fn param(&self, param: &str) -> Span {
        self.at(&format!("params/{param}"))
    }

    /// The owner names the vindex among its own.
    fn owner(&self, problems: &mut Problems) {
        let Some(owner) = &self.definition.owner else {
            return;
        };
        let entry = self.keyspace.vschema.vschema.tables.get(owner);
        let Some(entry) = entry else {
            return;
        };
        let mut vindexes = entry.column_vindexes.iter();
        if !vindexes.any(|v| v.name == self.name) {
            problems
                .error(
                    "lookup-owner",
                    self.at("owner"),
                    format!(
                        "table `{owner}` owns lookup `{}` and has no column for it",
                        self.name
                    ),
                )
                .help(format!(
                    "add it to the table's vindexes: `{{ name: {}, column: ... }}`",
                    self.name
                ));
        }
    }

    /// Where the table is and how it is made; `None` if that is not known.
    fn table(
        &self,
        all: &'a [ResolvedKeyspace<'a>],
        problems: &mut Problems,
    ) -> Option<(&'a ResolvedKeyspace<'a>, &'a CreateTable)> {
        let at = self.param("table");
        let table = self.lookup.table.as_str();
        let home = match &self.lookup.keyspace {
            Some(name) => {
                let home = all.iter().find(|k| k.name() == name);
                if home.is_none() {
                    let known = all.iter().map(ResolvedKeyspace::name);
                    problems
                        .error(
                            "unknown-keyspace",
                            at,
                            format!("there is no keyspace `{name}`"),
                        )
                        .maybe_help(unknown_help(name, known));
                }
                home?
            }
            None if self.keyspace.has_table(table) => self.keyspace,
            None => {
                let mut homes = all.iter().filter(|k| k.has_table(table));
                match (homes.next(), homes.next()) {
                    (Some(home), None) => home,
                    (Some(first), Some(_)) => {
                        problems
                            .error(
                                "unknown-table",
                                at,
                                format!("several keyspaces have a table `{table}`"),
                            )
                            .help(format!("write `{}.{table}`", first.name()));
                        return None;
                    }
                    (None, _) => self.keyspace,
                }
            }
        };
        let definition = home.tables.iter().find(|(name, _)| name.as_str() == table);
        if definition.is_none() && home.has_schema && home.schema_complete {
            let known = home.tables.keys().map(|t| t.as_str());
            let help = unknown_help(table, known).unwrap_or_else(|| {
                format!(
                    "add it to the schema of `{}`: a column for each of `{}`, and `{}` varbinary(128)",
                    home.name(),
                    self.lookup.from.join("`, `"),
                    self.lookup.to
                )
            });
            problems
                .error(
                    "unknown-table",
                    at,
                    format!(
                        "keyspace `{}` has no table `{table}` for lookup `{}`",
                        home.name(),
                        self.name
                    ),
                )
                .help(help);
        }
        definition.map(|(_, table)| (home, table))
    }

    /// The table has the columns, which is the answer, and no others that need a value.
    fn columns(&self, table: &CreateTable, problems: &mut Problems) -> bool {
        let lookup = self.lookup;
        let mut complete = true;
        let known = || table.columns.iter().map(|c| c.name.as_str());
        let named = lookup.from.iter().map(|c| (c, "from"));
        for (column, param) in named.chain([(&lookup.to, "to")]) {
            if table.column(column).is_none() {
                complete = false;
                problems
                    .error(
                        "unknown-column",
                        self.param(param),
                        format!("table `{}` has no column `{column}`", lookup.table),
                    )
                    .maybe_help(unknown_help(column, known()))
                    .related(table.name.span, "defined here");
            }
        }
        if let Some(to) = table.column(&lookup.to) {
            let wide = width(&to.column_type);
            let needed = self.id_width();
            if wide.is_none_or(|wide| wide < needed) {
                problems
                    .error(
                        "lookup-column",
                        to.name.span,
                        format!(
                            "column `{}` of `{}` is `{}`, which does not hold every keyspace id of up to {needed} bytes",
                            lookup.to, lookup.table, to.column_type
                        ),
                    )
                    .related(self.param("to"), "for this lookup")
                    .help("make it varbinary(128)");
            }
        }
        for column in &table.columns {
            let named = |name: &String| name.eq_ignore_ascii_case(&column.name);
            let used = lookup.from.iter().any(named) || named(&lookup.to);
            if !used && column.not_null && !column.has_default {
                problems
                    .error(
                        "lookup-column",
                        column.name.span,
                        format!(
                            "column `{}` of `{}` needs a value, and lookup `{}` has none for it",
                            *column.name, lookup.table, self.name
                        ),
                    )
                    .help("give it a default, or leave it out");
            }
        }
        complete
    }

    /// How long a keyspace id may be.
    fn id_width(&self) -> usize {
        let vschema = &self.keyspace.vschema.vschema;
        let users = vschema
            .tables
            .values()
            .filter(|t| t.column_vindexes.iter().any(|v| v.name == self.name));
        let types = users.filter_map(|table| {
            let primary = vschema.vindexes.get(&table.column_vindexes.first()?.name)?;
            Some(primary.vindex_type.as_str())
        });
        types
            .map(|vindex_type| match vindex_type {
                "binary" | "cfc" | "region_experimental" | "region_json" => 128,
                "binary_md5" | "unicode_loose_md5" => HASHED,
                _ => 8,
            })
            .max()
            .unwrap_or(8)
    }

    /// What makes an entry one: without such a key, or with a narrower one, rows would be lost.
    fn keys(&self, table: &CreateTable, problems: &mut Problems) {
        let lookup = self.lookup;
        let from: BTreeSet<String> = lookup.from.iter().map(|c| c.to_lowercase()).collect();
        let mut entry = from.clone();
        if !lookup.unique {
            entry.insert(lookup.to.to_lowercase());
        }
        let list: Vec<_> = lookup
            .from
            .iter()
            .chain((!lookup.unique).then_some(&lookup.to))
            .map(String::as_str)
            .collect();
        let key = list.join(", ");
        let unique = || table.keys.iter().filter(|key| key.unique);
        let columns = |key: &crate::spec::sql::Key| -> BTreeSet<String> {
            key.columns.iter().cloned().collect()
        };
        if !unique().any(|k| columns(k) == entry && !k.prefix) {
            problems
                .error(
                    "lookup-key",
                    table.name.span,
                    format!(
                        "table `{}` of lookup `{}` has no unique key over ({key})",
                        lookup.table, self.name
                    ),
                )
                .related(self.param("table"), "for this lookup")
                .help(format!("add `primary key ({key})`"));
        }
        let narrow = unique().find(|k| k.prefix || !columns(k).is_superset(&entry));
        if let Some(narrow) = narrow {
            let narrow = narrow.columns.join(", ");
            problems
                .error(
                    "lookup-key",
                    table.name.span,
                    format!(
                        "table `{}` of lookup `{}` has a unique key over ({narrow}), which lets it hold less than every ({key})",
                        lookup.table, self.name
                    ),
                )
                .related(self.param("table"), "for this lookup")
                .help("make that key not unique");
        }
    }

    /// The keyspace of the table can say where its rows are.
    fn home(&self, home: &ResolvedKeyspace<'_>, problems: &mut Problems) {
        let lookup = self.lookup;
        let Some(entry) = home.vschema.vschema.tables.get(&lookup.table) else {
            return;
        };
        let at = home.vschema.at(&format!("tables/{}", lookup.table));
        if entry.table_type.is_some() || entry.pinned.is_some() || entry.auto_increment.is_some() {
            problems
                .error(
                    "lookup-table",
                    at,
                    format!(
                        "table `{}` of lookup `{}` is no ordinary table",
                        lookup.table, self.name
                    ),
                )
                .help("leave its type, `pinned` and `auto_increment` out");
        }
        let vindexes = &home.vschema.vschema.vindexes;
        let owns = |v: &&VindexDefinition| {
            v.owner.as_deref() == Some(&lookup.table) && lookup::is_lookup(&v.vindex_type)
        };
        if vindexes.values().any(|v| owns(&v)) {
            problems.error(
                "lookup-table",
                at,
                format!(
                    "table `{}` of lookup `{}` owns a lookup itself",
                    lookup.table, self.name
                ),
            );
        }
        let Some(primary) = entry.column_vindexes.first().filter(|_| home.is_sharded()) else {
            return;
        };
        let at = home
            .vschema
            .at(&format!("tables/{}/column_vindexes/0/name", lookup.table));
        for column in primary.column_names() {
            let of = |c: &String| c.eq_ignore_ascii_case(column);
            if !lookup.from.iter().any(of) {
                problems
                    .error(
                        "lookup-table",
                        at,
                        format!(
                            "table `{}` of lookup `{}` is sharded by `{column}`, which is no column with its values",
                            lookup.table, self.name
                        ),
                    )
                    .help(format!("shard it by `{}`", lookup.from[0]));
                return;
            }
            let definition = home
                .tables
                .iter()
                .find(|(name, _)| name.as_str() == lookup.table)
                .and_then(|(_, table)| table.column(column));
            let vindex_type = vindexes
                .get(&primary.name)
                .map_or("", |v| v.vindex_type.as_str());
            let loose = vindex_type.starts_with("unicode_loose");
            if let Some(definition) = definition.filter(|d| folds(d) && !loose) {
                problems
                    .error(
                        "lookup-collation",
                        at,
                        format!(
                            "`{vindex_type}` tells letters apart that column `{column}` of `{}` takes for the same, so lookup `{}` would not find them",
                            lookup.table, self.name
                        ),
                    )
                    .related(definition.name.span, "the column")
                    .help("shard it by `unicode_loose_xxhash`, or give both columns a `_bin` collation");
            }
        }
    }

    /// Columns of the tables that use it hold what its own hold, and compare it the same way.
    fn types(&self, table: &CreateTable, problems: &mut Problems) {
        let lookup = self.lookup;
        for (name, entry) in &self.keyspace.vschema.vschema.tables {
            let mut found = self
                .keyspace
                .tables
                .iter()
                .filter(|(t, _)| t.as_str() == name);
            let Some((_, of)) = found.next() else {
                continue;
            };
            let uses = entry.column_vindexes.iter().enumerate();
            for (i, using) in uses.filter(|(_, v)| v.name == self.name) {
                let at = self
                    .keyspace
                    .vschema
                    .at(&format!("tables/{name}/column_vindexes/{i}/name"));
                let columns: Vec<&str> = using.column_names().collect();
                for (theirs, ours) in columns.iter().zip(&lookup.from) {
                    let (Some(theirs), Some(ours)) = (of.column(theirs), table.column(ours)) else {
                        continue;
                    };
                    self.alike((name, theirs), ours, at, problems);
                }
                if self.definition.owner.as_deref() != Some(name.as_str()) {
                    continue;
                }
                let first = columns.first().map(|c| c.to_lowercase());
                let indexed = |k: &crate::spec::sql::Key| k.columns.first() == first.as_ref();
                if !of.keys.iter().any(indexed) {
                    problems
                        .warning(
                            "lookup-no-index",
                            at,
                            format!(
                                "table `{name}` has no index that begins with `{}`, so its rows of a value of lookup `{}` are found by reading all of them",
                                columns.first().unwrap_or(&""), self.name
                            ),
                        )
                        .help("add an index");
                }
            }
        }
    }

    fn alike(
        &self,
        (table, theirs): (&str, &Column),
        ours: &Column,
        at: Span,
        problems: &mut Problems,
    ) {
        let owned = self.definition.owner.as_deref() == Some(table);
        if theirs.column_type != ours.column_type || theirs.collation != ours.collation {
            let described = |c: &Column| match &c.collation {
                Some(collation) => format!("{} collate {collation}", c.column_type),
                None => c.column_type.clone(),
            };
            problems
                .error(
                    "lookup-type",
                    ours.name.span,
                    format!(
                        "column `{}` of `{}` is `{}`, and `{}` of `{table}`, which lookup `{}` finds by it, is `{}`",
                        *ours.name,
                        self.lookup.table,
                        described(ours),
                        *theirs.name,
                        self.name,
                        described(theirs)
                    ),
                )
                .related(theirs.name.span, "the other column")
                .help("make them the same, so that both compare and store values alike");
        }
        if owned && !theirs.not_null && !self.lookup.ignore_nulls {
            problems
                .warning(
                    "lookup-null",
                    at,
                    format!(
                        "column `{}` of `{table}` may be NULL, and lookup `{}` does not ignore NULLs: such rows are refused",
                        *theirs.name, self.name
                    ),
                )
                .help("make the column NOT NULL, or give the lookup `ignore_nulls: \"true\"`");
        }
    }
}

/// How many bytes a column for keyspace ids holds; `None` for types that change them.
fn width(column_type: &str) -> Option<usize> {
    match column_type {
        "tinyblob" => Some(255),
        "blob" | "mediumblob" | "longblob" => Some(65535),
        other => {
            let length = other.strip_prefix("varbinary(")?.strip_suffix(')')?;
            length.parse().ok()
        }
    }
}

/// Whether a column takes different bytes for the same value.
fn folds(column: &Column) -> bool {
    let text = [
        "char",
        "varchar",
        "text",
        "tinytext",
        "mediumtext",
        "longtext",
        "enum",
    ];
    let of = column.column_type.split('(').next().unwrap_or_default();
    let exact = |c: &String| c == "binary" || c.ends_with("_bin");
    text.contains(&of) && !column.collation.as_ref().is_some_and(exact)
}
