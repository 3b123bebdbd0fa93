//! `vtplan lock`: the apply lock, which whoever executes the active plan holds.

use clap::{Args, Subcommand};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::HistoryRecord;
use vtplan_state::store::{Lock, LockRecord, Txn};

use super::Outcome;
use crate::args::{Format, Global};
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::{ask, can_ask, err, out, who};
use crate::render::when;

#[derive(Args, Debug)]
pub struct LockArgs {
    #[command(subcommand)]
    command: LockCommand,
}

#[derive(Subcommand, Debug)]
enum LockCommand {
    /// Show who holds the apply lock, since when
    #[command(after_help = "Examples:\n  vtplan lock show\n  vtplan lock show --format json")]
    Show {
        /// How to print the result
        #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
        format: Format,
    },
    /// Take the apply lock away from its holder, who can then write nothing more
    #[command(after_help = "Examples:\n  vtplan lock release\n  vtplan lock release --yes")]
    Release {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// How to print the result
        #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
        format: Format,
    },
}

impl LockArgs {
    pub fn wants_json(&self) -> bool {
        let (LockCommand::Show { format } | LockCommand::Release { format, .. }) = &self.command;
        *format == Format::Json
    }
}

pub async fn run(args: LockArgs, global: &Global) -> Outcome {
    let cluster = context::cluster(global).await?;
    match args.command {
        LockCommand::Show { format } => show(&cluster, format).await,
        LockCommand::Release { yes, format } => release(&cluster, yes, format).await,
    }
}

async fn held(cluster: &Cluster) -> Result<Option<LockRecord>, CliError> {
    Lock::show(cluster.store(), &cluster.keys().apply_lock())
        .await
        .map_err(|e| context::store_error(&e))
}

async fn show(cluster: &Cluster, format: Format) -> Outcome {
    let lock = held(cluster).await?;
    match (format, lock) {
        (Format::Json, lock) => {
            let document = serde_json::json!({
                "format": 1, "cluster": cluster.name(), "lock": lock,
            });
            out(&format!("{document:#}\n"));
        }
        (Format::Text, None) => {
            out(&format!(
                "The apply lock of cluster {} is free.\n",
                cluster.name()
            ));
        }
        (Format::Text, Some(lock)) => out(&describe(cluster.name(), &lock)),
    }
    Ok(Exit::Done)
}

fn describe(cluster: &str, lock: &LockRecord) -> String {
    format!(
        "The apply lock of cluster {cluster} is held.\n  holder  {}\n  for     {}\n  doing   {}\n  since   {} ({})\n",
        lock.holder,
        lock.who,
        lock.what,
        when::utc(lock.since),
        when::ago(lock.since, when::now())
    )
}

async fn release(cluster: &Cluster, yes: bool, format: Format) -> Outcome {
    let Some(lock) = held(cluster).await? else {
        return show(cluster, format).await;
    };
    if !yes {
        if !can_ask() {
            return Err(CliError::new(
                "needs-approval",
                format!(
                    "the apply lock of cluster {} is held by {} for {}, and there is no terminal to ask on",
                    cluster.name(),
                    lock.holder,
                    lock.who
                ),
            )
            .help("give `--yes` to release it all the same"));
        }
        err(&describe(cluster.name(), &lock));
        let question = "\nIts holder can write nothing more; a plan that is not stopped goes on \
             with the next agent that takes the lock.\nRelease it? Only `yes` is accepted: ";
        if ask(question).as_deref() != Some("yes") {
            err("Nothing was changed.\n");
            return Ok(Exit::Failed);
        }
    }
    let released = Lock::force_release(cluster.store(), &cluster.keys().apply_lock())
        .await
        .map_err(|e| context::store_error(&e))?;
    if let Some(lock) = &released {
        let entry = HistoryRecord {
            at: when::now(),
            who: who(),
            plan: None,
            action: "lock-release".to_owned(),
            object: "locks/apply".to_owned(),
            summary: format!("Took the apply lock from {} ({})", lock.holder, lock.who),
            outcome: "done".to_owned(),
        };
        let txn = Txn::new().then(cluster.history_op(&entry));
        cluster
            .store()
            .txn(txn)
            .await
            .map_err(|e| context::store_error(&e))?;
    }
    match format {
        Format::Json => {
            let document = serde_json::json!({
                "format": 1, "cluster": cluster.name(), "released": released,
            });
            out(&format!("{document:#}\n"));
        }
        Format::Text => out(&format!(
            "The apply lock of cluster {} was taken from {}.\n",
            cluster.name(),
            lock.holder
        )),
    }
    Ok(Exit::Done)
}
