//! `vtplan import servers`: a spec of plain MySQL or MariaDB servers, which agents then adopt as they run.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use futures::future::join_all;
use vtplan_agent::plain::{LookError, look};
use vtplan_planner::plain::{PlainServer, Problem, Wish, import};
use vtplan_planner::spec::{self, NoSecrets};
use vtplan_state::model::{CellName, ServerAddress};

use super::login::LoginArgs;
use super::{accounts, spec_files};
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::error::{CliError, Exit};
use crate::output::{err, out};
use crate::planning::invalid_spec;
use crate::render::table::count;

const EXAMPLES: &str = "\
Examples:
  export VTPLAN_IMPORT_PASSWORD=...
  vtplan import servers 10.0.0.1 10.0.0.2 --user root --cluster shop --out shop/shop.yaml --adopt
  vtplan up shop/shop.yaml                        Or an agent and a gate on hosts of their own
  vtplan apply shop/shop.yaml

  vtplan import servers db1:3306 db2:3306 --user dba --password-env DBA_PASSWORD --database shop \\
      --out shop.kdl                              Writes the spec alone

The servers are read, and not changed: who replicates from whom, settings, and the tables of one
database of each primary, which becomes an unsharded keyspace of that name. What is in the way of
adopting them is told with the statement that mends it. With `--adopt` the account of vtplan's
administrator is made on each primary afterwards (`vtplan import accounts` does that alone). Agents
do the rest when the spec is applied; no server is restarted, and the given account is not kept.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ServersArgs {
    /// A server; a primary and its replicas are given together
    #[arg(value_name = "HOST[:PORT]", required = true)]
    pub servers: Vec<ServerAddress>,
    #[command(flatten)]
    pub login: LoginArgs,
    /// The database that becomes a keyspace, where a server has several
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// The cell of the servers
    #[arg(long, value_name = "CELL", default_value = "zone1")]
    pub cell: CellName,
    /// Write the spec to this file (.yaml or .kdl), and schemas beside it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Make vtplan's administrator on the primaries too, so that the spec can be applied
    #[arg(long)]
    pub adopt: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: ServersArgs, global: &Global) -> Outcome {
    spec_files::language(&args.out)?;
    let login = args.login.login()?;
    let servers = given_once(&args.servers)?;
    let looked = join_all(servers.iter().map(|server| look(server, &login))).await;
    let looked: Vec<Result<PlainServer, (ServerAddress, LookError)>> = looked
        .into_iter()
        .zip(&servers)
        .map(|(looked, server)| looked.map_err(|e| (server.clone(), e)))
        .collect();
    let unseen: Vec<Problem> = looked
        .iter()
        .filter_map(|looked| looked.as_ref().err())
        .map(|(server, error)| Problem {
            code: "not-seen",
            server: server.to_string(),
            problem: error.to_string(),
            help: error.help(),
        })
        .collect();
    if !unseen.is_empty() {
        return Err(in_the_way(&unseen, "could not be looked at"));
    }
    let plain: Vec<PlainServer> = looked.into_iter().filter_map(Result::ok).collect();
    let cluster = global.cluster.as_deref().unwrap_or("main");
    let wish = Wish {
        cluster,
        cell: args.cell.clone(),
        database: args.database.as_deref(),
    };
    let mut imported =
        import(&wish, &plain).map_err(|p| in_the_way(&p, "cannot be adopted as they are"))?;
    if global.cluster.is_none() {
        let guess = "cluster: main; give its name with --cluster".to_owned();
        imported.guesses.insert(0, guess);
    }
    let mut notes = vec![format!(
        "Imported from servers that were there, by vtplan {}. Of a keyspace's servers the first one takes \
         the writes when they are adopted.",
        env!("CARGO_PKG_VERSION")
    )];
    if !imported.guesses.is_empty() {
        notes.push("Guessed, so look at it:".to_owned());
        notes.extend(imported.guesses.iter().map(|guess| format!("- {guess}")));
    }
    if !imported.warnings.is_empty() {
        notes.push("To know:".to_owned());
        notes.extend(imported.warnings.iter().map(|text| format!("- {text}")));
    }
    let files = spec_files::write(&args.out, &imported.desired, &notes)?;
    spec::load(std::slice::from_ref(&args.out), &NoSecrets)
        .map_err(|errors| invalid_spec(&errors))?;
    let made = if args.adopt {
        accounts::make(global, &imported.desired, &login).await?
    } else {
        Vec::new()
    };
    match args.format {
        Format::Json => {
            let document = serde_json::json!({
                "format": 1, "cluster": cluster, "files": files, "guesses": imported.guesses,
                "warnings": imported.warnings, "administrator_made_on": made,
            });
            out(&format!("{document:#}\n"));
        }
        Format::Text => {
            if !global.quiet {
                for file in &files {
                    out(&format!("Wrote {}\n", file.display()));
                }
                accounts::tell(&made);
            }
            for guess in &imported.guesses {
                err(&format!("guessed: {guess}\n"));
            }
            for warning in &imported.warnings {
                err(&format!("warning: {warning}\n"));
            }
            if !args.adopt {
                err(&format!(
                    "Before it is applied: `vtplan import accounts {}` makes vtplan's administrator on the \
                     primaries.\n",
                    args.out.display()
                ));
            }
        }
    }
    Ok(Exit::Done)
}

fn given_once(servers: &[ServerAddress]) -> Result<Vec<ServerAddress>, CliError> {
    let mut seen = BTreeSet::new();
    match servers.iter().find(|server| !seen.insert(*server)) {
        None => Ok(servers.to_vec()),
        Some(twice) => {
            Err(CliError::new("usage", format!("{twice} is given twice"))
                .help("give each server once"))
        }
    }
}

/// All problems, each with its way out.
fn in_the_way(problems: &[Problem], what: &str) -> CliError {
    let lines: Vec<String> = problems
        .iter()
        .map(|p| format!("{}: {}\n  help: {}", p.server, p.problem, p.help))
        .collect();
    let servers: BTreeSet<&str> = problems.iter().map(|p| p.server.as_str()).collect();
    let message = format!("{} {what}", count(servers.len(), "server"));
    CliError::new("not-importable", message)
        .details(lines.join("\n"))
        .problems(problems)
        .help("nothing was written")
}
