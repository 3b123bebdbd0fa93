//! Addresses of MySQL servers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::NameError;

/// The port of a MySQL server of which nothing else is said.
const USUAL_PORT: u16 = 3306;

/// Where a server is reached over TCP, written `10.0.0.1:3306`, `db1:3306` or `[::1]:3306`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerAddress {
    /// Host name or IP address, without brackets.
    pub machine: String,
    pub port: u16,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.machine.contains(':') {
            f.pad(&format!("[{}]:{}", self.machine, self.port))
        } else {
            f.pad(&format!("{}:{}", self.machine, self.port))
        }
    }
}

impl fmt::Debug for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerAddress({self})")
    }
}

impl FromStr for ServerAddress {
    type Err = NameError;

    /// Without a port it is 3306.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |why| NameError {
            kind: "server",
            text: text.to_owned(),
            why,
        };
        let (machine, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (machine, port) = rest
                    .split_once(']')
                    .ok_or_else(|| error("the bracket is not closed"))?;
                (
                    machine,
                    port.strip_prefix(':').or((!port.is_empty()).then_some("-")),
                )
            }
            None if text.matches(':').count() > 1 => {
                return Err(error("an IPv6 address stands in brackets: [::1]:3306"));
            }
            None => match text.split_once(':') {
                Some((machine, port)) => (machine, Some(port)),
                None => (text, None),
            },
        };
        let usable = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
        if machine.is_empty() || machine.len() > 255 || !machine.chars().all(usable) {
            return Err(error(
                "it is a host name or an IP address, a colon and a port",
            ));
        }
        let port = match port {
            None => USUAL_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|p| *p > 0 && port.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| error("the part after the colon is no port (1 to 65535)"))?,
        };
        Ok(Self {
            machine: machine.to_owned(),
            port,
        })
    }
}

impl TryFrom<String> for ServerAddress {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ServerAddress> for String {
    fn from(address: ServerAddress) -> String {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_as_it_is_read() {
        for (text, printed) in [
            ("10.0.0.1:3306", "10.0.0.1:3306"),
            ("db1.internal:3307", "db1.internal:3307"),
            ("db1", "db1:3306"),
            ("[::1]:3306", "[::1]:3306"),
            ("[fe80::1%eth0]", "[fe80::1%eth0]:3306"),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse::<ServerAddress>().unwrap(), address);
        }
        for bad in [
            "",
            ":3306",
            "db1:",
            "db1:0",
            "db1:+1",
            "db1:70000",
            "::1",
            "::1:3306",
            "[::1",
            "[::1]3306",
            "user@db1:3306",
            "db 1",
            "mysql://db1",
        ] {
            assert!(bad.parse::<ServerAddress>().is_err(), "{bad}");
        }
    }
}
