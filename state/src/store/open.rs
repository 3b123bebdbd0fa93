//! Stores by URL: `sqlite:PATH` and `etcd://HOST:PORT,...`.

use std::path::Path;
use std::sync::Arc;

use super::etcd::{EtcdAddress, EtcdStore};
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
        Target::Etcd(address) => Ok(Arc::new(EtcdStore::open(address).await?)),
    }
}

/// Checks a URL without opening anything.
pub fn check_url(url: &str) -> Result<(), StoreError> {
    parse(url).map(|_| ())
}

#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    Sqlite(&'a str),
    Etcd(EtcdAddress),
}

fn parse(url: &str) -> Result<Target<'_>, StoreError> {
    let bad = |why: String| StoreError::BadUrl {
        url: without_secrets(url),
        why,
    };
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(bad(if url.is_empty() {
            "it is empty".to_owned()
        } else {
            format!("it has no scheme; did you mean `sqlite:{url}`?")
        }));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "sqlite" | "sqlite3" => match rest.strip_prefix("//").unwrap_or(rest) {
            "" => Err(bad("the path is missing".to_owned())),
            path => Ok(Target::Sqlite(path)),
        },
        "etcd" => {
            let rest = rest
                .strip_prefix("//")
                .ok_or_else(|| bad(format!("did you mean `etcd://{rest}`?")))?;
            EtcdAddress::parse(rest).map(Target::Etcd).map_err(bad)
        }
        "http" | "https" | "etcds" => Err(bad(format!(
            "the scheme `{scheme}` is not known; did you mean `etcd://`?"
        ))),
        "file" => Err(bad(format!("did you mean `sqlite:{rest}`?"))),
        _ => Err(bad(format!("the scheme `{scheme}` is not known"))),
    }
}

/// What stands between `//` and `@` may hold a password.
fn without_secrets(url: &str) -> String {
    match (url.find("//"), url.rfind('@')) {
        (Some(start), Some(end)) if start + 2 < end => {
            format!("{}***{}", &url[..start + 2], &url[end..])
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_as_it_is() {
        for (url, path) in [
            ("sqlite:.vtplan/state.db", ".vtplan/state.db"),
            ("sqlite:/var/lib/x.db", "/var/lib/x.db"),
            ("sqlite:///var/lib/x.db", "/var/lib/x.db"),
            ("SQLITE:a b@c", "a b@c"),
        ] {
            assert_eq!(parse(url).unwrap(), Target::Sqlite(path), "{url}");
        }
    }

    #[test]
    fn a_wrong_url_is_refused_with_what_to_write() {
        for (url, hint) in [
            ("", "empty"),
            ("state.db", "`sqlite:state.db`"),
            ("file:state.db", "`sqlite:state.db`"),
            ("sqlite:", "path is missing"),
            ("etcd:a:1", "`etcd://a:1`"),
            ("http://a:2379", "`etcd://`"),
            ("etcd://", "no host"),
            ("etcd://a:1,,b:2", "empty"),
            ("etcd://a:port", "port"),
            ("etcd://a:1/path", "path"),
            ("zookeeper://a", "not known"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, StoreError::BadUrl { .. }));
            assert!(error.to_string().contains(hint), "{url}: {error}");
        }
    }

    #[test]
    fn a_password_is_not_in_the_message() {
        let error = parse("etcds://me:hunter2@a:1").unwrap_err().to_string();
        assert!(
            !error.contains("hunter2") && error.contains("***@a:1"),
            "{error}"
        );
    }
}
