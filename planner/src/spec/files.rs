//! Which files a spec is made of, and their texts.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::diag::Problems;
use super::source::{Sources, Span};

/// Larger files are refused: a spec is written by people, and even one generated for 100,000
/// tablets is smaller.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// The spellings, by the files' endings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Yaml,
    Kdl,
}

impl Language {
    /// By a file's ending; YAML where there is none that tells.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "kdl" => Some(Self::Kdl),
            _ => None,
        }
    }
}

/// The spec files that `paths` mean, folders replaced by their files. A file that is named twice
/// is read once.
pub fn spec_files(paths: &[PathBuf], problems: &mut Problems) -> Vec<(PathBuf, Language)> {
    let mut out: Vec<(PathBuf, Language)> = Vec::new();
    for path in paths {
        let found = if path.is_dir() {
            let found = files_of(path, |p| Language::of(p).is_some(), problems);
            if found.as_ref().is_some_and(Vec::is_empty) {
                problems
                    .error_nowhere(
                        "no-spec",
                        format!("the folder `{}` has no spec", path.display()),
                    )
                    .help("a spec's files end in .yaml, .yml or .kdl");
            }
            found.unwrap_or_default()
        } else {
            vec![path.clone()]
        };
        for file in found {
            let Some(language) = Language::of(&file) else {
                problems
                    .error_nowhere("no-spec", format!("`{}` is not a spec", file.display()))
                    .help("a spec's file ends in .yaml, .yml or .kdl");
                continue;
            };
            if !out.iter().any(|(known, _)| same_file(known, &file)) {
                out.push((file, language));
            }
        }
    }
    if paths.is_empty() {
        problems.error_nowhere("no-spec", "no spec was named");
    }
    out
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The files of a folder that `wanted` takes, sorted, without hidden ones.
pub fn files_of(
    folder: &Path,
    wanted: impl Fn(&Path) -> bool,
    problems: &mut Problems,
) -> Option<Vec<PathBuf>> {
    let listing = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = match listing {
        Ok(entries) => entries,
        Err(e) => {
            let message = format!("cannot list the folder `{}`: {e}", folder.display());
            problems.error_nowhere("unreadable", message);
            return None;
        }
    };
    let hidden = |path: &Path| {
        let name = path.file_name().and_then(|n| n.to_str());
        name.is_none_or(|n| n.starts_with('.'))
    };
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && !hidden(path) && wanted(path))
        .collect();
    files.sort();
    Some(files)
}

/// Reads a file into the sources. `from` is the place that names it, if one does.
pub fn read(
    path: &Path,
    from: Option<Span>,
    sources: &mut Sources,
    problems: &mut Problems,
) -> Option<u32> {
    match read_text(path) {
        Ok(text) => Some(sources.add(path.to_owned(), text)),
        Err(why) => {
            let message = format!("cannot read `{}`: {why}", path.display());
            match from {
                Some(span) => problems.error("unreadable", span, message),
                None => problems.error_nowhere("unreadable", message),
            };
            None
        }
    }
}

/// A file's text without a byte order mark.
pub fn read_text(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => e.to_string(),
    })?;
    if metadata.is_dir() {
        return Err("it is a folder".into());
    }
    let too_large = |size: String| {
        let most = MAX_FILE_BYTES >> 20;
        format!("it has {size}, more than the {most} MiB that a spec may have")
    };
    if metadata.len() > MAX_FILE_BYTES {
        return Err(too_large(format!("{} MiB", metadata.len() >> 20)));
    }
    // A pipe or a device has no size before its end.
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large("no end so far".to_owned()));
    }
    decode(bytes)
}

/// Text from bytes: UTF-8 without NUL characters.
pub fn decode(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        format!("it is not a text in UTF-8 (line {line})")
    })?;
    if text.contains('\0') {
        return Err("it is not a text: it holds NUL characters".into());
    }
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_owned()),
        None => Ok(text),
    }
}
