//! Which server a program is, from what `mysqld --version` prints.

use std::fmt;

use vtplan_state::model::FlavorKind;

/// The oldest servers that can be used.
const OLDEST_MARIADB: (u32, u32, u32) = (10, 6, 0);
const OLDEST_MYSQL: (u32, u32, u32) = (8, 0, 0);

/// A server's flavor and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerVersion {
    pub flavor: FlavorKind,
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl ServerVersion {
    /// Reads `mysqld  Ver 10.11.6-MariaDB-... for Linux ...` and the like.
    pub fn parse(text: &str) -> Option<Self> {
        let after = text.split_once("Ver ")?.1;
        let word = after.split_whitespace().next()?;
        let numbers = word.split(['-', '+']).next()?;
        let mut parts = numbers.split('.').map(str::parse::<u32>);
        let (major, minor, patch) = (
            parts.next()?.ok()?,
            parts.next()?.ok()?,
            parts.next().and_then(Result::ok).unwrap_or(0),
        );
        let flavor = if text.contains("MariaDB") {
            FlavorKind::MariaDb
        } else {
            FlavorKind::MySql
        };
        Some(Self {
            flavor,
            major,
            minor,
            patch,
        })
    }

    pub fn number(&self) -> (u32, u32, u32) {
        (self.major, self.minor, self.patch)
    }

    /// Whether vtplan can work with it.
    pub fn is_supported(&self) -> bool {
        self.number()
            >= match self.flavor {
                FlavorKind::MariaDb => OLDEST_MARIADB,
                FlavorKind::MySql => OLDEST_MYSQL,
            }
    }

    /// `10.11.6`.
    pub fn version(&self) -> String {
        format!("{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.flavor, self.version())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_print_is_understood() {
        for (text, wanted, supported) in [
            (
                "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)",
                "MariaDB 10.11.19",
                true,
            ),
            (
                "/usr/sbin/mysqld  Ver 10.5.8-MariaDB-1:10.5.8+maria~focal for debian-linux-gnu on x86_64 (mariadb.org binary distribution)",
                "MariaDB 10.5.8",
                false,
            ),
            (
                "/usr/sbin/mysqld  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)",
                "MySQL 8.0.36",
                true,
            ),
            (
                "/usr/sbin/mysqld  Ver 8.0.36-28 for Linux on x86_64 (Percona Server (GPL), Release 28, Revision 47601f19)",
                "MySQL 8.0.36",
                true,
            ),
            (
                "mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))",
                "MySQL 9.7.4",
                true,
            ),
            (
                "mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server (GPL))",
                "MySQL 5.7.44",
                false,
            ),
        ] {
            let version = ServerVersion::parse(text).unwrap();
            assert_eq!(version.to_string(), wanted);
            assert_eq!(version.is_supported(), supported, "{text}");
        }
        assert_eq!(ServerVersion::parse("GNU bash, version 5.2"), None);
    }
}
