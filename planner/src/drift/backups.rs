//! Backups: whether each shard that a schedule is for has one that is new enough and good.

use super::{Drift, Finding, Input, Kind};
use crate::backups::Standing;

pub(super) fn find(input: &Input<'_>, found: &mut Drift) {
    let records = &input.live.records;
    for (keyspace, shard) in records.shards.keys() {
        let Some(standing) = Standing::of(records, keyspace, shard) else {
            continue;
        };
        let object = format!("{keyspace}/{shard}");
        for backup in standing.backups.iter().filter(|b| b.is_open()) {
            found
                .under_way
                .push(format!("backup {} of {object}", backup.id));
        }
        if let Some(overdue) = standing.overdue(input.now) {
            let mend = format!("vtplan backup run {object}");
            let mut finding =
                Finding::new(Kind::BackupOverdue, object, overdue.expected, overdue.found)
                    .by_person(mend);
            finding.since = Some(overdue.since);
            found.findings.push(finding);
        }
    }
}
