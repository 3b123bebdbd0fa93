//! `vtplan import vitess`: a spec of a Vitess cluster, from JSON listings of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use vtplan_planner::spec::{self, NoSecrets};
use vtplan_planner::vitess::{ImportError, Listings, Text, import};

use super::spec_files;
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::error::{CliError, Exit};
use crate::output::{err, out};
use crate::planning::invalid_spec;

const EXAMPLES: &str = "\
Examples:
  mkdir -p vitess/vschema vitess/shards vitess/schema
  vtctldclient GetTablets --format json          > vitess/tablets.json
  vtctldclient GetKeyspaces                      > vitess/keyspaces.json
  vtctldclient GetRoutingRules                   > vitess/routing_rules.json
  vtctldclient GetVSchema commerce               > vitess/vschema/commerce.json
  vtctldclient FindAllShardsInKeyspace commerce  > vitess/shards/commerce.json
  vtctldclient GetSchema zone1-0000000100        > vitess/schema/commerce.json
  vtplan import vitess vitess --cluster shop --out shop/shop.yaml

Only tablets.json is needed; what else is missing is guessed, and the spec says what. The spec is of a
cluster like that one. Nothing is connected to, and no data is moved.";

/// No listing of a real cluster is so large.
const MAX_BYTES: u64 = 256 << 20;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct VitessArgs {
    /// Folder of the listings
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Write the spec to this file (.yaml or .kdl), and schemas and VSchemas beside it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub fn run(args: &VitessArgs, global: &Global) -> Outcome {
    spec_files::language(&args.out)?;
    let listings = listings(&args.dir)?;
    let cluster = global.cluster.as_deref().unwrap_or("vitess");
    let mut imported = import(cluster, &listings).map_err(|e| import_error(&e, &args.dir))?;
    if global.cluster.is_none() {
        let guess = "cluster: vitess; give its name with --cluster".to_owned();
        imported.guesses.insert(0, guess);
    }
    let mut notes = vec![format!(
        "Imported from a Vitess cluster's listings, by vtplan {}.",
        env!("CARGO_PKG_VERSION")
    )];
    if !imported.guesses.is_empty() {
        notes.push("Guessed, so look at it:".to_owned());
        notes.extend(imported.guesses.iter().map(|guess| format!("- {guess}")));
    }
    let files = spec_files::write(&args.out, &imported.desired, &notes)?;
    // What Vitess allows may be nothing that a spec allows; the files are there to be corrected.
    let checked = spec::load(std::slice::from_ref(&args.out), &NoSecrets);
    match args.format {
        Format::Json => {
            let problems = checked
                .as_ref()
                .err()
                .map(|errors| errors.diagnostics.len());
            let document = serde_json::json!({
                "format": 1, "cluster": cluster, "files": files,
                "guesses": imported.guesses, "warnings": imported.warnings,
                "problems": problems.unwrap_or_default(),
            });
            out(&format!("{document:#}\n"));
        }
        Format::Text => {
            if !global.quiet {
                for file in &files {
                    out(&format!("Wrote {}\n", file.display()));
                }
            }
            for guess in &imported.guesses {
                err(&format!("guessed: {guess}\n"));
            }
            for warning in &imported.warnings {
                err(&format!("warning: {warning}\n"));
            }
        }
    }
    match checked {
        Ok(_) => Ok(Exit::Done),
        Err(errors) => {
            if args.format == Format::Json {
                return Ok(Exit::Failed);
            }
            err("The files are written, but the spec is not valid yet:\n\n");
            Err(invalid_spec(&errors))
        }
    }
}

fn import_error(error: &ImportError, dir: &Path) -> CliError {
    let new = CliError::from_error("bad-listing", error);
    match error {
        ImportError::NoTablets => new.help(format!(
            "write it with `vtctldclient GetTablets --format json > {}`",
            dir.join("tablets.json").display()
        )),
        ImportError::CutOff { .. } | ImportError::NotJson { .. } => {
            new.help("write the listing anew; nothing was written")
        }
        _ => new.help("`vtplan import vitess --help` says which command writes which file"),
    }
}

fn listings(dir: &Path) -> Result<Listings, CliError> {
    if !dir.is_dir() {
        let message = format!("`{}` is not a folder", dir.display());
        return Err(CliError::new("no-listings", message)
            .help("`vtplan import vitess --help` shows how to make one"));
    }
    Ok(Listings {
        tablets: one(dir, "tablets.json")?,
        keyspaces: one(dir, "keyspaces.json")?,
        routing_rules: one(dir, "routing_rules.json")?,
        vschemas: each(dir, "vschema")?,
        shards: each(dir, "shards")?,
        schemas: each(dir, "schema")?,
    })
}

fn one(dir: &Path, name: &str) -> Result<Option<Text>, CliError> {
    let path = dir.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let failed =
        |why: String| CliError::new("io", format!("cannot read `{}`", path.display())).cause(why);
    let length = fs::metadata(&path)
        .map_err(|e| failed(e.to_string()))?
        .len();
    if length > MAX_BYTES {
        return Err(failed(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    let text = fs::read(&path).map_err(|e| failed(e.to_string()))?;
    let name = path.display().to_string();
    Ok(Some(Text { name, text }))
}

/// The JSON files of a folder, by their names.
fn each(dir: &Path, folder: &str) -> Result<BTreeMap<String, Text>, CliError> {
    let path = dir.join(folder);
    let failed = |e: std::io::Error| {
        CliError::new("io", format!("cannot read the folder `{}`", path.display())).because(&e)
    };
    let mut texts = BTreeMap::new();
    if !path.exists() {
        return Ok(texts);
    }
    for entry in fs::read_dir(&path).map_err(failed)? {
        let file_name = entry.map_err(failed)?.file_name();
        let Some(keyspace) = file_name
            .to_str()
            .and_then(|name| name.strip_suffix(".json"))
        else {
            continue;
        };
        if let Some(text) = one(&path, &format!("{keyspace}.json"))? {
            texts.insert(keyspace.to_owned(), text);
        }
    }
    Ok(texts)
}
