//! From a statement's tokens to its template: the part of planning that the cache spares.

use std::cell::RefCell;
use std::sync::Arc;

use super::analyze::{Analysis, analyze};
use super::catalog::{Catalog, FoundTable, Keyspace, TableLookup};
use super::gate_statement;
use super::grammar::Parsed;
use super::insert::InsertShape;
use super::lookup::OwnedTemplate;
use super::rewrite::{Piece, Rewrite, Splice, quoted};
use super::scan::Kind;
use super::statement::{Statement, TableName, Verb};
use super::template::{Group, Template, TemplateKind};
use super::touches::{Touch, Touches};
use super::types::{GateStatement, PlanContext, Props, ReserveReason, ShardId, SqlError};

/// Plans a statement as far as its values do not matter.
pub(super) fn build(
    statement: &Statement<'_>,
    context: &PlanContext<'_>,
    catalog: &Catalog,
) -> Result<Template, SqlError> {
    let builder = Builder {
        statement,
        context,
        catalog,
        verb: statement.verb(),
        touched: RefCell::default(),
    };
    let of_shard = context.target.shard.is_some();
    if let Some(gate) = gate_statement::parse(statement, of_shard)? {
        return Ok(builder.gate(gate));
    }
    builder.build()
}

struct Builder<'s, 'a> {
    statement: &'s Statement<'a>,
    context: &'s PlanContext<'s>,
    catalog: &'s Catalog,
    verb: Verb,
    /// Tables that were found so far.
    touched: RefCell<Vec<Touch>>,
}

impl Builder<'_, '_> {
    fn gate(&self, gate: GateStatement) -> Template {
        Template {
            props: Props {
                is_read: matches!(gate, GateStatement::Show(_)),
                returns_rows: matches!(gate, GateStatement::Show(_)),
                ..Props::default()
            },
            tablet_type: self.context.target.tablet_type,
            rewrite: Rewrite::default(),
            touches: Arc::default(),
            recorded: None,
            beside: None,
            owned: None,
            kind: TemplateKind::Gate(gate),
        }
    }

    fn template(&self, kind: TemplateKind, mut splices: Vec<Splice>) -> Template {
        splices.extend(self.session_splices());
        let props = self.statement.props(self.verb);
        Template {
            props,
            tablet_type: self.context.target.tablet_type,
            rewrite: Rewrite::new(splices),
            touches: Arc::new(self.touches(&kind, &props)),
            recorded: None,
            beside: None,
            owned: None,
            kind,
        }
    }

    /// Notes the lookups that a statement asks or keeps: it touches their tables, on these shards.
    fn note_lookups<'l>(
        &self,
        lookups: impl Iterator<Item = &'l Arc<TableLookup>>,
    ) -> Option<Arc<[Arc<ShardId>]>> {
        let tablet_type = self.context.target.tablet_type;
        let mut shards: Vec<Arc<ShardId>> = Vec::new();
        for lookup in lookups {
            let Ok((keyspace, of)) = &lookup.lookup else {
                continue;
            };
            // Where rules take it; what is wrong with them is told when it is asked.
            let name = Some(keyspace.as_str());
            let found = self.catalog.find_table(name, &of.table, None, tablet_type);
            if let Ok(found) = found {
                self.touch(&found);
                for shard in &found.keyspace.shards {
                    if !shards.contains(shard) {
                        shards.push(shard.clone());
                    }
                }
            }
        }
        (!shards.is_empty()).then(|| shards.into())
    }

    fn touches(&self, kind: &TemplateKind, props: &Props) -> Touches {
        let mut list = self.touched.take();
        if let (true, Some(keyspace)) = (list.is_empty(), kind.keyspace()) {
            list.push(Touch::unread(self.statement, self.verb, keyspace));
        }
        let table_lock = props.reserve == Some(ReserveReason::TableLock);
        let unlocks = self.statement.is(0, "UNLOCK");
        Touches {
            list,
            locks_tables: table_lock && !unlocks,
            unlocks_tables: table_lock && unlocks,
        }
    }

    fn touch(&self, found: &FoundTable) {
        self.touched.borrow_mut().push(Touch::table(found));
    }

    /// To the first shard of a keyspace.
    fn single(&self, keyspace: &Keyspace, splices: Vec<Splice>) -> Result<Template, SqlError> {
        let shard = keyspace
            .shards
            .first()
            .ok_or_else(|| keyspace.not_serving())?;
        Ok(self.template(TemplateKind::Single(shard.clone()), splices))
    }

    fn build(&self) -> Result<Template, SqlError> {
        let target = self.context.target;
        let keyspace = match &target.keyspace {
            Some(name) => {
                let name = name.as_str();
                Some(self.catalog.require_keyspace(name, target.tablet_type)?)
            }
            None => None,
        };
        if let (Some(keyspace), Some(shard)) = (keyspace, &target.shard) {
            let shard: &Arc<ShardId> = keyspace.shard_named(shard).ok_or_else(|| {
                SqlError::new(
                    1105,
                    "HY000",
                    format!(
                        "keyspace `{}` has no serving shard `{shard}`",
                        keyspace.name
                    ),
                )
            })?;
            return Ok(self.template(TemplateKind::Single(shard.clone()), Vec::new()));
        }
        if let Some(keyspace) = keyspace.filter(|k| !k.sharded)
            && !self.may_concern_others(keyspace)
        {
            return self.single(keyspace, Vec::new());
        }
        if self.statement.unterminated {
            return Err(SqlError::syntax(
                "a string, name or comment in the statement has no end",
            ));
        }
        match self.verb {
            Verb::Empty => Ok(self.gate(GateStatement::Empty)),
            Verb::Query | Verb::Update | Verb::Delete => self.analyzed(0),
            Verb::Insert => self.insert(keyspace),
            Verb::TableDdl | Verb::Maintenance => self.ddl(),
            Verb::Explain => self.explain(keyspace),
            Verb::Describe => self.describe(keyspace),
            Verb::Show => self.show(keyspace),
            Verb::OtherDdl | Verb::LockTables | Verb::Other => self.other(keyspace),
        }
    }

    /// Whether a statement in an unsharded keyspace may name a table of another, or one that a
    /// rule routes elsewhere, or needs a sequence. When not, it goes as it is, unread.
    fn may_concern_others(&self, keyspace: &Keyspace) -> bool {
        let s = self.statement;
        if self.verb == Verb::Insert && self.sequence_table(keyspace).is_some() {
            return true;
        }
        (0..s.tokens.len()).any(|at| {
            if !matches!(s.tokens[at].kind, Kind::Word | Kind::Quoted) {
                return false;
            }
            let Some(name) = s.name(at) else {
                return false;
            };
            let qualifies = s.is_op(at + 1, ".");
            let other = name != keyspace.name.as_str() && self.catalog.keyspace(&name).is_some();
            let named = qualifies || self.verb == Verb::Show;
            named && other || self.is_moved(keyspace, &name)
        })
    }

    /// Whether rules take the keyspace's table of this name elsewhere.
    fn is_moved(&self, keyspace: &Keyspace, name: &str) -> bool {
        let tablet_type = self.context.target.tablet_type;
        self.catalog.rule_mentions(name) && self.catalog.is_moved(&keyspace.name, name, tablet_type)
    }

    /// The table of an INSERT, when a column of it is filled from a sequence.
    fn sequence_table(&self, keyspace: &Keyspace) -> Option<()> {
        let shape = InsertShape::new(self.statement).ok()?;
        let table = keyspace.tables.get(&shape.table.name)?;
        table.auto_increment.as_ref().map(|_| ())
    }

    /// What SELECT, UPDATE or DELETE from a token on do.
    fn analysis(&self, from: usize) -> Result<Analysis, SqlError> {
        let parsed = Parsed::new(self.statement, from, self.statement.tokens.len())?;
        let analysis = analyze(&parsed, self.statement, self.catalog, self.context)?;
        analysis.found_tables().for_each(|found| self.touch(found));
        Ok(analysis)
    }

    /// SELECT, UPDATE, DELETE from a token on.
    fn analyzed(&self, from: usize) -> Result<Template, SqlError> {
        let analysis = self.analysis(from)?;
        let Some(keyspace) = analysis.keyspace()? else {
            let keyspace = self.any_keyspace()?;
            return self.single(&keyspace, analysis.splices);
        };
        if !keyspace.sharded {
            let keyspace = keyspace.clone();
            return self.single(&keyspace, analysis.splices);
        }
        self.check_variables(keyspace)?;
        let mut routed = analysis.route(keyspace)?;
        if from > 0 && routed.several.is_ok() {
            routed.several = Err("EXPLAIN of a statement over several shards".to_owned());
        }
        let mut owned = None;
        if let (Some(change), 0) = (&analysis.change, from) {
            let table = &analysis.tables[change.table];
            if let Some(of) = table.spread().and_then(|found| found.table.as_ref()) {
                let template = OwnedTemplate::new(self.statement, of, &table.alias, change)?;
                owned = Some(Arc::new(template));
            }
        }
        let asked = routed.groups.iter().filter_map(|group| match group {
            Group::Lookup(keys) => Some(&keys.lookup),
            _ => None,
        });
        let kept = owned.iter().flat_map(|owned| owned.lookups());
        let beside = self.note_lookups(asked.chain(kept));
        let template = self.template(TemplateKind::Routed(routed), analysis.splices);
        self.check_several(Template {
            beside,
            owned,
            ..template
        })
    }

    /// What tokens tell of several shards.
    fn check_several(&self, mut template: Template) -> Result<Template, SqlError> {
        let props = template.props;
        if let TemplateKind::Routed(routed) = &mut template.kind {
            let construct = if props.is_dml && props.returns_rows {
                "RETURNING"
            } else if props.reserve == Some(super::types::ReserveReason::UserLock) {
                "a function that locks"
            } else {
                return Ok(template);
            };
            if routed.several.is_ok() {
                routed.several = Err(format!("{construct} over several shards"));
            }
        }
        Ok(template)
    }

    /// A user variable that a statement assigns would be known on one shard only.
    fn check_variables(&self, keyspace: &Keyspace) -> Result<(), SqlError> {
        let s = self.statement;
        let assigns = (0..s.tokens.len()).any(|at| {
            s.is_op(at, ":=") || s.is(at, "INTO") && s.kind(at + 1) == Some(Kind::UserVariable)
        });
        if assigns && keyspace.shards.len() > 1 {
            return Err(SqlError::unsupported(
                "assignment to a user variable within a statement on a sharded keyspace",
            ));
        }
        Ok(())
    }

    /// Where a statement without tables goes: the session's keyspace, or any.
    fn any_keyspace(&self) -> Result<Arc<Keyspace>, SqlError> {
        if let Some(name) = &self.context.target.keyspace {
            let tablet_type = self.context.target.tablet_type;
            let keyspace = self.catalog.require_keyspace(name.as_str(), tablet_type)?;
            return Ok(keyspace.clone());
        }
        let serving = || self.catalog.keyspaces().filter(|k| !k.shards.is_empty());
        let any = serving().find(|k| !k.sharded).or_else(|| serving().next());
        any.cloned()
            .ok_or_else(|| SqlError::new(1105, "HY000", "no keyspace has a serving shard"))
    }

    fn find(&self, table: &TableName) -> Result<FoundTable, SqlError> {
        let target = self.context.target;
        let found = self.catalog.find_table(
            table.qualifier.as_deref(),
            &table.name,
            target.keyspace.as_ref(),
            target.tablet_type,
        )?;
        self.touch(&found);
        Ok(found)
    }

    fn insert(&self, session: Option<&Arc<Keyspace>>) -> Result<Template, SqlError> {
        let shape = InsertShape::new(self.statement)?;
        let found = self.find(&shape.table)?;
        let mut splices = rename(&shape.table, &found);
        splices.extend(self.rename_columns(&shape.table, &found));
        if let Some(table) = &found.table
            && (found.keyspace.sharded || table.auto_increment.is_some())
        {
            let insert = shape.template(self.statement, &found, table)?;
            let beside = self.note_lookups(insert.lookups());
            let template = self.template(TemplateKind::Insert(Arc::new(insert)), splices);
            return Ok(Template { beside, ..template });
        }
        // The rows may come from a SELECT over other keyspaces.
        let s = self.statement;
        let selects = (0..s.tokens.len()).find(|at| s.is_any(*at, &["SELECT", "WITH"]));
        let alone =
            session.is_some_and(|s| s.name == found.keyspace.name && !self.may_concern_others(s));
        if let (Some(from), false) = (selects, alone) {
            let analysis = self.analysis(from)?;
            let together = analysis
                .keyspace()?
                .is_none_or(|reads| reads.name == found.keyspace.name);
            if !together {
                return Err(SqlError::unsupported(format!(
                    "INSERT ... SELECT from another keyspace into `{}`",
                    found.name
                )));
            }
            splices.extend(analysis.splices);
        }
        self.single(&found.keyspace, splices)
    }

    /// `ks.t.c` in an INSERT, when its table has moved.
    fn rename_columns(&self, table: &TableName, found: &FoundTable) -> Vec<Splice> {
        let session = self.context.target.keyspace.as_ref().map(|k| k.as_str());
        let Some(written) = table.qualifier.as_deref().or(session) else {
            return Vec::new();
        };
        if written == found.keyspace.name.as_str() {
            return Vec::new();
        }
        self.statement
            .qualified_columns()
            .filter(|column| column.qualifier == written && column.table == table.name)
            .map(|column| Splice {
                from: column.at,
                to: column.at + 1,
                with: Piece::Text(quoted(found.keyspace.name.as_str())),
            })
            .collect()
    }

    /// Statements that name tables where DDL does.
    fn ddl(&self) -> Result<Template, SqlError> {
        let tables = self.ddl_tables();
        if tables.is_empty() {
            return Err(SqlError::syntax("the statement's tables cannot be read"));
        }
        let mut keyspace: Option<Arc<Keyspace>> = None;
        let mut splices = Vec::new();
        let creates = self.statement.is(0, "CREATE");
        for table in &tables {
            let name = table.qualifier.as_deref();
            let session = self.context.target.keyspace.as_ref().map(|k| k.as_str());
            let of = name
                .or(session)
                .and_then(|name| self.catalog.keyspace(name));
            let found = match of {
                // A table need not be in the VSchema for its schema to change.
                Some(keyspace) if creates || !self.is_moved(keyspace, &table.name) => {
                    let found = FoundTable {
                        keyspace: keyspace.clone(),
                        name: table.name.clone(),
                        table: None,
                    };
                    self.touch(&found);
                    found
                }
                None if name.is_none() && creates => {
                    return Err(SqlError::new(1046, "3D000", "No database selected"));
                }
                _ => self.find(table)?,
            };
            splices.extend(rename(table, &found));
            match &keyspace {
                Some(first) if first.name != found.keyspace.name => {
                    return Err(SqlError::unsupported("DDL over two keyspaces"));
                }
                _ => keyspace = Some(found.keyspace),
            }
        }
        let keyspace =
            keyspace.ok_or_else(|| SqlError::new(1046, "3D000", "No database selected"))?;
        if keyspace.sharded && keyspace.shards.len() > 1 {
            let temporary =
                self.statement.is_any(1, &["TEMPORARY"]) || self.statement.is(3, "TEMPORARY");
            if temporary {
                return Err(SqlError::unsupported(
                    "TEMPORARY TABLE in a sharded keyspace",
                ));
            }
            return Ok(self.template(TemplateKind::Ddl(keyspace), splices));
        }
        self.single(&keyspace, splices)
    }

    fn ddl_tables(&self) -> Vec<TableName> {
        let s = self.statement;
        let mut tables = Vec::new();
        let index = (0..8).find(|at| s.is(*at, "INDEX"));
        let mut at = match (0..8).find(|at| s.is_any(*at, &["TABLE", "TABLES"])) {
            Some(at) if index.is_none_or(|i| at < i) => at + 1,
            _ => match (0..s.tokens.len().min(24)).find(|at| s.is(*at, "ON")) {
                Some(on) if index.is_some() => on + 1,
                // TRUNCATE t.
                _ => 1,
            },
        };
        while s.is_any(at, &["IF", "NOT", "EXISTS"]) {
            at += 1;
        }
        let rename = s.is(0, "RENAME");
        while let Some((table, next)) = s.table_name(at) {
            tables.push(table);
            let more = s.is_op(next, ",")
                && s.is_any(
                    0,
                    &[
                        "DROP", "RENAME", "ANALYZE", "OPTIMIZE", "CHECK", "CHECKSUM", "REPAIR",
                    ],
                );
            let old_and_new = rename && s.is(next, "TO");
            if !more && !old_and_new {
                break;
            }
            at = next + 1;
        }
        tables
    }

    fn explain(&self, session: Option<&Arc<Keyspace>>) -> Result<Template, SqlError> {
        let s = self.statement;
        let inner = (1..s.tokens.len()).find(|at| {
            s.is_any(
                *at,
                &[
                    "SELECT", "INSERT", "REPLACE", "UPDATE", "DELETE", "WITH", "FOR",
                ],
            )
        });
        match inner {
            Some(at) if s.is_any(at, &["INSERT", "REPLACE"]) => Err(SqlError::unsupported(
                "EXPLAIN of INSERT on a sharded keyspace",
            )),
            Some(at) if !s.is(at, "FOR") => self.analyzed(at),
            _ => match session {
                Some(keyspace) => self.single(keyspace, Vec::new()),
                None => Err(SqlError::new(1046, "3D000", "No database selected")),
            },
        }
    }

    /// DESCRIBE t: the same on every shard.
    fn describe(&self, session: Option<&Arc<Keyspace>>) -> Result<Template, SqlError> {
        let table = self.statement.table_name(1);
        let (table, _) = table.ok_or_else(|| SqlError::syntax("a table's name is missing"))?;
        let system = table.qualifier.as_ref().is_some_and(|q| is_system(q));
        if system || !self.catalog.has_rules() && table.qualifier.is_none() && session.is_some() {
            return self.single(&*self.any_keyspace()?, Vec::new());
        }
        let found = self.find(&table)?;
        self.single(&found.keyspace, rename(&table, &found))
    }

    /// SHOW of something that every server of a keyspace answers alike.
    fn show(&self, session: Option<&Arc<Keyspace>>) -> Result<Template, SqlError> {
        let s = self.statement;
        // SHOW CREATE TABLE t, SHOW COLUMNS FROM t: of the keyspace that has the table.
        let before_table = (1..s.tokens.len()).find(|at| {
            s.is(*at, "TABLE") && s.is(at - 1, "CREATE")
                || s.is_any(*at, &["FROM", "IN"])
                    && s.is_any(at - 1, &["COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS"])
        });
        let table = before_table.and_then(|at| s.table_name(at + 1));
        if let Some((mut table, next)) = table {
            let own = table.qualifier.is_some();
            if !own && s.is_any(next, &["FROM", "IN"]) {
                table.qualifier = s.name(next + 1).map(|n| n.into_owned());
            }
            let system = table.qualifier.as_ref().is_some_and(|q| is_system(q));
            if !system
                && (session.is_none() || table.qualifier.is_some() || self.catalog.has_rules())
            {
                let found = self.find(&table)?;
                let written = table.qualifier.as_deref();
                let moved = written.is_some_and(|q| q != found.keyspace.name.as_str());
                if found.name != table.name || moved && !own {
                    return Err(SqlError::unsupported(
                        "SHOW of a table that a routing rule moves",
                    ));
                }
                return self.single(
                    &found.keyspace,
                    if own {
                        rename(&table, &found)
                    } else {
                        Vec::new()
                    },
                );
            }
        }
        let named = (1..s.tokens.len()).rev().find_map(|at| {
            let name = s
                .name(at)
                .filter(|_| s.is_any(at - 1, &["FROM", "IN", "DATABASE", "SCHEMA"]))?;
            self.catalog.keyspace(&name)
        });
        let keyspace = match named.or(session) {
            Some(keyspace) => keyspace.clone(),
            None => self.any_keyspace()?,
        };
        self.single(&keyspace, Vec::new())
    }

    fn other(&self, session: Option<&Arc<Keyspace>>) -> Result<Template, SqlError> {
        let s = self.statement;
        let first = String::from_utf8_lossy(s.text(0)).to_ascii_uppercase();
        if let Some(moved) = self.locked_or_loaded()? {
            return Ok(moved);
        }
        match session {
            // It was read only because a name in it is also one of another keyspace.
            Some(keyspace) if !keyspace.sharded || keyspace.shards.len() == 1 => {
                self.single(keyspace, Vec::new())
            }
            Some(keyspace) if matches!(first.as_str(), "DO" | "HELP") => {
                self.single(keyspace, Vec::new())
            }
            Some(_) => {
                let second = String::from_utf8_lossy(s.text(1)).to_ascii_uppercase();
                let more = matches!(
                    first.as_str(),
                    "CREATE" | "ALTER" | "DROP" | "SET" | "LOCK" | "UNLOCK" | "LOAD"
                );
                let construct = if more {
                    format!("{first} {second}")
                } else {
                    first
                };
                Err(SqlError::unsupported(format!(
                    "{construct} on a sharded keyspace"
                )))
            }
            None if matches!(first.as_str(), "DO" | "HELP") => {
                let keyspace = self.any_keyspace()?;
                self.single(&keyspace, Vec::new())
            }
            None => Err(SqlError::new(1046, "3D000", "No database selected")),
        }
    }

    /// `LOCK TABLES` and `LOAD DATA` of tables of an unsharded keyspace.
    fn locked_or_loaded(&self) -> Result<Option<Template>, SqlError> {
        let tables = self.statement.locked_or_loaded_tables();
        let mut keyspace: Option<Arc<Keyspace>> = None;
        let mut splices = Vec::new();
        for table in &tables {
            let found = self.find(table)?;
            let of = found
                .table
                .as_ref()
                .filter(|_| self.statement.is(0, "LOAD"));
            if let Some(lookup) = of.and_then(|table| table.owned_lookups().next()) {
                return Err(SqlError::unsupported(format!(
                    "LOAD DATA into `{}`, which owns lookup vindex `{}`",
                    found.name, lookup.name
                )));
            }
            splices.extend(rename(table, &found));
            match &keyspace {
                Some(first) if first.name != found.keyspace.name => {
                    return Err(SqlError::unsupported("LOCK TABLES over two keyspaces"));
                }
                _ => keyspace = Some(found.keyspace),
            }
        }
        match keyspace {
            Some(keyspace) if !keyspace.sharded || keyspace.shards.len() == 1 => {
                self.single(&keyspace, splices).map(Some)
            }
            _ => {
                self.touched.take();
                Ok(None)
            }
        }
    }

    /// What the session knows goes into the text.
    fn session_splices(&self) -> Vec<Splice> {
        let s = self.statement;
        let mut splices = Vec::new();
        for (function, at) in s.session_functions() {
            splices.push(Splice {
                from: at,
                to: at + 3,
                with: Piece::Session {
                    function,
                    named: self.is_unnamed_item(at).then(|| self.call_name(at)),
                },
            });
        }
        if self.context.target.keyspace.is_none() {
            // Every connection has a database; this session has none.
            for at in 0..s.tokens.len() {
                if s.is_any(at, &["DATABASE", "SCHEMA"])
                    && s.is_op(at + 1, "(")
                    && s.is_op(at + 2, ")")
                {
                    let name = self
                        .is_unnamed_item(at)
                        .then(|| format!(" AS {}", self.call_name(at)));
                    splices.push(Splice {
                        from: at,
                        to: at + 3,
                        with: Piece::Text(format!("NULL{}", name.unwrap_or_default())),
                    });
                }
            }
        }
        splices
    }

    fn call_name(&self, at: usize) -> String {
        quoted(&String::from_utf8_lossy(self.statement.span(at, at + 3)))
    }

    /// Whether a call with three tokens is an item of the outermost SELECT, without an alias.
    fn is_unnamed_item(&self, at: usize) -> bool {
        let s = self.statement;
        let depth = (0..at).fold(0i64, |depth, i| {
            depth + i64::from(s.is_op(i, "(")) - i64::from(s.is_op(i, ")"))
        });
        let in_list = !(0..at).any(|i| s.is(i, "FROM"));
        let next = at + 3;
        s.is(0, "SELECT")
            && depth == 0
            && in_list
            && (at == 1 || s.is_op(at - 1, ","))
            && (next >= s.tokens.len()
                || s.is_op(next, ",")
                || s.is_any(next, &["FROM", "LIMIT", "WHERE", "UNION", "ORDER", "INTO"]))
    }
}

fn is_system(database: &str) -> bool {
    ["information_schema", "performance_schema", "mysql", "sys"]
        .iter()
        .any(|s| database.eq_ignore_ascii_case(s))
}

/// The change of a table's name that finding it asks for.
fn rename(table: &TableName, found: &FoundTable) -> Vec<Splice> {
    let moved = table
        .qualifier
        .as_ref()
        .is_some_and(|q| q != found.keyspace.name.as_str());
    if !moved && found.name == table.name {
        return Vec::new();
    }
    let (length, text) = match table.qualifier {
        Some(_) => (
            3,
            format!(
                "{}.{}",
                quoted(found.keyspace.name.as_str()),
                quoted(&found.name)
            ),
        ),
        None => (1, quoted(&found.name)),
    };
    vec![Splice {
        from: table.at,
        to: table.at + length,
        with: Piece::Text(text),
    }]
}
