//! Lookup vindexes: which table holds which values' keyspace ids. A gate keeps it and asks it; here
//! is only what a definition says. All served types are kept in the same order of commits, that of
//! Vitess's `consistent_lookup`: it gives what `lookup` promises and more.

use super::params::Params;
use super::{VindexError, hint};
use crate::model::VindexDefinition;

/// The types that are served.
pub const LOOKUPS: [&str; 4] = [
    "consistent_lookup",
    "consistent_lookup_unique",
    "lookup",
    "lookup_unique",
];

/// Types of Vitess that are not, each with the one to use.
const OTHERS: [(&str, &str); 4] = [
    ("lookup_hash", "consistent_lookup"),
    ("lookup_hash_unique", "consistent_lookup_unique"),
    ("lookup_unicodeloosemd5_hash", "consistent_lookup"),
    (
        "lookup_unicodeloosemd5_hash_unique",
        "consistent_lookup_unique",
    ),
];

/// A definition that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// At most one keyspace id for a value.
    pub unique: bool,
    /// Of the table; `None`: the vindex's own keyspace, or whichever has the table alone.
    pub keyspace: Option<String>,
    pub table: String,
    /// The table's columns with the values, as written; one at least.
    pub from: Vec<String>,
    /// The table's column with the keyspace id.
    pub to: String,
    /// It is kept, and not asked.
    pub write_only: bool,
    /// Rows with a NULL in one of the columns are not in it; else they are refused.
    pub ignore_nulls: bool,
}

/// Whether a type is a lookup, served or not.
pub fn is_lookup(vindex_type: &str) -> bool {
    LOOKUPS.contains(&vindex_type) || OTHERS.iter().any(|(name, _)| *name == vindex_type)
}

/// Every lookup type that is known.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    LOOKUPS
        .into_iter()
        .chain(OTHERS.into_iter().map(|(name, _)| name))
}

/// What a definition of a lookup says. `None` when its type is no lookup.
///
/// Parameters: `table` (`ks.table` or `table`), `from` (columns, with commas), `to`, `write_only`
/// and `ignore_nulls` (`true` or `false`). Vitess's `autocommit`, `batch_lookup`,
/// `multi_shard_autocommit`, `no_verify` and `read_lock` are taken and change nothing.
pub fn read(definition: &VindexDefinition) -> Result<Option<Lookup>, VindexError> {
    let vindex_type = definition.vindex_type.as_str();
    if let Some((_, instead)) = OTHERS.iter().find(|(name, _)| *name == vindex_type) {
        return Err(VindexError::Lookup {
            vindex_type: vindex_type.to_owned(),
            instead,
        });
    }
    if !LOOKUPS.contains(&vindex_type) {
        return Ok(None);
    }
    let params = Params::new(vindex_type, &definition.params);
    params.only(&[
        "table",
        "from",
        "to",
        "write_only",
        "ignore_nulls",
        "autocommit",
        "batch_lookup",
        "multi_shard_autocommit",
        "no_verify",
        "read_lock",
    ])?;
    let needed = |name: &str, what: &str| match params.get(name).map(str::trim) {
        Some(value) if !value.is_empty() => Ok(value.replace('`', "")),
        _ => Err(params.error(name, format!("is needed: {what}"))),
    };
    let flag = |name: &str| match params.get(name) {
        None => Ok(false),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(params.error(
            name,
            format!(
                "is `true` or `false`, not `{other}`{}",
                hint(other, ["true", "false"].into_iter())
            ),
        )),
    };
    let table = needed("table", "the table with the keyspace ids, `ks.table`")?;
    let from = needed("from", "the columns of the table that hold the values")?;
    let to = needed("to", "the column of the table that holds the keyspace id")?;
    let from: Vec<String> = from.split(',').map(|c| c.trim().to_owned()).collect();
    if from.iter().any(String::is_empty) {
        return Err(params.error("from", "has an empty name between commas"));
    }
    for (at, column) in from.iter().enumerate() {
        let again = |other: &String| other.eq_ignore_ascii_case(column);
        if from[..at].iter().any(again) || again(&to) {
            return Err(params.error("from", format!("names column `{column}` twice")));
        }
    }
    let (keyspace, table) = match table.split_once('.') {
        Some((keyspace, table)) if !keyspace.is_empty() && !table.is_empty() => {
            (Some(keyspace.to_owned()), table.to_owned())
        }
        Some(_) => return Err(params.error("table", format!("`{table}` is not KEYSPACE.TABLE"))),
        None => (None, table),
    };
    Ok(Some(Lookup {
        unique: vindex_type.ends_with("_unique"),
        keyspace,
        table,
        from,
        to,
        write_only: flag("write_only")?,
        ignore_nulls: flag("ignore_nulls")?,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn definition(vindex_type: &str, params: &[(&str, &str)]) -> VindexDefinition {
        VindexDefinition {
            vindex_type: vindex_type.to_owned(),
            params: params
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            owner: None,
            extra: BTreeMap::new(),
        }
    }

    #[test]
    fn a_definition_says_where_and_how() {
        let params = [
            ("table", "lookups.by_name"),
            ("from", "last, first"),
            ("to", "keyspace_id"),
            ("write_only", "true"),
            ("autocommit", "true"),
        ];
        let lookup = read(&definition("lookup_unique", &params))
            .unwrap()
            .unwrap();
        assert_eq!(
            lookup,
            Lookup {
                unique: true,
                keyspace: Some("lookups".to_owned()),
                table: "by_name".to_owned(),
                from: vec!["last".to_owned(), "first".to_owned()],
                to: "keyspace_id".to_owned(),
                write_only: true,
                ignore_nulls: false,
            }
        );
        assert_eq!(read(&definition("xxhash", &[])), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = [("table", "t"), ("from", "a"), ("to", "id")];
        let error = |vindex_type: &str, change: Option<(&'static str, &'static str)>| {
            let mut params: Vec<_> = good.to_vec();
            if let Some((name, value)) = change {
                params.retain(|(n, _)| *n != name);
                params.push((name, value));
            }
            read(&definition(vindex_type, &params))
                .unwrap_err()
                .to_string()
        };
        let all = [
            error("lookup", Some(("from", "a,,b"))),
            error("lookup", Some(("from", "a,A"))),
            error("lookup", Some(("to", "a"))),
            error("lookup", Some(("table", ".t"))),
            error("lookup", Some(("table", ""))),
            error("lookup", Some(("write_only", "treu"))),
            error("lookup", Some(("write_onyl", "true"))),
            error("lookup_hash", None),
        ];
        for part in [
            "empty name",
            "`A` twice",
            "`a` twice",
            "not KEYSPACE.TABLE",
            "is needed",
            "did you mean `true`",
            "did you mean `write_only`",
            "use `consistent_lookup`",
        ] {
            assert!(all.iter().any(|e| e.contains(part)), "{part}: {all:#?}");
        }
    }
}
