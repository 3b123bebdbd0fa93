//! Pieces of a statement's text, put together anew.

use std::ops::Range;

use super::literal;
use super::rewrite::{Rewrite, Splice};
use super::route::Values;
use super::scan::{Kind, Lexer, Token};
use super::types::PlanContext;

/// Pieces of the statement's text, with values for its parameters.
pub(super) struct Text<'a> {
    pub(super) tokens: Vec<Token>,
    /// For each token, how many parameters are before it.
    params: Vec<usize>,
    pub(super) values: &'a Values<'a>,
    splices: &'a [Splice],
    context: &'a PlanContext<'a>,
}

impl<'a> Text<'a> {
    pub(super) fn new(
        rewrite: &'a Rewrite,
        context: &'a PlanContext<'a>,
        values: &'a Values<'a>,
    ) -> Self {
        let tokens: Vec<Token> = Lexer::new(values.sql, context.sql_mode).collect();
        let mut next = 0;
        let params = tokens.iter().map(|token| {
            let number = next;
            next += usize::from(token.kind == Kind::Param);
            number
        });
        Self {
            params: params.collect(),
            tokens,
            values,
            splices: rewrite.splices(),
            context,
        }
    }

    /// The text of some tokens, with the spaces and comments that lead to them.
    pub(super) fn render(&self, tokens: Range<usize>, extra: Option<&Splice>) -> Vec<u8> {
        let sql = self.values.sql;
        let mut out = Vec::new();
        let mut at = tokens.start;
        while at < tokens.end {
            if let Some(extra) = extra.filter(|e| e.from == at) {
                extra.with.write(self.context, &mut out);
            }
            if at > 0 && self.tokens[at].start > self.tokens[at - 1].end && at > tokens.start {
                out.push(b' ');
            }
            if let Some(splice) = self.splices.iter().find(|s| s.from == at) {
                splice.with.write(self.context, &mut out);
                if splice.to > at {
                    at = splice.to;
                    continue;
                }
            }
            let token = self.tokens[at];
            let bound = self.values.binds.filter(|_| token.kind == Kind::Param);
            match bound.and_then(|binds| binds.get(self.params[at])) {
                Some(value) => literal::write_bind(value, self.values.modes, &mut out),
                None => out.extend_from_slice(token.text(sql)),
            }
            at += 1;
        }
        out
    }
}
