//! `vtplan backup extract`: a data folder of a backup, without any agent.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use vtplan_agent::AgentError;
use vtplan_agent::backup::location::{self, Place};
use vtplan_agent::backup::restore;
use vtplan_agent::mysqld::Program;
use vtplan_state::model::BackupState;

use super::{find, show};
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::out;

pub const EXAMPLES: &str = "\
Examples:
  vtplan backup extract 20261128-221533-3f2a /srv/restored
  vtplan backup extract commerce/0/20261128-221533-3f2a /srv/restored \\
      --location file:///mnt/backups --cluster shop              Without a state store

Run it where the backup's location is seen. It needs no agent. Every file is compared with the
manifest while it is copied. For MariaDB it takes `mariadb-backup` of the same version. The folder
is for a server that a person starts: the command that is printed starts one that only this machine
reaches, without passwords.";

#[derive(Args, Debug)]
pub struct ExtractArgs {
    /// The backup's id, or `KEYSPACE/SHARD/ID`
    #[arg(value_name = "ID")]
    pub id: String,
    /// The data folder to make; it must not be there
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where backups are, when there is no state store to ask; ID is `KEYSPACE/SHARD/ID` then
    #[arg(long, value_name = "URL")]
    pub location: Option<String>,
    /// The server's program; without it `mariadbd`, else `mysqld`, on `PATH`
    #[arg(long, value_name = "PROGRAM")]
    pub mysqld: Option<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: &ExtractArgs, global: &Global) -> Outcome {
    let (url, place, sha256) = find_backup(args, global).await?;
    let dir = std::path::absolute(&args.dir).map_err(|e| {
        CliError::new("io", format!("`{}` is no path", args.dir.display())).because(&e)
    })?;
    if dir.exists() {
        return Err(
            CliError::new("there", format!("`{}` is there already", dir.display()))
                .help("name a folder that is not there; its parent must be"),
        );
    }
    let location: Arc<dyn location::Location> =
        Arc::from(location::open(&url).map_err(|e| failed(&e))?);
    let manifest = restore::manifest(&*location, &place, &sha256).map_err(|e| {
        failed(&e).help(format!(
            "run this where {url} is seen, as on the host that took the backup"
        ))
    })?;
    let program = Program::find(args.mysqld.as_deref())
        .await
        .map_err(|e| failed(&e))?;
    if program.version.flavor != manifest.flavor {
        return Err(CliError::new(
            "other-server",
            format!(
                "the backup is of {} {}, and {} is {}",
                manifest.flavor,
                manifest.version,
                program.path.display(),
                program.version
            ),
        )
        .help("name a server of that kind and version with `--mysqld PROGRAM`"));
    }
    restore::restore(location, &place, &manifest, &dir, &program)
        .await
        .map_err(|e| failed(&e))?;
    let as_root = nix::unistd::geteuid().is_root();
    let command = restore::start_command(&manifest, &dir, as_root);
    match args.format {
        Format::Json => out(&format!(
            "{:#}\n",
            serde_json::json!({
                "format": show::FORMAT,
                "backup": place.id,
                "keyspace": place.keyspace,
                "shard": place.shard,
                "dir": dir,
                "flavor": manifest.flavor,
                "version": manifest.version,
                "position": manifest.position,
                "start": command,
            })
        )),
        Format::Text => out(&format!(
            "Made {} of backup {} of {}/{} ({} {}).\nPosition: {}\nStart a server on it with:\n  {command}\n",
            dir.display(),
            place.id,
            place.keyspace,
            place.shard,
            manifest.flavor,
            manifest.version,
            match manifest.position.as_str() {
                "" => "the beginning of the binlog",
                position => position,
            }
        )),
    }
    Ok(Exit::Done)
}

/// The location, the place in it, and the manifest's digest where a record has it.
async fn find_backup(
    args: &ExtractArgs,
    global: &Global,
) -> Result<(String, Place, String), CliError> {
    if let Some(url) = &args.location {
        let parts: Vec<&str> = args.id.split('/').collect();
        let ([keyspace, shard, id], Some(cluster)) = (&parts[..], &global.cluster) else {
            return Err(CliError::new(
                "which-backup",
                "with `--location` a backup is named in full",
            )
            .help("take `KEYSPACE/SHARD/ID` and `--cluster NAME`: these are the folders in it"));
        };
        let place = Place {
            cluster: cluster.clone(),
            keyspace: (*keyspace).to_owned(),
            shard: (*shard).to_owned(),
            id: (*id).to_owned(),
        };
        return Ok((url.clone(), place, String::new()));
    }
    let cluster = context::cluster(global).await?;
    let records = find::records(&cluster).await?;
    let backup = find::backup(&records, &args.id)?;
    if backup.state != BackupState::Complete {
        return Err(CliError::new("not-complete", show::what_it_is(backup))
            .help("`vtplan backup list` shows those that are complete"));
    }
    let place = Place::of(cluster.name(), backup);
    Ok((
        backup.location.clone(),
        place,
        backup.manifest_sha256.clone(),
    ))
}

fn failed(error: &AgentError) -> CliError {
    CliError::new("extract", error.to_string())
}
