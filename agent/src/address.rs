//! The address at which others reach this host.

use std::net::{IpAddr, SocketAddr};

use crate::config::AgentConfig;
use crate::error::AgentError;

/// The host name or address that the host registers under, checked to resolve.
///
/// # Errors
/// A name that does not resolve: the others could not reach this host by it either.
pub async fn advertised(config: &AgentConfig) -> Result<String, AgentError> {
    let name = match &config.advertise {
        Some(name) => name.clone(),
        None if !config.listen.ip().is_unspecified() => config.listen.ip().to_string(),
        None => machine_name()?,
    };
    resolve(&name).await?;
    Ok(name)
}

/// The address that servers listen on: loopback alone when the host is only known by one.
pub async fn bind_address(advertised: &str) -> Result<String, AgentError> {
    let addresses = resolve(advertised).await?;
    // Debian maps a machine's own name to 127.0.1.1: that is a name of the machine, not the wish
    // to be reached from nowhere else.
    let meant = advertised.parse::<IpAddr>().is_ok() || advertised == "localhost";
    Ok(match addresses.first() {
        Some(ip) if meant && ip.is_loopback() => ip.to_string(),
        _ => "*".to_owned(),
    })
}

fn machine_name() -> Result<String, AgentError> {
    let name = nix::unistd::gethostname().map_err(|e| AgentError::Unresolvable {
        name: "of this machine".to_owned(),
        why: e.to_string(),
    })?;
    Ok(name.to_string_lossy().into_owned())
}

async fn resolve(name: &str) -> Result<Vec<IpAddr>, AgentError> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(vec![ip]);
    }
    let unresolvable = |why: String| AgentError::Unresolvable {
        name: name.to_owned(),
        why,
    };
    let found: Vec<IpAddr> = tokio::net::lookup_host((name, 0))
        .await
        .map_err(|e| unresolvable(e.to_string()))?
        .map(|a: SocketAddr| a.ip())
        .collect();
    if found.is_empty() {
        return Err(unresolvable("it has no address".to_owned()));
    }
    Ok(found)
}

/// `HOST:PORT`, with brackets around an IPv6 address.
pub fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::{CellName, HostName};

    fn config(advertise: Option<&str>) -> AgentConfig {
        let mut config = AgentConfig::new(
            "test",
            HostName::new("h1").unwrap(),
            CellName::new("zone1").unwrap(),
            "/tmp",
        );
        config.advertise = advertise.map(str::to_owned);
        config
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_named_with_the_way_out() {
        let error = advertised(&config(Some("db1.invalid")))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("`db1.invalid` does not resolve"), "{error}");
        assert!(error.contains("--advertise"), "{error}");
    }

    #[tokio::test]
    async fn only_a_loopback_address_keeps_servers_to_themselves() {
        assert_eq!(bind_address("127.0.0.1").await.unwrap(), "127.0.0.1");
        assert_eq!(bind_address("192.0.2.1").await.unwrap(), "*");
    }

    #[tokio::test]
    async fn the_listening_address_is_advertised_when_it_is_one() {
        let mut config = config(None);
        config.listen = "127.0.0.1:0".parse().unwrap();
        assert_eq!(advertised(&config).await.unwrap(), "127.0.0.1");
    }

    #[test]
    fn an_ipv6_address_is_bracketed() {
        assert_eq!(host_port("::1", 80), "[::1]:80");
        assert_eq!(host_port("db1", 80), "db1:80");
    }
}
