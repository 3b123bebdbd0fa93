//! `plan --against`: a spec compared with another spec or with an export, without store and agents.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use vtplan_planner::against::{SpecErrors, plan_against_export, plan_against_spec};
use vtplan_planner::desired::Desired;
use vtplan_planner::document::Against;
use vtplan_planner::export::{Export, ExportError, MAX_EXPORT_BYTES};
use vtplan_planner::live::Live;
use vtplan_planner::plan::Plan;
use vtplan_planner::spec::{self, NoSecrets};

use crate::args::Global;
use crate::error::CliError;
use crate::planning::{load_spec, plan_errors};

/// A plan, what it was made against, and what that was.
pub struct Compared {
    pub plan: Plan,
    pub against: Against,
    pub live: Live,
}

/// Compares `desired` with what `paths` name: one export, or the files and folders of a spec.
pub fn plan(global: &Global, desired: &Desired, paths: &[PathBuf]) -> Result<Compared, CliError> {
    if let [path] = paths
        && let Some(export) = read_export(path)
    {
        let export = export?;
        same_cluster(&desired.cluster, &export.cluster, path)?;
        let plan = plan_against_export(desired, &export.live)
            .map_err(|e| plan_errors(&desired.cluster, &e))?;
        let against = Against::Export {
            revision: export.revision,
        };
        return Ok(Compared {
            plan,
            against,
            live: export.live,
        });
    }
    let old = load_spec(global, paths, &NoSecrets)
        .map_err(|error| error.of_what("the spec to compare with"))?;
    same_cluster(&desired.cluster, &old.desired.cluster, &paths[0])?;
    let (plan, live) = plan_against_spec(desired, &old.desired).map_err(|errors| match errors {
        SpecErrors::New(errors) => plan_errors(&desired.cluster, &errors),
        SpecErrors::Old(errors) => {
            plan_errors(&old.desired.cluster, &errors).of_what("the spec to compare with")
        }
    })?;
    let against = Against::Spec {
        digest: spec::digest(&old.desired),
    };
    Ok(Compared {
        plan,
        against,
        live,
    })
}

/// `None`: it is meant as a spec.
fn read_export(path: &Path) -> Option<Result<Export, CliError>> {
    let spec = path
        .extension()
        .is_some_and(|e| e == "yaml" || e == "yml" || e == "kdl");
    if spec || path.is_dir() {
        return None;
    }
    let bad = |error: ExportError| {
        CliError::new(
            "bad-export",
            format!("`{}` is nothing to compare a spec with", path.display()),
        )
        .cause(error.to_string())
        .help(
            "give a spec (a folder, or a file that ends in .yaml, .yml or .kdl), or make an \
             export with `vtplan export --live --out FILE`",
        )
    };
    let unreadable = |error: &std::io::Error| {
        CliError::new("io", format!("cannot read `{}`", path.display())).because(error)
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) => return Some(Err(unreadable(&e))),
    };
    let size = file.metadata().map_or(0, |m| m.len());
    if size > MAX_EXPORT_BYTES {
        return Some(Err(bad(ExportError::TooLarge { mib: size >> 20 })));
    }
    let mut text = Vec::new();
    if let Err(e) = file.read_to_end(&mut text) {
        return Some(Err(unreadable(&e)));
    }
    Some(Export::parse(&text).map_err(bad))
}

fn same_cluster(spec: &str, other: &str, path: &Path) -> Result<(), CliError> {
    if spec == other {
        return Ok(());
    }
    Err(CliError::new(
        "other-cluster",
        format!(
            "the spec is for cluster `{spec}`, but `{}` is of cluster `{other}`",
            path.display()
        ),
    )
    .help("compare with a spec or an export of the same cluster"))
}
