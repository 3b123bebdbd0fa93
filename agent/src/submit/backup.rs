//! What a person asks of backups: records that agents act by (see [`crate::backup`]).

use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    BackupCheck, BackupRecord, BackupState, HistoryRecord, KeyspaceName, ShardName,
};
use vtplan_state::store::{Compare, Op, StoreError, Txn, unix_millis};

use super::id;

/// Asks for a backup of a shard, to the location of the policy. Returns it as it was asked for.
///
/// # Errors
/// Those of the store.
pub async fn request_backup(
    cluster: &Cluster,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    who: &str,
) -> Result<BackupRecord, StoreError> {
    loop {
        let at = unix_millis();
        let id = id::new_plan_id(at, rand::random());
        let record = BackupRecord::new(
            id,
            keyspace.clone(),
            shard.clone(),
            Some(who.to_owned()),
            at / 1000,
        );
        let key = cluster.keys().backup(keyspace, shard, &record.id);
        let summary = format!("Asked for the backup {}", record.id);
        let txn = Txn::new()
            .when(Compare::Absent(key.clone()))
            .then(Op::put(key, &record))
            .then(note(cluster, &record, "backup-run", summary, who));
        if cluster.store().txn(txn).await?.committed().is_some() {
            return Ok(record);
        }
    }
}

/// Asks an agent to compare a complete backup's files with its manifest. `false`: it has changed since it
/// was read, or is gone.
///
/// # Errors
/// Those of the store.
pub async fn request_check(
    cluster: &Cluster,
    backup: &BackupRecord,
    who: &str,
) -> Result<bool, StoreError> {
    let mut asked = backup.clone();
    asked.check = Some(BackupCheck {
        requested_at: unix_millis() / 1000,
        ended_at: None,
        bytes_read: 0,
        damage: Vec::new(),
    });
    let summary = format!("Asked for a look at the backup {}", backup.id);
    let note = note(cluster, backup, "backup-verify", summary, who);
    change(cluster, backup, Some(&asked), note).await
}

/// Removes a backup: its record at once where it has no files, or where they are to be `forgotten`; else
/// agents remove the files, and then the record. `false`: it has changed since it was read, or is gone.
///
/// # Errors
/// Those of the store.
pub async fn remove_backup(
    cluster: &Cluster,
    backup: &BackupRecord,
    forget: bool,
    who: &str,
) -> Result<bool, StoreError> {
    let has_files = matches!(
        backup.state,
        BackupState::Complete | BackupState::Taking | BackupState::Removing
    );
    let going = BackupRecord {
        state: BackupState::Removing,
        ..backup.clone()
    };
    let then = (has_files && !forget).then_some(&going);
    let summary = match forget {
        true => format!("Forgot the backup {}; its files may be there", backup.id),
        false => format!("Removed the backup {}", backup.id),
    };
    let note = note(cluster, backup, "backup-remove", summary, who);
    change(cluster, backup, then, note).await
}

/// Puts another record, or none, in the place of one that has not changed.
async fn change(
    cluster: &Cluster,
    was: &BackupRecord,
    then: Option<&BackupRecord>,
    note: Op,
) -> Result<bool, StoreError> {
    let key = cluster.keys().backup(&was.keyspace, &was.shard, &was.id);
    let Some(entry) = cluster.store().get(&key).await? else {
        return Ok(false);
    };
    if entry.json::<BackupRecord>()? != *was {
        return Ok(false);
    }
    let op = match then {
        Some(record) => Op::put(key.clone(), record),
        None => Op::delete(key.clone()),
    };
    let txn = Txn::new()
        .when(Compare::ModRevision(key, entry.mod_revision))
        .then(op)
        .then(note);
    Ok(cluster.store().txn(txn).await?.committed().is_some())
}

fn note(cluster: &Cluster, of: &BackupRecord, action: &str, summary: String, who: &str) -> Op {
    cluster.history_op(&HistoryRecord {
        at: unix_millis(),
        who: who.to_owned(),
        plan: None,
        action: action.to_owned(),
        object: format!("{}/{}", of.keyspace, of.shard),
        summary,
        outcome: "done".to_owned(),
    })
}
