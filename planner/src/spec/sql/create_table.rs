//! `CREATE TABLE` statements: the table's name, its columns, and little more.

use vtplan_state::model::TableName;

use super::lexer::{Token, TokenKind, tokens, unquote};
use crate::spec::diag::Problems;
use crate::spec::source::{Sp, Span};

#[derive(Debug, Clone, PartialEq)]
pub struct CreateTable {
    pub name: Sp<TableName>,
    /// The statement without `IF NOT EXISTS` and the closing `;`.
    pub statement: String,
    pub columns: Vec<Column>,
    pub has_primary_key: bool,
    pub keys: Vec<Key>,
    pub comment: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: Sp<String>,
    pub auto_increment: bool,
    /// Lower case, without what makes no difference to values: `varchar(80)`, `int unsigned`.
    pub column_type: String,
    /// Lower case; `None`: its table's.
    pub collation: Option<String>,
    pub not_null: bool,
    pub has_default: bool,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub unique: bool,
    /// Lower case.
    pub columns: Vec<String>,
    /// Of a column only the first characters count.
    pub prefix: bool,
}

impl CreateTable {
    /// A column by name; MySQL's column names do not know case.
    pub fn column(&self, name: &str) -> Option<&Column> {
        let mut columns = self.columns.iter();
        columns.find(|c| c.name.to_lowercase() == name.to_lowercase())
    }

    /// Whether it has the comment by which servers and gates know a sequence.
    pub fn is_sequence(&self) -> bool {
        self.comment.as_deref() == Some("vitess_sequence")
    }
}

/// Words that start an item of a table's definition that is not a column.
const NOT_COLUMNS: [&str; 11] = [
    "PRIMARY",
    "KEY",
    "INDEX",
    "UNIQUE",
    "FULLTEXT",
    "SPATIAL",
    "CONSTRAINT",
    "FOREIGN",
    "CHECK",
    "PERIOD",
    "LIKE",
];

/// Reads the statements of a text. `place` gives the place of a range of it: an inline schema's
/// is always the whole, for its escapes are undone.
pub fn read_statements(
    sql: &str,
    place: &dyn Fn(usize, usize) -> Span,
    problems: &mut Problems,
) -> Vec<CreateTable> {
    let (mut tokens, unclosed) = tokens(sql);
    if let Some(unclosed) = unclosed {
        problems.error(
            "bad-sql",
            place(unclosed.at, unclosed.at + 1),
            format!("this {} is never closed", unclosed.what),
        );
        // The statement that it is in cannot be read.
        let whole = tokens
            .iter()
            .rposition(|t| t.kind == TokenKind::Symbol(';'));
        tokens.truncate(whole.map_or(0, |at| at + 1));
    }
    let mut out = Vec::new();
    for statement in tokens.split(|t| t.kind == TokenKind::Symbol(';')) {
        let Some(first) = statement.first() else {
            continue;
        };
        let reader = Statement {
            sql,
            tokens: statement,
            place,
        };
        if reader.is_word(0, "DELIMITER") {
            problems
                .error(
                    "bad-sql",
                    reader.span(first),
                    "DELIMITER is not SQL, and a schema has no statement that needs it",
                )
                .help("leave procedures and triggers out of the schema");
            return out;
        }
        out.extend(reader.read(problems));
    }
    out
}

struct Statement<'a> {
    sql: &'a str,
    /// At least one.
    tokens: &'a [Token],
    place: &'a dyn Fn(usize, usize) -> Span,
}

impl<'a> Statement<'a> {
    fn text(&self, token: &Token) -> &'a str {
        &self.sql[token.start..token.end]
    }

    fn span(&self, token: &Token) -> Span {
        (self.place)(token.start, token.end)
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        self.tokens
            .get(at)
            .is_some_and(|t| t.kind == TokenKind::Word && self.text(t).eq_ignore_ascii_case(word))
    }

    fn is_symbol(&self, at: usize, symbol: char) -> bool {
        let token = self.tokens.get(at);
        token.is_some_and(|t| t.kind == TokenKind::Symbol(symbol))
    }

    fn read(&self, problems: &mut Problems) -> Option<CreateTable> {
        let first = &self.tokens[0];
        // A dump sets variables in versioned comments; they say nothing of the schema.
        if self.tokens.len() == 1
            && first.kind == TokenKind::VersionedComment
            && self.text(first).to_ascii_uppercase().contains("SET ")
        {
            return None;
        }
        let mut at = 1;
        if !self.is_word(0, "CREATE") || !self.is_word(1, "TABLE") {
            let what = self.text(first).to_uppercase();
            let (message, help) = if self.is_word(0, "CREATE") {
                let next = self.tokens.get(1).map_or("", |t| self.text(t));
                (
                    format!(
                        "CREATE {} does not belong into a schema",
                        next.to_uppercase()
                    ),
                    "a schema holds only `CREATE TABLE name (...)`",
                )
            } else {
                (
                    format!(
                        "only CREATE TABLE belongs into a schema, this is {}",
                        shorten(&what)
                    ),
                    match what.as_str() {
                        "ALTER" => {
                            "write the table as it shall be; vtplan finds the difference itself"
                        }
                        "DROP" => "leave the table out; `on_remove` says what happens to it",
                        "INSERT" | "REPLACE" => "a schema holds no rows",
                        _ => "leave it out",
                    },
                )
            };
            problems
                .error("bad-sql", self.span(first), message)
                .help(help);
            return None;
        }
        at += 1;
        if self.is_word(at, "IF") && self.is_word(at + 1, "NOT") && self.is_word(at + 2, "EXISTS") {
            at += 3;
        }
        let name_at = at;
        let name = self.name(at, problems)?;
        at += 1;
        let end = self.tokens.last().unwrap_or(first);
        if !self.is_symbol(at, '(') || self.is_word(at + 1, "LIKE") {
            problems
                .error(
                    "bad-sql",
                    name.span,
                    format!("table `{}` has no list of columns here", *name),
                )
                .help("write the columns out: `CREATE TABLE name (column type, ...)`");
            return None;
        }
        let Some(close) = self.closing(at) else {
            problems.error(
                "bad-sql",
                self.span(&self.tokens[at]),
                "this parenthesis is never closed",
            );
            return None;
        };
        for (offset, token) in self.tokens[close..].iter().enumerate() {
            if self.is_word(close + offset, "SELECT") {
                problems
                    .error(
                        "bad-sql",
                        self.span(token),
                        "a schema's table cannot be made from a query",
                    )
                    .help("write the columns out and leave the query away");
                return None;
            }
        }
        let rest = &self.sql[self.tokens[name_at].start..end.end];
        let mut table = CreateTable {
            name,
            statement: format!("CREATE TABLE {}", rest.replace("\r\n", "\n")),
            columns: Vec::new(),
            has_primary_key: false,
            keys: Vec::new(),
            comment: self.comment(close),
        };
        self.columns(at + 1, close, &mut table);
        if table.columns.is_empty() {
            problems.error(
                "bad-sql",
                table.name.span,
                format!("table `{}` has no columns", *table.name),
            );
            return None;
        }
        Some(table)
    }

    fn name(&self, at: usize, problems: &mut Problems) -> Option<Sp<TableName>> {
        let Some(token) = self.tokens.get(at) else {
            let last = self.tokens.last()?;
            problems.error("bad-sql", self.span(last), "the table's name is missing");
            return None;
        };
        let span = self.span(token);
        if !matches!(token.kind, TokenKind::Word | TokenKind::QuotedName) {
            problems
                .error("bad-sql", span, "the table's name is missing")
                .help("names are quoted with backticks");
            return None;
        }
        if self.is_symbol(at + 1, '.') {
            problems
                .error(
                    "bad-sql",
                    span,
                    "a schema's tables are not qualified with a database",
                )
                .help(format!(
                    "leave `{}.` out: the keyspace is named in the spec",
                    self.text(token)
                ));
            return None;
        }
        match TableName::new(unquote(self.text(token))) {
            Ok(name) => Some(Sp::new(name, span)),
            Err(e) => {
                problems.error("bad-sql", span, e.to_string());
                None
            }
        }
    }

    /// The token that closes the parenthesis at `open`.
    fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0u32;
        for (at, token) in self.tokens.iter().enumerate().skip(open) {
            match token.kind {
                TokenKind::Symbol('(') => depth += 1,
                TokenKind::Symbol(')') => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn columns(&self, from: usize, to: usize, table: &mut CreateTable) {
        let mut depth = 0u32;
        let mut start = from;
        for at in from..=to {
            match self.tokens[at].kind {
                TokenKind::Symbol('(') => depth += 1,
                TokenKind::Symbol(')') if at < to => depth = depth.saturating_sub(1),
                TokenKind::Symbol(',') if depth == 0 => {
                    self.item(start, at, table);
                    start = at + 1;
                }
                _ => {}
            }
        }
        self.item(start, to, table);
    }

    /// One item between two commas.
    fn item(&self, from: usize, to: usize, table: &mut CreateTable) {
        if from >= to {
            return;
        }
        let mut words = from..to;
        let primary = words
            .clone()
            .any(|at| self.is_word(at, "PRIMARY") && self.is_word(at + 1, "KEY"));
        let first = &self.tokens[from];
        let keyword = NOT_COLUMNS.iter().any(|w| self.is_word(from, w));
        table.has_primary_key |= primary;
        if keyword || !matches!(first.kind, TokenKind::Word | TokenKind::QuotedName) {
            table.keys.extend(self.key(from, to));
            return;
        }
        // A column may be its table's key with the one word KEY; `UNIQUE KEY` is another thing.
        let key = (from + 1..to).any(|at| {
            self.is_word(at, "KEY")
                && !self.is_word(at - 1, "UNIQUE")
                && !self.is_word(at - 1, "PRIMARY")
        });
        table.has_primary_key |= key;
        let unique = (from + 1..to).any(|at| self.is_word(at, "UNIQUE"));
        let name = unquote(self.text(first));
        if primary || key || unique {
            table.keys.push(Key {
                unique: true,
                columns: vec![name.to_lowercase()],
                prefix: false,
            });
        }
        let has = |word: &str| (from + 1..to).any(|at| self.is_word(at, word));
        let not_null =
            (from + 1..to).any(|at| self.is_word(at, "NOT") && self.is_word(at + 1, "NULL"));
        let collate = (from + 1..to).find(|at| self.is_word(*at, "COLLATE"));
        let collation = collate.and_then(|at| self.tokens.get(at + 1));
        table.columns.push(Column {
            name: Sp::new(name, self.span(first)),
            auto_increment: words.any(|at| self.is_word(at, "AUTO_INCREMENT")),
            column_type: self.column_type(from + 1, to),
            collation: collation.map(|token| unquote(self.text(token)).to_lowercase()),
            not_null: not_null || primary || key,
            has_default: has("DEFAULT") || has("AUTO_INCREMENT") || has("AS"),
        });
    }

    /// A column's type as [`Column::column_type`] has it.
    fn column_type(&self, from: usize, to: usize) -> String {
        const INTEGERS: [&str; 6] = ["tinyint", "smallint", "mediumint", "int", "bigint", "year"];
        let word = |at: usize| {
            let token = self
                .tokens
                .get(at)
                .filter(|t| at < to && t.kind == TokenKind::Word);
            token.map(|t| self.text(t).to_lowercase())
        };
        let mut name = match word(from).unwrap_or_default().as_str() {
            "integer" => "int".to_owned(),
            "dec" | "numeric" | "fixed" => "decimal".to_owned(),
            "bool" | "boolean" => "tinyint".to_owned(),
            "character" => "char".to_owned(),
            other => other.to_owned(),
        };
        let mut at = from + 1;
        if self.is_symbol(at, '(')
            && let Some(close) = self.closing(at)
        {
            if !INTEGERS.contains(&name.as_str()) {
                let inside = self.tokens[at..=close].iter().map(|t| self.text(t));
                name.extend(inside);
            }
            at = close + 1;
        }
        if word(at).as_deref() == Some("unsigned") {
            name.push_str(" unsigned");
        }
        name
    }

    /// `PRIMARY KEY (a, b)` and its like.
    fn key(&self, from: usize, to: usize) -> Option<Key> {
        let has = |word: &str| (from..to).any(|at| self.is_word(at, word));
        let unique = has("PRIMARY") || has("UNIQUE");
        let index = self.is_word(from, "KEY") || self.is_word(from, "INDEX");
        if !unique && !index {
            return None;
        }
        let open = (from..to).find(|at| self.is_symbol(*at, '('))?;
        let close = self.closing(open)?;
        let mut columns = Vec::new();
        let mut prefix = false;
        let mut depth = 0;
        for at in open + 1..close {
            match self.tokens[at].kind {
                TokenKind::Symbol('(') => {
                    depth += 1;
                    prefix = true;
                }
                TokenKind::Symbol(')') => depth -= 1,
                TokenKind::Word | TokenKind::QuotedName
                    if depth == 0 && !self.is_word(at, "ASC") && !self.is_word(at, "DESC") =>
                {
                    columns.push(unquote(self.text(&self.tokens[at])).to_lowercase());
                }
                _ => {}
            }
        }
        Some(Key {
            unique,
            columns,
            prefix,
        })
    }

    /// The table option `COMMENT [=] 'text'` after the columns.
    fn comment(&self, close: usize) -> Option<String> {
        let at = (close + 1..self.tokens.len()).find(|at| self.is_word(*at, "COMMENT"))?;
        let value = if self.is_symbol(at + 1, '=') {
            at + 2
        } else {
            at + 1
        };
        let token = self.tokens.get(value)?;
        (token.kind == TokenKind::Text).then(|| unquote(self.text(token)))
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 30 {
        return text.to_owned();
    }
    let start: String = text.chars().take(30).collect();
    format!("{start}...")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::source::Sources;

    fn read(sql: &str) -> (Vec<CreateTable>, Vec<String>) {
        let mut problems = Problems::default();
        let tables = read_statements(sql, &|a, b| Span::new(0, a, b), &mut problems);
        let mut sources = Sources::default();
        sources.add("s.sql".into(), sql.to_owned());
        let found = problems.resolve(&sources);
        (tables, found.into_iter().map(|d| d.message).collect())
    }

    #[test]
    fn statements_are_split_and_named() {
        let (tables, problems) = read(
            "-- a; comment\nCREATE TABLE IF NOT EXISTS `a;b` (id int, v text DEFAULT 'x;\\'', KEY (v(3)));\n\
             create table t2(id bigint auto_increment primary key, `key` int) comment='vitess_sequence';\n\
             /*!40101 SET character_set_client = utf8 */;",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(tables.len(), 2);
        assert_eq!(
            tables[0].statement,
            "CREATE TABLE `a;b` (id int, v text DEFAULT 'x;\\'', KEY (v(3)))"
        );
        let names: Vec<_> = tables[0].columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["id", "v"]);
        assert!(!tables[0].has_primary_key);
        assert!(tables[1].has_primary_key && tables[1].is_sequence());
        assert!(tables[1].column("ID").unwrap().auto_increment);
        assert!(tables[1].column("key").is_some());
    }

    #[test]
    fn columns_and_keys_are_known() {
        let (tables, problems) = read(
            "create table t (a int(11) unsigned not null, b varchar(80) character set utf8mb4 collate utf8mb4_bin \
             default 'x', `C` decimal(10, 2), d bigint unique, e varbinary(16) primary key, \
             unique key u (b, `C` desc), key (b(3)), constraint x unique (d), foreign key (a) references z (a))",
        );
        assert_eq!(problems, Vec::<String>::new());
        let columns: Vec<_> = tables[0]
            .columns
            .iter()
            .map(|c| {
                format!(
                    "{} {:?} {} {}",
                    c.column_type, c.collation, c.not_null, c.has_default
                )
            })
            .collect();
        assert_eq!(
            columns,
            [
                "int unsigned None true false",
                "varchar(80) Some(\"utf8mb4_bin\") false true",
                "decimal(10,2) None false false",
                "bigint None false false",
                "varbinary(16) None true false",
            ]
        );
        let keys: Vec<_> = tables[0]
            .keys
            .iter()
            .map(|k| format!("{} {:?} {}", k.unique, k.columns, k.prefix))
            .collect();
        assert_eq!(
            keys,
            [
                "true [\"d\"] false",
                "true [\"e\"] false",
                "true [\"b\", \"c\"] false",
                "false [\"b\"] true",
                "true [\"d\"] false",
            ]
        );
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        for sql in [
            "DROP TABLE t",
            "CREATE VIEW v AS SELECT 1",
            "CREATE TABLE a.b (c int)",
            "CREATE TABLE t LIKE u",
            "CREATE TABLE t (LIKE u)",
            "CREATE TABLE t (a int) AS SELECT 1 a",
            "CREATE TABLE t (a int",
            "CREATE TABLE",
            "CREATE TABLE 'x' (a int)",
            "DELIMITER //",
            "CREATE TABLE t ()",
            "CREATE TABLE t (a varchar(3) default 'x)",
            "CREATE OR REPLACE TABLE t (a int)",
            "CREATE TEMPORARY TABLE t (a int)",
            "SELECT 1",
        ] {
            let (tables, problems) = read(sql);
            assert!(
                tables.is_empty() && problems.len() == 1,
                "{sql}: {problems:?}"
            );
        }
    }
}
