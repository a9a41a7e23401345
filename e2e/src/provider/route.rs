//! From a request to an answer: credentials, rules for requests, the reply, its wire shape.

use super::{
    Api, Reply, Seen, State, chat,
    check::{self, Refusal},
    control, magic, messages,
};
use crate::http::{self, Body, Finished, Step};
use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use std::{io, sync::Arc, time::Duration};

/// An answer before it is sent.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body, in steps.
    pub steps: Vec<Step>,
    /// Close the connection instead.
    pub drop: bool,
    /// Before anything is sent.
    pub delay: Duration,
    /// Why the request was refused by the rules, or shows a leak.
    pub refused: Option<String>,
    /// See [`Seen::leak`].
    pub leak: Option<String>,
}

/// A request that passed the rules.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Which endpoint.
    pub api: Api,
    /// The model.
    pub model: &'a str,
    /// The whole body.
    pub body: &'a Value,
    /// The body's size in bytes.
    pub size: usize,
    /// Whether a stream is wanted.
    pub stream: bool,
}

/// The service function of the fake provider.
pub(super) async fn handle(state: Arc<State>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    if request.uri().path().starts_with("/_control") {
        return control::handle(&state, request).await;
    }
    if request.method() == Method::HEAD {
        return Ok(Response::new(http::full(Bytes::new()))); // clients warm their connection up with it
    }
    let (head, body) = request.into_parts();
    let body = http::read_body(body).await?;
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let api = api_of(&head.method, head.uri.path());
    let answer = answer(&state, api, &head.headers, &body);
    let finished = Finished::default();
    state.remember(Seen {
        n: 0,
        method: head.method.to_string(),
        path,
        api,
        headers: headers_of(&head.headers),
        body,
        status: answer.status,
        refused: answer.refused.clone(),
        leak: answer.leak.clone(),
        finished: finished.clone(),
    });
    tokio::time::sleep(answer.delay).await;
    if answer.drop {
        return Err(io::Error::new(io::ErrorKind::ConnectionReset, "closed on purpose"));
    }
    render(answer, finished)
}

fn api_of(method: &Method, path: &str) -> Option<Api> {
    match (method, path) {
        (&Method::POST, "/v1/messages") => Some(Api::Messages),
        (&Method::POST, "/v1/messages/count_tokens") => Some(Api::CountTokens),
        (&Method::POST, "/v1/chat/completions") => Some(Api::Chat),
        (&Method::GET, "/v1/models") => Some(Api::Models),
        _ => None,
    }
}

fn headers_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |v: &HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    headers.iter().map(|(n, v)| (n.as_str().to_owned(), text(v))).collect()
}

fn answer(state: &State, api: Option<Api>, headers: &HeaderMap, body: &Bytes) -> Answer {
    let anthropic =
        matches!(api, Some(Api::Messages | Api::CountTokens)) || headers.contains_key("anthropic-version");
    if let Some(leak) = check::leak(headers) {
        let refusal = Refusal::new(500, "api_error", format!("LEAK: {leak}"));
        return Answer { leak: Some(leak), ..error(anthropic, &refusal) };
    }
    if let Err(refusal) = check::credential(&state.keys, anthropic, headers) {
        return error(anthropic, &refusal);
    }
    let known = match api {
        None => Err(Refusal::new(404, "not_found_error", "Not Found".to_owned())),
        Some(Api::Models) => return models(state, anthropic),
        Some(api) => asked(state, api, headers, body),
    };
    known.unwrap_or_else(|refusal| error(anthropic, &refusal))
}

fn asked(state: &State, api: Api, headers: &HeaderMap, bytes: &Bytes) -> Result<Answer, Refusal> {
    let body = check::json(bytes)?;
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default();
    match api {
        Api::Chat => check::chat::check(&body)?,
        _ => check::messages::check(&body, headers, api == Api::CountTokens)?,
    }
    check::model(api, model)?;
    let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
    let asked = Asked { api, model, body: &body, size: bytes.len(), stream };
    let reply = reply_for(state, &asked);
    Ok(shape(state, &asked, &reply))
}

fn reply_for(state: &State, asked: &Asked<'_>) -> Reply {
    if let Some(reply) = state.take_reply(asked.api, asked.model) {
        return reply;
    }
    let turn = match asked.api {
        Api::Chat => chat::last_turn(asked.body),
        _ => messages::last_turn(asked.body),
    };
    if !turn.results.is_empty() {
        return Reply::text(format!("The tool answered: {}", clip(&turn.results.join("\n"), 4_000)));
    }
    let first = || state.first_failure(super::ids::hash(turn.text.as_bytes()));
    let mut reply = magic::reply(&turn.text, first).unwrap_or_default();
    if reply.text.is_none() && reply.tools.is_empty() {
        reply.text = Some(format!("You said: {}", clip(turn.text.trim(), 200)));
    }
    reply
}

/// What the last turn of a conversation says.
#[derive(Debug, Default)]
pub struct Turn {
    /// The user's words (without `<system-reminder>` blocks).
    pub text: String,
    /// Results of tools.
    pub results: Vec<String>,
}

fn clip(text: &str, most: usize) -> &str {
    let end = text.char_indices().map(|(i, _)| i).take_while(|i| *i <= most).last().unwrap_or(0);
    if text.len() <= most { text } else { text.get(..end).unwrap_or(text) }
}

fn shape(state: &State, asked: &Asked<'_>, reply: &Reply) -> Answer {
    let mut answer = if let Some(body) = &reply.body {
        let kind = reply.content_type.as_deref().unwrap_or("text/html");
        Answer::whole(reply.status.unwrap_or(200), kind, body.clone().into())
    } else if let Some(status) = reply.status.filter(|s| *s >= 400) {
        let kind =
            reply.error_type.clone().unwrap_or_else(|| check::error_type(asked.api, status).to_owned());
        let message = reply.message.clone().unwrap_or_else(|| "scripted error".to_owned());
        // Scripted errors are no refusals: they are what the test wanted.
        Answer { refused: None, ..error(asked.api != Api::Chat, &Refusal::new(status, &kind, message)) }
    } else {
        match asked.api {
            Api::Chat => chat::answer(state, asked, reply),
            Api::CountTokens => messages::count(asked),
            _ => messages::answer(state, asked, reply),
        }
    };
    answer.headers.extend(reply.headers.clone());
    answer.drop = reply.drop;
    answer.delay = reply.delay();
    pace(answer, reply)
}

/// Puts pauses and breaks among the steps.
fn pace(mut answer: Answer, reply: &Reply) -> Answer {
    let mut paced = Vec::with_capacity(answer.steps.len() + 2);
    for (i, step) in std::mem::take(&mut answer.steps).into_iter().enumerate() {
        if reply.break_after == Some(i) {
            paced.push(Step::Break);
            answer.steps = paced;
            return answer;
        }
        if reply.pause_after == Some(i) {
            paced.push(Step::Pause(Duration::from_millis(reply.pause_ms)));
        }
        if reply.every_ms > 0 && i > 0 {
            paced.push(Step::Pause(Duration::from_millis(reply.every_ms)));
        }
        paced.push(step);
    }
    if reply.break_after.is_some() {
        paced.push(Step::Break); // longer than the stream: at its very end
    }
    answer.steps = paced;
    answer
}

fn models(state: &State, anthropic: bool) -> Answer {
    if let Some(reply) = state.take_reply(Api::Models, "") {
        let status = reply.status.unwrap_or(200);
        let refusal = Refusal::new(status, "api_error", reply.message.unwrap_or_default());
        return Answer { refused: None, ..error(anthropic, &refusal) };
    }
    let list = if anthropic { messages::models() } else { chat::models() };
    Answer::json(200, &list)
}

/// An error in the API's shape.
pub fn error(anthropic: bool, refusal: &Refusal) -> Answer {
    let body = if anthropic { messages::error(refusal) } else { chat::error(refusal) };
    Answer { refused: Some(refusal.message.clone()), ..Answer::json(refusal.status, &body) }
}

fn render(answer: Answer, finished: Finished) -> io::Result<Response<Body>> {
    let whole = match answer.steps.as_slice() {
        [Step::Send(bytes)] => Some(bytes.clone()),
        _ => None,
    };
    let body = match whole {
        // A whole body has a length; a stream is chunked.
        Some(bytes) => {
            finished.set();
            http::full(bytes)
        }
        None => http::steps(answer.steps, finished),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(io::Error::other)?;
    for (name, value) in &answer.headers {
        let name: HeaderName = name.parse().map_err(io::Error::other)?;
        let value: HeaderValue = value.parse().map_err(io::Error::other)?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

// === impl Answer ===

impl Answer {
    /// A whole body.
    pub fn whole(status: u16, content_type: &str, body: Bytes) -> Self {
        Self::stream(status, content_type, vec![Step::Send(body)])
    }

    /// A JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::whole(status, "application/json", body.to_string().into())
    }

    /// A streamed body.
    pub fn stream(status: u16, content_type: &str, steps: Vec<Step>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Answer { status, headers, steps, drop: false, delay: Duration::ZERO, refused: None, leak: None }
    }
}
