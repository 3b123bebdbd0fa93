//! `vtplan history`: who changed what.

use clap::Args;
use owo_colors::OwoColorize as _;

use super::Outcome;
use crate::args::{Format, Global};
use crate::context;
use crate::error::Exit;
use crate::output::out;
use crate::render::table::Table;
use crate::render::when;

const EXAMPLES: &str = "\
Examples:
  vtplan history
  vtplan history --limit 5 --format json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct HistoryArgs {
    /// The newest N entries; 0: all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: HistoryArgs, global: &Global) -> Outcome {
    let cluster = context::cluster(global).await?;
    let mut history = cluster
        .history()
        .await
        .map_err(|e| context::store_error(&e))?;
    if args.limit > 0 && history.len() > args.limit {
        history.drain(..history.len() - args.limit);
    }
    match args.format {
        Format::Json => {
            let entries: Vec<_> = history
                .iter()
                .map(|(revision, entry)| {
                    let mut value = serde_json::to_value(entry).expect("an entry serializes");
                    value["revision"] = (*revision).into();
                    value
                })
                .collect();
            let document = serde_json::json!({
                "format": 1, "cluster": cluster.name(), "entries": entries,
            });
            out(&format!("{document:#}\n"));
        }
        Format::Text if history.is_empty() => {
            out(&format!(
                "Nothing was done in cluster {} yet.\n",
                cluster.name()
            ));
        }
        Format::Text => {
            let mut table = Table::new(["TIME", "WHO", "ACTION", "OBJECT", "WHAT", "OUTCOME"]);
            for (_, entry) in &history {
                let outcome = entry.outcome.lines().next().unwrap_or_default();
                // A step's id names its object again.
                let action = entry.action.split(':').next().unwrap_or_default();
                table.row([
                    when::utc(entry.at),
                    entry.who.clone(),
                    action.to_owned(),
                    entry.object.clone(),
                    entry.summary.clone(),
                    if outcome.starts_with("failed") {
                        outcome.red().to_string()
                    } else {
                        outcome.to_owned()
                    },
                ]);
            }
            out(&table.render(0));
        }
    }
    Ok(Exit::Done)
}
