//! `vtplan import accounts`: the account of vtplan's administrator on servers that a spec adopts. It is all
//! that agents need; the other accounts they make themselves.

use std::path::PathBuf;

use clap::Args;
use vtplan_agent::plain::{Login, administrator_sql, make_administrator};
use vtplan_agent::register;
use vtplan_planner::desired::Desired;
use vtplan_planner::spec::NoSecrets;
use vtplan_state::model::{Credentials, FlavorKind, ServerAddress};

use super::login::LoginArgs;
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::context;
use crate::error::{CliError, Exit};
use crate::files;
use crate::output::{err, out};
use crate::planning;

const EXAMPLES: &str = "\
Examples:
  VTPLAN_IMPORT_PASSWORD=... vtplan import accounts shop.yaml --user root
  vtplan import accounts shop.yaml --sql admin.sql    To be run by hand on each primary

The account has all rights, and a password that vtplan made up and keeps in its state store. It is
made on the primary of each keyspace that adopts servers; replicas get it from there. The given
account is used once and kept nowhere. May be run again.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct AccountsArgs {
    /// The spec: files and folders
    #[arg(value_name = "SPEC", required = true)]
    pub specs: Vec<PathBuf>,
    #[command(flatten)]
    pub login: LoginArgs,
    /// Connect nowhere: write the statements, with the password, to this file (mode 0600)
    #[arg(long, value_name = "FILE")]
    pub sql: Option<PathBuf>,
    /// The servers' flavor, for `--sql`
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "FLAVOR",
        requires = "sql"
    )]
    pub flavor: FlavorArg,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FlavorArg {
    #[default]
    Mariadb,
    Mysql,
}

pub async fn run(args: AccountsArgs, global: &Global) -> Outcome {
    let desired = planning::load_spec(global, &args.specs, &NoSecrets)?.desired;
    if groups(&desired).is_empty() {
        return Err(CliError::new("no-servers", "the spec adopts no servers")
            .help("`vtplan import servers` writes one that does"));
    }
    if let Some(path) = &args.sql {
        let credentials = credentials(global, &desired).await?;
        let kind = match args.flavor {
            FlavorArg::Mariadb => FlavorKind::MariaDb,
            FlavorArg::Mysql => FlavorKind::MySql,
        };
        let text = administrator_sql(kind, &credentials);
        files::replace(path, 0o600, "statements", |writer| {
            writer.write_all(text.as_bytes())
        })?;
        if !global.quiet {
            err(&format!(
                "Wrote the statements, which hold a password, to `{}`.\n",
                path.display()
            ));
        }
        return Ok(Exit::Done);
    }
    let made = make(global, &desired, &args.login.login()?).await?;
    if args.format == Format::Json {
        let document = serde_json::json!({ "format": 1, "administrator_made_on": made });
        out(&format!("{document:#}\n"));
    } else if !global.quiet {
        tell(&made);
    }
    Ok(Exit::Done)
}

/// What was done.
pub fn tell(made: &[ServerAddress]) {
    for server in made {
        out(&format!("Made vtplan's administrator on {server}\n"));
    }
}

/// Makes the account on the primary of each keyspace that adopts servers.
pub async fn make(
    global: &Global,
    desired: &Desired,
    login: &Login,
) -> Result<Vec<ServerAddress>, CliError> {
    let credentials = credentials(global, desired).await?;
    let mut made = Vec::new();
    for servers in groups(desired) {
        let done = make_administrator(&servers, login, &credentials).await;
        made.push(done.map_err(|(server, error)| {
            let message = format!("vtplan's administrator cannot be made on {server}");
            CliError::new("no-administrator", message)
                .because(&error)
                .help(format!(
                    "{}. The spec is written; `vtplan import accounts` does this alone, and with `--sql` \
                     writes the statements for another account to run",
                    error.help()
                ))
        })?);
    }
    Ok(made)
}

/// The servers of each keyspace that adopts some.
fn groups(desired: &Desired) -> Vec<Vec<ServerAddress>> {
    let keyspaces = desired.keyspaces.values();
    let groups = keyspaces.map(|keyspace| {
        let adopted = keyspace.tablets.iter().filter_map(|t| t.adopt.as_ref());
        adopted.map(|adopt| adopt.server.clone()).collect()
    });
    groups.filter(|group: &Vec<_>| !group.is_empty()).collect()
}

/// The accounts of the cluster, which is made in the store if it is not there.
async fn credentials(global: &Global, desired: &Desired) -> Result<Credentials, CliError> {
    let store = context::create_store(global).await?;
    context::check_spec_cluster(global, Some(&store), &desired.cluster).await?;
    let joined = register::join(store, &desired.cluster).await;
    let (cluster, _) = joined.map_err(|e| CliError::from_error("no-cluster", &e))?;
    cluster
        .ensure_credentials()
        .await
        .map_err(|e| context::store_error(&e))
}
