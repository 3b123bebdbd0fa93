//! `etcd://[USER:PASSWORD@]HOST:PORT,HOST:PORT...`

/// etcd's port for clients, when a URL leaves it out.
const DEFAULT_PORT: u16 = 2379;

/// Where an etcd cluster is and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdAddress {
    /// `HOST:PORT` of members; one is enough, more let calls go on without one of them.
    pub endpoints: Vec<String>,
    /// User and password.
    pub user: Option<(String, String)>,
}

impl std::fmt::Debug for EtcdAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url())
    }
}

impl EtcdAddress {
    /// Parses what comes after `etcd://`; the error says why it cannot be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (user, hosts) = match text.rsplit_once('@') {
            None => (None, text),
            Some((user, hosts)) => {
                let (user, password) = user
                    .split_once(':')
                    .ok_or("before the `@` there must be USER:PASSWORD")?;
                (Some((decode(user)?, decode(password)?)), hosts)
            }
        };
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        if hosts.is_empty() {
            return Err("it names no host".to_owned());
        }
        let endpoints = hosts.split(',').map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self { endpoints, user })
    }

    /// The URL, without the password.
    pub fn url(&self) -> String {
        let user = self.user.as_ref();
        let user = user.map_or(String::new(), |(user, _)| format!("{user}:***@"));
        format!("etcd://{user}{}", self.endpoints.join(","))
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("one of the hosts is empty".to_owned());
    }
    if text.contains('/') {
        return Err("a path is not allowed: only HOST:PORT, separated by commas".to_owned());
    }
    // An IPv6 address stands in brackets, so a colon after them starts the port.
    let after_host = text.rfind(']').map_or(0, |bracket| bracket + 1);
    match text[after_host..].rsplit_once(':') {
        None => Ok(format!("{text}:{DEFAULT_PORT}")),
        Some((host, port)) => {
            if host.contains(':') {
                return Err(format!("write an IPv6 address as `[{text}]:PORT`"));
            }
            if after_host == 0 && host.is_empty() {
                return Err(format!("`{text}` has no host"));
            }
            match port.parse::<u16>() {
                Ok(1..) => Ok(text.to_owned()),
                _ => Err(format!("`{port}` is not a port")),
            }
        }
    }
}

/// Undoes `%40` and the like, which a password needs for the characters of a URL.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            // Two hex digits are one byte.
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err("after a `%` there must be two hex digits".to_owned()),
        }
    }
    String::from_utf8(bytes).map_err(|_| "the user or password is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_users_are_read() {
        let address = EtcdAddress::parse("me:p%40ss%3A@a:1,[::1]:2,b,[::2]").unwrap();
        assert_eq!(
            address.endpoints,
            ["a:1", "[::1]:2", "b:2379", "[::2]:2379"]
        );
        assert_eq!(address.user, Some(("me".to_owned(), "p@ss:".to_owned())));
        assert_eq!(address.url(), "etcd://me:***@a:1,[::1]:2,b:2379,[::2]:2379");
        assert!(!format!("{address:?}").contains("p@ss"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "a:0",
            "a:99999",
            "::1:2",
            ":5",
            "me@a:1",
            "a:%4:b@c:1",
            "a%4:b@c:1",
        ] {
            assert!(EtcdAddress::parse(bad).is_err(), "{bad}");
        }
    }
}
