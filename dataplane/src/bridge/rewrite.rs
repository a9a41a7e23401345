//! Ids and progress tokens: a client's own on its side, the bridge's numbers on the process's side.

use tollgate_mcp::{
    Message,
    json::{Object, splice},
    message::Kind,
};

/// A request as the process gets it, and what must be put back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    /// One line, without its end.
    pub(super) line: String,
    /// The client's id, raw.
    pub(super) id: String,
    /// The client's progress token, raw.
    pub(super) token: Option<String>,
}

/// The client's request with the id `number`, which is its progress token too; `None` when it is no request.
pub(super) fn request(message: &Message<'_>, number: u64) -> Option<Outgoing> {
    let Kind::Request { id, .. } = &message.kind else { return None };
    let mut edits = vec![(*id, number.to_string())];
    let token = progress_token(&message.object);
    edits.extend(token.map(|raw| (raw, number.to_string())));
    Some(Outgoing {
        line: one_line(&splice(message.object.text(), &edits)?),
        id: (*id).to_owned(),
        token: token.map(str::to_owned),
    })
}

/// `params._meta.progressToken`, raw.
fn progress_token<'a>(request: &Object<'a>) -> Option<&'a str> {
    request.object("params").ok()??.object("_meta").ok()??.get("progressToken")
}

/// The process's answer with the client's own id.
pub(super) fn answer(message: &Message<'_>, id: &str) -> Option<String> {
    let Kind::Response { id: Some(number), .. } = &message.kind else { return None };
    splice(message.object.text(), &[(*number, id.to_owned())])
}

/// The progress token of a `notifications/progress`: its number, and the raw text that stands for it.
pub(super) fn progress<'a>(message: &Message<'a>) -> Option<(u64, &'a str)> {
    let raw = message.object.object("params").ok()??.get("progressToken")?;
    Some((raw.parse().ok()?, raw))
}

/// A `notifications/progress` with the client's own token in the place of `raw`.
pub(super) fn with_token(message: &Message<'_>, raw: &str, token: &str) -> Option<String> {
    splice(message.object.text(), &[(raw, token.to_owned())])
}

/// The client's id that a `notifications/cancelled` names, raw.
pub(super) fn cancelled(message: &Message<'_>) -> Option<String> {
    message.object.object("params").ok()??.get("requestId").map(str::to_owned)
}

/// `notifications/cancelled` for the process.
pub(super) fn cancel(number: u64, reason: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"{reason}"}}}}"#
    )
}

/// A message as one line: breaks can stand between JSON's tokens only, where a blank means the same.
pub(super) fn one_line(text: &str) -> String {
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_and_tokens_change_and_they_come_back() {
        let text = "{\"jsonrpc\":\"2.0\",\n \"id\":\"a\\u0062\",\"method\":\"tools/call\",\"params\":{\"_meta\":{\"progressToken\":\"t\"},\"arguments\":{\"id\":1.50}}}";
        let got = request(&Message::parse(text).unwrap(), 7).unwrap();
        let want = text.replace("\"a\\u0062\"", "7").replace("\"t\"", "7").replace('\n', " ");
        assert_eq!(got, Outgoing { line: want, id: "\"a\\u0062\"".into(), token: Some("\"t\"".into()) });

        let back = r#"{"result":{"x":1.50},"id":7,"jsonrpc":"2.0"}"#;
        assert_eq!(
            answer(&Message::parse(back).unwrap(), &got.id).unwrap(),
            back.replace(":7", ":\"a\\u0062\"")
        );
        let progress_text = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":7,"progressToken":7}}"#;
        let message = Message::parse(progress_text).unwrap();
        let (number, raw) = progress(&message).unwrap();
        assert_eq!(number, 7);
        let want = progress_text.replace("Token\":7", "Token\":\"t\"");
        assert_eq!(with_token(&message, raw, "\"t\"").unwrap(), want);
        let cancel_text = cancel(9, "gone");
        assert_eq!(cancelled(&Message::parse(&cancel_text).unwrap()).unwrap(), "9");
        assert!(request(&message, 1).is_none() && progress(&Message::parse(back).unwrap()).is_none());
    }
}
