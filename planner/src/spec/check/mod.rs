//! Whether a spec makes sense, a file for each concern. The language itself (fields, types,
//! grammars) has been checked before by `shape`.

mod cluster;
mod lookups;
mod shards;
mod tables;
mod tablets;
mod vindexes;

use super::diag::Problems;
use super::model::Spec;
use super::resolve::ResolvedKeyspace;

/// Runs all checks.
pub fn check(spec: &Spec, keyspaces: &[ResolvedKeyspace<'_>], problems: &mut Problems) {
    cluster::check(spec, problems);
    for keyspace in keyspaces {
        shards::check(keyspace, problems);
        tablets::check(spec, keyspace, problems);
        vindexes::check(keyspace, problems);
        tables::check(keyspace, keyspaces, problems);
        lookups::check(keyspace, keyspaces, problems);
    }
    tablets::check_pins(keyspaces, problems);
    tablets::check_servers(keyspaces, problems);
}
