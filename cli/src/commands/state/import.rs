//! `vtplan state import`: puts the records of a file into the store.

use std::path::PathBuf;

use clap::Args;
use vtplan_state::export::{Export, Mode, RestoreError, Restored, restore};

use super::file;
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::{err, out, who};
use crate::render::table::count;

const EXAMPLES: &str = "\
Examples:
  vtplan state import shop.json                           Into a store that lost them
  vtplan state import shop.json --state etcd://etcd1:2379 Move to etcd
  vtplan state import shop.json --replace                 Go back to an older state

Agents, gates and their servers go on meanwhile, by what they knew. All records are there in one step
at the end; cut off anywhere, run it again. A tablet that an older file does not have keeps its data,
and is left alone. Of two states of a shard servers believe the one with the higher term, so after an
import of an older file look at `vtplan status`.

To move to another store: end plans, export, import with the new --state, and then restart agents and
gates with the new --state, the agents first. Locks are not part of a file; their tokens go on rising.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// File that `state export` or `state backup` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Delete the records of this cluster that are in the store
    #[arg(long)]
    pub replace: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: ImportArgs, global: &Global) -> Outcome {
    let export = file::read(&args.file)?;
    if let Some(named) = &global.cluster
        && named != export.cluster()
    {
        return Err(CliError::new(
            "other-cluster",
            format!(
                "`{}` is of cluster `{}`, but `--cluster` says `{named}`",
                args.file.display(),
                export.cluster()
            ),
        )
        .help(
            "records are put back under the name that they were taken from; leave `--cluster` out",
        ));
    }
    let mode = if args.replace {
        Mode::Replace
    } else {
        Mode::IntoEmpty
    };
    let store = context::create_store(global).await?;
    let restored = restore(&store, &export, mode, &who())
        .await
        .map_err(|e| restore_error(&e, "--replace"))?;
    match args.format {
        Format::Json => {
            let document = serde_json::json!({
                "format": 1, "cluster": export.cluster(), "imported": restored,
            });
            out(&format!("{document:#}\n"));
        }
        Format::Text => tell(&export, &restored, global),
    }
    Ok(Exit::Done)
}

/// Says what was done, and what follows from it.
pub fn tell(export: &Export, restored: &Restored, global: &Global) {
    if !global.quiet {
        out(&format!(
            "Cluster {} is back: {}, as of revision {} of the store that they were read from.\n",
            export.cluster(),
            count(restored.records, "record"),
            export.revision()
        ));
    }
    if let Some(plan) = &restored.stopped_plan {
        err(&format!(
            "The plan {plan} was under way then. It is asked to stop; apply the spec again to go on.\n"
        ));
    }
    if restored.replaced_another {
        err(
            "The store held another cluster of that name. Restart the agents and gates that had joined \
             it: they follow no records any more.\n",
        );
    }
}

/// What could not be put back, and what to do. `replace`: the option that says to delete what is there.
pub fn restore_error(error: &RestoreError, replace: &str) -> CliError {
    match error {
        RestoreError::Store(error) => context::store_error(error),
        RestoreError::NotEmpty { .. } => CliError::from_error("not-empty", error).help(format!(
            "give `{replace}` to delete them and put these in their place; \
             `vtplan state export --out FILE` keeps them"
        )),
        RestoreError::OtherUnfinished { .. } => CliError::from_error("restoring", error).help(format!(
            "run that again to finish it, or give `{replace}` to put these records there instead"
        )),
        RestoreError::Overtaken => CliError::from_error("overtaken", error)
            .help("look at `vtplan status`, and run this again if it is still needed"),
    }
}
