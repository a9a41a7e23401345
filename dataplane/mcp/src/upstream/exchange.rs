//! One POST's answer: JSON, an event stream, or an HTTP error, read piece by piece within bounds.

use super::{MAX_ANSWER, UpstreamError};
use crate::{
    message::{Kind, Message},
    sse::{Decoder, Event},
};

/// How much of an HTTP error's body is read.
const MAX_ERROR_BODY: usize = 16 << 10;
/// How much of it is repeated.
const SNIPPET: usize = 200;

/// The reading of one answer.
#[derive(Debug)]
pub struct Exchange {
    id: u64,
    mode: Mode,
    events: Vec<Event>,
    done: bool,
}

#[derive(Debug)]
enum Mode {
    Json(Vec<u8>),
    Stream(Decoder),
    Failed { status: u16, had_session: bool, body: Vec<u8> },
}

/// Something that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// The answer; nothing after it counts.
    Answer(Answer),
    /// A notification: its method and the whole message.
    Notification(String, String),
    /// A request of the server's: raw id, and method. It waits for an answer.
    Request(String, String),
}

/// The message that answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The whole message.
    pub text: String,
}

// === impl Answer ===

impl Answer {
    /// The result's JSON text, or the error's code and words.
    ///
    /// # Errors
    /// When the answer is an error.
    pub fn outcome(&self) -> Result<&str, String> {
        match Message::parse(&self.text).map(|m| m.kind) {
            Ok(Kind::Response { outcome: Ok(result), .. }) => Ok(result),
            Ok(Kind::Response { outcome: Err(error), .. }) => Err(error.chars().take(500).collect()),
            _ => Err("no answer".into()),
        }
    }
}

// === impl Exchange ===

impl Exchange {
    /// Begins to read the answer to the request `id`, from its status and `content-type`. `had_session`: the request named a session,
    /// so that 404 means that it is gone.
    ///
    /// # Errors
    /// When the answer cannot be MCP.
    pub fn open(
        id: u64,
        status: u16,
        content_type: Option<&str>,
        had_session: bool,
    ) -> Result<Self, UpstreamError> {
        let mime =
            content_type.and_then(|t| t.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
        let mode = match (status, mime.as_str()) {
            (200..=299, "application/json") => Mode::Json(Vec::new()),
            (200..=299, "text/event-stream") => Mode::Stream(Decoder::new(MAX_ANSWER)),
            (200..=299, _) => return Err(UpstreamError::NotMcp(mime.chars().take(60).collect())),
            (401 | 403, _) => return Err(UpstreamError::Unauthorized(status)),
            _ => Mode::Failed { status, had_session, body: Vec::new() },
        };
        Ok(Exchange { id, mode, events: Vec::new(), done: false })
    }

    /// Whether the upstream streams its answer.
    pub fn is_stream(&self) -> bool {
        matches!(self.mode, Mode::Stream(_))
    }

    /// Takes a piece of the body; what it completes goes to `out`.
    ///
    /// # Errors
    /// When the answer is too large or malformed: the exchange is over then.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Incoming>) -> Result<(), UpstreamError> {
        match &mut self.mode {
            Mode::Json(body) if body.len() + bytes.len() > MAX_ANSWER => return Err(UpstreamError::TooLarge),
            Mode::Json(body) => body.extend_from_slice(bytes),
            Mode::Failed { body, .. } => {
                let room = MAX_ERROR_BODY.saturating_sub(body.len()).min(bytes.len());
                body.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
            Mode::Stream(decoder) => {
                decoder.feed(bytes, &mut self.events).map_err(|_| UpstreamError::TooLarge)?;
                for event in std::mem::take(&mut self.events) {
                    // An empty event primes a resumable stream (2025-11-25); events of other names are not MCP's.
                    if !event.data.is_empty() && matches!(event.name.as_str(), "" | "message") {
                        self.message(event.data, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The body ended.
    ///
    /// # Errors
    /// When it ended without an answer.
    pub fn end(&mut self, out: &mut Vec<Incoming>) -> Result<(), UpstreamError> {
        match &mut self.mode {
            Mode::Json(body) => {
                let text = String::from_utf8(std::mem::take(body))
                    .map_err(|_| UpstreamError::Malformed("it is not UTF-8".into()))?;
                self.message(text, out)?;
            }
            Mode::Failed { status, had_session, body } => {
                let (status, had_session) = (*status, *had_session);
                let text = String::from_utf8_lossy(body).into_owned();
                return self.failed(status, had_session, text, out);
            }
            Mode::Stream(_) => {}
        }
        if self.done { Ok(()) } else { Err(UpstreamError::ClosedEarly) }
    }

    fn message(&mut self, text: String, out: &mut Vec<Incoming>) -> Result<(), UpstreamError> {
        if self.done {
            return Ok(());
        }
        let message = Message::parse(&text).map_err(|e| UpstreamError::Malformed(e.message))?;
        out.push(match message.kind {
            Kind::Request { id, method } => Incoming::Request(id.to_owned(), method.into_owned()),
            Kind::Notification { method } => Incoming::Notification(method.into_owned(), text),
            Kind::Response { id, outcome } => {
                if id.is_none_or(|id| id.parse() != Ok(self.id)) {
                    let what: String = outcome.unwrap_or_else(|error| error).chars().take(SNIPPET).collect();
                    return Err(UpstreamError::Malformed(format!("it answers another request, with {what}")));
                }
                self.done = true;
                Incoming::Answer(Answer { text })
            }
        });
        Ok(())
    }

    /// An HTTP error: a lost session, a JSON-RPC error that rode on it, or just a failure.
    fn failed(
        &mut self,
        status: u16,
        had_session: bool,
        text: String,
        out: &mut Vec<Incoming>,
    ) -> Result<(), UpstreamError> {
        // Some servers say 400 where the standard says 404; either way the request was not executed.
        let session_gone = status == 404 || (status == 400 && text.to_ascii_lowercase().contains("session"));
        if had_session && session_gone {
            return Err(UpstreamError::SessionGone);
        }
        if let Ok(message) = Message::parse(&text)
            && let Kind::Response { id: Some(id), outcome: Err(_) } = &message.kind
            && id.parse() == Ok(self.id)
        {
            self.done = true;
            out.push(Incoming::Answer(Answer { text }));
            return Ok(());
        }
        let words: String =
            text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SNIPPET).collect();
        let words = if words.is_empty() { words } else { format!(": {words}") };
        Err(UpstreamError::Status(status, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(status: u16, mime: &str, body: &[u8]) -> Result<Vec<Incoming>, UpstreamError> {
        let mut out = Vec::new();
        let mut exchange = Exchange::open(7, status, Some(mime), true)?;
        exchange.feed(body, &mut out)?;
        exchange.end(&mut out)?;
        Ok(out)
    }

    const ANSWER: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"x":[ ]}}"#;

    #[test]
    fn json_and_streams_give_the_same_answer() {
        let answer = Incoming::Answer(Answer { text: ANSWER.into() });
        assert_eq!(
            read(200, "Application/JSON; charset=utf-8", ANSWER.as_bytes()).unwrap(),
            std::slice::from_ref(&answer)
        );
        let stream = format!(
            "id: 1\ndata:\n\n: ping\n\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"m\"}}\n\ndata: {{\"jsonrpc\":\"2.0\",\"id\":\"s\",\"method\":\"ping\"}}\n\ndata: {ANSWER}\n\ndata: junk after\n\n"
        );
        let got = read(200, "text/event-stream", stream.as_bytes()).unwrap();
        assert!(matches!(&got[0], Incoming::Notification(m, _) if m == "m"));
        assert_eq!(got[1], Incoming::Request("\"s\"".into(), "ping".into()));
        assert_eq!(got[2..], [answer]);
    }

    #[test]
    fn failures_are_told_apart() {
        use UpstreamError as E;
        let json = "application/json";
        assert_eq!(read(404, json, b"{}"), Err(E::SessionGone));
        assert_eq!(read(400, json, b"Bad Request: No valid session ID provided"), Err(E::SessionGone));
        assert_eq!(read(403, json, b""), Err(E::Unauthorized(403)));
        assert_eq!(
            read(502, "text/html", b"<h1>\n bad </h1>"),
            Err(E::Status(502, ": <h1> bad </h1>".into()))
        );
        assert_eq!(read(200, "text/html", b""), Err(E::NotMcp("text/html".into())));
        assert_eq!(read(200, "text/event-stream", b"data: {"), Err(E::ClosedEarly));
        assert!(matches!(read(200, json, b"{"), Err(E::Malformed(_))));
        assert!(matches!(read(200, json, &ANSWER.replace('7', "8").into_bytes()), Err(E::Malformed(_))));
        let rpc = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"x"}}"#;
        assert!(matches!(&read(500, json, rpc.as_bytes()).unwrap()[..], [Incoming::Answer(_)]));
        let mut out = Vec::new();
        let mut exchange = Exchange::open(7, 200, Some(json), false).unwrap();
        assert_eq!(exchange.feed(&vec![b' '; MAX_ANSWER + 1], &mut out), Err(E::TooLarge));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            status in 200u16..600,
            stream: bool,
        ) {
            let mime = if stream { "text/event-stream" } else { "application/json" };
            _ = read(status, mime, &bytes);
        }
    }
}
