//! Rules of single values. What the API server checks by schema and CEL is checked here once more where a wrong value would
//! have an effect, because files and older clusters have no such guard.

use super::{Body, Object, Problem};
use crate::api::{ProviderKind, Span, Usd};
use std::net::{IpAddr, Ipv6Addr};

/// What is wrong with an object's name.
pub(super) fn object_name(object: &Object) -> Option<Problem> {
    if let Err(reason) = dns_label(&object.namespace) {
        return Some(Problem::invalid("metadata.namespace", reason));
    }
    let checked = match &object.body {
        // Tools are named `server__tool`: the prefix must leave room for the tool's name.
        Body::McpServer(_) => within(48, &object.name).and_then(|()| dns_label(&object.name)),
        Body::Secret(_) => within(253, &object.name).and_then(|()| dns_subdomain(&object.name)),
        _ => within(63, &object.name).and_then(|()| dns_subdomain(&object.name)),
    };
    checked.err().map(|reason| Problem::invalid("metadata.name", reason))
}

fn within(max: usize, name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("is empty".to_owned()),
        length if length > max => Err(format!("`{name}` has {length} characters; at most {max} are allowed")),
        _ => Ok(()),
    }
}

/// Lower-case letters, digits and `-`; begins and ends with a letter or digit; at most 63.
pub(super) fn dns_label(name: &str) -> Result<(), String> {
    within(63, name)?;
    if is_label(name) { Ok(()) } else { Err(not_a_name(name)) }
}

/// Labels joined by `.`.
pub(super) fn dns_subdomain(name: &str) -> Result<(), String> {
    if name.split('.').all(is_label) { Ok(()) } else { Err(not_a_name(name)) }
}

fn is_label(label: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty() && label.bytes().all(legal) && !label.starts_with('-') && !label.ends_with('-')
}

fn not_a_name(name: &str) -> String {
    if name.contains('/') {
        return format!("`{name}` must not contain `/`: what stands before a slash is a route's name");
    }
    format!("`{name}` is not a name: lower-case letters, digits and `-`, with a letter or digit at both ends")
}

/// A pattern over `route/model`. One that can never match, or matches by mistake, is refused: in `deny` it would be a
/// permission nobody gave.
pub(super) fn model_pattern(pattern: &str) -> Result<(), String> {
    plain_pattern(pattern)?;
    if pattern.contains('/') || pattern.starts_with('*') {
        return Ok(());
    }
    Err(format!("`{pattern}` names no route: write `ROUTE/{pattern}`, or `*/{pattern}` for all routes"))
}

/// A pattern over names without a route.
pub(super) fn plain_pattern(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("is empty: leave it out, or write `*` for everything".to_owned());
    }
    if let Some(bad) = pattern.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{pattern}` contains {bad:?}"));
    }
    if let Some(bad) = pattern.chars().find(|c| "?[]{}\\".contains(*c)) {
        return Err(format!("`{pattern}` contains `{bad}`: only `*` has a meaning in patterns"));
    }
    Ok(())
}

/// A model's name: no pattern.
pub(super) fn model_name(name: &str) -> Result<(), String> {
    plain_pattern(name)?;
    if name.contains('*') {
        return Err(format!("`{name}` must be the name of one model, without `*`"));
    }
    if name.starts_with('/') || name.ends_with('/') {
        return Err(format!("`{name}` is not `route/model`"));
    }
    Ok(())
}

/// A duration of at least `least` milliseconds.
pub(super) fn span(span: &Span, least: u64) -> Result<u64, String> {
    let duration = span.parse().map_err(|e| e.to_string())?;
    match u64::try_from(duration.as_millis()) {
        Ok(millis) if millis >= least => Ok(millis),
        _ => Err(format!("`{span}` is too short: at least {least}ms")),
    }
}

/// US dollars for a million tokens, in nano-USD for a million tokens. The ledger counts whole nano-USD a token.
pub(super) fn price(usd: &Usd) -> Result<u64, String> {
    match usd.nanos().map_err(|e| e.to_string())? {
        nanos if nanos % 1_000_000 == 0 => Ok(nanos),
        _ => Err(format!("`{usd}` is too fine: a price for a million tokens has at most 3 decimals")),
    }
}

/// An upstream's URL; with `allow_private`, one that leads into private networks as well.
pub(super) fn url(url: &str, allow_private: bool) -> Result<(), String> {
    // What may be a credential is not shown.
    if url.contains(['?', '#']) {
        return Err("must have neither query nor fragment".to_owned());
    }
    let origin = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    if origin.contains('@') {
        return Err("must hold no user or password: credentials belong in a Secret".to_owned());
    }
    let bad = |why: &str| Err(format!("`{url}` {why}"));
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return bad("must begin with https:// or http://");
    };
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return bad("contains a blank");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let Some(host) = host(authority) else { return bad("is not a URL: its host or port cannot be read") };
    if !allow_private && is_private(host) {
        return bad(
            "leads to a private or cluster address, which the operator does not allow: whoever runs it sets \
             operator.allowPrivateEndpoints and names the address in networkPolicy.upstreams",
        );
    }
    Ok(())
}

/// What an upstream's base URL must not end with, since the gateway appends it: the request would go to `/v1/v1/messages`.
pub(super) fn base_url(provider: Option<ProviderKind>, url: &str) -> Result<(), String> {
    let appended = match provider {
        Some(ProviderKind::Anthropic) => "/v1/messages",
        Some(ProviderKind::OpenAi | ProviderKind::OpenAiCompatible) => "/chat/completions",
        _ => return Ok(()),
    };
    let plain = url.trim_end_matches('/');
    let ends: &[&str] = match provider {
        Some(ProviderKind::Anthropic) => &["/v1/messages", "/v1", "/messages"],
        _ => &["/chat/completions", "/completions", "/responses"],
    };
    if let Some(base) = ends.iter().find_map(|end| plain.strip_suffix(end)) {
        return Err(format!("`{url}` is too long: the gateway appends `{appended}`, so write `{base}`"));
    }
    if plain == "https://api.openai.com" {
        return Err(format!("`{url}` is too short: the gateway appends `{appended}`, so write `{plain}/v1`"));
    }
    Ok(())
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("0"))?)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, port),
            None => (authority, "0"),
        },
    };
    port.parse::<u16>().ok()?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    (!host.is_empty() && host.chars().all(legal)).then_some(host)
}

/// Whether a host is, or is written to look like, an address that is not public. A name that resolves to one is refused
/// by gateways when they connect: the compiler asks nobody.
fn is_private(host: &str) -> bool {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return tollgate_proto::address::is_private(ip);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    // `localhost`, `redis`: without a dot a resolver appends its own domains. `127.1`, `0x7f000001`: resolvers take these
    // for addresses.
    !name.contains('.')
        || last.bytes().all(|b| b.is_ascii_digit())
        || last.starts_with("0x")
        || matches!(last, "localhost" | "local" | "internal" | "svc" | "lan" | "home" | "corp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_hosts_are_known_in_every_spelling() {
        for private in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "10.0.0.1",
            "172.16.5.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "redis",
            "redis.default.svc",
            "redis.default.svc.cluster.local",
            "metadata.google.internal",
            "[::1]",
            "[::]",
            "[fd00::1]",
            "[fe80::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[ff02::1]",
            "198.18.0.1",
            "224.0.0.1",
            "0177.0.0.1",
        ] {
            for text in [format!("https://{private}/v1"), format!("http://{private}:8080")] {
                assert!(url(&text, false).is_err(), "{text}");
                assert!(url(&text, true).is_ok(), "{text}");
            }
        }
        for public in
            ["api.openai.com", "1.1.1.1", "8.8.8.8", "[2606:4700::1111]", "172.15.0.1", "100.128.0.1"]
        {
            let text = format!("https://{public}/v1");
            assert_eq!(url(&text, false), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in [
            "",
            "api.openai.com",
            "ftp://x.com",
            "https://",
            "https:///v1",
            "https://x.com?a=b",
            "https://x.com#a",
            "https://x.com:port",
            "https://x.com:99999",
            "https://[::1",
            "https://[nope]",
            "https://x y.com",
            "https://u:p@x.com",
            "https://ex ample.com",
            "https://exämple.com",
            "https://[::1]x",
        ] {
            assert!(url(bad, true).is_err(), "{bad}");
        }
        for secret in
            ["https://user:hush@x.com", "https://x.com/v1?key=hush", "x.com?key=hush", "user:hush@x.com"]
        {
            assert!(!url(secret, true).unwrap_err().contains("hush"), "{secret}");
        }
    }
}
