//! Which endpoint a path and a method mean.

use http::Method;
use tollgate_translate::Format;

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// Messages or Chat Completions.
    Generate(Format),
    /// `count_tokens`.
    CountTokens,
    /// The list of models, or one of them.
    Models(Format, Option<&'a str>),
    /// `/mcp` or `/mcp/<server>`.
    Mcp(Option<&'a str>),
    /// `/logs` and everything below.
    Logs,
    /// `/`: what this is.
    Welcome,
    /// A probe of a base URL (`HEAD /anthropic`): 200 without a body.
    Hello,
    /// The process lives.
    Healthz,
    /// The process can serve.
    Readyz,
    /// The path exists, not with this method.
    WrongMethod(Format, &'static str),
    /// No such path.
    Unknown(Format),
}

/// Finds the endpoint. Base URLs may carry the prefixes `/anthropic` and `/openai`.
pub fn endpoint<'a>(method: &Method, path: &'a str) -> Endpoint<'a> {
    let (prefix, rest) = match path {
        "/anthropic" | "/openai" => return Endpoint::Hello,
        _ => match (path.strip_prefix("/anthropic/"), path.strip_prefix("/openai/")) {
            (Some(_), _) => (Some(Format::Messages), &path["/anthropic".len()..]),
            (_, Some(_)) => (Some(Format::Chat), &path["/openai".len()..]),
            _ => (None, path),
        },
    };
    if prefix.is_none() {
        match ours(path) {
            Some(endpoint) => return endpoint,
            None if path == "/mcp" => return Endpoint::Mcp(None),
            None => {}
        }
        if let Some(server) = path.strip_prefix("/mcp/") {
            return Endpoint::Mcp(Some(server));
        }
    }
    provider(method, prefix, rest)
}

/// What a client is told of a path that does not exist, in the words that clients of OpenAI's API know.
pub fn unknown(format: Format, method: &Method, path: &str) -> String {
    match format {
        Format::Chat => format!(
            "Unknown request URL: {method} {path}. Of OpenAI's API this gateway has Chat Completions (/v1/chat/completions) and models; \
             see / for all that it has"
        ),
        Format::Messages => format!("{method} {path} does not exist here; see / for what does"),
    }
}

/// A path as it is counted: a pattern, of which there are few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The pattern.
    pub pattern: &'static str,
    /// The name of its span.
    pub span: &'static str,
    /// Whether it has one: probes and pages are no part of anybody's trace.
    pub traced: bool,
}

/// The pattern of a path.
pub fn route(path: &str) -> Route {
    let traced = |pattern, span| Route { pattern, span, traced: true };
    let untraced = |pattern| Route { pattern, span: "", traced: false };
    match path {
        "/anthropic/v1/messages" | "/v1/messages" => traced("/v1/messages", "POST /v1/messages"),
        "/openai/v1/chat/completions" | "/v1/chat/completions" => {
            traced("/v1/chat/completions", "POST /v1/chat/completions")
        }
        "/anthropic/v1/messages/count_tokens" | "/v1/messages/count_tokens" => {
            traced("/v1/messages/count_tokens", "POST /v1/messages/count_tokens")
        }
        "/mcp" => traced("/mcp", "POST /mcp"),
        "/healthz" | "/readyz" | "/" => untraced("probe"),
        _ if path.starts_with("/mcp/") => traced("/mcp/{server}", "POST /mcp/{server}"),
        _ if path == "/logs" || path.starts_with("/logs/") => untraced("/logs"),
        _ if path.ends_with("/v1/models") || path.contains("/v1/models/") => untraced("/v1/models"),
        _ => untraced("other"),
    }
}

fn ours(path: &str) -> Option<Endpoint<'_>> {
    Some(match path {
        "/" => Endpoint::Welcome,
        "/healthz" => Endpoint::Healthz,
        "/readyz" => Endpoint::Readyz,
        "/logs" => Endpoint::Logs,
        _ if path.starts_with("/logs/") => Endpoint::Logs,
        _ => return None,
    })
}

fn provider<'a>(method: &Method, prefix: Option<Format>, path: &'a str) -> Endpoint<'a> {
    let format =
        prefix.unwrap_or(if path.starts_with("/v1/messages") { Format::Messages } else { Format::Chat });
    let post =
        |endpoint| if method == Method::POST { endpoint } else { Endpoint::WrongMethod(format, "POST") };
    let get = |endpoint| match *method {
        Method::GET | Method::HEAD => endpoint,
        _ => Endpoint::WrongMethod(format, "GET"),
    };
    match path {
        "/v1/messages" if prefix != Some(Format::Chat) => post(Endpoint::Generate(Format::Messages)),
        "/v1/messages/count_tokens" if prefix != Some(Format::Chat) => post(Endpoint::CountTokens),
        "/v1/chat/completions" if prefix != Some(Format::Messages) => post(Endpoint::Generate(Format::Chat)),
        "/v1/models" => get(Endpoint::Models(format, None)),
        "/api/hello" if method == Method::HEAD => Endpoint::Hello,
        _ => match path.strip_prefix("/v1/models/") {
            Some(id) if !id.is_empty() => get(Endpoint::Models(format, Some(id))),
            _ => Endpoint::Unknown(format),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_path_has_its_endpoint() {
        let (get, post, head) = (Method::GET, Method::POST, Method::HEAD);
        let (messages, chat) = (Format::Messages, Format::Chat);
        for (method, path, want) in [
            (&post, "/anthropic/v1/messages", Endpoint::Generate(messages)),
            (&post, "/v1/messages", Endpoint::Generate(messages)),
            (&post, "/v1/messages/count_tokens", Endpoint::CountTokens),
            (&post, "/anthropic/v1/messages/count_tokens", Endpoint::CountTokens),
            (&post, "/v1/chat/completions", Endpoint::Generate(chat)),
            (&post, "/openai/v1/chat/completions", Endpoint::Generate(chat)),
            (&get, "/v1/models", Endpoint::Models(chat, None)),
            (&get, "/anthropic/v1/models", Endpoint::Models(messages, None)),
            (&get, "/v1/models/openai/gpt-5", Endpoint::Models(chat, Some("openai/gpt-5"))),
            (&head, "/anthropic", Endpoint::Hello),
            (&head, "/anthropic/api/hello", Endpoint::Hello),
            (&post, "/mcp", Endpoint::Mcp(None)),
            (&post, "/mcp/staging-db", Endpoint::Mcp(Some("staging-db"))),
            (&get, "/logs", Endpoint::Logs),
            (&get, "/logs/api/records", Endpoint::Logs),
            (&get, "/readyz", Endpoint::Readyz),
            (&get, "/v1/messages", Endpoint::WrongMethod(messages, "POST")),
            (&post, "/openai/v1/messages", Endpoint::Unknown(chat)),
            (&post, "/v2/messages", Endpoint::Unknown(chat)),
            (&get, "/anthropic/", Endpoint::Unknown(messages)),
        ] {
            assert_eq!(endpoint(method, path), want, "{method} {path}");
        }
    }
}
