//! Splitting a text into statements.

use super::scan::{Kind, Lexer};
use super::types::SqlModes;

/// The statements of a text with several, split at `;` outside of strings, comments and the
/// bodies of stored programs. Empty ones are left out.
pub fn split_statements(sql: &[u8], modes: SqlModes) -> Vec<&[u8]> {
    let mut statements = Vec::new();
    let lexer = Lexer::new(sql, modes);
    let mut start = 0;
    let mut tokens = 0;
    let mut body = Body::default();
    for token in lexer {
        if token.kind == Kind::Operator && token.text(sql) == b";" && !body.is_open() {
            if tokens > 0 {
                statements.push(sql[start..token.start].trim_ascii());
            }
            start = token.end;
            tokens = 0;
            body = Body::default();
            continue;
        }
        body.see(tokens, token.kind, token.text(sql));
        tokens += 1;
    }
    if tokens > 0 {
        statements.push(sql[start..].trim_ascii());
    }
    statements
}

/// Follows the nesting of a stored program's body, in which `;` ends no statement.
#[derive(Default)]
struct Body {
    creates: bool,
    stored: bool,
    depth: usize,
    after_end: bool,
    at_start: bool,
}

impl Body {
    fn is_open(&self) -> bool {
        self.depth > 0
    }

    fn see(&mut self, index: usize, kind: Kind, text: &[u8]) {
        let is = |word: &str| kind == Kind::Word && text.eq_ignore_ascii_case(word.as_bytes());
        if index == 0 {
            self.creates = is("CREATE") || is("ALTER");
            // MariaDB's anonymous block: BEGIN NOT ATOMIC.
            self.stored = false;
            self.after_end = is("BEGIN");
            return;
        }
        if index == 1 && std::mem::take(&mut self.after_end) && is("NOT") {
            self.stored = true;
            self.depth = 1;
            return;
        }
        if self.creates && !self.stored && index < 24 {
            self.stored = ["PROCEDURE", "FUNCTION", "TRIGGER", "EVENT"]
                .iter()
                .any(|w| is(w));
            return;
        }
        if !self.stored {
            return;
        }
        let at_start = std::mem::take(&mut self.at_start);
        let after_end = std::mem::take(&mut self.after_end);
        if is("END") {
            self.depth = self.depth.saturating_sub(1);
            self.after_end = true;
        } else if after_end
            && ["IF", "CASE", "LOOP", "WHILE", "REPEAT"]
                .iter()
                .any(|w| is(w))
        {
            // The END before has counted.
        } else if is("BEGIN") || is("CASE") || is("LOOP") || is("WHILE") {
            self.depth += 1;
            self.at_start = !is("CASE") && !is("WHILE");
        } else if at_start && (is("IF") || is("REPEAT")) {
            self.depth += 1;
            self.at_start = is("REPEAT");
        } else {
            self.at_start = text == b";" || text == b":" || is("THEN") || is("ELSE") || is("DO");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(sql: &str) -> Vec<String> {
        split_statements(sql.as_bytes(), SqlModes::default())
            .into_iter()
            .map(|s| String::from_utf8_lossy(s).into_owned())
            .collect()
    }

    #[test]
    fn statements_are_split_outside_of_strings_comments_and_programs() {
        assert_eq!(
            split("select 1; select ';' ;; -- ; x\n"),
            ["select 1", "select ';'"]
        );
        assert_eq!(split("a /* ; */; `b;c`;"), ["a /* ; */", "`b;c`"]);
        let procedure = "create procedure p() begin if (a) then select case when b then 1 end; \
             elseif c then begin end; end if; while x do set y = 1; end while; end";
        assert_eq!(
            split(&format!("{procedure}; select 2")),
            [procedure, "select 2"]
        );
        let simple = "create trigger t before insert on x for each row set new.a = 1";
        assert_eq!(split(&format!("{simple}; select 2")), [simple, "select 2"]);
        assert_eq!(
            split("begin; select 1; commit"),
            ["begin", "select 1", "commit"]
        );
        assert!(split(" ; ; ").is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_split(sql in proptest::collection::vec(any::<u8>(), 0..200)) {
            for part in split_statements(&sql, SqlModes::default()) {
                prop_assert!(!part.is_empty());
            }
        }
    }
}
