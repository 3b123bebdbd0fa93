//! Vindexes: their types, parameters and owners.

use vtplan_state::vindex::{self, VindexError};

use crate::spec::diag::Problems;
use crate::spec::resolve::ResolvedKeyspace;
use crate::spec::shape::kinds::unknown_help;

pub fn check(keyspace: &ResolvedKeyspace<'_>, problems: &mut Problems) {
    let located = &keyspace.vschema;
    let vschema = &located.vschema;
    let shards_known =
        !keyspace.is_broken("shards", problems) && !keyspace.is_broken("sharded", problems);
    if !vschema.sharded && !vschema.vindexes.is_empty() && shards_known {
        let first = vschema.vindexes.keys().next().cloned().unwrap_or_default();
        let at = located.at(&format!("vindexes/{first}"));
        let message = format!(
            "keyspace `{}` is not sharded, so its vindexes have no use",
            keyspace.name()
        );
        let help = "give it more shards, or `sharded: true` to prepare it for a split";
        if located.from_file {
            problems.warning("not-sharded", at, message).help(help);
        } else {
            problems.error("not-sharded", at, message).help(help);
        }
    }
    for (name, definition) in &vschema.vindexes {
        let path = format!("vindexes/{name}");
        if let Err(why) = vindex::check(definition) {
            let (code, at) = match &why {
                VindexError::Param { param, .. } => {
                    ("vindex-param", format!("{path}/params/{param}"))
                }
                VindexError::Lookup { .. } | VindexError::NotFunctional { .. } => {
                    ("vindex-type", format!("{path}/type"))
                }
                VindexError::UnknownType { .. } => ("unknown-vindex-type", format!("{path}/type")),
            };
            problems.error(code, located.at(&at), format!("vindex `{name}`: {why}"));
        }
        if let Some(owner) = &definition.owner
            && !keyspace.has_table(owner)
        {
            let tables = vschema.tables.keys().map(String::as_str);
            problems
                .error(
                    "unknown-table",
                    located.at(&format!("{path}/owner")),
                    format!(
                        "keyspace `{}` has no table `{owner}` to own vindex `{name}`",
                        keyspace.name()
                    ),
                )
                .maybe_help(unknown_help(owner, tables));
        }
    }
}
