//! `vtplan fmt`: formats specs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use similar::TextDiff;
use vtplan_planner::spec;

use super::Outcome;
use crate::args::Global;
use crate::error::{CliError, Exit};
use crate::output::out;
use crate::planning::invalid_spec;
use crate::render::table::count;
use crate::render::text::indent_diff;

const EXAMPLES: &str = "\
Examples:
  vtplan fmt shop.yaml
  vtplan fmt --check specs/

Comments are kept. Schema files are not touched. Exit codes of `--check`: 0 all files are
formatted, 1 some are not (they are listed with what would change).";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct FmtArgs {
    /// Spec files, or folders of them
    #[arg(value_name = "SPEC", required = true)]
    pub specs: Vec<PathBuf>,
    /// Change nothing; exit with 1 if something would be
    #[arg(long)]
    pub check: bool,
}

pub fn run(args: FmtArgs, global: &Global) -> Outcome {
    let files = spec::spec_files(&args.specs).map_err(|e| invalid_spec(&e))?;
    let mut changed = Vec::new();
    let mut problems = Vec::new();
    for (path, language) in &files {
        let text = read(path)?;
        match spec::format(path, &text, *language) {
            Ok(formatted) if formatted == text => {}
            Ok(formatted) => changed.push((path, text, formatted)),
            Err(errors) => problems.extend(errors.diagnostics),
        }
    }
    // All files or none: a mistake in one is reported before any is written.
    if !problems.is_empty() {
        let errors = spec::SpecErrors {
            diagnostics: problems,
        };
        return Err(invalid_spec(&errors));
    }
    for (path, text, formatted) in &changed {
        if args.check {
            out(&diff(path, text, formatted));
        } else {
            replace(path, formatted)?;
            if !global.quiet {
                out(&format!("formatted {}\n", path.display()));
            }
        }
    }
    if args.check && !changed.is_empty() {
        let number = count(changed.len(), "file");
        let message = format!("{number} of {} not formatted", files.len());
        return Err(CliError::new("not-formatted", message).help("run `vtplan fmt` on them"));
    }
    Ok(Exit::Done)
}

fn diff(path: &Path, before: &str, after: &str) -> String {
    let name = path.display().to_string();
    let diff = TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(2)
        .header(&name, &format!("{name} (formatted)"))
        .to_string();
    indent_diff(&diff, "")
}

/// Reads a spec file's text.
pub fn read(path: &Path) -> Result<String, CliError> {
    spec::files::read_text(path)
        .map_err(|why| CliError::new("io", format!("cannot read `{}`", path.display())).cause(why))
}

/// Writes a file anew in one step, with the permissions it has: a full disk or a kill leaves the
/// old one. A link stays one.
pub fn replace(path: &Path, text: &str) -> Result<(), CliError> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = target.with_file_name(name);
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        if let Ok(metadata) = std::fs::metadata(&target) {
            file.set_permissions(metadata.permissions())?;
        }
        file.sync_all()?;
        std::fs::rename(&new, &target)
    };
    write().map_err(|e| {
        // Best effort; the error that is told is the first one.
        let _ = std::fs::remove_file(&new);
        CliError::new("io", format!("cannot write `{}`", path.display())).because(&e)
    })
}
