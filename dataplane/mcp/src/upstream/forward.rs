//! A client's call as the upstream gets it, and its progress on the way back.

use crate::{
    intake::Request,
    json::{Object, quote, splice},
    message::Message,
    version::Era,
};

/// The `_meta` keys of the modern era that mean the client's connection to the gateway, not the gateway's to a legacy upstream.
const OWN_META: [&str; 4] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
];

/// The `_meta` key of the W3C trace context (SEP-414).
pub const TRACEPARENT: &str = "traceparent";

/// The client's `tools/call` for a legacy upstream: with the gateway's id (also as progress token, because tokens of two clients may be
/// equal), the tool's own name, and every other byte as it came. `trace`: the W3C `traceparent` from which the gateway calls, in place
/// of the client's own (SEP-414). `None` when the request is no such call.
pub fn call(request: &Request<'_>, id: u64, tool: &str, trace: Option<&str>) -> Option<String> {
    let envelope = &request.message.object;
    let params = envelope.object("params").ok()??;
    let mut edits = vec![(envelope.get("id")?, id.to_string()), (params.get("name")?, quote(tool))];
    match (params.object("_meta").ok()?, request.era) {
        (Some(meta), Era::Modern) => {
            edits.push((meta.text(), legacy_meta(&meta, request.progress.map(|_| id), trace)));
        }
        (Some(meta), Era::Legacy) => {
            edits.extend(request.progress.map(|token| (token, id.to_string())));
            edits.extend(trace.map(|trace| match meta.get(TRACEPARENT) {
                Some(theirs) => (theirs, quote(trace)),
                None => meta.insertion(TRACEPARENT, &quote(trace)),
            }));
        }
        (None, _) => edits.extend(
            trace.map(|trace| params.insertion("_meta", &format!("{{\"{TRACEPARENT}\":{}}}", quote(trace)))),
        ),
    }
    splice(envelope.text(), &edits)
}

/// A modern client's `_meta` without what means its own connection.
fn legacy_meta(meta: &Object<'_>, progress: Option<u64>, trace: Option<&str>) -> String {
    let mut kept: Vec<_> = meta
        .members()
        .filter(|(key, _)| !(OWN_META.contains(key) || *key == TRACEPARENT && trace.is_some()))
        .map(|(key, value)| match (key, progress) {
            ("progressToken", Some(id)) => format!("\"progressToken\":{id}"),
            _ => format!("{}:{value}", quote(key)),
        })
        .collect();
    kept.extend(trace.map(|trace| format!("\"{TRACEPARENT}\":{}", quote(trace))));
    format!("{{{}}}", kept.join(","))
}

/// An upstream's `notifications/progress` for the call `id`, with the client's own token; `None` when it is another call's.
pub fn progress(notification: &str, id: u64, token: &str) -> Option<String> {
    let message = Message::parse(notification).ok()?;
    let params = message.params().ok()??;
    let theirs = params.get("progressToken")?;
    (theirs.parse() == Ok(id)).then_some(())?;
    splice(message.object.text(), &[(theirs, token.to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{Headers, Intake};

    fn request<'a>(body: &'a str, headers: Headers<'_>) -> Box<Request<'a>> {
        match Intake::read(body.as_bytes(), headers, |_| None) {
            Ok(Intake::One(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_is_forwarded_with_three_edits() {
        let body = r#"{"method":"tools/call","params":{"_meta":{"claudecode/toolUseId":"toolu_1","progressToken":4},"name":"db__query","arguments":{"n":1.0e5,"name":"x"},"future":[ 1]},"jsonrpc":"2.0","id":"abc"}"#;
        let want = body.replace("\"abc\"", "17").replace("\"db__query\"", "\"query\"").replace(":4}", ":17}");
        assert_eq!(call(&request(body, Headers::default()), 17, "query", None).unwrap(), want);
        let traced = want.replace("\"_meta\":{", "\"_meta\":{\"traceparent\":\"00-a\",");
        assert_eq!(call(&request(body, Headers::default()), 17, "query", Some("00-a")).unwrap(), traced);
        let theirs = body.replace("\"_meta\":{", "\"_meta\":{\"traceparent\":\"00-client\",");
        assert_eq!(call(&request(&theirs, Headers::default()), 17, "query", Some("00-a")).unwrap(), traced);
        let bare = r#"{"method":"tools/call","params":{"name":"query"},"jsonrpc":"2.0","id":1}"#;
        let want = r#"{"method":"tools/call","params":{"_meta":{"traceparent":"00-a"},"name":"query"},"jsonrpc":"2.0","id":5}"#;
        assert_eq!(call(&request(bare, Headers::default()), 5, "query", Some("00-a")).unwrap(), want);
    }

    #[test]
    fn a_modern_clients_meta_stays_with_the_gateway() {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"traceparent":"00-1", "progressToken":"p"}}}"#;
        let headers = Headers {
            version: Some("2026-07-28"),
            method: Some("tools/call"),
            name: Some("a"),
            session: None,
        };
        let got = call(&request(body, headers), 9, "a", None).unwrap();
        assert!(got.ends_with(r#""name":"a","_meta":{"traceparent":"00-1","progressToken":9}}}"#), "{got}");
        let got = call(&request(body, headers), 9, "a", Some("00-2")).unwrap();
        assert!(got.ends_with(r#""name":"a","_meta":{"progressToken":9,"traceparent":"00-2"}}}"#), "{got}");
    }

    #[test]
    fn progress_finds_its_call_and_its_token() {
        let text = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":17,"progress":0.50,"x":1}}"#;
        assert_eq!(progress(text, 17, "\"t\"").unwrap(), text.replace(":17", ":\"t\""));
        assert_eq!(progress(text, 18, "\"t\""), None);
        assert_eq!(progress("{}", 17, "1"), None);
    }
}
