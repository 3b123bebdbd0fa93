//! Saved plans: what `plan --out` writes and `apply` and `show` read.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use vtplan_planner::desired::Desired;
use vtplan_planner::plan::{PLAN_FORMAT, Plan};
use vtplan_planner::spec;

use crate::error::CliError;
use crate::files;

/// The format of plan files that this version writes.
const FORMAT: u32 = 1;
/// Larger files are refused. A first plan of 100,000 tablets takes a tenth of it.
const MAX_BYTES: u64 = 2 << 30;

/// A plan with the desired state it leads to. `plan` itself says by digest and revision which spec
/// and which live state it was made from. The same inputs give the same bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanFile {
    /// Marks the file, and is its format's number.
    pub vtplan_plan_file: u32,
    /// vtplan's version.
    pub made_by: String,
    pub plan: Plan,
    pub desired: Desired,
}

impl PlanFile {
    pub fn new(plan: Plan, desired: Desired) -> Self {
        Self {
            vtplan_plan_file: FORMAT,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            plan,
            desired,
        }
    }

    /// Writes the file, readable by its owner alone: it holds the verifiers of users. Whoever
    /// reads it meanwhile sees the old one or the new one.
    pub fn write(&self, path: &Path) -> Result<(), CliError> {
        files::replace(path, 0o600, "plan file", |writer| {
            serde_json::to_writer_pretty(writer, self).map_err(io::Error::from)
        })
    }

    /// Reads `path` if it is a plan file; `None` if it is something else, such as a spec.
    pub fn read(path: &Path) -> Option<Result<Self, CliError>> {
        if !path.is_file() {
            return None;
        }
        let spec = path
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "kdl");
        let mut file = BufReader::new(File::open(path).ok()?);
        let first = file.fill_buf().ok()?.trim_ascii_start().first();
        if spec || first != Some(&b'{') {
            return None;
        }
        let size = file.get_ref().metadata().map_or(0, |m| m.len());
        if size > MAX_BYTES {
            return Some(Err(bad(
                path,
                format!(
                    "it has {} MiB, more than the {} MiB that a plan file may have",
                    size >> 20,
                    MAX_BYTES >> 20
                ),
            )));
        }
        let mut text = Vec::new();
        if let Err(error) = file.read_to_end(&mut text) {
            return Some(Err(bad(path, error.to_string())));
        }
        Some(Self::parse(path, &text))
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, CliError> {
        #[derive(Deserialize)]
        struct Head {
            vtplan_plan_file: u32,
            made_by: Option<String>,
        }
        let bad = |why: String| bad(path, why);
        let head: Head = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
        if head.vtplan_plan_file > FORMAT {
            let by = head.made_by.unwrap_or_else(|| "a newer version".to_owned());
            return Err(bad(format!(
                "its format is {}, this vtplan knows {FORMAT}; it was made by vtplan {by}",
                head.vtplan_plan_file
            )));
        }
        let file: Self = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
        if file.plan.format > PLAN_FORMAT {
            return Err(bad(format!(
                "its plan has format {}, this vtplan knows {PLAN_FORMAT}",
                file.plan.format
            )));
        }
        if spec::digest(&file.desired) != file.plan.spec_digest {
            return Err(bad(
                "its desired state is not the one that its plan was made from".to_owned(),
            ));
        }
        Ok(file)
    }
}

fn bad(path: &Path, why: String) -> CliError {
    CliError::new(
        "bad-plan-file",
        format!("`{}` is not a plan file that can be read", path.display()),
    )
    .cause(why)
    .help("make a new one with `vtplan plan SPEC --out FILE`")
}
