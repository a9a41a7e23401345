//! The answers that the gateway gives itself, in the client's era.

use crate::{
    error::RpcError,
    intake::Request,
    json::{Object, quote, splice},
    merge::Page,
    message::Message,
    version::{Era, Version},
};

/// An HTTP answer: its status and its JSON body (`None`: no body).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// A JSON-RPC message.
    pub body: Option<String>,
}

/// How long a modern client may keep a list, in milliseconds: as long as the gateway keeps an upstream's.
const TTL_MS: u32 = 60_000;

// === impl Reply ===

impl Reply {
    /// A message with status 200.
    pub fn ok(body: String) -> Self {
        Reply { status: 200, body: Some(body) }
    }

    /// 202 without a body: a notification was taken.
    pub fn accepted() -> Self {
        Reply { status: 202, body: None }
    }

    /// An error with an HTTP status of its own.
    pub fn error(status: u16, id: Option<&str>, error: &RpcError) -> Self {
        Reply { status, body: Some(error.to_message(id)) }
    }
}

fn server_info() -> String {
    format!(r#"{{"name":"tollgate","title":"Tollgate","version":"{}"}}"#, env!("CARGO_PKG_VERSION"))
}

/// A result for a request. `result` is a JSON object's text; a modern client's gets what its era wants in every result.
pub fn result(request: &Request<'_>, result: &str) -> String {
    result_for(request.id, request.era, result)
}

fn result_for(id: &str, era: Era, result: &str) -> String {
    match era {
        Era::Legacy => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        Era::Modern => {
            let body = result.strip_prefix('{').unwrap_or_default();
            let comma = if body.trim_start().starts_with('}') { "" } else { "," };
            let meta = format!(r#""_meta":{{"io.modelcontextprotocol/serverInfo":{}}}"#, server_info());
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete",{meta}{comma}{body}}}"#)
        }
    }
}

/// The answer to `initialize`.
pub fn initialize(request: &Request<'_>, version: Version, instructions: Option<&str>) -> String {
    let said = instructions.map(|text| format!(",\"instructions\":{}", quote(text))).unwrap_or_default();
    let (version, info) = (version.as_str(), server_info());
    let body = format!(
        r#"{{"protocolVersion":"{version}","capabilities":{{"tools":{{}}}},"serverInfo":{info}{said}}}"#
    );
    result(request, &body)
}

/// The answer to `server/discover`.
pub fn discover(request: &Request<'_>, instructions: Option<&str>) -> String {
    let said = instructions.map(|text| format!(",\"instructions\":{}", quote(text))).unwrap_or_default();
    let (versions, info) = (Version::supported_json(), server_info());
    let body = format!(
        r#"{{"supportedVersions":{versions},"capabilities":{{"tools":{{}}}},"serverInfo":{info}{said},"ttlMs":{TTL_MS},"cacheScope":"private"}}"#
    );
    result(request, &body)
}

/// The answer to `tools/list`; `next` is the sealed cursor of the page after.
pub fn tools(request: &Request<'_>, page: &Page, next: Option<&str>) -> String {
    let cursor = next.map(|c| format!(",\"nextCursor\":{}", quote(c))).unwrap_or_default();
    let caching = match request.era {
        Era::Legacy => String::new(),
        // Private: the list depends on the caller's key.
        Era::Modern => format!(",\"ttlMs\":{TTL_MS},\"cacheScope\":\"private\""),
    };
    result(request, &format!(r#"{{"tools":{}{cursor}{caching}}}"#, page.tools))
}

/// A tool result that says that the call failed, in words a model can act on. `id`: raw JSON text of the client's id.
pub fn failure(id: &str, era: Era, words: &str) -> String {
    result_for(
        id,
        era,
        &format!(r#"{{"content":[{{"type":"text","text":{}}}],"isError":true}}"#, quote(words)),
    )
}

/// An upstream's answer, for the client: its id, in a modern client's case a `resultType`, and nothing else changed.
/// `None` when it is no answer.
pub fn relay(answer: &str, id: &str, era: Era) -> Option<String> {
    let message = Message::parse(answer).ok()?;
    let mut edits = vec![(message.object.get("id")?, id.to_owned())];
    if era == Era::Modern
        && let Some(result) = message.object.get("result")
        && let Ok(object) = Object::parse(result)
        && object.get("resultType").is_none()
    {
        edits.push(object.insertion("resultType", "\"complete\""));
    }
    splice(message.object.text(), &edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstreams_answer_keeps_every_byte_but_its_id() {
        let answer = r#"{"result":{"content":[ ],"structuredContent":{"n":1e400},"later":null} ,"id":17,"jsonrpc":"2.0"}"#;
        assert_eq!(relay(answer, "\"c\"", Era::Legacy).unwrap(), answer.replace("17", "\"c\""));
        let modern = relay(answer, "\"c\"", Era::Modern).unwrap();
        assert_eq!(
            modern,
            answer.replace("17", "\"c\"").replace("{\"content\"", "{\"resultType\":\"complete\",\"content\"")
        );
        assert_eq!(relay(&modern, "\"c\"", Era::Modern).unwrap(), modern);
        let error = r#"{"jsonrpc":"2.0","id":17,"error":{"code":-32602,"message":"no","data":[1.0]}}"#;
        assert_eq!(relay(error, "5", Era::Modern).unwrap(), error.replace("17", "5"));
        assert_eq!(relay("{}", "5", Era::Legacy), None);
    }
}
