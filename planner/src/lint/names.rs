//! The words by which specs name rules and levels.

/// The rules of `lint`, in the order in which they are listed.
pub const RULES: [&str; 14] = [
    "table-without-primary-key",
    "auto-increment-without-sequence",
    "scatter-only-vindex",
    "vindex-column-without-index",
    "unique-key-per-shard",
    "few-replicas",
    "semi-sync-one-replica",
    "no-durability",
    "no-backup-schedule",
    "zero-soak",
    "vdiff-skipped",
    "no-window",
    "no-approval",
    "drop-on-remove",
];

/// What a rule finds, and what a plan does.
pub const FORBIDDABLE: [&str; 20] = [
    "table-without-primary-key",
    "auto-increment-without-sequence",
    "scatter-only-vindex",
    "vindex-column-without-index",
    "unique-key-per-shard",
    "few-replicas",
    "semi-sync-one-replica",
    "no-durability",
    "no-backup-schedule",
    "zero-soak",
    "vdiff-skipped",
    "no-window",
    "no-approval",
    "drop-on-remove",
    "data-loss",
    "drop-table",
    "delete-keyspace",
    "delete-tablet",
    "delete-user",
    "reparent",
];

/// What a policy can require, and the rule that must then find nothing.
pub const REQUIREMENTS: [(&str, &str); 10] = [
    ("primary-key", "table-without-primary-key"),
    ("sequence", "auto-increment-without-sequence"),
    ("vindex-index", "vindex-column-without-index"),
    ("replicas", "few-replicas"),
    ("durability", "no-durability"),
    ("backup-schedule", "no-backup-schedule"),
    ("soak", "zero-soak"),
    ("vdiff", "vdiff-skipped"),
    ("window", "no-window"),
    ("approval", "no-approval"),
];

/// The first words of [`REQUIREMENTS`].
pub const REQUIRABLE: [&str; 10] = [
    "primary-key",
    "sequence",
    "vindex-index",
    "replicas",
    "durability",
    "backup-schedule",
    "soak",
    "vdiff",
    "window",
    "approval",
];

/// The levels that a rule can be given.
pub const LEVELS: [&str; 4] = ["off", "note", "warning", "error"];

/// The rule that a requirement is about.
pub fn rule_of(requirement: &str) -> Option<&'static str> {
    let found = REQUIREMENTS.iter().find(|(name, _)| *name == requirement);
    found.map(|(_, rule)| *rule)
}

/// Whether a name matches a pattern, in which `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_words_agree() {
        assert!(FORBIDDABLE.starts_with(&RULES));
        assert_eq!(REQUIREMENTS.map(|(name, _)| name), REQUIRABLE);
        assert!(REQUIREMENTS.iter().all(|(_, rule)| RULES.contains(rule)));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [
            ("commerce.*", "commerce.product"),
            ("*", ""),
            ("a*c*e", "abcde"),
            ("legacy/*.sql", "legacy/a/b.sql"),
            ("x", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a*c", "ab"), ("x", "xy"), ("a*a", "a"), ("*.sql", "a.sq")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
