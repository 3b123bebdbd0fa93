//! A workload from a file: a query log, or what `vtplan workload export` wrote.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use vtplan_gate::plan::Target;
use vtplan_planner::workload::Measured;

use super::digest::{Digest, DigestError, MAX_DIGEST_BYTES};
use super::{Workload, log};
use crate::error::CliError;

/// Reads a file; `-` is stdin. `target` is where statements of a log go that does not say it.
pub fn read(path: &Path, target: &Target) -> Result<Workload, CliError> {
    let failed = |error: &io::Error| {
        CliError::new("io", format!("cannot read `{}`", path.display())).because(error)
    };
    let mut reader: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|e| failed(&e))?;
        Box::new(BufReader::with_capacity(1 << 18, file))
    };
    let mut workload = Workload::default();
    let start = reader.fill_buf().map_err(|e| failed(&e))?;
    if start.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        let digest = parse(&mut *reader).map_err(|e| bad(path, e))?;
        take(&digest, &mut workload);
    } else {
        log::read(&mut *reader, target.clone(), &mut workload).map_err(|e| failed(&e))?;
    }
    if workload.kinds.is_empty() && workload.unread > 0 {
        let first = workload.unread_samples.first();
        let first = first.map(|unread| match unread.line {
            Some(line) => format!("line {line}: {}", unread.why),
            None => unread.why.clone(),
        });
        return Err(nothing(path).cause(first.unwrap_or_default()));
    }
    Ok(workload)
}

fn parse(reader: &mut dyn BufRead) -> Result<Digest, BadFile> {
    let mut text = Vec::new();
    let mut limited = reader.take(MAX_DIGEST_BYTES + 1);
    limited.read_to_end(&mut text).map_err(BadFile::Io)?;
    if text.len() as u64 > MAX_DIGEST_BYTES {
        return Err(BadFile::Digest(DigestError::TooLarge {
            mib: text.len() as u64 >> 20,
        }));
    }
    Digest::parse(&text).map_err(BadFile::Digest)
}

enum BadFile {
    Io(io::Error),
    Digest(DigestError),
}

fn bad(path: &Path, why: BadFile) -> CliError {
    match why {
        BadFile::Io(e) => {
            CliError::new("io", format!("cannot read `{}`", path.display())).because(&e)
        }
        BadFile::Digest(e) => nothing(path).cause(e.to_string()),
    }
}

fn nothing(path: &Path) -> CliError {
    CliError::new(
        "bad-workload",
        format!("`{}` is no workload", path.display()),
    )
    .help(
        "give a log with a statement on each line, a general query log, or what `vtplan workload \
         export` writes",
    )
}

fn take(digest: &Digest, workload: &mut Workload) {
    workload.left_out = digest.left_out;
    for kind in &digest.kinds {
        let sql = kind.statement.as_bytes();
        let Ok(target) = kind.target.parse::<Target>() else {
            let why = format!("`{}` is no target of sessions", kind.target.escape_debug());
            workload.unreadable(kind.count, None, why, sql);
            continue;
        };
        let found = workload.find(&target, sql, Some(Measured::default()));
        workload.count(found, kind.count, None, sql);
        if let super::Found::Kind(at) = found
            && let Some(measured) = &mut workload.kinds[at].measured
        {
            measured.errors = measured.errors.saturating_add(kind.errors);
            measured.total_us = measured.total_us.saturating_add(kind.total_us);
            measured.max_us = measured.max_us.max(kind.max_us);
        }
    }
}
