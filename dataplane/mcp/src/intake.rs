//! What a client's POST asks for: the era it is of, the checks of that era, and the requests it carries.

use crate::{
    error::{
        HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, PARSE, RpcError, SESSION_NOT_FOUND,
        UNSUPPORTED_VERSION,
    },
    json::{Object, quote},
    message::{self, Kind, Message},
    reply::Reply,
    session::ClientSession,
    version::{Era, Version},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::borrow::Cow;

/// The `_meta` key of a modern request's revision.
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The `_meta` key of a modern client's capabilities.
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// The headers that matter, as text; a header that is no text counts as an empty one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a str>,
    /// `Mcp-Session-Id`.
    pub session: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`.
    pub name: Option<&'a str>,
}

/// What a POST asks for.
#[derive(Debug)]
pub enum Intake<'a> {
    /// One request: its answer is the body.
    One(Box<Request<'a>>),
    /// A batch (2025-03-26): answers and errors go into one array; none at all is 202.
    Batch(Vec<Item<'a>>),
    /// A notification or a response: 202, whatever comes of it.
    Notice(Notice<'a>),
}

/// A part of a batch.
#[derive(Debug)]
pub enum Item<'a> {
    /// To be answered.
    Request(Box<Request<'a>>),
    /// Not to be answered.
    Notice(Notice<'a>),
    /// Answered already: a message.
    Refused(String),
}

/// A message that wants no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// `notifications/cancelled`: the raw id of the request, and the session it was made in.
    Cancelled {
        /// The session; `None` without one.
        session: Option<String>,
        /// Raw JSON text of the request's id.
        request: &'a str,
    },
    /// Nothing the gateway acts on.
    Other,
}

/// A request of either era, its checks passed.
#[derive(Debug)]
pub struct Request<'a> {
    /// The whole message.
    pub message: Message<'a>,
    /// Raw JSON text of the id.
    pub id: &'a str,
    /// What is asked for.
    pub method: Method<'a>,
    /// The era.
    pub era: Era,
    /// The revision.
    pub version: Version,
    /// The session (legacy only); `None`: served all the same, without one.
    pub session: Option<ClientSession>,
    /// Raw JSON text of `_meta.progressToken`.
    pub progress: Option<&'a str>,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method<'a> {
    /// `initialize`, and the revision it settles.
    Initialize(Version),
    /// `ping`.
    Ping,
    /// `server/discover`.
    Discover,
    /// `tools/list`, and the cursor.
    ListTools(Option<Cow<'a, str>>),
    /// `tools/call`, and the tool's name.
    CallTool(Cow<'a, str>),
    /// Not served here.
    Unknown(Cow<'a, str>),
}

struct Envelope<'a> {
    id: Option<&'a str>,
    era: Era,
    version: Version,
    session: Option<ClientSession>,
}

// === impl Intake ===

impl<'a> Intake<'a> {
    /// Reads a POST's body. `open` opens a session id (`None`: not ours, not this caller's, expired).
    ///
    /// # Errors
    /// The whole answer, with the status that the era wants.
    pub fn read(
        body: &'a [u8],
        headers: Headers<'_>,
        open: impl FnOnce(&str) -> Option<ClientSession>,
    ) -> Result<Self, Reply> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Reply::error(400, None, &RpcError::new(PARSE, "Not JSON: the body is not UTF-8")))?;
        match message::batch(text).map_err(|e| Reply::error(400, None, &e))? {
            Some(messages) => read_batch(&messages, headers, open),
            None => read_one(text, headers, open),
        }
    }
}

fn read_one<'a>(
    text: &'a str,
    headers: Headers<'_>,
    open: impl FnOnce(&str) -> Option<ClientSession>,
) -> Result<Intake<'a>, Reply> {
    let message = Message::parse(text).map_err(|e| Reply::error(400, None, &e))?;
    let (id, method) = match &message.kind {
        Kind::Request { id, method } => (Some(*id), Some(method.clone())),
        Kind::Notification { method } => (None, Some(method.clone())),
        Kind::Response { .. } => (None, None),
    };
    let params = message.params().map_err(|e| Reply::error(400, id, &e))?;
    let meta = match params.as_ref().map(|p| p.object("_meta")).transpose() {
        Ok(meta) => meta.flatten(),
        Err(e) => return Err(Reply::error(400, id, &RpcError::new(INVALID_PARAMS, e.to_string()))),
    };
    let asked = meta.as_ref().and_then(|m| m.get(META_VERSION));
    let modern_header =
        headers.version.is_some_and(|v| Version::parse(v).is_some_and(|v| v.era() == Era::Modern));
    let initializes = method.as_deref() == Some("initialize");
    let modern = method.is_some() && !initializes && (asked.is_some() || modern_header);
    let envelope = if modern || (asked.is_none() && method.as_deref() == Some("server/discover")) {
        let version = modern_checks(
            id,
            method.as_deref().unwrap_or_default(),
            params.as_ref(),
            meta.as_ref(),
            headers,
        )?;
        Envelope { id, era: Era::Modern, version, session: None }
    } else {
        // An `initialize` begins anew, so a stale session id or header beside it does not matter.
        let headers = if initializes { Headers::default() } else { headers };
        let (version, session) = legacy_checks(id, headers, open)?;
        Envelope { id, era: Era::Legacy, version, session }
    };
    finish(message, params, meta, envelope)
}

fn finish<'a>(
    message: Message<'a>,
    params: Option<Object<'a>>,
    meta: Option<Object<'a>>,
    envelope: Envelope<'a>,
) -> Result<Intake<'a>, Reply> {
    let Envelope { id, era, version, session } = envelope;
    let (Kind::Request { method, .. }, Some(id)) = (&message.kind, id) else {
        return Ok(Intake::Notice(notice(&message, params.as_ref(), session)));
    };
    let status = if era == Era::Modern { 400 } else { 200 };
    let method =
        parse_method(method.clone(), params.as_ref(), era).map_err(|e| Reply::error(status, Some(id), &e))?;
    let progress = meta.and_then(|m| m.get("progressToken")).filter(|t| *t != "null");
    Ok(Intake::One(Box::new(Request { id, method, era, version, session, progress, message })))
}

fn notice<'a>(
    message: &Message<'a>,
    params: Option<&Object<'a>>,
    session: Option<ClientSession>,
) -> Notice<'a> {
    match &message.kind {
        Kind::Notification { method } if method == "notifications/cancelled" => params
            .and_then(|p| p.get("requestId"))
            .map_or(Notice::Other, |request| Notice::Cancelled { session: session.map(|s| s.id), request }),
        _ => Notice::Other,
    }
}

fn parse_method<'a>(
    method: Cow<'a, str>,
    params: Option<&Object<'a>>,
    era: Era,
) -> Result<Method<'a>, RpcError> {
    let text = |key: &'static str| match params {
        Some(params) => params.string(key).map_err(|e| RpcError::new(INVALID_PARAMS, e.to_string())),
        None => Ok(None),
    };
    Ok(match (method.as_ref(), era) {
        ("initialize", Era::Legacy) => {
            let asked = text("protocolVersion")?.ok_or_else(|| {
                RpcError::new(
                    INVALID_PARAMS,
                    "initialize needs params.protocolVersion, the revision asked for",
                )
            })?;
            Method::Initialize(Version::negotiate(&asked))
        }
        ("ping", Era::Legacy) => Method::Ping,
        ("server/discover", Era::Modern) => Method::Discover,
        ("tools/list", _) => Method::ListTools(text("cursor")?),
        ("tools/call", _) => Method::CallTool(
            text("name")?
                .ok_or_else(|| RpcError::new(INVALID_PARAMS, "tools/call needs params.name, the tool"))?,
        ),
        _ => Method::Unknown(method),
    })
}

/// 2025-11-25, transports: an unknown session is 404, an unknown revision 400; without a session id the request is served statelessly
/// (some clients lose theirs).
fn legacy_checks(
    id: Option<&str>,
    headers: Headers<'_>,
    open: impl FnOnce(&str) -> Option<ClientSession>,
) -> Result<(Version, Option<ClientSession>), Reply> {
    let session = match headers.session {
        None => None,
        Some(token) => Some(open(token).ok_or_else(|| {
            let why = "Session not found: it is not this key's or it has expired. Initialize again.";
            Reply::error(404, id, &RpcError::new(SESSION_NOT_FOUND, why))
        })?),
    };
    let version = match headers.version {
        None => session.as_ref().map_or(Version::ASSUMED, |s| s.version),
        Some(text) => Version::parse(text).ok_or_else(|| Reply::error(400, id, &unsupported(text)))?,
    };
    Ok((version, session))
}

/// 2026-07-28, streamable HTTP, server validation.
fn modern_checks(
    id: Option<&str>,
    method: &str,
    params: Option<&Object<'_>>,
    meta: Option<&Object<'_>>,
    headers: Headers<'_>,
) -> Result<Version, Reply> {
    let refuse = |error: RpcError| Reply::error(400, id, &error);
    let missing = |key| {
        refuse(RpcError::new(
            INVALID_PARAMS,
            format!("params._meta[{key:?}] is missing or of the wrong type"),
        ))
    };
    let asked = meta.and_then(|m| m.string(META_VERSION).ok().flatten());
    let asked = asked.ok_or_else(|| missing(META_VERSION))?;
    mirrored("MCP-Protocol-Version", headers.version, &asked).map_err(refuse)?;
    let version = Version::parse(&asked)
        .filter(|v| v.era() == Era::Modern)
        .ok_or_else(|| refuse(unsupported(&asked)))?;
    if id.is_none() {
        // This revision defines no headers for notifications.
        return Ok(version);
    }
    mirrored("Mcp-Method", headers.method, method).map_err(refuse)?;
    let key = match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        _ => None,
    };
    if let Some(value) = key.and_then(|key| params?.string(key).ok().flatten()) {
        let header = headers.name.map(decode_header);
        mirrored("Mcp-Name", header.as_deref(), &value).map_err(refuse)?;
    }
    match meta.map(|m| m.object(META_CAPABILITIES)) {
        Some(Ok(Some(_))) => Ok(version),
        _ => Err(missing(META_CAPABILITIES)),
    }
}

fn mirrored(name: &str, header: Option<&str>, body: &str) -> Result<(), RpcError> {
    match header {
        Some(header) if header == body => Ok(()),
        Some(_) => Err(RpcError::new(
            HEADER_MISMATCH,
            format!("Header mismatch: the value of {name} is not the one in the body"),
        )),
        None => Err(RpcError::new(HEADER_MISMATCH, format!("Header mismatch: {name} is missing"))),
    }
}

/// `=?base64?…?=` to its text; anything else as it is.
fn decode_header(value: &str) -> Cow<'_, str> {
    value
        .strip_prefix("=?base64?")
        .and_then(|v| v.strip_suffix("?="))
        .and_then(|v| String::from_utf8(STANDARD.decode(v).ok()?).ok())
        .map_or(Cow::Borrowed(value), Cow::Owned)
}

fn unsupported(asked: &str) -> RpcError {
    let data = format!(r#"{{"supported":{},"requested":{}}}"#, Version::supported_json(), quote(asked));
    RpcError { data: Some(data), ..RpcError::new(UNSUPPORTED_VERSION, "Unsupported protocol version") }
}

fn read_batch<'a>(
    messages: &[&'a str],
    headers: Headers<'_>,
    open: impl FnOnce(&str) -> Option<ClientSession>,
) -> Result<Intake<'a>, Reply> {
    let (version, session) = legacy_checks(None, headers, open)?;
    if version != Version::V2025_03_26 {
        let why = format!("Batches exist only in 2025-03-26, and this is {}", version.as_str());
        return Err(Reply::error(400, None, &RpcError::new(INVALID_REQUEST, why)));
    }
    Ok(Intake::Batch(messages.iter().map(|text| batch_item(text, version, session.clone())).collect()))
}

fn batch_item(text: &str, version: Version, session: Option<ClientSession>) -> Item<'_> {
    let refused = |id: Option<&str>, e: &RpcError| Item::Refused(e.to_message(id));
    let message = match Message::parse(text) {
        Ok(message) => message,
        Err(e) => return refused(None, &e),
    };
    let id = match &message.kind {
        Kind::Request { id, .. } => Some(*id),
        _ => None,
    };
    let params = match message.params() {
        Ok(params) => params,
        Err(e) => return refused(id, &e),
    };
    let meta = params.as_ref().and_then(|p| p.object("_meta").ok().flatten());
    match finish(message, params, meta, Envelope { id, era: Era::Legacy, version, session }) {
        Ok(Intake::One(request)) if matches!(request.method, Method::Initialize(_)) => {
            refused(id, &RpcError::new(INVALID_REQUEST, "initialize cannot be part of a batch"))
        }
        Ok(Intake::One(request)) => Item::Request(request),
        Ok(Intake::Notice(notice)) => Item::Notice(notice),
        Ok(Intake::Batch(_)) => Item::Notice(Notice::Other),
        Err(reply) => Item::Refused(reply.body.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
