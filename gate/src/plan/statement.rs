//! A statement as its tokens: what kind it is, and what can be told of it without a grammar.

use std::borrow::Cow;

use super::literal;
use super::scan::{Kind, Lexer, Token};
use super::types::{Props, ReserveReason, SqlModes};

/// The tokens of one statement.
pub(super) struct Statement<'a> {
    pub sql: &'a [u8],
    pub tokens: Vec<Token>,
    pub modes: SqlModes,
    /// A string or comment has no end.
    pub unterminated: bool,
}

/// What a statement does, by its first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Empty,
    /// SELECT, WITH, TABLE, VALUES, and these in parentheses.
    Query,
    /// INSERT, REPLACE.
    Insert,
    Update,
    Delete,
    /// DDL of tables and indexes.
    TableDdl,
    /// Other DDL: databases, views, programs, accounts.
    OtherDdl,
    /// ANALYZE, OPTIMIZE, CHECK, CHECKSUM, REPAIR TABLE.
    Maintenance,
    Show,
    /// DESCRIBE t.
    Describe,
    /// EXPLAIN of a statement.
    Explain,
    LockTables,
    Other,
}

impl<'a> Statement<'a> {
    pub(super) fn new(sql: &'a [u8], modes: SqlModes) -> Self {
        let mut lexer = Lexer::new(sql, modes);
        let mut tokens: Vec<Token> = lexer.by_ref().collect();
        // One `;` may end a statement.
        while tokens.last().is_some_and(|t| t.text(sql) == b";") {
            tokens.pop();
        }
        Self {
            sql,
            tokens,
            modes,
            unterminated: lexer.unterminated,
        }
    }

    pub(super) fn text(&self, at: usize) -> &'a [u8] {
        self.tokens.get(at).map_or(&[], |t| t.text(self.sql))
    }

    pub(super) fn kind(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|t| t.kind)
    }

    /// Whether the token is this keyword.
    pub(super) fn is(&self, at: usize, word: &str) -> bool {
        self.kind(at) == Some(Kind::Word) && self.text(at).eq_ignore_ascii_case(word.as_bytes())
    }

    pub(super) fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
    }

    /// Whether these keywords start at a token.
    pub(super) fn are(&self, at: usize, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(i, word)| self.is(at + i, word))
    }

    pub(super) fn is_op(&self, at: usize, op: &str) -> bool {
        self.kind(at) == Some(Kind::Operator) && self.text(at) == op.as_bytes()
    }

    /// The name that a token is, without quotes.
    pub(super) fn name(&self, at: usize) -> Option<Cow<'a, str>> {
        let text = self.text(at);
        match self.kind(at)? {
            Kind::Word => Some(String::from_utf8_lossy(text)),
            Kind::Quoted => Some(unquoted_name(text)),
            _ => None,
        }
    }

    /// A table's name, maybe qualified, at a token; and the token after it.
    pub(super) fn table_name(&self, at: usize) -> Option<(TableName, usize)> {
        let first = self.name(at)?.into_owned();
        if self.is_op(at + 1, ".") {
            let name = self.name(at + 2)?.into_owned();
            let table = TableName {
                qualifier: Some(first),
                name,
                at,
            };
            return Some((table, at + 3));
        }
        let table = TableName {
            qualifier: None,
            name: first,
            at,
        };
        Some((table, at + 1))
    }

    /// Columns that are written `ks.t.c` or `ks.t.*`.
    pub(super) fn qualified_columns(&self) -> impl Iterator<Item = QualifiedColumn> {
        (0..self.tokens.len()).filter_map(|at| {
            let dots = self.is_op(at + 1, ".") && self.is_op(at + 3, ".");
            if !dots
                || at
                    .checked_sub(1)
                    .is_some_and(|before| self.is_op(before, "."))
            {
                return None;
            }
            Some(QualifiedColumn {
                qualifier: self.name(at)?.into_owned(),
                table: self.name(at + 2)?.into_owned(),
                at,
            })
        })
    }

    /// The tables of `LOCK TABLES` or `LOAD DATA`.
    pub(super) fn locked_or_loaded_tables(&self) -> Vec<TableName> {
        let mut tables = Vec::new();
        if self.is(0, "LOAD") {
            let into = (0..self.tokens.len()).find(|at| self.are(*at, &["INTO", "TABLE"]));
            tables.extend(into.and_then(|at| self.table_name(at + 2)).map(|(t, _)| t));
        } else if self.is(0, "LOCK") && self.is_any(1, &["TABLE", "TABLES"]) {
            let mut at = 2;
            while let Some((table, next)) = self.table_name(at) {
                tables.push(table);
                match (next..self.tokens.len()).find(|i| self.is_op(*i, ",")) {
                    Some(comma) => at = comma + 1,
                    None => break,
                }
            }
        }
        tables
    }

    /// The text from one token to before another.
    pub(super) fn span(&self, from: usize, to: usize) -> &'a [u8] {
        match (
            self.tokens.get(from),
            to.checked_sub(1).and_then(|t| self.tokens.get(t)),
        ) {
            (Some(first), Some(last)) if from < to => &self.sql[first.start..last.end],
            _ => &[],
        }
    }

    /// The string that a token is.
    pub(super) fn string(&self, at: usize) -> Option<String> {
        if self.kind(at) != Some(Kind::String) {
            return None;
        }
        let value = literal::unquote(self.text(at), self.modes)?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    pub(super) fn verb(&self) -> Verb {
        self.verb_at(0)
    }

    fn verb_at(&self, mut at: usize) -> Verb {
        while self.is_op(at, "(") {
            at += 1;
        }
        let Some(kind) = self.kind(at) else {
            return Verb::Empty;
        };
        if kind != Kind::Word {
            return Verb::Other;
        }
        let word = String::from_utf8_lossy(self.text(at)).to_ascii_uppercase();
        match word.as_str() {
            "SELECT" | "TABLE" | "VALUES" => Verb::Query,
            "WITH" => self.verb_after_with(at),
            "INSERT" | "REPLACE" => Verb::Insert,
            "UPDATE" => Verb::Update,
            "DELETE" => Verb::Delete,
            "TRUNCATE" => Verb::TableDdl,
            "CREATE" | "ALTER" | "DROP" | "RENAME" => {
                // What is made comes after options such as OR REPLACE, TEMPORARY, UNIQUE.
                let what = (at + 1..at + 6).find(|i| {
                    self.is_any(
                        *i,
                        &["TABLE", "TABLES", "INDEX", "DATABASE", "SCHEMA", "VIEW"],
                    ) || self.is_any(*i, &["PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "USER"])
                });
                match what {
                    Some(i) if self.is_any(i, &["TABLE", "TABLES", "INDEX"]) => Verb::TableDdl,
                    _ => Verb::OtherDdl,
                }
            }
            "GRANT" | "REVOKE" => Verb::OtherDdl,
            "ANALYZE" | "OPTIMIZE" | "CHECK" | "CHECKSUM" | "REPAIR" => {
                // MariaDB: ANALYZE SELECT runs and explains.
                let after = self.verb_at(at + 1);
                match after {
                    Verb::Query if !self.is_any(at + 1, &["TABLE"]) => Verb::Explain,
                    Verb::Update | Verb::Delete | Verb::Insert => Verb::Explain,
                    _ => Verb::Maintenance,
                }
            }
            "SHOW" => Verb::Show,
            "DESC" | "DESCRIBE" | "EXPLAIN" => {
                // EXPLAIN t is DESCRIBE t.
                if self.tokens[at + 1..].iter().enumerate().any(|(i, _)| {
                    self.is_any(
                        at + 1 + i,
                        &[
                            "SELECT", "INSERT", "REPLACE", "UPDATE", "DELETE", "WITH", "TABLE",
                            "FOR",
                        ],
                    )
                }) {
                    Verb::Explain
                } else {
                    Verb::Describe
                }
            }
            "LOCK" | "UNLOCK" if self.is_any(at + 1, &["TABLE", "TABLES"]) => Verb::LockTables,
            _ => Verb::Other,
        }
    }

    /// What follows the common table expressions.
    fn verb_after_with(&self, at: usize) -> Verb {
        let mut depth = 0usize;
        for i in at..self.tokens.len() {
            if self.is_op(i, "(") {
                depth += 1;
            } else if self.is_op(i, ")") {
                depth = depth.saturating_sub(1);
            } else if depth == 0 {
                if self.is(i, "UPDATE") {
                    return Verb::Update;
                }
                if self.is(i, "DELETE") {
                    return Verb::Delete;
                }
            }
        }
        Verb::Query
    }

    /// What an executor must know, as far as words tell.
    pub(super) fn props(&self, verb: Verb) -> Props {
        let mut props = Props {
            is_read: matches!(
                verb,
                Verb::Query | Verb::Show | Verb::Describe | Verb::Explain
            ),
            returns_rows: matches!(
                verb,
                Verb::Query | Verb::Show | Verb::Describe | Verb::Explain | Verb::Maintenance
            ),
            is_dml: matches!(verb, Verb::Insert | Verb::Update | Verb::Delete),
            is_ddl: matches!(verb, Verb::TableDdl | Verb::OtherDdl),
            implicit_commit: matches!(verb, Verb::Maintenance | Verb::LockTables),
            ..Props::default()
        };
        if verb == Verb::LockTables {
            props.reserve = Some(ReserveReason::TableLock);
        }
        if verb == Verb::TableDdl && self.is_any(1, &["TEMPORARY"])
            || self.are(1, &["OR", "REPLACE", "TEMPORARY"])
        {
            props.reserve = Some(ReserveReason::TemporaryTable);
            // Temporary tables do not end a transaction.
            props.is_ddl = false;
        }
        if self.is(0, "EXPLAIN") && self.is(1, "ANALYZE") || self.is(0, "ANALYZE") {
            props.is_read = props.is_read && !self.runs_dml();
        }
        if verb == Verb::Other {
            self.other_props(&mut props);
        }
        let accounts = matches!(verb, Verb::OtherDdl);
        for at in 0..self.tokens.len() {
            match self.tokens[at].kind {
                Kind::UserVariable if !accounts => {
                    props.reads_user_variables = true;
                    props.reserve.get_or_insert(ReserveReason::UserVariable);
                }
                Kind::Word => self.word_props(at, &mut props),
                _ => {}
            }
        }
        if props.is_dml && (0..self.tokens.len()).any(|at| self.is(at, "RETURNING")) {
            props.returns_rows = true;
        }
        props
    }

    fn runs_dml(&self) -> bool {
        (1..self.tokens.len().min(6))
            .any(|at| self.is_any(at, &["UPDATE", "DELETE", "INSERT", "REPLACE"]))
    }

    fn other_props(&self, props: &mut Props) {
        if self.is_any(0, &["CALL"]) {
            // A procedure may leave user variables and locks behind, but as a rule does not.
            props.returns_rows = true;
        } else if self.is_any(
            0,
            &[
                "PREPARE",
                "EXECUTE",
                "DEALLOCATE",
                "HANDLER",
                "XA",
                "BINLOG",
            ],
        ) {
            props.reserve = Some(ReserveReason::Other);
            props.returns_rows = self.is_any(0, &["EXECUTE", "HANDLER", "XA"]);
        } else if self.is(0, "FLUSH") {
            props.implicit_commit = true;
            if (0..self.tokens.len()).any(|at| self.is(at, "LOCK") || self.is(at, "EXPORT")) {
                props.reserve = Some(ReserveReason::TableLock);
            }
        } else if self.is(0, "LOAD") {
            props.is_dml = true;
        } else if self.is_any(0, &["HELP"]) {
            props.is_read = true;
            props.returns_rows = true;
        } else if self.is(0, "RESET")
            || self.is_any(0, &["INSTALL", "UNINSTALL", "CHANGE", "START", "STOP"])
        {
            props.implicit_commit = true;
        } else if self.is(0, "SET") {
            // SET ROLE, SET STATEMENT, ... stay on their connection.
            props.reserve = Some(ReserveReason::Other);
            props.returns_rows = self.is(1, "STATEMENT");
        }
    }

    fn word_props(&self, at: usize, props: &mut Props) {
        let text = self.text(at);
        // Most words are none of these, which their length tells.
        match text.len() {
            3 if self.is(at, "FOR") && self.is_any(at + 1, &["UPDATE", "SHARE"]) => {
                props.locks_rows = true;
            }
            4 if self.are(at, &["LOCK", "IN", "SHARE", "MODE"]) => props.locks_rows = true,
            7..=17 if self.is_op(at + 1, "(") => {
                const LOCKS: [&str; 5] = [
                    "GET_LOCK",
                    "RELEASE_LOCK",
                    "RELEASE_ALL_LOCKS",
                    "IS_FREE_LOCK",
                    "IS_USED_LOCK",
                ];
                if self.is_any(at, &LOCKS) {
                    props.reserve = Some(ReserveReason::UserLock);
                }
            }
            19 if self.is(at, "SQL_CALC_FOUND_ROWS") => props.calc_found_rows = true,
            _ => {}
        }
    }

    /// Calls of functions whose answer only the session knows, with their tokens.
    pub(super) fn session_functions(&self) -> Vec<(SessionFunction, usize)> {
        let mut calls = Vec::new();
        for at in 0..self.tokens.len() {
            if self.tokens[at].kind != Kind::Word
                || !matches!(self.text(at).len(), 9 | 10 | 14)
                || !self.is_op(at + 1, "(")
                || !self.is_op(at + 2, ")")
                || at
                    .checked_sub(1)
                    .is_some_and(|before| self.is_op(before, "."))
            {
                continue;
            }
            let function = if self.is(at, "LAST_INSERT_ID") {
                SessionFunction::LastInsertId
            } else if self.is(at, "FOUND_ROWS") {
                SessionFunction::FoundRows
            } else if self.is(at, "ROW_COUNT") {
                SessionFunction::RowCount
            } else {
                continue;
            };
            calls.push((function, at));
        }
        calls
    }
}

/// See [`Statement::session_functions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionFunction {
    LastInsertId,
    FoundRows,
    RowCount,
}

/// A table's name in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableName {
    pub qualifier: Option<String>,
    pub name: String,
    /// Its first token.
    pub at: usize,
}

/// A column's name with its table's and that one's qualifier.
#[derive(Debug)]
pub(super) struct QualifiedColumn {
    pub qualifier: String,
    pub table: String,
    /// The qualifier's token.
    pub at: usize,
}

fn unquoted_name(text: &[u8]) -> Cow<'_, str> {
    let quote = text.first().copied().unwrap_or(b'`');
    let body = text
        .get(1..text.len().saturating_sub(1))
        .unwrap_or_default();
    if !body.contains(&quote) {
        return String::from_utf8_lossy(body);
    }
    let mut name = Vec::with_capacity(body.len());
    let mut doubled = false;
    for b in body {
        doubled = *b == quote && !doubled;
        if !doubled {
            name.push(*b);
        }
    }
    Cow::Owned(String::from_utf8_lossy(&name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb(sql: &str) -> Verb {
        Statement::new(sql.as_bytes(), SqlModes::default()).verb()
    }

    fn props(sql: &str) -> Props {
        let statement = Statement::new(sql.as_bytes(), SqlModes::default());
        statement.props(statement.verb())
    }

    #[test]
    fn a_statement_is_known_by_its_first_words() {
        for (sql, expected) in [
            ("", Verb::Empty),
            ("-- nothing", Verb::Empty),
            ("((select 1))", Verb::Query),
            ("with a as (select 1) select * from a", Verb::Query),
            ("with a as (select 1) delete from t", Verb::Delete),
            (
                "create or replace temporary table t (a int)",
                Verb::TableDdl,
            ),
            ("create unique index i on t (a)", Verb::TableDdl),
            ("create definer=root view v as select 1", Verb::OtherDdl),
            ("analyze table t", Verb::Maintenance),
            ("desc t", Verb::Describe),
            ("explain select 1", Verb::Explain),
            ("lock tables t read", Verb::LockTables),
            ("call p()", Verb::Other),
        ] {
            assert_eq!(verb(sql), expected, "{sql}");
        }
    }

    #[test]
    fn what_needs_its_own_connection_is_seen() {
        assert_eq!(
            props("select get_lock('a', 1)").reserve,
            Some(ReserveReason::UserLock)
        );
        assert_eq!(
            props("select @a := 1").reserve,
            Some(ReserveReason::UserVariable)
        );
        assert_eq!(
            props("create temporary table t (a int)").reserve,
            Some(ReserveReason::TemporaryTable)
        );
        assert_eq!(
            props("unlock tables").reserve,
            Some(ReserveReason::TableLock)
        );
        assert_eq!(props("select get_lock from t").reserve, None);
        assert!(props("select 1 from t for update").locks_rows);
        assert!(props("select 1 from t lock in share mode").locks_rows);
        assert!(!props("update t set a = 1").is_read);
        assert!(!props("explain analyze delete from t").is_read);
    }

    #[test]
    fn names_are_read_without_quotes() {
        let statement = Statement::new(b"select `a``b`.`c d`", SqlModes::default());
        let (table, next) = statement.table_name(1).unwrap();
        assert_eq!(table.qualifier.as_deref(), Some("a`b"));
        assert_eq!(table.name, "c d");
        assert_eq!(next, 4);
    }
}
