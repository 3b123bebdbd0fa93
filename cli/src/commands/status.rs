//! `vtplan status`: what runs and how it is.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use vtplan_agent::client::{AgentClients, Timeouts};
use vtplan_agent::{observe, submit};
use vtplan_state::cluster::Cluster;

use super::Outcome;
use crate::args::{Format, Global};
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::{out, raw};
use crate::picture::Picture;
use crate::render::{self, when};
use crate::workflows::look;

const EXAMPLES: &str = "\
Examples:
  vtplan status
  vtplan status --watch
  vtplan status --format json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// Show it anew every second until Ctrl-C
    #[arg(long, short)]
    pub watch: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: StatusArgs, global: &Global) -> Outcome {
    let cluster = context::cluster(global).await?;
    let timeouts = Timeouts {
        observe: Duration::from_secs(3),
        ..Timeouts::default()
    };
    let agents = AgentClients::of_cluster(&cluster, timeouts)
        .await
        .map_err(|e| context::store_error(&e))?;
    if !args.watch {
        let picture = look(&cluster, &agents).await?;
        print(&picture, args.format);
        return Ok(Exit::Done);
    }
    // Ends with Ctrl-C, as every process does by itself.
    let clear = args.format == Format::Text && std::io::stdout().is_terminal();
    loop {
        let text = match look(&cluster, &agents).await {
            Ok(picture) => render(&picture, args.format, true),
            // What is down may come back: that is what one watches for.
            Err(error) if args.format == Format::Text => error.text(),
            Err(error) => return Err(error),
        };
        // Home, the new text with each line's rest erased, then what was below.
        if clear {
            let lines = text.replace('\n', "\x1b[K\n");
            let home = "\x1b[H";
            raw(&format!("{home}{lines}\x1b[J"));
        } else {
            out(&text);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Asks the store and the agents.
pub async fn look(cluster: &Cluster, agents: &AgentClients) -> Result<Picture, CliError> {
    let gathered = observe::gather(cluster, agents, None)
        .await
        .map_err(|observe::ObserveError::Store(e)| context::store_error(&e))?;
    let plan = submit::active(cluster)
        .await
        .map_err(|e| context::store_error(&e))?;
    let workflows = look::pictures(cluster, &gathered.live.records).await?;
    Ok(Picture::new(cluster.name(), &gathered, plan, workflows))
}

fn print(picture: &Picture, format: Format) {
    out(&render(picture, format, false));
}

fn render(picture: &Picture, format: Format, one_line: bool) -> String {
    match format {
        Format::Text => render::picture::text(picture, when::now()),
        Format::Json => {
            let value = serde_json::to_value(picture).expect("a picture serializes");
            if one_line {
                format!("{value}\n")
            } else {
                format!("{value:#}\n")
            }
        }
    }
}
