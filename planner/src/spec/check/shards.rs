//! The shards of a keyspace cover the whole range, each id once.

use vtplan_state::model::{KeyRange, ShardName};

use crate::spec::diag::Problems;
use crate::spec::model::Shards;
use crate::spec::resolve::ResolvedKeyspace;
use crate::spec::source::Sp;

pub fn check(keyspace: &ResolvedKeyspace<'_>, problems: &mut Problems) {
    let spec = keyspace.spec;
    if let Some(shards) = &spec.shards
        && let Shards::List(list) = &shards.value
    {
        if list.is_empty() {
            problems
                .error(
                    "no-shards",
                    shards.span,
                    format!("keyspace `{}` has no shards", keyspace.name()),
                )
                .help("leave `shards` out for a single one");
            return;
        }
        let mut sorted: Vec<&Sp<ShardName>> = list.iter().collect();
        sorted.sort_by(|a, b| a.value.cmp(&b.value));
        overlaps(&sorted, problems);
        for gap in gaps(&sorted) {
            problems
                .error(
                    "shard-gap",
                    shards.span,
                    format!(
                        "no shard of keyspace `{}` holds the range `{gap}`",
                        keyspace.name()
                    ),
                )
                .help(format!("add `{gap}`, or widen a shard beside it"));
        }
    }
    if let Some(sharded) = &spec.sharded
        && !sharded.value
        && keyspace.shards.len() > 1
    {
        problems
            .error(
                "not-sharded",
                sharded.span,
                format!(
                    "keyspace `{}` has {} shards and cannot be unsharded",
                    keyspace.name(),
                    keyspace.shards.len()
                ),
            )
            .help("leave `sharded` out");
    } else if keyspace.vschema.from_file {
        vschema_file(keyspace, problems);
    }
}

fn vschema_file(keyspace: &ResolvedKeyspace<'_>, problems: &mut Problems) {
    let sharded = keyspace.is_sharded();
    let at = keyspace.vschema.at("sharded");
    if keyspace.shards.len() > 1 && !sharded {
        problems
            .error(
                "not-sharded",
                at,
                format!(
                    "keyspace `{}` has {} shards, but this VSchema is of an unsharded one",
                    keyspace.name(),
                    keyspace.shards.len()
                ),
            )
            .help("add `\"sharded\": true`, vindexes and the tables' column vindexes");
    }
    if let Some(declared) = &keyspace.spec.sharded
        && declared.value != sharded
    {
        problems
            .error(
                "not-sharded",
                declared.span,
                "the VSchema file says otherwise",
            )
            .related(at, "in the VSchema file")
            .help("leave `sharded` out");
    }
}

fn overlaps(sorted: &[&Sp<ShardName>], problems: &mut Problems) {
    // Each one with the first before it that reaches into it: sorted by start, that is enough to
    // name every shard that is wrong.
    for (i, shard) in sorted.iter().enumerate() {
        let range = shard.key_range();
        let other = sorted[..i].iter().find(|o| o.key_range().intersects(range));
        let Some(other) = other else {
            continue;
        };
        let (message, help) = if other.value == shard.value {
            (
                format!("shard `{}` is listed twice", shard.value),
                "remove one of them",
            )
        } else {
            (
                format!("shards `{}` and `{}` overlap", other.value, shard.value),
                "a row belongs to one shard: the end of one range is the start of the next",
            )
        };
        problems
            .error("shard-overlap", shard.span, message)
            .related(other.span, "overlaps with this one")
            .help(help);
    }
}

fn gaps(sorted: &[&Sp<ShardName>]) -> Vec<KeyRange> {
    let mut out = Vec::new();
    // Up to where everything is covered; `None`: to the end.
    let mut covered: Option<Vec<u8>> = Some(Vec::new());
    for shard in sorted {
        let Some(reached) = &covered else {
            return out;
        };
        let range = shard.key_range();
        if range.start() > reached.as_slice() {
            out.extend(KeyRange::new(reached.clone(), range.start().to_vec()));
        }
        if range.end().is_empty() {
            covered = None;
        } else if range.end() > reached.as_slice() {
            covered = Some(range.end().to_vec());
        }
    }
    if let Some(reached) = covered {
        out.extend(KeyRange::new(reached, Vec::new()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::source::Span;

    fn gaps_of(names: &[&str]) -> Vec<String> {
        let shards: Vec<_> = names
            .iter()
            .map(|n| Sp::new(n.parse::<ShardName>().unwrap(), Span::default()))
            .collect();
        let mut sorted: Vec<_> = shards.iter().collect();
        sorted.sort_by(|a, b| a.value.cmp(&b.value));
        gaps(&sorted).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn gaps_are_named() {
        assert_eq!(gaps_of(&["-80", "80-"]), Vec::<String>::new());
        assert_eq!(gaps_of(&["0"]), Vec::<String>::new());
        assert_eq!(gaps_of(&["-40", "80-"]), ["40-80"]);
        assert_eq!(gaps_of(&["40-80"]), ["-40", "80-"]);
        assert_eq!(gaps_of(&["-80", "40-60"]), ["80-"]);
    }
}
