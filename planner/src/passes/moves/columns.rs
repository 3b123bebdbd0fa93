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

/// Whether a table has a key that names each of its rows. `true` when the text is not a server's.
pub(super) fn has_row_key(definition: &str) -> bool {
    columns(definition).is_none()
        || primary_key(definition).is_some()
        || definition
            .lines()
            .any(|line| line.trim_start().starts_with("UNIQUE KEY "))
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
    fn a_table_without_a_key_is_told() {
        assert!(has_row_key(SOURCE));
        let without = SOURCE.replace("  PRIMARY KEY (`id`),\n", "");
        assert!(!has_row_key(&without));
    }
}
