//! Statements of a binlog: which of them begin or end a transaction, and which change the
//! definition of a table.

/// What a logged statement is, as far as streams care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Begin,
    Commit,
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    /// `XA START`, `XA END`, `XA PREPARE`.
    XaPart,
    XaCommit,
    XaRollback,
    /// Changes or removes tables: database (if it is said) and name.
    Tables(Vec<(Option<String>, String)>),
    /// Removes a database.
    DropDatabase(String),
    /// A table that is made and filled in one transaction.
    CreateAndFill,
    /// Writes rows, by a statement instead of row events.
    Writes,
    Other,
}

/// Reads a statement.
pub(super) fn classify(statement: &[u8]) -> Statement {
    let text = String::from_utf8_lossy(statement);
    // Rows' contents cannot be in what is looked at, however long the statement.
    let tokens = Tokens::new(&text);
    Parser {
        tokens: tokens.peekable(),
    }
    .statement(&text)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    /// A word as it stands.
    Word(&'a str),
    /// In backquotes or double quotes.
    Quoted(String),
    Sign(char),
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    fn skip_spaces_and_comments(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if let Some(comment) = self.rest.strip_prefix("/*") {
                // What is in a versioned comment is part of the statement.
                let versioned = comment
                    .strip_prefix("M!")
                    .or_else(|| comment.strip_prefix('!'));
                if let Some(inside) = versioned {
                    self.rest = inside.trim_start_matches(|c: char| c.is_ascii_digit());
                    continue;
                }
                self.rest = comment.split_once("*/").map_or("", |(_, after)| after);
            } else if self.rest.starts_with("*/") {
                self.rest = &self.rest[2..];
            } else if self.rest.starts_with('#')
                || self.rest.starts_with("-- ")
                || self.rest.starts_with("--\n")
            {
                self.rest = self.rest.split_once('\n').map_or("", |(_, after)| after);
            } else {
                return;
            }
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_spaces_and_comments();
        let first = self.rest.chars().next()?;
        if matches!(first, '`' | '"') {
            let mut name = String::new();
            let mut chars = self.rest.char_indices().skip(1).peekable();
            let mut end = self.rest.len();
            while let Some((at, c)) = chars.next() {
                // A quote that stands twice is one of the name.
                if c == first && chars.next_if(|(_, next)| *next == first).is_none() {
                    end = at + 1;
                    break;
                }
                name.push(c);
            }
            self.rest = &self.rest[end..];
            return Some(Token::Quoted(name));
        }
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii();
        if is_part(first) {
            let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(Token::Word(word));
        }
        self.rest = &self.rest[first.len_utf8()..];
        Some(Token::Sign(first))
    }
}

struct Parser<'a> {
    tokens: std::iter::Peekable<Tokens<'a>>,
}

impl Parser<'_> {
    /// Takes a word if it is next.
    fn word(&mut self, wanted: &str) -> bool {
        let is_next =
            |token: &Token<'_>| matches!(token, Token::Word(w) if w.eq_ignore_ascii_case(wanted));
        self.tokens.next_if(is_next).is_some()
    }

    fn any(&mut self, wanted: &[&str]) -> bool {
        wanted.iter().any(|w| self.word(w))
    }

    fn skip(&mut self, words: &[&str]) {
        while self.any(words) {}
    }

    fn name(&mut self) -> Option<String> {
        match self.tokens.next()? {
            Token::Word(word) => Some(word.to_owned()),
            Token::Quoted(name) => Some(name),
            Token::Sign(_) => None,
        }
    }

    /// `t` or `db.t`.
    fn table(&mut self) -> Option<(Option<String>, String)> {
        let first = self.name()?;
        if self.tokens.next_if_eq(&Token::Sign('.')).is_some() {
            return Some((Some(first), self.name()?));
        }
        Some((None, first))
    }

    fn comma(&mut self) -> bool {
        self.tokens.next_if_eq(&Token::Sign(',')).is_some()
    }

    fn statement(mut self, text: &str) -> Statement {
        if self.any(&["BEGIN", "START"]) {
            return Statement::Begin;
        }
        if self.word("COMMIT") {
            return Statement::Commit;
        }
        if self.word("SAVEPOINT") {
            return Statement::Savepoint(self.name().unwrap_or_default());
        }
        if self.word("ROLLBACK") {
            self.word("WORK");
            if self.word("TO") {
                self.word("SAVEPOINT");
                return Statement::RollbackTo(self.name().unwrap_or_default());
            }
            return Statement::Rollback;
        }
        if self.word("XA") {
            return match self
                .name()
                .unwrap_or_default()
                .to_ascii_uppercase()
                .as_str()
            {
                "COMMIT" => Statement::XaCommit,
                "ROLLBACK" => Statement::XaRollback,
                _ => Statement::XaPart,
            };
        }
        if self.word("CREATE") {
            return self.create(text);
        }
        let tables = if self.word("ALTER") {
            self.alter()
        } else if self.word("DROP") {
            return self.dropped();
        } else if self.word("TRUNCATE") {
            self.word("TABLE");
            self.table().into_iter().collect()
        } else if self.word("RENAME") {
            self.renamed()
        } else if self.any(&["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD"]) {
            return Statement::Writes;
        } else {
            return Statement::Other;
        };
        Statement::of_tables(tables)
    }

    fn create(mut self, text: &str) -> Statement {
        if self.word("OR") {
            self.word("REPLACE");
        }
        if self.word("TABLE") {
            if text
                .trim_end()
                .to_ascii_uppercase()
                .ends_with("START TRANSACTION")
            {
                return Statement::CreateAndFill;
            }
            self.skip(&["IF", "NOT", "EXISTS"]);
            return Statement::of_tables(self.table().into_iter().collect());
        }
        self.skip(&[
            "ONLINE", "OFFLINE", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR",
        ]);
        if self.word("INDEX") {
            return Statement::of_tables(self.on_table());
        }
        Statement::Other
    }

    fn alter(&mut self) -> Vec<(Option<String>, String)> {
        self.skip(&["ONLINE", "OFFLINE", "IGNORE"]);
        if !self.word("TABLE") {
            return Vec::new();
        }
        self.skip(&["IF", "EXISTS"]);
        let mut tables: Vec<_> = self.table().into_iter().collect();
        // ALTER TABLE x RENAME TO t takes the name of a table that was there.
        while let Some(token) = self.tokens.next() {
            if matches!(token, Token::Word(w) if w.eq_ignore_ascii_case("RENAME")) {
                if self.any(&["COLUMN", "INDEX", "KEY"]) {
                    continue;
                }
                self.skip(&["TO", "AS"]);
                tables.extend(self.table());
            }
        }
        tables
    }

    fn dropped(mut self) -> Statement {
        if self.word("TEMPORARY") {
            return Statement::Other;
        }
        if self.any(&["DATABASE", "SCHEMA"]) {
            self.skip(&["IF", "EXISTS"]);
            return Statement::DropDatabase(self.name().unwrap_or_default());
        }
        if self.any(&["TABLE", "TABLES"]) {
            self.skip(&["IF", "EXISTS"]);
            let mut tables = Vec::new();
            loop {
                tables.extend(self.table());
                if !self.comma() {
                    return Statement::of_tables(tables);
                }
            }
        }
        self.skip(&["ONLINE", "OFFLINE"]);
        if self.word("INDEX") {
            return Statement::of_tables(self.on_table());
        }
        Statement::Other
    }

    fn renamed(&mut self) -> Vec<(Option<String>, String)> {
        let mut tables = Vec::new();
        if !self.any(&["TABLE", "TABLES"]) {
            return tables;
        }
        self.skip(&["IF", "EXISTS"]);
        loop {
            tables.extend(self.table());
            self.skip(&["WAIT", "NOWAIT"]);
            self.word("TO");
            tables.extend(self.table());
            if !self.comma() {
                return tables;
            }
        }
    }

    /// The table of `... INDEX i ... ON t`.
    fn on_table(&mut self) -> Vec<(Option<String>, String)> {
        self.skip(&["IF", "NOT", "EXISTS"]);
        self.tokens.next();
        while self.tokens.peek().is_some() {
            if self.word("ON") {
                return self.table().into_iter().collect();
            }
            self.tokens.next();
        }
        Vec::new()
    }
}

impl Statement {
    fn of_tables(tables: Vec<(Option<String>, String)>) -> Self {
        if tables.is_empty() {
            Self::Other
        } else {
            Self::Tables(tables)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tables(statement: &str) -> Vec<String> {
        match classify(statement.as_bytes()) {
            Statement::Tables(tables) => tables
                .into_iter()
                .map(|(db, t)| db.map_or(t.clone(), |db| format!("{db}.{t}")))
                .collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn tables_whose_definition_a_statement_changes_are_found() {
        for (statement, wanted) in [
            ("ALTER TABLE t ADD COLUMN a INT", vec!["t"]),
            (
                "alter online table `my`.`t` drop a, rename to other.u",
                vec!["my.t", "other.u"],
            ),
            ("ALTER TABLE t RENAME COLUMN a TO b", vec!["t"]),
            ("/* hi */ ALTER /*!50000 TABLE */ t FORCE", vec!["t"]),
            (
                "DROP TABLE IF EXISTS `a``b`, db.c /* generated by server */",
                vec!["a`b", "db.c"],
            ),
            ("TRUNCATE t", vec!["t"]),
            ("TRUNCATE TABLE ks.t", vec!["ks.t"]),
            ("RENAME TABLE a TO b, c TO d", vec!["a", "b", "c", "d"]),
            (
                "CREATE UNIQUE INDEX i USING BTREE ON ks.t (a)",
                vec!["ks.t"],
            ),
            ("DROP INDEX i ON t", vec!["t"]),
            ("CREATE OR REPLACE TABLE t (a int)", vec!["t"]),
            ("CREATE TABLE IF NOT EXISTS t LIKE u", vec!["t"]),
            (
                "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
                vec![],
            ),
            (
                "CREATE DEFINER=`a`@`b` TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
                vec![],
            ),
            ("CREATE VIEW v AS SELECT * FROM t", vec![]),
            ("ANALYZE TABLE t", vec![]),
            ("DROP TEMPORARY TABLE IF EXISTS t", vec![]),
            ("DROP TRIGGER t", vec![]),
            ("GRANT ALL ON t TO u", vec![]),
        ] {
            assert_eq!(tables(statement), wanted, "{statement}");
        }
    }

    #[test]
    fn the_bounds_of_transactions_are_found() {
        for (text, wanted) in [
            ("BEGIN", Statement::Begin),
            ("COMMIT", Statement::Commit),
            ("COMMIT /* implicit */", Statement::Commit),
            ("ROLLBACK", Statement::Rollback),
            ("ROLLBACK TO `a`", Statement::RollbackTo("a".into())),
            ("SAVEPOINT `a`", Statement::Savepoint("a".into())),
            ("XA COMMIT 'x'", Statement::XaCommit),
            (
                "drop database if exists `d`",
                Statement::DropDatabase("d".into()),
            ),
            (
                "CREATE TABLE `t` (`a` int) START TRANSACTION",
                Statement::CreateAndFill,
            ),
            ("insert into t values (1)", Statement::Writes),
            ("", Statement::Other),
        ] {
            assert_eq!(classify(text.as_bytes()), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_something(text in prop::collection::vec(any::<u8>(), 0..200)) {
            classify(&text);
        }

        #[test]
        fn any_words_are_something(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "ALTER", "TABLE", "DROP", "RENAME", "TO", "INDEX", "ON", "t", "`x", "\"", "/*",
                    "*/", "/*!", ".", ",", "CREATE", "TRUNCATE", "--", "\n", "ä",
                ]),
                0..12,
            )
        ) {
            classify(words.join(" ").as_bytes());
        }
    }
}
