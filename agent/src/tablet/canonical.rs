//! What a server makes of `CREATE TABLE` statements: they are run in a scratch database that
//! nothing replicates, shown, and dropped.

use super::Tablet;
use super::server::SCRATCH_PREFIX;
use super::tables::show_create;
use crate::error::AgentError;
use crate::flavor::identifier;
use crate::sql::Sql;

/// A definition, or the server's message when it refuses the statement.
pub type Shown = Result<String, String>;

impl Tablet {
    /// The definitions that the server prints for the statements, in their order.
    pub async fn canonicalize(&self, statements: &[String]) -> Result<Vec<Shown>, AgentError> {
        let _scratch = self.scratch.lock().await;
        let mut sql = self.connect(None).await?;
        let database = format!("{SCRATCH_PREFIX}{:016x}", rand::random::<u64>());
        let name = identifier(&database);
        let shown = self
            .with_admin_writes(&mut sql, async |sql| {
                let what = "making a scratch database";
                sql.run(what, &format!("CREATE DATABASE {name}")).await?;
                let shown = show_all(sql, &name, statements).await;
                sql.run(what, &format!("DROP DATABASE {name}")).await?;
                shown
            })
            .await;
        sql.close().await;
        shown
    }
}

async fn show_all(
    sql: &mut Sql,
    database: &str,
    statements: &[String],
) -> Result<Vec<Shown>, AgentError> {
    let what = "using the scratch database";
    sql.run(what, &format!("USE {database}")).await?;
    // A table may refer to one that comes later.
    sql.run(what, "SET SESSION foreign_key_checks = 0").await?;
    let mut shown = Vec::with_capacity(statements.len());
    for statement in statements {
        shown.push(show(sql, statement).await?);
    }
    Ok(shown)
}

async fn show(sql: &mut Sql, statement: &str) -> Result<Shown, AgentError> {
    let Some(table) = created_table(statement) else {
        return Ok(Err(
            "it is not a CREATE TABLE statement for a table without a database's name".to_owned(),
        ));
    };
    match sql.run_single("creating it", statement).await {
        Ok(_) => {}
        Err(AgentError::Sql { why, .. }) => return Ok(Err(why)),
        Err(error) => return Err(error),
    }
    let text = show_create(sql, &table).await?;
    Ok(text.ok_or_else(|| "it creates no table".to_owned()))
}

/// The name of the table that a `CREATE TABLE` statement makes in the connection's database. `None`
/// for everything else: it could write elsewhere.
fn created_table(statement: &str) -> Option<String> {
    let mut rest = skip_blank(statement);
    rest = keyword(rest, "create")?;
    rest = keyword(rest, "table")?;
    if let Some(after) = keyword(rest, "if") {
        rest = keyword(keyword(after, "not")?, "exists")?;
    }
    let (name, after) = name(rest)?;
    (!skip_blank(after).starts_with('.')).then_some(name)
}

/// The text without white space and comments at its beginning.
fn skip_blank(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let comment_end = if text.starts_with("/*") && !text.starts_with("/*!") {
            text.find("*/").map(|at| at + 2)
        } else if text.starts_with('#') || text.starts_with("-- ") || text.starts_with("--\n") {
            Some(text.find('\n').unwrap_or(text.len()))
        } else {
            None
        };
        match comment_end {
            Some(end) => text = &text[end..],
            None => return text,
        }
    }
}

fn keyword<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    let rest = &text[word.len()..];
    let ends = !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
    (head.eq_ignore_ascii_case(word) && ends).then(|| skip_blank(rest))
}

fn name(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('`') {
        let mut name = String::new();
        let mut chars = quoted.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '`' {
                name.push(c);
            } else if chars.next_if(|(_, next)| *next == '`').is_some() {
                name.push('`');
            } else {
                return Some((name, &quoted[at + 1..]));
            }
        }
        return None;
    }
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_a_statement_is_found() {
        for (statement, table) in [
            ("create table product (id int)", "product"),
            ("CREATE TABLE IF NOT EXISTS `a``b` (id int)", "a`b"),
            (
                "-- first\n# second\n/* third */ Create /* x */ Table t(id int)",
                "t",
            ),
            ("create table if_ (id int)", "if_"),
            ("create table größe (id int)", "größe"),
        ] {
            assert_eq!(
                created_table(statement).as_deref(),
                Some(table),
                "{statement}"
            );
        }
    }

    #[test]
    fn a_statement_that_could_write_elsewhere_is_not_taken() {
        for statement in [
            "create table commerce.product (id int)",
            "create table `commerce` . `product` (id int)",
            "create table commerce/**/.product (id int)",
            "drop table product",
            "create database x",
            "create temporary table t (id int)",
            "create or replace table t (id int)",
            "/*!50000 create */ table t (id int)",
            "create table",
            "create table `t",
            "",
        ] {
            assert_eq!(created_table(statement), None, "{statement}");
        }
    }
}
