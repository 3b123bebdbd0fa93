//! Whether rows of one table fit into another: whether the definitions have the same columns and the
//! same primary key. `AUTO_INCREMENT` may differ, and so may secondary keys and options.

use std::collections::BTreeMap;

use crate::passes::definitions;

/// What does not fit, a sentence for each. Both definitions as `SHOW CREATE TABLE` prints them;
/// `same_flavor`: by servers that print the same thing in the same way. Else only names are compared,
/// for the flavors spell types differently.
pub(super) fn differences(source: &str, target: &str, same_flavor: bool) -> Vec<String> {
    let (Some(from), Some(to)) = (columns(source), columns(target)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, was) in &from {
        match to.get(name) {
            None => found.push(format!("the target has no column `{name}`")),
            Some(is) if same_flavor && is != was => {
                found.push(format!("`{name}` is `{was}` and would become `{is}`"));
            }
            Some(_) => {}
        }
    }
    let new = to.keys().filter(|name| !from.contains_key(*name));
    found.extend(new.map(|name| format!("the source has no column `{name}`")));
    let (was, is) = (primary_key(source), primary_key(target));
    if was != is {
        let say = |key: Option<&str>| key.map_or("none".to_owned(), |key| format!("`{key}`"));
        found.push(format!(
            "the primary key is {} and would become {}",
            say(was),
            say(is)
        ));
    }
    found
}

/// Whether a table has a key that streams can read its rows in the order of: a primary one, or a
/// unique one over columns that are never NULL and not generated. `true` when the text is not a
/// server's.
pub(super) fn has_row_key(definition: &str) -> bool {
    let Some(columns) = columns(definition) else {
        return true;
    };
    let usable = |column: &str| {
        let behind = columns.get(column).map(|behind| behind.to_uppercase());
        behind.is_some_and(|b| b.contains("NOT NULL") && !b.contains("GENERATED ALWAYS"))
    };
    let unique = |line: &str| {
        let key = line.trim_start().strip_prefix("UNIQUE KEY `");
        key.and_then(|rest| Some(key_columns(&rest[name_end(rest)? + 1..])))
            .is_some_and(|columns| columns.is_some_and(|c| c.iter().all(|c| usable(c))))
    };
    primary_key(definition).is_some() || definition.lines().any(unique)
}

/// The columns of an index, from what follows its name: `` (`a`,`b`(10)) USING BTREE``. `None`: its
/// order is not that of its columns (expressions, descending parts, hashes).
fn key_columns(text: &str) -> Option<Vec<&str>> {
    let mut rest = text.trim_start().strip_prefix('(')?;
    let mut columns = Vec::new();
    loop {
        rest = rest.strip_prefix('`')?;
        let end = name_end(rest)?;
        columns.push(&rest[..end]);
        rest = &rest[end + 1..];
        if let Some(prefix) = rest.strip_prefix('(') {
            rest = &prefix[prefix.find(')')? + 1..];
        }
        if let Some(next) = rest.strip_prefix(',') {
            rest = next;
            continue;
        }
        let behind = rest.strip_prefix(')')?;
        return (!behind.contains("USING HASH")).then_some(columns);
    }
}

/// Whether a column of a table may be NULL; `None` when that cannot be read.
pub(super) fn is_nullable(definition: &str, column: &str) -> Option<bool> {
    let columns = columns(definition)?;
    let same = |(name, _): &(&&str, &String)| name.eq_ignore_ascii_case(column);
    let (_, behind) = columns.iter().find(same)?;
    Some(!behind.to_uppercase().contains("NOT NULL"))
}

/// Columns by name, with what stands behind the name but for `AUTO_INCREMENT`; `None` when the text
/// is not one that a server printed.
fn columns(definition: &str) -> Option<BTreeMap<&str, String>> {
    let mut lines = definition.lines();
    lines
        .next()
        .filter(|first| first.trim_end().ends_with('('))?;
    let mut found = BTreeMap::new();
    for line in lines {
        let Some(rest) = line.strip_prefix("  `") else {
            continue;
        };
        let end = name_end(rest)?;
        let plain = definitions::without_auto_increment(line);
        let line = plain.as_deref().unwrap_or(line);
        let behind = line.get("  `".len() + end + 1..)?;
        let behind = behind.trim().trim_end_matches(',').to_owned();
        found.insert(&rest[..end], behind);
    }
    (!found.is_empty()).then_some(found)
}

/// Where a name ends whose opening back quote is not part of the text; a doubled one is part of it.
fn name_end(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find('`')?;
        if text[at + 1..].starts_with('`') {
            from = at + 2;
        } else {
            return Some(at);
        }
    }
}

fn primary_key(definition: &str) -> Option<&str> {
    let line = definition
        .lines()
        .find_map(|line| line.trim().strip_prefix("PRIMARY KEY "))?;
    let line = line.trim_end_matches(',');
    // What follows the columns is how they are indexed.
    Some(line.rfind(')').map_or(line, |end| &line[..=end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "CREATE TABLE `t` (\n  `id` bigint(20) NOT NULL AUTO_INCREMENT,\n  \
                          `a``b` varchar(10) DEFAULT 'x, `y`',\n  PRIMARY KEY (`id`),\n  KEY `k` (`a``b`)\n) ENGINE=InnoDB";

    #[test]
    fn auto_increment_and_secondary_keys_may_differ() {
        let target = SOURCE
            .replace(" AUTO_INCREMENT", "")
            .replace(",\n  KEY `k` (`a``b`)", "");
        assert_eq!(differences(SOURCE, &target, true), Vec::<String>::new());
    }

    #[test]
    fn columns_that_differ_are_named() {
        let target = SOURCE.replace("varchar(10)", "varchar(5)").replace(
            "  PRIMARY KEY (`id`)",
            "  `c` int(11),\n  PRIMARY KEY (`id`,`c`)",
        );
        assert_eq!(
            differences(SOURCE, &target, true),
            [
                "`a``b` is `varchar(10) DEFAULT 'x, `y`'` and would become `varchar(5) DEFAULT 'x, `y`'`",
                "the source has no column `c`",
                "the primary key is `(`id`)` and would become `(`id`,`c`)`",
            ]
        );
        let of_other_flavor = SOURCE.replace("bigint(20)", "bigint");
        assert_eq!(
            differences(SOURCE, &of_other_flavor, false),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_table_without_a_key_that_orders_its_rows_is_told() {
        assert!(has_row_key(SOURCE));
        let with = |key: &str| SOURCE.replace("PRIMARY KEY (`id`)", key);
        assert!(!has_row_key(&with("KEY `id` (`id`)")));
        assert!(has_row_key(&with("UNIQUE KEY `u` (`id`)")));
        for unusable in [
            "UNIQUE KEY `u` (`id`,`a``b`)",
            "UNIQUE KEY `u` (`id` DESC)",
            "UNIQUE KEY `u` (`id`) USING HASH",
            "UNIQUE KEY `u` ((`id` + 1))",
        ] {
            assert!(!has_row_key(&with(unusable)), "{unusable}");
        }
        let generated = with("UNIQUE KEY `u` (`id`)").replace(
            "NOT NULL AUTO_INCREMENT",
            "GENERATED ALWAYS AS (1) VIRTUAL NOT NULL",
        );
        assert!(!has_row_key(&generated));
    }

    #[test]
    fn columns_that_may_be_null_are_told() {
        assert_eq!(is_nullable(SOURCE, "ID"), Some(false));
        assert_eq!(is_nullable(SOURCE, "a``b"), Some(true));
        assert_eq!(is_nullable(SOURCE, "c"), None);
        assert_eq!(is_nullable("create table t (c int)", "c"), None);
    }
}
