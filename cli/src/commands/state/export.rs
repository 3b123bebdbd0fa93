//! `vtplan state export`: all records as a file.

use std::path::PathBuf;

use clap::Args;

use super::file;
use crate::args::Global;
use crate::commands::Outcome;
use crate::context;
use crate::error::Exit;
use crate::output::out;
use crate::render::table::count;

const EXAMPLES: &str = "\
Examples:
  vtplan state export --out shop.json
  vtplan state export --cluster shop | gpg --encrypt --recipient ops > shop.json.gpg

The records are those of one revision. What running processes say of themselves (hosts, gates,
locks) is left out: they say it again. Equal records give equal files. A file holds passwords and
verifiers, so it is written for its owner alone (mode 0600).";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Write to this file, not to stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub async fn run(args: ExportArgs, global: &Global) -> Outcome {
    let cluster = context::cluster(global).await?;
    let export = file::take(&cluster).await?;
    let Some(path) = args.out else {
        out(&export.to_text());
        return Ok(Exit::Done);
    };
    file::write(&path, &export)?;
    if !global.quiet {
        out(&format!(
            "Wrote {} of cluster {} at revision {} to {}, which holds passwords: mode 0600.\n",
            count(export.entries().len(), "record"),
            export.cluster(),
            export.revision(),
            path.display()
        ));
    }
    Ok(Exit::Done)
}
