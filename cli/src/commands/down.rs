//! `vtplan down`: stops what `up` started.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::Outcome;
use crate::args::{Format, Global};
use crate::error::{CliError, Exit};
use crate::local::home::Home;
use crate::local::servers;
use crate::local::service::{self, Kind, Service};
use crate::output::{ask, can_ask, out};
use crate::render::table::count;

const EXAMPLES: &str = "\
Examples:
  vtplan down                Stop the gate, the agent and the MySQL servers; data stays
  vtplan down --purge        Delete the data and the state too";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DownArgs {
    /// Delete the tablets' data, the state and the logs
    #[arg(long)]
    pub purge: bool,
    /// Do not ask before deleting
    #[arg(long, requires = "purge")]
    pub yes: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: DownArgs, global: &Global) -> Outcome {
    let home = Home::of(&global.state);
    if !home.dir().is_dir() {
        report(args.format, global, &Stopped::default(), &home);
        return Ok(Exit::Done);
    }
    home.prepare()?;
    let _lock = service::lock(&home)?;
    let agent = Service::recorded(&home, Kind::Agent);
    let data_dir = agent
        .as_ref()
        .and_then(|a| a.told.data_dir.clone())
        .unwrap_or_else(|| home.data_dir());
    if args.purge && !args.yes {
        confirm(&home, &data_dir, agent.as_ref())?;
    }
    let mut stopped = Stopped::default();
    // The gate first, so that no client sees servers going; the agent before the servers, which
    // it would start again.
    for kind in [Kind::Gate, Kind::Agent] {
        if let Some(service) = Service::running(&home, kind) {
            service.stop().await;
            stopped.processes.push(kind.name());
        }
    }
    let running = servers::running(&data_dir);
    servers::stop(&running).await?;
    stopped.servers = running.into_iter().map(|s| s.tablet).collect();
    if args.purge {
        purge(&home, &data_dir)?;
        stopped.purged = true;
    }
    report(args.format, global, &stopped, &home);
    Ok(Exit::Done)
}

#[derive(Default, Serialize)]
struct Stopped {
    processes: Vec<&'static str>,
    /// Aliases of the tablets whose servers were stopped.
    servers: Vec<String>,
    purged: bool,
}

fn confirm(home: &Home, data_dir: &Path, agent: Option<&Service>) -> Result<(), CliError> {
    let of = agent.map_or(String::new(), |a| format!(" of cluster {}", a.cluster));
    if !can_ask() {
        return Err(CliError::new(
            "needs-approval",
            format!("`--purge` deletes all data{of}, and there is no terminal to ask on"),
        )
        .help("give `--yes` to delete it"));
    }
    let question = format!(
        "This deletes all data{of} on this machine:\n  {}\n  {}\nDelete it? Only `yes` is accepted: ",
        data_dir.display(),
        home.state_file().unwrap_or(home.dir()).display()
    );
    if ask(&question).as_deref() == Some("yes") {
        Ok(())
    } else {
        Err(CliError::new(
            "not-approved",
            "nothing was stopped or deleted",
        ))
    }
}

/// Deletes what vtplan made, and folders only when nothing else is left in them.
fn purge(home: &Home, data_dir: &Path) -> Result<(), CliError> {
    let mut folders = vec![data_dir.join("tablets"), data_dir.join("templates")];
    folders.extend([home.logs(), home.run()]);
    let records = vtplan_agent::records_copy::path(data_dir);
    let half = records.with_extension("json.tmp");
    let mut files = vec![data_dir.join("agent.lock"), records, half];
    if let Some(state) = home.state_file() {
        for suffix in ["", "-wal", "-shm"] {
            let mut name = state.as_os_str().to_owned();
            name.push(suffix);
            files.push(PathBuf::from(name));
        }
    }
    for folder in folders {
        deleted(&folder, std::fs::remove_dir_all(&folder))?;
    }
    for file in files {
        deleted(&file, std::fs::remove_file(&file))?;
    }
    for folder in [data_dir, home.dir()] {
        // Not empty: something that is not vtplan's.
        let _ = std::fs::remove_dir(folder);
    }
    Ok(())
}

fn deleted(path: &Path, result: std::io::Result<()>) -> Result<(), CliError> {
    match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(CliError::new(
            "io",
            format!("cannot delete `{}`", path.display()),
        )
        .because(&e)
        .help("what could be stopped is stopped; mend this and run `vtplan down --purge` again")),
        _ => Ok(()),
    }
}

fn report(format: Format, global: &Global, stopped: &Stopped, home: &Home) {
    if format == Format::Json {
        let mut document = serde_json::to_value(stopped).expect("it serializes");
        document["format"] = 1.into();
        out(&format!("{document:#}\n"));
        return;
    }
    if global.quiet {
        return;
    }
    let mut what: Vec<String> = stopped
        .processes
        .iter()
        .map(|name| format!("the {name}"))
        .collect();
    if !stopped.servers.is_empty() {
        what.push(count(stopped.servers.len(), "MySQL server"));
    }
    if what.is_empty() {
        out(&format!("Nothing runs in `{}`.\n", home.dir().display()));
    } else {
        let last = what.pop().unwrap_or_default();
        let what = if what.is_empty() {
            last
        } else {
            format!("{} and {last}", what.join(", "))
        };
        out(&format!("Stopped {what}.\n"));
    }
    if stopped.purged {
        out("Deleted the data, the state and the logs.\n");
        if home.state_file().is_none() {
            out(
                "The cluster's records in the state store stay; `vtplan destroy` deletes them while agents run.\n",
            );
        }
    } else if !stopped.servers.is_empty() {
        out("The data stays; `vtplan up` starts everything again.\n");
    }
}
