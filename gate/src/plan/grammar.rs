//! Reading a statement with the SQL grammar. The parser is given the tokens that [`super::scan`]
//! found, with every value replaced by its number: what it makes of the statement thus cannot
//! depend on values, and its disagreements with MySQL about strings and comments do not matter.

use std::collections::HashMap;

use sqlparser::ast::{Expr, Ident, Statement as Ast, UnaryOperator, Value};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use super::scan::Kind;
use super::statement::Statement;
use super::types::SqlError;

/// A value in a statement, to be looked up when it is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueExpr {
    Null,
    Int(i64),
    Slot { index: usize, negative: bool },
}

/// A parsed statement.
pub(super) struct Parsed {
    pub ast: Ast,
    /// Tokens by where they start in the parsed text, in characters from 1.
    columns: HashMap<u64, usize>,
}

/// Values are numbered from here, so that they cannot be mistaken for anything else.
const FIRST_SLOT: usize = 900_000_000;

impl Parsed {
    /// Parses the tokens from `from` to before `to`.
    pub(super) fn new(statement: &Statement<'_>, from: usize, to: usize) -> Result<Self, SqlError> {
        let (text, columns) = render(statement, from, to)?;
        let mut parsed = Parser::parse_sql(&MySqlDialect {}, &text).map_err(|e| {
            SqlError::syntax(format!(
                "the planner for sharded keyspaces cannot read this statement: {e}"
            ))
        })?;
        match (parsed.pop(), parsed.is_empty()) {
            (Some(ast), true) => Ok(Self { ast, columns }),
            _ => Err(SqlError::syntax("one statement was expected")),
        }
    }

    /// The token that a name was read from.
    pub(super) fn token_of(&self, ident: &Ident) -> Option<usize> {
        let start = ident.span.start;
        if start.line != 1 {
            return None;
        }
        self.columns.get(&start.column).copied()
    }
}

/// Words between the verb and the tables that the parser does not know and that change nothing
/// about where rows are.
const MODIFIERS: [&str; 4] = ["LOW_PRIORITY", "QUICK", "IGNORE", "HIGH_PRIORITY"];

fn render(
    statement: &Statement<'_>,
    from: usize,
    to: usize,
) -> Result<(String, HashMap<u64, usize>), SqlError> {
    let mut text = String::new();
    let mut characters = 0u64;
    let mut columns = HashMap::new();
    let mut slot = statement.tokens[..from]
        .iter()
        .filter(|t| t.kind.is_slot())
        .count();
    let verb = statement.is_any(from, &["UPDATE", "DELETE"]);
    let mut at = from;
    let mut after_verb = verb;
    while at < to {
        if statement.are(at, &["LOCK", "IN", "SHARE", "MODE"]) {
            at += 4;
            continue;
        }
        if at > from && after_verb {
            if statement.is_any(at, &MODIFIERS) {
                at += 1;
                continue;
            }
            after_verb = false;
        }
        let token = statement.tokens[at];
        let piece = match token.kind {
            Kind::String => format!("'s{slot}'"),
            kind if kind.is_slot() => (FIRST_SLOT + slot).to_string(),
            Kind::Quoted => {
                let name = statement.name(at).unwrap_or_default();
                if name.contains(['\n', '\r', '`']) {
                    return Err(SqlError::unsupported(format!("the name `{name}`")));
                }
                format!("`{name}`")
            }
            Kind::UserVariable => "@uservariable".to_owned(),
            Kind::SystemVariable => "@@systemvariable".to_owned(),
            _ => std::str::from_utf8(statement.text(at))
                .map_err(|_| SqlError::syntax("the statement is not UTF-8"))?
                .to_owned(),
        };
        slot += usize::from(token.kind.is_slot());
        columns.insert(characters + 1, at);
        characters += piece.chars().count() as u64;
        text.push_str(&piece);
        // Qualified names stay together; all else may have a space.
        let dotted = statement.is_op(at, ".") || statement.is_op(at + 1, ".");
        let call = token.kind == Kind::Word
            && statement.is_op(at + 1, "(")
            && statement.tokens[at + 1].start == token.end;
        if !dotted && !call {
            text.push(' ');
            characters += 1;
        }
        at += 1;
    }
    Ok((text, columns))
}

/// The constant that an expression is, if it is one.
pub(super) fn constant(expr: &Expr) -> Option<ValueExpr> {
    match expr {
        Expr::Nested(inner) => constant(inner),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match constant(expr)? {
            ValueExpr::Slot {
                index,
                negative: false,
            } => Some(ValueExpr::Slot {
                index,
                negative: true,
            }),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Plus,
            expr,
        } => constant(expr),
        Expr::Value(value) => match &value.value {
            Value::Null => Some(ValueExpr::Null),
            Value::Boolean(b) => Some(ValueExpr::Int(i64::from(*b))),
            Value::Number(number, _) => Some(ValueExpr::Slot {
                index: number.parse::<usize>().ok()?.checked_sub(FIRST_SLOT)?,
                negative: false,
            }),
            Value::SingleQuotedString(text) => Some(ValueExpr::Slot {
                index: text.strip_prefix('s')?.parse().ok()?,
                negative: false,
            }),
            _ => None,
        },
        _ => None,
    }
}
