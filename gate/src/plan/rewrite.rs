//! Changing pieces of a statement's text, and leaving the rest as the client wrote it.

use std::sync::Arc;

use super::scan::Lexer;
use super::statement::SessionFunction;
use super::types::{PlanContext, Sql};

/// Pieces to be put in the place of tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Rewrite {
    /// By rising token.
    splices: Vec<Splice>,
}

#[derive(Debug, Clone)]
pub(super) struct Splice {
    /// The first token to replace.
    pub from: usize,
    /// The token after the last one; `from` to insert before it.
    pub to: usize,
    pub with: Piece,
}

#[derive(Debug, Clone)]
pub(super) enum Piece {
    Text(String),
    /// The session's value; named, so that the answer's column has the name it would have had.
    Session {
        function: SessionFunction,
        named: Option<String>,
    },
}

impl Rewrite {
    pub(super) fn new(mut splices: Vec<Splice>) -> Self {
        splices.sort_by_key(|s| (s.from, s.to));
        Self { splices }
    }

    pub(super) fn splices(&self) -> &[Splice] {
        &self.splices
    }

    pub(super) fn sql(&self, context: &PlanContext<'_>, sql: &[u8]) -> Sql {
        if self.splices.is_empty() {
            return Sql::Original;
        }
        Sql::Rewritten(Arc::from(self.apply(context, sql)))
    }

    /// The text with all pieces in it.
    pub(super) fn apply(&self, context: &PlanContext<'_>, sql: &[u8]) -> Vec<u8> {
        let tokens: Vec<_> = Lexer::new(sql, context.sql_mode).collect();
        let mut out = Vec::with_capacity(sql.len() + 64);
        let mut copied = 0;
        for splice in &self.splices {
            let start = tokens.get(splice.from).map_or(sql.len(), |t| t.start);
            let end = match splice.to.checked_sub(1).and_then(|last| tokens.get(last)) {
                Some(last) if splice.to > splice.from => last.end,
                _ => start,
            };
            out.extend_from_slice(sql.get(copied..start).unwrap_or_default());
            splice.with.write(context, &mut out);
            copied = copied.max(end);
        }
        out.extend_from_slice(&sql[copied..]);
        out
    }
}

impl Piece {
    pub(super) fn write(&self, context: &PlanContext<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend(text.bytes()),
            Self::Session { function, named } => {
                let value = match function {
                    SessionFunction::LastInsertId => context.values.last_insert_id.to_string(),
                    SessionFunction::FoundRows => context.values.found_rows.to_string(),
                    SessionFunction::RowCount => context.values.row_count.to_string(),
                };
                out.extend(value.bytes());
                if let Some(name) = named {
                    out.extend(format!(" AS {name}").bytes());
                }
            }
        }
    }
}

/// A name in backticks.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
