//! Tablets: cells that exist, enough of them for the durability, pins that do not collide.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vtplan_state::model::{CellName, Durability, ServerAddress, ShardName, TabletType};

use super::cluster::known_cell;
use crate::spec::diag::Problems;
use crate::spec::model::{PinnedTablet, Shards, Spec, Tablets, TabletsKind};
use crate::spec::resolve::ResolvedKeyspace;
use crate::spec::shape::kinds::unknown_help;
use crate::spec::source::Span;

pub fn check(spec: &Spec, keyspace: &ResolvedKeyspace<'_>, problems: &mut Problems) {
    let own = keyspace.spec;
    if own.tablets.is_empty() && keyspace.is_broken("tablets", problems) {
        return;
    }
    if own.tablets.is_empty() {
        problems
            .error(
                "no-tablets",
                own.name.span,
                format!("keyspace `{}` has no tablets", keyspace.name()),
            )
            .help("give counts for each cell: `tablets: { CELL: { replica: 2, rdonly: 1 } }`");
        return;
    }
    for tablets in &own.tablets {
        known_cell(spec, &tablets.cell, problems);
        if let TabletsKind::Pinned(pinned) = &tablets.place.value {
            check_pin(keyspace, pinned, problems);
        }
    }
    check_adopted(keyspace, problems);
    count_once(keyspace, problems);
    let unknown = ["tablets", "shards", "durability"];
    if !unknown.iter().any(|f| keyspace.is_broken(f, problems)) {
        check_durability(spec, keyspace, problems);
    }
}

/// Counts of a cell stand in one place.
fn count_once(keyspace: &ResolvedKeyspace<'_>, problems: &mut Problems) {
    let mut seen: HashMap<&CellName, Span> = HashMap::new();
    for tablets in &keyspace.spec.tablets {
        if !matches!(tablets.place.value, TabletsKind::Counts { .. }) {
            continue;
        }
        let (cell, span) = (&tablets.cell.value, tablets.cell.span);
        let Some(first) = seen.insert(cell, span) else {
            continue;
        };
        // Twice in one mapping was reported when it was read.
        if keyspace.is_broken("tablets", problems) {
            continue;
        }
        problems
            .error(
                "duplicate-definition",
                span,
                format!(
                    "keyspace `{}` counts the tablets of cell `{cell}` twice",
                    keyspace.name()
                ),
            )
            .related(first, "first counted here")
            .help("write one count");
    }
}

fn check_pin(keyspace: &ResolvedKeyspace<'_>, pinned: &PinnedTablet, problems: &mut Problems) {
    match &pinned.shard {
        Some(shard) if !keyspace.shards.contains(&shard.value) => {
            let names: Vec<_> = keyspace.shards.iter().map(ToString::to_string).collect();
            problems
                .error(
                    "unknown-shard",
                    shard.span,
                    format!(
                        "keyspace `{}` has no shard `{}`",
                        keyspace.name(),
                        shard.value
                    ),
                )
                .maybe_help(unknown_help(
                    &shard.value.to_string(),
                    names.iter().map(String::as_str),
                ));
        }
        None if keyspace.shards.len() > 1 => {
            let only_once = [
                pinned.uid.as_ref().map(|u| ("a uid", u.span)),
                pinned.mysql_port.as_ref().map(|p| ("a port", p.span)),
            ];
            if let Some((what, span)) = only_once.into_iter().flatten().next() {
                problems
                    .error("pin-clash", span, format!("{what} can be that of one tablet only, but keyspace `{}` has {} shards", keyspace.name(), keyspace.shards.len()))
                    .help("say which shard the tablet is of: `shard: RANGE`");
            }
        }
        _ => {}
    }
}

/// Servers that are adopted are all that an unsharded keyspace has: nothing copies their data to a
/// new replica, and no server holds one shard of several before vtplan has made it.
fn check_adopted(keyspace: &ResolvedKeyspace<'_>, problems: &mut Problems) {
    let mut tablets = keyspace.spec.tablets.iter();
    let is_adopted = |t: &&Tablets| matches!(t.place.value, TabletsKind::Adopted(_));
    let Some(adopted) = tablets.find(is_adopted) else {
        return;
    };
    let name = keyspace.name();
    if let Some(made) = keyspace.spec.tablets.iter().find(|t| !is_adopted(t)) {
        problems
            .error(
                "adopted-and-made",
                made.place.span,
                format!("keyspace `{name}` has servers that are adopted, and others"),
            )
            .related(adopted.place.span, "adopted here")
            .help("a new replica would lack the data that is there: set one up by hand as the others were, and list it with `server`");
    }
    if keyspace.shards.len() > 1 || keyspace.is_sharded() {
        let at = keyspace.spec.shards.as_ref().map(|s| s.span);
        problems
            .error(
                "adopted-and-sharded",
                at.unwrap_or(adopted.place.span),
                format!("keyspace `{name}` is sharded, and has servers that are adopted"),
            )
            .related(adopted.place.span, "adopted here")
            .help("give counts in place of `server`: the shards get servers of their own, are filled by a Reshard, and the adopted servers are released with their data");
    }
}

/// Each server is adopted once.
pub fn check_servers(keyspaces: &[ResolvedKeyspace<'_>], problems: &mut Problems) {
    let mut seen: HashMap<&ServerAddress, Span> = HashMap::new();
    let mut tablets = keyspaces.iter().flat_map(|k| &k.spec.tablets);
    let adopted = tablets.by_ref().filter_map(|t| match &t.place.value {
        TabletsKind::Adopted(adopted) => Some(&adopted.server),
        _ => None,
    });
    for server in adopted {
        if let Some(first) = seen.insert(&server.value, server.span) {
            problems
                .error(
                    "duplicate-server",
                    server.span,
                    format!("the server {} is adopted twice", server.value),
                )
                .related(first, "first adopted here")
                .help("a server is one tablet, of one keyspace");
        }
    }
}

/// Replicas of a shard by cell.
fn replicas(keyspace: &ResolvedKeyspace<'_>, shard: &ShardName) -> BTreeMap<CellName, u32> {
    let mut cells = BTreeMap::new();
    for tablets in &keyspace.spec.tablets {
        let count = match &tablets.place.value {
            TabletsKind::Counts { replica, .. } => replica.as_ref().map_or(0, |r| r.value),
            TabletsKind::Pinned(pin) => {
                let rdonly = pin
                    .tablet_type
                    .as_ref()
                    .is_some_and(|t| t.value == TabletType::Rdonly);
                let here = pin.shard.as_ref().is_none_or(|s| s.value == *shard);
                u32::from(here && !rdonly)
            }
            TabletsKind::Adopted(adopted) => {
                let tablet_type = adopted.tablet_type.as_ref();
                u32::from(tablet_type.is_none_or(|t| t.value == TabletType::Replica))
            }
        };
        if count > 0 {
            *cells.entry(tablets.cell.value.clone()).or_default() += count;
        }
    }
    cells
}

fn check_durability(spec: &Spec, keyspace: &ResolvedKeyspace<'_>, problems: &mut Problems) {
    let own = keyspace.spec;
    let durability = own.durability.as_ref();
    let at = durability.map_or(own.name.span, |d| d.span);
    let kind = durability.map(|d| d.value).unwrap_or_default();
    // Shards that are alike are reported once.
    let mut reported = BTreeSet::new();
    for shard in &keyspace.shards {
        let cells = replicas(keyspace, shard);
        let total: u32 = cells.values().sum();
        let of = if matches!(
            own.shards.as_ref().map(|s| &s.value),
            Some(Shards::List(_)) | Some(Shards::Count(2..))
        ) {
            format!("shard `{}/{shard}`", keyspace.name())
        } else {
            format!("keyspace `{}`", keyspace.name())
        };
        if total == 0 {
            if reported.insert("none") {
                let first = own.tablets[0].place.span;
                problems
                    .error(
                        "no-replica",
                        first,
                        format!("{of} has no replica that could be its primary"),
                    )
                    .help("give `replica: 1` or more; rdonly tablets never become primary");
            }
        } else if kind != Durability::None && total < 2 {
            if reported.insert("few") {
                let default = if durability.is_none() {
                    " (the default)"
                } else {
                    ""
                };
                problems
                    .error(
                        "durability",
                        at,
                        format!("durability `{kind}`{default} cannot be had by {of} with one replica: each commit would wait for another one for ever"),
                    )
                    .help("give at least `replica: 2`, or `durability: none`");
            }
        } else if kind == Durability::CrossCell && cells.len() < 2 && reported.insert("cells") {
            let help = if spec.cells.len() < 2 {
                "the spec has one cell only; use `semi_sync`"
            } else {
                "give replicas in another cell, or use `semi_sync`"
            };
            problems
                .error(
                    "durability",
                    at,
                    format!("durability `cross_cell` needs replicas of {of} in two cells at least"),
                )
                .help(help);
        }
    }
}

/// Pins must not collide over the whole cluster.
pub fn check_pins(keyspaces: &[ResolvedKeyspace<'_>], problems: &mut Problems) {
    let mut uids: HashMap<u32, Span> = HashMap::new();
    let mut ports: HashMap<(&str, u16), Span> = HashMap::new();
    let tablets = keyspaces.iter().flat_map(|k| &k.spec.tablets);
    // A host is in one cell.
    let mut cells: HashMap<&str, (&CellName, Span)> = HashMap::new();
    for tablets in tablets {
        let TabletsKind::Pinned(pin) = &tablets.place.value else {
            continue;
        };
        let host = pin.host.as_str();
        match cells.get(host) {
            Some((cell, first)) if **cell != tablets.cell.value => {
                problems
                    .error(
                        "pin-clash",
                        tablets.cell.span,
                        format!(
                            "host `{host}` cannot be in cell `{}` and in cell `{cell}`",
                            *tablets.cell
                        ),
                    )
                    .related(*first, format!("in cell `{cell}` here"));
            }
            Some(_) => {}
            None => {
                cells.insert(host, (&tablets.cell.value, tablets.cell.span));
            }
        }
        if let Some(uid) = &pin.uid {
            match uids.get(&uid.value) {
                Some(first) => {
                    problems
                        .error(
                            "pin-clash",
                            uid.span,
                            format!("two tablets have the uid {}", uid.value),
                        )
                        .related(*first, "the other one")
                        .help("uids are unique over the cluster");
                }
                None => {
                    uids.insert(uid.value, uid.span);
                }
            }
        }
        if let Some(port) = &pin.mysql_port {
            match ports.get(&(host, port.value)) {
                Some(first) => {
                    problems
                        .error("pin-clash", port.span, format!("two tablets are pinned to port {} of host `{host}`", port.value))
                        .related(*first, "the other one")
                        .help("give one of them another port, or leave `mysql_port` out to have one chosen");
                }
                None => {
                    ports.insert((host, port.value), port.span);
                }
            }
        }
    }
}
