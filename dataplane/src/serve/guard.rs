//! Who may call at all: a web page must not reach a gateway on localhost, neither by DNS rebinding (Host) nor directly (Origin).

use crate::{error::GatewayError, gateway::Options};
use http::{HeaderMap, Uri, header};

/// Checks `Host` and `Origin` of a request on a listener (`loopback`: bound to a loopback address).
pub fn check(options: &Options, headers: &HeaderMap, uri: &Uri, loopback: bool) -> Result<(), GatewayError> {
    let host = headers
        .get(header::HOST)
        .and_then(|v| v.to_str().ok())
        .or_else(|| uri.authority().map(|a| a.as_str()));
    let name = host.map(without_port).unwrap_or_default();
    let listed = options.allowed_hosts.iter().any(|h| h.eq_ignore_ascii_case(name));
    let open = !loopback && options.allowed_hosts.is_empty();
    if !(open || listed || is_loopback(name)) {
        return Err(GatewayError::Forbidden(format!(
            "host {name:?} is not served here; call the gateway by a loopback name, or start it with --allowed-host {name} (in a \
             cluster: the chart's gateway.allowedHosts)"
        )));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("null");
    let same = origin.split_once("://").map(|(_, rest)| rest) == host;
    if same || options.allowed_origins.iter().any(|o| o == origin) {
        return Ok(());
    }
    Err(GatewayError::Forbidden(format!(
        "web origin {origin:?} may not call this gateway (--allowed-origin, the chart's gateway.allowedOrigins)"
    )))
}

fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(host: &str, origin: Option<&str>, loopback: bool, allowed: &[&str]) -> bool {
        let options = Options {
            allowed_hosts: allowed.iter().map(|s| (*s).to_owned()).collect(),
            ..Options::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        check(&options, &headers, &Uri::from_static("/logs"), loopback).is_ok()
    }

    #[test]
    fn loopback_listeners_answer_to_loopback_names_only() {
        assert!(outcome("localhost:8080", None, true, &[]));
        assert!(outcome("127.0.0.1:8080", None, true, &[]));
        assert!(outcome("[::1]:8080", None, true, &[]));
        assert!(!outcome("evil.example:8080", None, true, &[]));
        assert!(!outcome("127.0.0.1.evil.example", None, true, &[]));
        assert!(outcome("gw.internal", None, true, &["gw.internal"]));
        assert!(outcome("anything", None, false, &[]));
        assert!(!outcome("anything", None, false, &["gw.internal"]));
    }

    #[test]
    fn web_pages_of_other_origins_are_refused() {
        assert!(outcome("localhost:8080", Some("http://localhost:8080"), true, &[]));
        assert!(!outcome("localhost:8080", Some("http://localhost:3000"), true, &[]));
        assert!(!outcome("localhost:8080", Some("https://evil.example"), true, &[]));
        assert!(!outcome("localhost:8080", Some("null"), true, &[]));
    }
}
