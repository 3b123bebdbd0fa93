//! Backup locations: `file:///path`, `s3://bucket/prefix`, `gs://...`, `az://...`.

use crate::spec::diag::closest;

const SCHEMES: [&str; 4] = ["file", "s3", "gs", "az"];

/// Checks a location.
pub fn check(text: &str) -> Result<(), String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(if text.starts_with('/') {
            format!("a folder is written as `file://{text}`")
        } else {
            "a location is a URL: file://, s3://, gs:// or az://".into()
        });
    };
    if !SCHEMES.contains(&scheme) {
        return Err(match closest(scheme, SCHEMES) {
            Some(best) => format!("`{scheme}` is not a scheme; did you mean `{best}`?"),
            None => format!("`{scheme}` is not a scheme; there is file, s3, gs and az"),
        });
    }
    if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a URL holds no blanks".into());
    }
    if rest.contains(['?', '#']) {
        return Err("a location has no `?` and no `#`".into());
    }
    if scheme == "file" {
        if !rest.starts_with('/') {
            return Err("the path of a `file://` location is absolute: `file:///path`".into());
        }
        if rest.split('/').any(|part| part == "..") {
            return Err("the path holds `..`".into());
        }
        return Ok(());
    }
    let bucket = rest.split('/').next().unwrap_or_default();
    if bucket.is_empty() {
        return Err(format!("the bucket is missing: `{scheme}://BUCKET/PREFIX`"));
    }
    if bucket.contains(['@', ':']) {
        return Err(
            "credentials do not belong into a location; agents take them from their environment"
                .into(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_kinds_are_taken_and_nothing_else() {
        for good in [
            "file:///var/backups",
            "s3://bucket/a/b",
            "gs://b",
            "az://container/x",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/var/backups",
            "file://var",
            "s4://b",
            "s3://",
            "s3://k:s@b/x",
            "s3://b/a b",
            "file:///a/../b",
            "ftp://x",
            "s3://b/?x",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
