//! Kinds of scalars: what each may be, and why a text is not one.

use vtplan_state::model::{CellName, HostName, KeyspaceName, ServerAddress, ShardName, TableName};

use crate::spec::diag::{closest, suggest};
use crate::spec::tree::{Form, Scalar, is_bool, is_number};
use crate::spec::values::{cron, duration, location, window};

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Int {
        what: &'static str,
        min: u64,
        max: u64,
    },
    Bool,
    Enum(&'static [&'static str]),
    Text(Text),
}

/// Texts that are more than text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    Cluster,
    Cell,
    Keyspace,
    KeyspaceOrAll,
    Table,
    /// `table` or `keyspace.table`.
    TableRef,
    Column,
    Vindex,
    Host,
    /// `HOST:PORT` of a MySQL server.
    Server,
    Shard,
    Duration,
    Cron,
    Window,
    Location,
    Path,
    Sql,
    KeyspaceId,
    EnvVar,
    User,
    /// Any.
    Free,
}

/// Why a scalar is not of its kind, and what may be meant.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

fn mismatch(code: &'static str, message: String, help: Option<String>) -> Mismatch {
    Mismatch {
        code,
        message,
        help,
    }
}

impl Kind {
    /// What it is, with its article.
    pub fn what(self) -> &'static str {
        match self {
            Kind::Int { what, .. } => what,
            Kind::Bool => "`true` or `false`",
            Kind::Enum(_) => "one of a few words",
            Kind::Text(text) => text.what(),
        }
    }

    pub fn check(self, scalar: &Scalar) -> Result<(), Mismatch> {
        let text = &scalar.text;
        match self {
            Kind::Int { what, min, max } => check_int(scalar, what, min, max),
            Kind::Bool => {
                let bool_form = matches!(scalar.form, Form::Bool | Form::Plain) && is_bool(text);
                if bool_form {
                    return Ok(());
                }
                let help = match scalar.form {
                    Form::Text if is_bool(text) => Some("write it without quotes".to_owned()),
                    _ => None,
                };
                let message = match scalar.form {
                    Form::Text => "expected `true` or `false`, found a text".to_owned(),
                    _ => format!("`{text}` is neither `true` nor `false`"),
                };
                Err(mismatch("wrong-type", message, help))
            }
            Kind::Enum(words) => {
                if words.contains(&text.as_str()) {
                    return Ok(());
                }
                let all = words.join("`, `");
                let help = closest(text, words.iter().copied())
                    .map(|best| format!("did you mean `{best}`?"));
                let message = format!("`{text}` is not one of `{all}`");
                Err(mismatch("unknown-word", message, help))
            }
            Kind::Text(kind) => {
                if scalar.form == Form::Bool {
                    let message = format!("expected {}, found a boolean", kind.what());
                    return Err(mismatch("wrong-type", message, None));
                }
                kind.check(text)
            }
        }
    }

    /// A regular expression (ECMA) for editors.
    pub fn pattern(self) -> Option<&'static str> {
        let Kind::Text(text) = self else {
            return None;
        };
        Some(match text {
            Text::Cluster | Text::Cell | Text::Keyspace => "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$",
            Text::KeyspaceOrAll => "^(\\*|[A-Za-z0-9][A-Za-z0-9_-]{0,62})$",
            Text::Host => "^[A-Za-z0-9_.-]{1,253}$",
            Text::Server => "^([A-Za-z0-9_.-]+|\\[[0-9A-Za-z:.%_-]+\\])(:[0-9]{1,5})?$",
            Text::Shard => "^(0|([0-9a-fA-F]{2})*-([0-9a-fA-F]{2})*)$",
            Text::Duration => "^(0|([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
            Text::Location => "^(file|s3|gs|az)://",
            Text::KeyspaceId => "^([0-9a-fA-F]{2})+$",
            Text::EnvVar => "^[A-Za-z_][A-Za-z0-9_]*$",
            _ => return None,
        })
    }
}

fn check_int(scalar: &Scalar, what: &str, min: u64, max: u64) -> Result<(), Mismatch> {
    let text = &scalar.text;
    let wrong = |help| {
        let message = format!("expected {what}, found `{text}`");
        Err(mismatch("wrong-type", message, help))
    };
    if scalar.form == Form::Text {
        let help = text
            .parse::<u64>()
            .is_ok()
            .then(|| "write the number without quotes".to_owned());
        return wrong(help);
    }
    if scalar.form == Form::Bool || !is_number(text) {
        return wrong(None);
    }
    match text.parse::<i128>() {
        Ok(number) if (i128::from(min)..=i128::from(max)).contains(&number) => Ok(()),
        Ok(_) if min == max => Err(mismatch(
            "out-of-range",
            format!("`{text}` is not supported: {what} is {min}"),
            None,
        )),
        Ok(_) => Err(mismatch(
            "out-of-range",
            format!("`{text}` is out of range: {what} is from {min} to {max}"),
            None,
        )),
        Err(_) => wrong(Some("write a whole number in digits".to_owned())),
    }
}

impl Text {
    pub fn what(self) -> &'static str {
        match self {
            Text::Cluster => "a cluster's name",
            Text::Cell => "a cell's name",
            Text::Keyspace => "a keyspace's name",
            Text::KeyspaceOrAll => "a keyspace's name or `*`",
            Text::Table => "a table's name",
            Text::TableRef => "a table (`keyspace.table`)",
            Text::Column => "a column's name",
            Text::Vindex => "a vindex's name",
            Text::Host => "a host's name",
            Text::Server => "a server's address",
            Text::Shard => "a shard",
            Text::Duration => "a duration",
            Text::Cron => "a cron line",
            Text::Window => "a window",
            Text::Location => "a location",
            Text::Path => "a path",
            Text::Sql => "SQL",
            Text::KeyspaceId => "a keyspace id in hexadecimal",
            Text::EnvVar => "an environment variable's name",
            Text::User => "a user's name",
            Text::Free => "a text",
        }
    }

    fn check(self, text: &str) -> Result<(), Mismatch> {
        if text.contains('\0') {
            let message = format!("{} holds no NUL character", self.what());
            return Err(mismatch("bad-character", message, None));
        }
        match self {
            // A cluster is named by the same rules as a cell.
            Text::Cluster => name(text, "cluster", CellName::new(text)),
            Text::Cell => name(text, "cell", CellName::new(text)),
            Text::Keyspace => name(text, "keyspace", KeyspaceName::new(text)),
            Text::KeyspaceOrAll if text == "*" => Ok(()),
            Text::KeyspaceOrAll => name(text, "keyspace", KeyspaceName::new(text)),
            Text::Table => name(text, "table", TableName::new(text)),
            Text::TableRef => match text.split_once('.') {
                Some((keyspace, table)) => name(keyspace, "keyspace", KeyspaceName::new(keyspace))
                    .and_then(|()| name(table, "table", TableName::new(table))),
                None => name(text, "table", TableName::new(text)),
            },
            Text::Host => name(text, "host", HostName::new(text)),
            Text::Server => match text.parse::<ServerAddress>() {
                Ok(_) => Ok(()),
                Err(e) => Err(mismatch(
                    "bad-address",
                    format!("`{text}` is not a server's address: {}", e.why),
                    None,
                )),
            },
            Text::Column | Text::Vindex => {
                if text.is_empty() || text.chars().count() > 64 {
                    let message = format!("{} has 1 to 64 characters", self.what());
                    return Err(mismatch("bad-name", message, None));
                }
                Ok(())
            }
            Text::Shard => match text.parse::<ShardName>() {
                Ok(_) => Ok(()),
                Err(e) => Err(mismatch(
                    "bad-shard",
                    format!("`{text}` is not a shard: {}", e.why),
                    shard_help(text),
                )),
            },
            Text::Duration => grammar(self, text, duration::parse_ms(text)),
            Text::Cron => grammar(self, text, cron::parse(text)),
            Text::Window => grammar(self, text, window::Window::parse(text)),
            Text::Location => grammar(self, text, location::check(text)),
            Text::Path => {
                if text.trim().is_empty() {
                    let message = "the path is empty".to_owned();
                    return Err(mismatch("bad-path", message, None));
                }
                Ok(())
            }
            Text::KeyspaceId => {
                let hex = !text.is_empty()
                    && text.len().is_multiple_of(2)
                    && text.bytes().all(|b| b.is_ascii_hexdigit());
                if hex {
                    return Ok(());
                }
                let message = format!(
                    "`{text}` is not a keyspace id: write hexadecimal bytes, two digits each"
                );
                Err(mismatch("bad-keyspace-id", message, None))
            }
            Text::EnvVar => {
                let mut bytes = text.bytes();
                let first = bytes
                    .next()
                    .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
                if first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    return Ok(());
                }
                // What was written here may be the password itself: it is not repeated.
                let message = "this is not the name of an environment variable".to_owned();
                let help =
                    "give the name of the variable that holds the password, not the password";
                Err(mismatch("bad-name", message, Some(help.to_owned())))
            }
            Text::User => {
                if text.is_empty() || text.chars().count() > 32 {
                    let message = "a user's name has 1 to 32 characters".to_owned();
                    return Err(mismatch("bad-name", message, None));
                }
                Ok(())
            }
            Text::Sql | Text::Free => Ok(()),
        }
    }
}

fn name<T>(
    text: &str,
    kind: &str,
    parsed: Result<T, vtplan_state::model::NameError>,
) -> Result<(), Mismatch> {
    match parsed {
        Ok(_) => Ok(()),
        Err(e) => Err(mismatch(
            "bad-name",
            format!("`{text}` cannot name a {kind}: {}", e.why),
            None,
        )),
    }
}

fn grammar<T>(kind: Text, text: &str, parsed: Result<T, String>) -> Result<(), Mismatch> {
    let (code, noun) = match kind {
        Text::Duration => ("bad-duration", "duration"),
        Text::Cron => ("bad-cron", "cron line"),
        Text::Window => ("bad-window", "window"),
        _ => ("bad-location", "location"),
    };
    match parsed {
        Ok(_) => Ok(()),
        Err(why) => Err(mismatch(code, format!("bad {noun} `{text}`: {why}"), None)),
    }
}

fn shard_help(text: &str) -> Option<String> {
    // `8-` was meant as `80-`.
    let (start, end) = text.split_once('-')?;
    let hex = |s: &str| s.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex(start) || !hex(end) || (start.len() % 2 == 0 && end.len() % 2 == 0) {
        return None;
    }
    let pad = |s: &str| {
        if s.len() % 2 == 1 {
            format!("{s}0")
        } else {
            s.to_owned()
        }
    };
    Some(format!("did you mean `{}-{}`?", pad(start), pad(end)))
}

/// Help for a name that does not exist, from those that do.
pub fn unknown_help<'a>(
    text: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    suggest(text, known, "there is")
}
