//! Statements that the gate carries out by itself: transactions, SET, USE, KILL and some of SHOW.

use crate::plan::scan::Kind;
use crate::plan::statement::Statement;
use crate::plan::types::{
    GateStatement, SetAssignment, SetValue, SetVariable, Show, ShowFilter, SqlError,
};

/// The statement, if it is one of the gate's. `of_shard`: the session's target is one shard, whose
/// server then answers what is not about the session or the cluster.
pub(super) fn parse(
    statement: &Statement<'_>,
    of_shard: bool,
) -> Result<Option<GateStatement>, SqlError> {
    let words = Words { statement, at: 1 };
    let Some(first) = statement.tokens.first() else {
        return Ok(Some(GateStatement::Empty));
    };
    if first.kind != Kind::Word {
        return Ok(None);
    }
    let first = String::from_utf8_lossy(statement.text(0)).to_ascii_uppercase();
    Ok(match first.as_str() {
        "USE" => Some(words.parse_use()?),
        "SET" => words.parse_set()?,
        "BEGIN" | "START" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" => {
            words.parse_transaction(&first)?
        }
        "KILL" => Some(words.parse_kill()?),
        "SHOW" => words.parse_show(of_shard)?.map(GateStatement::Show),
        _ => None,
    })
}

struct Words<'s, 'a> {
    statement: &'s Statement<'a>,
    at: usize,
}

impl Words<'_, '_> {
    /// Goes past keywords if they are next.
    fn take(&mut self, words: &[&str]) -> bool {
        let found = self.statement.are(self.at, words);
        if found {
            self.at += words.len();
        }
        found
    }

    fn take_op(&mut self, op: &str) -> bool {
        let found = self.statement.is_op(self.at, op);
        self.at += usize::from(found);
        found
    }

    fn at_end(&self) -> bool {
        self.at >= self.statement.tokens.len()
    }

    fn syntax_error(&self) -> SqlError {
        let near = self.statement.span(self.at, self.statement.tokens.len());
        let near = String::from_utf8_lossy(near);
        let near: String = near.chars().take(80).collect();
        SqlError::syntax(format!(
            "You have an error in your SQL syntax; check the manual that corresponds to your MySQL \
             server version for the right syntax to use near '{near}'"
        ))
    }

    fn end<T>(&self, value: T) -> Result<T, SqlError> {
        if self.at_end() {
            Ok(value)
        } else {
            Err(self.syntax_error())
        }
    }

    fn name(&mut self) -> Result<String, SqlError> {
        let name = self
            .statement
            .name(self.at)
            .ok_or_else(|| self.syntax_error())?;
        self.at += 1;
        Ok(name.into_owned())
    }

    fn parse_use(mut self) -> Result<GateStatement, SqlError> {
        if self.statement.tokens.len() == 2 && self.statement.kind(1) == Some(Kind::Quoted) {
            return Ok(GateStatement::Use(self.name()?));
        }
        // `use ks/-80@replica` has no quotes, though it is no plain name.
        let text = self.statement.span(1, self.statement.tokens.len());
        let text = String::from_utf8_lossy(text).replace('`', "");
        if text.is_empty() || text.contains(char::is_whitespace) {
            return Err(self.syntax_error());
        }
        Ok(GateStatement::Use(text))
    }

    fn parse_transaction(mut self, first: &str) -> Result<Option<GateStatement>, SqlError> {
        Ok(Some(match first {
            "BEGIN" => {
                if self.statement.is(1, "NOT") {
                    return Ok(None);
                }
                self.take(&["WORK"]);
                self.end(GateStatement::Begin {
                    read_only: None,
                    consistent_snapshot: false,
                })?
            }
            "START" => {
                if !self.take(&["TRANSACTION"]) {
                    return Ok(None);
                }
                let mut read_only = None;
                let mut consistent_snapshot = false;
                while !self.at_end() {
                    if self.take(&["READ", "ONLY"]) {
                        read_only = Some(true);
                    } else if self.take(&["READ", "WRITE"]) {
                        read_only = Some(false);
                    } else if self.take(&["WITH", "CONSISTENT", "SNAPSHOT"]) {
                        consistent_snapshot = true;
                    } else {
                        return Err(self.syntax_error());
                    }
                    self.take_op(",");
                }
                GateStatement::Begin {
                    read_only,
                    consistent_snapshot,
                }
            }
            "SAVEPOINT" => {
                let name = self.name()?;
                self.end(GateStatement::Savepoint(name))?
            }
            "RELEASE" => {
                if !self.take(&["SAVEPOINT"]) {
                    return Ok(None);
                }
                let name = self.name()?;
                self.end(GateStatement::ReleaseSavepoint(name))?
            }
            _ => {
                self.take(&["WORK"]);
                if first == "ROLLBACK" && self.take(&["TO"]) {
                    if self.statement.tokens.len() > self.at + 1 {
                        self.take(&["SAVEPOINT"]);
                    }
                    let name = self.name()?;
                    return Ok(Some(self.end(GateStatement::RollbackToSavepoint(name))?));
                }
                let chain = self.take(&["AND", "CHAIN"]);
                self.take(&["AND", "NO", "CHAIN"]);
                let release = self.take(&["RELEASE"]);
                self.take(&["NO", "RELEASE"]);
                self.end(if first == "COMMIT" {
                    GateStatement::Commit { chain, release }
                } else {
                    GateStatement::Rollback { chain, release }
                })?
            }
        }))
    }

    fn parse_kill(mut self) -> Result<GateStatement, SqlError> {
        let query_only = self.take(&["QUERY"]);
        if !query_only {
            self.take(&["CONNECTION"]);
        }
        let number = String::from_utf8_lossy(self.statement.text(self.at)).parse();
        let connection_id = number.map_err(|_| self.syntax_error())?;
        self.at += 1;
        self.end(GateStatement::Kill {
            query_only,
            connection_id,
        })
    }

    fn parse_set(mut self) -> Result<Option<GateStatement>, SqlError> {
        let s = self.statement;
        // These stay with a server: they are not assignments.
        if s.is_any(1, &["PASSWORD", "ROLE", "STATEMENT", "RESOURCE"])
            || s.are(1, &["DEFAULT", "ROLE"])
        {
            return Ok(None);
        }
        let mut assignments = Vec::new();
        let mut global = false;
        loop {
            self.parse_assignment(&mut global, &mut assignments)?;
            if self.at_end() {
                return Ok(Some(GateStatement::Set(assignments)));
            }
            if !self.take_op(",") {
                return Err(self.syntax_error());
            }
        }
    }

    /// One assignment. `global` is the scope of the last keyword, which holds on.
    fn parse_assignment(
        &mut self,
        global: &mut bool,
        out: &mut Vec<SetAssignment>,
    ) -> Result<(), SqlError> {
        let s = self.statement;
        let mut scoped = false;
        if s.is_any(self.at, &["GLOBAL", "PERSIST", "PERSIST_ONLY"]) && !s.is_op(self.at + 1, "=") {
            (*global, scoped) = (true, true);
            self.at += 1;
        } else if s.is_any(self.at, &["SESSION", "LOCAL"]) && !s.is_op(self.at + 1, "=") {
            (*global, scoped) = (false, true);
            self.at += 1;
        }
        if self.take(&["TRANSACTION"]) {
            return self.parse_set_transaction(scoped, *global, out);
        }
        if self.take(&["NAMES"]) {
            let value = self.charset()?;
            let collation = if self.take(&["COLLATE"]) {
                Some(self.word_or_string()?)
            } else {
                None
            };
            out.push(SetAssignment {
                variable: SetVariable::Names { collation },
                value,
            });
            return Ok(());
        }
        if self.take(&["CHARACTER", "SET"]) || self.take(&["CHARSET"]) {
            let value = self.charset()?;
            out.push(SetAssignment {
                variable: SetVariable::CharacterSet,
                value,
            });
            return Ok(());
        }
        let variable = self.variable(*global)?;
        if !self.take_op("=") && !self.take_op(":=") {
            return Err(self.syntax_error());
        }
        let value = self.value(&variable)?;
        out.push(SetAssignment { variable, value });
        Ok(())
    }

    fn variable(&mut self, global: bool) -> Result<SetVariable, SqlError> {
        let s = self.statement;
        let text = String::from_utf8_lossy(s.text(self.at)).into_owned();
        match s.kind(self.at) {
            Some(Kind::UserVariable) => {
                self.at += 1;
                let name = text[1..].trim_matches(['`', '\'', '"']).to_lowercase();
                Ok(SetVariable::User(name))
            }
            Some(Kind::SystemVariable) => {
                self.at += 1;
                let name = text[2..].replace('`', "").to_lowercase();
                Ok(match name.split_once('.') {
                    Some(("global" | "persist" | "persist_only", name)) => {
                        SetVariable::Global(name.to_owned())
                    }
                    Some(("session" | "local", name)) => SetVariable::Session(name.to_owned()),
                    _ => SetVariable::Session(name),
                })
            }
            _ => {
                let mut name = self.name()?.to_lowercase();
                // A structured variable: `hot.key_buffer_size`.
                if self.take_op(".") {
                    name = format!("{name}.{}", self.name()?.to_lowercase());
                }
                Ok(if global {
                    SetVariable::Global(name)
                } else {
                    SetVariable::Session(name)
                })
            }
        }
    }

    /// Everything up to the next comma outside of parentheses.
    fn value(&mut self, variable: &SetVariable) -> Result<SetValue, SqlError> {
        let s = self.statement;
        let from = self.at;
        let mut depth = 0usize;
        while !self.at_end() {
            if s.is_op(self.at, "(") {
                depth += 1;
            } else if s.is_op(self.at, ")") {
                depth = depth.saturating_sub(1);
            } else if depth == 0 && s.is_op(self.at, ",") {
                break;
            }
            self.at += 1;
        }
        let text = String::from_utf8_lossy(s.span(from, self.at)).into_owned();
        let is_number = |at| matches!(s.kind(at), Some(Kind::Integer | Kind::Decimal));
        let user = matches!(variable, SetVariable::User(_));
        Ok(match self.at - from {
            0 => return Err(self.syntax_error()),
            1 => match s.kind(from) {
                Some(Kind::Word) if s.is(from, "DEFAULT") => SetValue::Default,
                Some(Kind::Word) if s.is(from, "NULL") => SetValue::Null,
                Some(Kind::Word | Kind::Quoted) if !user => SetValue::Text(
                    s.name(from)
                        .map(|name| name.into_owned())
                        .unwrap_or_default(),
                ),
                Some(Kind::String) if !text.starts_with(['_', 'n', 'N']) => {
                    SetValue::Text(s.string(from).unwrap_or_default())
                }
                _ if is_number(from) => SetValue::Number(text),
                _ => SetValue::Expression(text),
            },
            2 if s.is_op(from, "-") && is_number(from + 1) => {
                SetValue::Number(text.replace(' ', ""))
            }
            _ => SetValue::Expression(text),
        })
    }

    fn word_or_string(&mut self) -> Result<String, SqlError> {
        let s = self.statement;
        let value = match s.string(self.at) {
            Some(text) => text,
            None => s
                .name(self.at)
                .ok_or_else(|| self.syntax_error())?
                .into_owned(),
        };
        self.at += 1;
        Ok(value)
    }

    fn charset(&mut self) -> Result<SetValue, SqlError> {
        self.take_op("=");
        Ok(if self.take(&["DEFAULT"]) {
            SetValue::Default
        } else {
            SetValue::Text(self.word_or_string()?)
        })
    }

    fn parse_set_transaction(
        &mut self,
        scoped: bool,
        global: bool,
        out: &mut Vec<SetAssignment>,
    ) -> Result<(), SqlError> {
        loop {
            let (name, variable, value) = if self.take(&["READ", "ONLY"]) {
                let variable = SetVariable::TransactionReadOnly { next_only: !scoped };
                (
                    "transaction_read_only",
                    variable,
                    SetValue::Number("1".to_owned()),
                )
            } else if self.take(&["READ", "WRITE"]) {
                let variable = SetVariable::TransactionReadOnly { next_only: !scoped };
                (
                    "transaction_read_only",
                    variable,
                    SetValue::Number("0".to_owned()),
                )
            } else if self.take(&["ISOLATION", "LEVEL"]) {
                let levels = [
                    &["READ", "UNCOMMITTED"][..],
                    &["READ", "COMMITTED"],
                    &["REPEATABLE", "READ"],
                    &["SERIALIZABLE"],
                ];
                let level = levels.into_iter().find(|level| self.take(level));
                let level = level.ok_or_else(|| self.syntax_error())?.join(" ");
                let variable = SetVariable::TransactionIsolation { next_only: !scoped };
                ("transaction_isolation", variable, SetValue::Text(level))
            } else {
                return Err(self.syntax_error());
            };
            let variable = if global {
                SetVariable::Global(name.to_owned())
            } else {
                variable
            };
            out.push(SetAssignment { variable, value });
            if !self.take_op(",") {
                return Ok(());
            }
        }
    }

    fn parse_show(mut self, of_shard: bool) -> Result<Option<Show>, SqlError> {
        for (word, column) in [
            ("KEYSPACES", "Database"),
            ("VITESS_KEYSPACES", "Database"),
            ("DATABASES", "Database"),
            ("SCHEMAS", "Database"),
        ] {
            if (!of_shard || word.ends_with("KEYSPACES")) && self.take(&[word]) {
                let filter = self.filter()?;
                return Ok(Some(Show::Keyspaces { column, filter }));
            }
        }
        if self.take(&["VITESS_SHARDS"]) {
            return Ok(Some(Show::VitessShards(self.filter()?)));
        }
        if self.take(&["VITESS_TABLETS"]) {
            return Ok(Some(Show::VitessTablets(self.filter()?)));
        }
        if self.take(&["VITESS_ROUTING_RULES"]) {
            return Ok(Some(Show::RoutingRules(self.filter()?)));
        }
        if self.take(&["VITESS_TARGET"]) {
            return self.end(Some(Show::VitessTarget));
        }
        if self.take(&["VSCHEMA"]) {
            if self.take(&["ROUTING", "RULES"]) {
                return Ok(Some(Show::RoutingRules(self.filter()?)));
            }
            if self.take(&["TABLES"]) {
                return self.end(Some(Show::VschemaTables));
            }
            if self.take(&["VINDEXES"]) {
                let mut keyspace = None;
                let mut table = None;
                if self.take(&["ON"]) || self.take(&["FROM"]) || self.take(&["IN"]) {
                    let name = self.statement.table_name(self.at);
                    let (name, next) = name.ok_or_else(|| self.syntax_error())?;
                    self.at = next;
                    keyspace = name.qualifier;
                    table = Some(name.name);
                }
                return self.end(Some(Show::VschemaVindexes { keyspace, table }));
            }
            return Err(self.syntax_error());
        }
        if of_shard {
            return Ok(None);
        }
        let s = self.statement;
        let count = s.is(1, "COUNT") && s.is_op(2, "(") && s.is_op(3, "*") && s.is_op(4, ")");
        if count && s.is_any(5, &["WARNINGS", "ERRORS"]) || s.is_any(1, &["WARNINGS", "ERRORS"]) {
            return Ok(Some(Show::Warnings {
                errors_only: s.is(if count { 5 } else { 1 }, "ERRORS"),
                count_only: count,
            }));
        }
        let full = self.take(&["FULL"]);
        if self.take(&["PROCESSLIST"]) {
            return self.end(Some(Show::Processlist { full }));
        }
        Ok(None)
    }

    fn filter(&mut self) -> Result<ShowFilter, SqlError> {
        if self.at_end() {
            return Ok(ShowFilter::All);
        }
        if self.take(&["LIKE"]) {
            let pattern = self
                .statement
                .string(self.at)
                .ok_or_else(|| self.syntax_error())?;
            self.at += 1;
            return self.end(ShowFilter::Like(pattern));
        }
        if self.take(&["WHERE"]) {
            return Err(SqlError::unsupported(
                "WHERE in a SHOW statement that the gate answers",
            ));
        }
        Err(self.syntax_error())
    }
}

#[cfg(test)]
mod tests;
