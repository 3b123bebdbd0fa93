//! Reads specs.
//!
//! YAML and KDL are two spellings of one tree ([`tree`]): each reader turns text into it, keeping
//! the place of everything. From there on there is one way: the tree is checked against the one
//! description of the language (`shape`), files are merged, the tree becomes a typed [`model`],
//! which is checked for sense (`check`) and, with the schema and VSchema files it names, becomes
//! a [`Desired`]. Problems are collected on the way and reported all at once.

mod check;
mod decode;
pub mod diag;
pub mod files;
mod format;
pub mod model;
pub mod places;
mod read;
mod resolve;
pub mod secrets;
mod shape;
pub mod source;
mod sql;
pub mod tree;
pub mod values;
mod vschema;
mod write;

use std::path::PathBuf;

use crate::desired::Desired;
use diag::Problems;
use model::Spec;
use source::Sources;
use tree::Node;

pub use diag::{Diagnostic, Place, Related, Severity, SpecErrors};
pub use files::Language;
pub use format::{Converted, convert, format};
pub use secrets::{MissingSecret, NoSecrets, ProcessSecrets, Secrets};
pub use shape::json_schema::json_schema;
pub(crate) use sql::lexer;
pub use write::{Written, write};

/// A spec that can be planned with.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub desired: Desired,
    /// Nothing here is an error.
    pub warnings: Vec<Diagnostic>,
    /// SHA-256 of `desired`'s canonical JSON, hex; see [`digest`].
    pub digest: String,
    /// Every file that was read: specs, schema and VSchema files, in reading order.
    pub files: Vec<PathBuf>,
    /// Passwords that could not be looked up. `plan` may go on without them, `apply` must not
    /// create users that way.
    pub missing_secrets: Vec<MissingSecret>,
    /// What it says of the rules of `lint`.
    pub lint: crate::lint::Config,
    /// Where its objects stand.
    pub places: places::Places,
}

/// Reads the spec in the files and folders of `paths` (a folder is all its `.yaml`, `.yml` and
/// `.kdl` files, not those of its subfolders).
///
/// # Errors
/// Every problem of every file.
pub fn load(paths: &[PathBuf], secrets: &dyn Secrets) -> Result<Loaded, SpecErrors> {
    let mut sources = Sources::default();
    let mut problems = Problems::default();
    let outcome = load_into(paths, secrets, &mut sources, &mut problems);
    let files = sources.iter().map(|f| f.path.clone()).collect();
    let diagnostics = problems.resolve(&sources);
    match outcome {
        Some(whole) => Ok(Loaded {
            digest: digest(&whole.desired),
            desired: whole.desired,
            warnings: diagnostics,
            files,
            missing_secrets: whole.missing_secrets,
            lint: whole.lint,
            places: whole.places,
        }),
        None => Err(SpecErrors { diagnostics }),
    }
}

/// The spec files that `paths` mean (folders replaced by their files), with their languages.
///
/// # Errors
/// Folders without specs, files that are none.
pub fn spec_files(paths: &[PathBuf]) -> Result<Vec<(PathBuf, Language)>, SpecErrors> {
    let mut problems = Problems::default();
    let files = files::spec_files(paths, &mut problems);
    if problems.has_errors() {
        let diagnostics = problems.resolve(&Sources::default());
        return Err(SpecErrors { diagnostics });
    }
    Ok(files)
}

/// What a spec without errors says.
struct Whole {
    desired: Desired,
    missing_secrets: Vec<MissingSecret>,
    lint: crate::lint::Config,
    places: places::Places,
}

/// `None`: errors were reported.
fn load_into(
    paths: &[PathBuf],
    secrets: &dyn Secrets,
    sources: &mut Sources,
    problems: &mut Problems,
) -> Option<Whole> {
    let (spec, complete) = read_spec(paths, sources, problems);
    // What a file that could not be read defines is not known, so nothing can be said of names
    // that seem to be missing.
    if !complete {
        return None;
    }
    let keyspaces: Vec<_> = spec
        .keyspaces
        .iter()
        .map(|k| resolve::keyspace(k, sources, problems))
        .collect();
    check::check(&spec, &keyspaces, problems);
    if problems.has_errors() {
        return None;
    }
    let (desired, missing_secrets) = resolve::desired(&spec, &keyspaces, sources, secrets);
    Some(Whole {
        desired,
        missing_secrets,
        lint: resolve::lint(&spec, sources),
        places: places::Places::new(&spec, &keyspaces, sources),
    })
}

/// The model of a spec; whether all its files could be read.
fn read_spec(paths: &[PathBuf], sources: &mut Sources, problems: &mut Problems) -> (Spec, bool) {
    let mut trees: Vec<Node> = Vec::new();
    let spec_files = files::spec_files(paths, problems);
    let mut complete = !problems.has_errors();
    for (path, language) in spec_files {
        let tree = files::read(&path, None, sources, problems)
            .and_then(|file| read_tree(file, language, sources, problems));
        match tree {
            Some(tree) => trees.push(tree),
            None => complete = false,
        }
    }
    if complete {
        shape::check::check_whole(&trees, problems);
    }
    let mut spec = Spec::default();
    for tree in &trees {
        decode::add_file(&mut spec, tree, problems);
    }
    (spec, complete)
}

/// Reads one text and checks it against the language.
fn read_tree(
    file: u32,
    language: Language,
    sources: &Sources,
    problems: &mut Problems,
) -> Option<Node> {
    let source = sources.get(file);
    let tree = match language {
        Language::Yaml => read::yaml::read(file, source, problems)?,
        Language::Kdl => read::kdl::read(file, source, problems)?,
    };
    shape::check::check_file(&tree, problems);
    Some(tree)
}

/// SHA-256, hex, of the desired state's canonical JSON: maps are sorted, nothing is indented.
pub fn digest(desired: &Desired) -> String {
    use sha2::Digest as _;
    let json = serde_json::to_vec(desired).expect("a desired state has only string keys");
    hex::encode(sha2::Sha256::digest(json))
}
