//! Stores by URL: `sqlite:PATH` and `etcd://HOST:PORT,...`.

use std::path::Path;
use std::sync::Arc;

use super::sqlite::{SqliteOptions, SqliteStore};
use super::{Store, StoreError};

/// Whether opening may make the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// A SQLite file that is missing is made, with its folder.
    Create,
    /// A SQLite file that is missing is [`StoreError::NotThere`]; nothing is made.
    MustExist,
}

/// Opens the store that `url` names and checks that it answers.
pub async fn open(url: &str, mode: OpenMode) -> Result<Arc<dyn Store>, StoreError> {
    match parse(url)? {
        Target::Sqlite(path) => {
            let store = SqliteStore::open(Path::new(path), mode, SqliteOptions::default()).await?;
            Ok(Arc::new(store))
        }
    }
}

enum Target<'a> {
    Sqlite(&'a str),
}

fn parse(url: &str) -> Result<Target<'_>, StoreError> {
    let bad = |why: &str| StoreError::BadUrl {
        url: url.to_owned(),
        why: why.to_owned(),
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(bad("the path is missing"));
        }
        return Ok(Target::Sqlite(path));
    }
    Err(bad("it starts with neither"))
}
