//! `vtplan state backup`: all records as a new file of a folder; old ones go.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::file;
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::out;
use crate::render::table::count;
use crate::render::when;

const EXAMPLES: &str = "\
Examples:
  vtplan state backup --dir /var/backups/vtplan
  vtplan state backup --dir /var/backups/vtplan --keep 30 --quiet

In a crontab, which mails what is printed:
  */15 * * * *  vtplan state backup --state etcd://etcd1:2379 --dir /var/backups/vtplan -q

Files are called vtplan-CLUSTER-DATE-TIME.json, in UTC. Each is there in one step, so a killed run
leaves no half of one. Only files of that name are ever removed.";

/// How old a file that is being written is at least when its writer is surely gone.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BackupArgs {
    /// Folder of the files; made for its owner alone if it is missing
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// How many files to keep
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: BackupArgs, global: &Global) -> Outcome {
    let cluster = context::cluster(global).await?;
    let export = file::take(&cluster).await?;
    let dir = &args.dir;
    let failed = |what: &str, e: &std::io::Error| {
        CliError::new("io", format!("cannot {what} `{}`", dir.display())).because(e)
    };
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(|e| failed("make the folder", &e))?;
    let path = dir.join(name(export.cluster(), when::now()));
    file::write(&path, &export)?;
    // Only now that the new one is there.
    let removed = prune(dir, export.cluster(), args.keep).map_err(|e| failed("clear", &e))?;
    match args.format {
        Format::Json => {
            let document = serde_json::json!({
                "format": 1,
                "cluster": export.cluster(),
                "file": path,
                "records": export.entries().len(),
                "revision": export.revision(),
                "digest": export.digest(),
                "removed": removed,
            });
            out(&format!("{document:#}\n"));
        }
        Format::Text if global.quiet => {}
        Format::Text => out(&format!(
            "Wrote {} of cluster {} at revision {} to {}; {} removed.\n",
            count(export.entries().len(), "record"),
            export.cluster(),
            export.revision(),
            path.display(),
            count(removed.len(), "old file")
        )),
    }
    Ok(Exit::Done)
}

/// `vtplan-shop-20260301-140509.json`: names sort as times do.
fn name(cluster: &str, at: vtplan_state::model::UnixMillis) -> String {
    let utc = when::utc(at);
    let digits: String = utc.chars().filter(char::is_ascii_digit).collect();
    let (date, time) = digits.split_at(8);
    format!("vtplan-{cluster}-{date}-{time}.json")
}

/// The time in a file's name, if it is one of ours of this cluster.
fn time_of<'a>(cluster: &str, name: &'a str) -> Option<&'a str> {
    let rest = name.strip_prefix("vtplan-")?.strip_prefix(cluster)?;
    let time = rest.strip_prefix('-')?.strip_suffix(".json")?;
    let (date, clock) = time.split_once('-')?;
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    (digits(date, 8) && digits(clock, 6)).then_some(time)
}

/// Removes all but the newest files of a cluster, and what killed runs left behind.
fn prune(dir: &Path, cluster: &str, keep: u32) -> std::io::Result<Vec<PathBuf>> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str() else {
            continue;
        };
        if let Some(time) = time_of(cluster, name) {
            found.push((time.to_owned(), entry.path()));
        } else if is_left_behind(cluster, name, entry.metadata()?.modified().ok()) {
            fs::remove_file(entry.path())?;
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    let old = found.split_off((keep as usize).min(found.len()));
    let old: Vec<PathBuf> = old.into_iter().map(|(_, path)| path).collect();
    for path in &old {
        match fs::remove_file(path) {
            // Another run was faster.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(old)
}

fn is_left_behind(cluster: &str, name: &str, modified: Option<SystemTime>) -> bool {
    let of_run = name.strip_suffix(file::NEW).map(Path::new);
    let target = of_run.and_then(Path::file_stem).and_then(OsStr::to_str);
    let ours = target.is_some_and(|target| time_of(cluster, target).is_some());
    let age = modified.and_then(|at| SystemTime::now().duration_since(at).ok());
    ours && age.is_some_and(|age| age > LEFT_BEHIND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_times_do_and_are_told_from_others() {
        let name = name("shop", 1_772_373_909_000);
        assert_eq!(name, "vtplan-shop-20260301-140509.json");
        assert_eq!(time_of("shop", &name), Some("20260301-140509"));
        for other in [
            "vtplan-shop-eu-20260301-140509.json",
            "vtplan-shop-20260301-140509.json.77.new",
            "vtplan-shop-20260301-1405.json",
            "vtplan-shop-2026-03-01.json",
            "shop.json",
        ] {
            assert_eq!(time_of("shop", other), None, "{other}");
        }
    }

    #[test]
    fn the_newest_files_of_the_cluster_stay_and_whatever_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "vtplan-shop-20260301-140509.json",
            "vtplan-shop-20260301-140510.json",
            "vtplan-shop-20260401-000000.json",
            "vtplan-shop-eu-20250101-000000.json",
            "vtplan-shop-20260301-140511.json.77.new",
            "notes.txt",
        ];
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let removed = prune(dir.path(), "shop", 2).unwrap();
        assert_eq!(removed, [dir.path().join(names[0])]);
        assert!(prune(dir.path(), "shop", 2).unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5);
        let old = Some(SystemTime::now() - LEFT_BEHIND * 2);
        assert!(is_left_behind("shop", names[4], old));
        assert!(!is_left_behind("shop", names[0], old) && !is_left_behind("shop", names[5], old));
    }
}
