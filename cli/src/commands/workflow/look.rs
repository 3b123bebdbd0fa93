//! `vtplan workflow list` and `show`.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use vtplan_state::cluster::Cluster;

use crate::args::Format;
use crate::commands::Outcome;
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::{out, raw};
use crate::render::{self, when};
use crate::workflows::document::{WholeDocument, WorkflowDocument};
use crate::workflows::{self, look};

pub const EXAMPLES: &str = "\
Examples:
  vtplan workflow show customer.commerce2customer
  vtplan workflow show cust2cust --watch
  vtplan workflow show cust2cust --format json";

#[derive(Args, Debug)]
pub struct ShowArgs {
    /// `KEYSPACE.WORKFLOW`, or the name alone
    #[arg(value_name = "WORKFLOW")]
    pub workflow: String,
    /// Show it anew every second until Ctrl-C
    #[arg(long, short)]
    pub watch: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn list(cluster: &Cluster, format: Format) -> Outcome {
    let records = cluster.load_records().await;
    let records = records.map_err(|e| context::store_error(&e))?;
    let workflows: Vec<_> = records.all_workflows().map(WorkflowDocument::new).collect();
    match format {
        Format::Json => {
            let document = serde_json::json!({
                "format": 1, "cluster": cluster.name(), "workflows": workflows,
            });
            out(&format!("{document:#}\n"));
        }
        Format::Text if workflows.is_empty() => {
            out(&format!(
                "No workflow is under way in cluster {}.\n",
                cluster.name()
            ));
        }
        Format::Text => out(&render::workflow::list(&workflows)),
    }
    Ok(Exit::Done)
}

pub async fn show(cluster: &Cluster, args: &ShowArgs) -> Outcome {
    if !args.watch {
        let document = whole(cluster, &args.workflow).await?;
        out(&match args.format {
            Format::Json => format!("{:#}\n", to_json(&document)),
            Format::Text => render::workflow::whole(&document, when::now()),
        });
        return Ok(Exit::Done);
    }
    // Ends with Ctrl-C, as every process does by itself, or with the workflow.
    let clear = args.format == Format::Text && std::io::stdout().is_terminal();
    loop {
        let document = whole(cluster, &args.workflow).await?;
        let text = match args.format {
            Format::Json => format!("{}\n", to_json(&document)),
            Format::Text => render::workflow::whole(&document, when::now()),
        };
        if clear {
            let lines = text.replace('\n', "\x1b[K\n");
            raw(&format!("\x1b[H{lines}\x1b[J"));
        } else {
            out(&text);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn whole(cluster: &Cluster, name: &str) -> Result<WholeDocument, CliError> {
    let records = cluster.load_records().await;
    let records = records.map_err(|e| context::store_error(&e))?;
    let workflow = workflows::find(name, &records, cluster.name())?;
    look::whole(cluster, &records, workflow).await
}

fn to_json(document: &WholeDocument) -> serde_json::Value {
    serde_json::to_value(document).expect("a document serializes")
}
