//! The `ALTER TABLE` that takes back what was changed by hand: from what a server prints for a table to
//! what it prints for the spec's statement. Servers print each column, key and constraint in a line of
//! its own, so lines are compared. What is not understood (partitions, other table options) gives none.

/// The way from one definition to another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Alteration {
    pub statement: String,
    /// Whether a column goes, with what it holds.
    pub loses: bool,
}

/// What a line of a definition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Column(&'a str),
    PrimaryKey,
    Key(&'a str),
    ForeignKey(&'a str),
    Check(&'a str),
}

/// `None`: they are equal, or there is no way that this knows.
pub(crate) fn between(table: &str, live: &str, wanted: &str) -> Option<Alteration> {
    let (live, live_rest) = parts(live)?;
    let (wanted, wanted_rest) = parts(wanted)?;
    if live_rest != wanted_rest {
        return None;
    }
    let mut changes = Vec::new();
    let mut loses = false;
    // Keys and constraints go before the columns they are of, and come after them.
    for (part, line) in &live {
        let stays = wanted.contains(&(*part, *line));
        match part {
            _ if stays => {}
            Part::Column(name) if !has(&wanted, *part) => {
                loses = true;
                changes.push((1, format!("DROP COLUMN {name}")));
            }
            Part::Column(_) => {}
            Part::PrimaryKey => changes.push((0, "DROP PRIMARY KEY".to_owned())),
            Part::Key(name) => changes.push((0, format!("DROP KEY {name}"))),
            Part::ForeignKey(name) => changes.push((0, format!("DROP FOREIGN KEY {name}"))),
            Part::Check(name) => changes.push((0, format!("DROP CONSTRAINT {name}"))),
        }
    }
    // The columns as they stand once those that go are gone.
    let mut order: Vec<&str> = columns(&live)
        .filter(|name| has(&wanted, Part::Column(name)))
        .collect();
    let mut before: Option<&str> = None;
    for (at, (part, line)) in wanted.iter().enumerate() {
        let there = live.iter().find(|(other, _)| other == part);
        match part {
            Part::Column(name) => {
                let place = match before {
                    None => "FIRST".to_owned(),
                    Some(before) => format!("AFTER {before}"),
                };
                let stood = order.iter().position(|other| other == name);
                match (there, stood) {
                    (Some((_, old)), Some(stood)) => {
                        let moves = stood != at;
                        if old != line || moves {
                            let place = if moves {
                                format!(" {place}")
                            } else {
                                String::new()
                            };
                            changes.push((2, format!("MODIFY COLUMN {line}{place}")));
                        }
                        order.remove(stood);
                    }
                    _ => changes.push((2, format!("ADD COLUMN {line} {place}"))),
                }
                order.insert(at.min(order.len()), name);
                before = Some(name);
            }
            _ if there.is_some_and(|(_, old)| old == line) => {}
            _ => changes.push((3, format!("ADD {line}"))),
        }
    }
    if changes.is_empty() {
        return None;
    }
    changes.sort_by_key(|(rank, _)| *rank);
    let changes: Vec<String> = changes.into_iter().map(|(_, change)| change).collect();
    Some(Alteration {
        statement: format!(
            "ALTER TABLE `{}` {}",
            table.replace('`', "``"),
            changes.join(", ")
        ),
        loses,
    })
}

fn has(parts: &[(Part, &str)], part: Part) -> bool {
    parts.iter().any(|(other, _)| *other == part)
}

fn columns<'a>(parts: &[(Part<'a>, &str)]) -> impl Iterator<Item = &'a str> {
    parts.iter().filter_map(|(part, _)| match part {
        Part::Column(name) => Some(*name),
        _ => None,
    })
}

/// The parts of a definition (columns come first), and what stands around them: its first and last
/// lines, which have to be equal.
#[allow(clippy::type_complexity, reason = "read in one place")]
fn parts(definition: &str) -> Option<(Vec<(Part<'_>, &str)>, [&str; 2])> {
    let (head, rest) = definition.split_once("(\n")?;
    let (body, tail) = rest.rsplit_once("\n)")?;
    // Partitions stand in lines of their own after the parenthesis.
    if tail.contains('\n') {
        return None;
    }
    let mut parts = Vec::new();
    for line in body.lines() {
        let line = line.strip_prefix("  ")?.trim_end_matches(',');
        parts.push((part(line)?, line));
    }
    Some((parts, [head, tail]))
}

fn part(line: &str) -> Option<Part<'_>> {
    if line.starts_with('`') {
        return Some(Part::Column(quoted(line)?));
    }
    if line.starts_with("PRIMARY KEY ") {
        return Some(Part::PrimaryKey);
    }
    for start in ["KEY ", "UNIQUE KEY ", "FULLTEXT KEY ", "SPATIAL KEY "] {
        if let Some(rest) = line.strip_prefix(start) {
            return Some(Part::Key(quoted(rest)?));
        }
    }
    let rest = line.strip_prefix("CONSTRAINT ")?;
    let name = quoted(rest)?;
    match rest[name.len()..].trim_start() {
        kind if kind.starts_with("FOREIGN KEY ") => Some(Part::ForeignKey(name)),
        kind if kind.starts_with("CHECK ") => Some(Part::Check(name)),
        _ => None,
    }
}

/// The quoted name that a text begins with, quotes and all.
fn quoted(text: &str) -> Option<&str> {
    let mut chars = text.char_indices().skip(1).peekable();
    if !text.starts_with('`') {
        return None;
    }
    while let Some((at, c)) = chars.next() {
        if c == '`' && chars.next_if(|(_, next)| *next == '`').is_none() {
            return Some(&text[..=at]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "CREATE TABLE `t` (\n  `id` bigint(20) NOT NULL,\n  `a` int(11) DEFAULT NULL,\n  \
                          `b` varchar(10) DEFAULT 'x, (\ty',\n  PRIMARY KEY (`id`),\n  KEY `by_a` (`a`)\n) ENGINE=InnoDB";

    fn back(live: &str) -> Option<(String, bool)> {
        between("t", live, WANTED).map(|back| (back.statement, back.loses))
    }

    #[test]
    fn each_change_by_hand_is_taken_back() {
        let column = "  `note` text DEFAULT NULL,\n  PRIMARY";
        let cases = [
            (
                WANTED.replace("  PRIMARY", column),
                "DROP COLUMN `note`",
                true,
            ),
            (
                WANTED.replace("  `a` int(11) DEFAULT NULL,\n", ""),
                "ADD COLUMN `a` int(11) DEFAULT NULL AFTER `id`",
                false,
            ),
            (
                WANTED.replace("int(11)", "bigint(20)"),
                "MODIFY COLUMN `a` int(11) DEFAULT NULL",
                false,
            ),
            (
                WANTED.replace(",\n  KEY `by_a` (`a`)", ""),
                "ADD KEY `by_a` (`a`)",
                false,
            ),
            (
                WANTED.replace("KEY `by_a` (`a`)", "UNIQUE KEY `by_a` (`a`,`b`)"),
                "DROP KEY `by_a`, ADD KEY `by_a` (`a`)",
                false,
            ),
            (
                WANTED.replace("PRIMARY KEY (`id`)", "PRIMARY KEY (`id`,`a`)"),
                "DROP PRIMARY KEY, ADD PRIMARY KEY (`id`)",
                false,
            ),
        ];
        for (live, statement, loses) in cases {
            assert_ne!(live, WANTED);
            let expected = (format!("ALTER TABLE `t` {statement}"), loses);
            assert_eq!(back(&live), Some(expected));
        }
    }

    #[test]
    fn columns_go_back_to_their_places() {
        let live = WANTED
            .replace("  `id` bigint(20) NOT NULL,\n", "")
            .replace("  PRIMARY", "  `id` bigint(20) NOT NULL,\n  PRIMARY");
        let statement = "ALTER TABLE `t` MODIFY COLUMN `id` bigint(20) NOT NULL FIRST";
        assert_eq!(back(&live), Some((statement.to_owned(), false)));
    }

    #[test]
    fn what_is_not_understood_is_left_to_a_person() {
        assert_eq!(back(WANTED), None);
        assert_eq!(back(&WANTED.replace("InnoDB", "Aria")), None);
        let partitions = "InnoDB\n PARTITION BY HASH (`id`)\nPARTITIONS 4";
        assert_eq!(back(&WANTED.replace("InnoDB", partitions)), None);
        assert_eq!(back("CREATE VIEW t AS SELECT 1"), None);
    }
}
