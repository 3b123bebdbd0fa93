//! Compares definitions of tables: what a server prints for a table that is there with what it
//! prints for the spec's statement.

use similar::TextDiff;

/// How a table that is there relates to the spec's statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    None,
    /// Nothing but `AUTO_INCREMENT` goes from columns; these are the columns' new lines.
    AutoIncrementOff(Vec<String>),
    Other,
}

/// Both as `SHOW CREATE TABLE` prints them.
pub(crate) fn compare(live: &str, wanted: &str) -> Difference {
    if live == wanted {
        return Difference::None;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (live.lines().collect(), wanted.lines().collect());
    if old.len() != new.len() {
        return Difference::Other;
    }
    let mut columns = Vec::new();
    for (old, new) in old.iter().zip(&new) {
        if old == new {
            continue;
        }
        if without_auto_increment(old).as_deref() != Some(*new) {
            return Difference::Other;
        }
        columns.push(new.trim().trim_end_matches(',').to_owned());
    }
    Difference::AutoIncrementOff(columns)
}

/// A column's line without its `AUTO_INCREMENT`; `None` when it has none, or is no column.
pub(crate) fn without_auto_increment(line: &str) -> Option<String> {
    const ATTRIBUTE: &str = " AUTO_INCREMENT";
    if !line.trim_start().starts_with('`') {
        return None;
    }
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '`' | '"') => quote = Some(c),
            None if line[at..].starts_with(ATTRIBUTE) => {
                let rest = &line[at + ATTRIBUTE.len()..];
                if rest.is_empty() || rest.starts_with([' ', ',']) {
                    return Some(format!("{}{rest}", &line[..at]));
                }
            }
            None => {}
        }
    }
    None
}

/// The statement that takes `AUTO_INCREMENT` off.
pub(crate) fn modify_columns(table: &str, columns: &[String]) -> String {
    let changes: Vec<String> = columns
        .iter()
        .map(|column| format!("MODIFY COLUMN {column}"))
        .collect();
    format!(
        "ALTER TABLE `{}` {}",
        table.replace('`', "``"),
        changes.join(", ")
    )
}

/// A unified diff of two definitions.
pub(crate) fn diff(live: &str, wanted: &str, live_name: &str, wanted_name: &str) -> String {
    TextDiff::from_lines(format!("{live}\n").as_str(), format!("{wanted}\n").as_str())
        .unified_diff()
        .header(live_name, wanted_name)
        .to_string()
}

/// Whether two statements are the same text but for white space, the case of what is not quoted,
/// back quotes and a closing semicolon. For statements that no server was asked about.
pub(crate) fn same_text(a: &str, b: &str) -> bool {
    normal(a) == normal(b)
}

fn normal(statement: &str) -> String {
    let mut out = String::with_capacity(statement.len());
    let mut quote = None;
    let mut space = false;
    for c in statement.trim().trim_end_matches(';').chars() {
        if let Some(open) = quote {
            out.push(c);
            if c == open {
                quote = None;
            }
            continue;
        }
        match c {
            '`' => {}
            c if c.is_whitespace() => space = true,
            c => {
                let word = |c: char| c.is_alphanumeric() || c == '_';
                if space && word(c) && out.chars().last().is_some_and(word) {
                    out.push(' ');
                }
                space = false;
                if matches!(c, '\'' | '"') {
                    quote = Some(c);
                }
                out.extend(c.to_lowercase());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "CREATE TABLE `t` (\n  `id` bigint(20) NOT NULL AUTO_INCREMENT,\n  \
                        `name` varchar(10) DEFAULT ' AUTO_INCREMENT',\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB";

    #[test]
    fn auto_increment_that_goes_is_told_from_other_changes() {
        let wanted = LIVE.replace("NULL AUTO_INCREMENT,", "NULL,");
        let Difference::AutoIncrementOff(columns) = compare(LIVE, &wanted) else {
            panic!("it is the attribute that goes");
        };
        assert_eq!(
            modify_columns("t", &columns),
            "ALTER TABLE `t` MODIFY COLUMN `id` bigint(20) NOT NULL"
        );
        assert_eq!(compare(LIVE, LIVE), Difference::None);
        assert_eq!(
            compare(&wanted, LIVE),
            Difference::Other,
            "coming is a change"
        );
        let default = LIVE.replace("DEFAULT ' AUTO_INCREMENT'", "DEFAULT ''");
        assert_eq!(compare(LIVE, &default), Difference::Other);
        let more = wanted.replace("varchar(10)", "varchar(11)");
        assert_eq!(compare(LIVE, &more), Difference::Other);
    }

    #[test]
    fn texts_are_the_same_but_for_spaces_case_and_back_quotes() {
        assert!(same_text(
            "create table t (id int, name varchar(3) default 'A b');",
            "CREATE  TABLE `t` (\n id INT,\n name VARCHAR( 3 ) DEFAULT 'A b' )"
        ));
        assert!(!same_text(
            "create table t (a int default 'x')",
            "create table t (a int default 'X')"
        ));
        assert!(!same_text(
            "create table t (a int)",
            "create table t (ai nt)"
        ));
    }
}
