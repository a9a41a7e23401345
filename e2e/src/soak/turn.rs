//! One request of a client, and how it ended.

use super::{
    keys::{CHAT, Key, MAIN, Model},
    random::Random,
};
use crate::client::{Answer, Http, Mcp, Streaming, mcp::payload};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::{fmt, time::Instant};

/// The most output that is asked for.
const CAP: u64 = 500;
/// The input that the fake provider reports.
const INPUT: u64 = 10;
/// The most words of an error that are kept.
const WORDS: usize = 300;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Messages request with a whole answer.
    Whole,
    /// A Messages stream.
    Stream,
    /// One that takes seconds.
    Slow,
    /// One that takes minutes when nothing ends it: [`Running`].
    Long,
    /// A Chat Completions request, of either route.
    Chat(Model),
    /// A Chat Completions stream, of either route.
    ChatStream(Model),
    /// A stream whose client goes away in the middle.
    HangUp,
    /// A tool call.
    Tool,
}

/// A request that has ended.
#[derive(Debug, Clone)]
pub struct Turn {
    /// What was asked.
    pub kind: Kind,
    /// Whose.
    pub key: &'static str,
    /// See [`Key::tight`].
    pub tight: bool,
    /// See [`Key::allow`].
    pub allow: bool,
    /// At which gateway.
    pub gateway: usize,
    /// When it was sent.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// `x-request-id`, when an answer began.
    pub id: Option<String>,
    /// What a whole answer costs, in nano-USD.
    pub cost: u64,
    /// How.
    pub end: End,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A whole answer, as it was asked for.
    Answered,
    /// The client went away on purpose.
    HungUp,
    /// Another status than 200.
    Refused {
        /// The status.
        status: u16,
        /// Whether the answer says when to come back.
        retry_after: bool,
        /// Its words.
        words: String,
    },
    /// The connection broke.
    Broken {
        /// The status, when the answer had begun.
        status: Option<u16>,
        /// Its words.
        words: String,
    },
    /// A stream that ended with an error in it.
    ErrorEvent(String),
    /// A tool call that was answered with an error.
    ToolFailed(String),
    /// A whole answer that says something else than it should.
    Garbage(String),
}

/// Who asks where.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The client.
    pub http: &'a Http,
    /// The gateway's number.
    pub gateway: usize,
    /// Its address.
    pub url: &'a str,
    /// The key.
    pub key: &'a Key,
    /// Its token.
    pub token: &'a str,
}

// === impl Kind ===

impl Kind {
    /// One of them, as agents use them.
    pub fn deal(random: &mut Random) -> Self {
        let model = if random.below(2) == 0 { MAIN } else { CHAT };
        match random.below(100) {
            0..30 => Kind::Whole,
            30..50 => Kind::Stream,
            50..60 => Kind::Slow,
            60..70 => Kind::Chat(model),
            70..78 => Kind::ChatStream(model),
            78..84 => Kind::HangUp,
            _ => Kind::Tool,
        }
    }

    /// What it is called.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Whole => "message",
            Kind::Stream => "stream",
            Kind::Slow => "slow stream",
            Kind::Long => "long stream",
            Kind::Chat(_) => "chat",
            Kind::ChatStream(_) => "chat stream",
            Kind::HangUp => "hang-up",
            Kind::Tool => "tool call",
        }
    }

    /// Whether a model is asked.
    pub fn is_model(self) -> bool {
        self != Kind::Tool
    }

    fn model(self) -> Model {
        match self {
            Kind::Chat(model) | Kind::ChatStream(model) => model,
            _ => MAIN,
        }
    }

    fn is_chat(self) -> bool {
        matches!(self, Kind::Chat(_) | Kind::ChatStream(_))
    }

    fn is_stream(self) -> bool {
        !matches!(self, Kind::Whole | Kind::Chat(_) | Kind::Tool)
    }
}

// === impl End ===

impl End {
    /// What it is called in tables.
    pub fn words(&self) -> String {
        match self {
            End::Answered => "answered".to_owned(),
            End::HungUp => "hung up".to_owned(),
            End::Refused { status, .. } => status.to_string(),
            End::Broken { status: None, .. } => "no connection".to_owned(),
            End::Broken { status: Some(_), .. } => "broken off".to_owned(),
            End::ErrorEvent(_) => "error in the stream".to_owned(),
            End::ToolFailed(_) => "tool error".to_owned(),
            End::Garbage(_) => "garbage".to_owned(),
        }
    }

    /// Whether its answer had begun, as a good one.
    pub fn had_begun(&self) -> bool {
        !matches!(self, End::Refused { .. } | End::Broken { status: None, .. } | End::ToolFailed(_))
    }

    fn refused(answer: &Answer) -> Self {
        End::Refused {
            status: answer.status,
            retry_after: answer.header("retry-after").is_some(),
            words: clip(&answer.text()),
        }
    }

    fn broken(status: Option<u16>, error: &anyhow::Error) -> Self {
        End::Broken { status, words: clip(&format!("{error:#}")) }
    }
}

/// A long stream that has begun.
#[derive(Debug)]
pub struct Running {
    stream: Streaming,
    turn: Turn,
}

// === impl Running ===

impl Running {
    /// Opens one; how it ended, when it does not begin.
    pub async fn open(at: At<'_>, random: &mut Random) -> Result<Self, Turn> {
        let (kind, began) = (Kind::Long, Instant::now());
        let output = 20 + random.below(CAP - 20);
        let cost = INPUT * MAIN.input + output * MAIN.output;
        let (id, ended) = match open(at, kind, output, random).await {
            Ok((id, mut stream)) => match stream.next().await {
                Ok(Some(_)) => {
                    // How it ends is not known yet.
                    let turn = turn(at, kind, began, id, cost, End::HungUp);
                    return Ok(Running { stream, turn });
                }
                Ok(None) => (id, End::Broken { status: Some(200), words: "it was empty".to_owned() }),
                Err(error) => (id, End::broken(Some(200), &error)),
            },
            Err(refused) => refused,
        };
        Err(turn(at, kind, began, id, cost, ended))
    }

    /// Reads it to its end.
    pub async fn end(mut self) -> Turn {
        let end = read(&mut self.stream, u64::MAX).await;
        Turn { end, ended: Instant::now(), ..self.turn }
    }
}

/// Asks once. `n` makes the request another one than all others.
pub async fn ask(at: At<'_>, kind: Kind, random: &mut Random) -> Turn {
    let output = 20 + random.below(CAP - 20);
    let began = Instant::now();
    let (id, end) = match kind.is_stream() {
        true => streamed(at, kind, output, random).await,
        false => whole(at, kind, output, random).await,
    };
    let model = kind.model();
    let cost = INPUT * model.input + output * model.output;
    turn(at, kind, began, id, cost, end)
}

/// Calls a tool in a session, which may have been opened at another gateway.
pub async fn call(at: At<'_>, session: &mut Option<Mcp>) -> Turn {
    let began = Instant::now();
    let end = match tool(at, session).await {
        Ok(end) => end,
        Err(error) => End::broken(None, &error),
    };
    turn(at, Kind::Tool, began, None, 0, end)
}

fn turn(at: At<'_>, kind: Kind, began: Instant, id: Option<String>, cost: u64, end: End) -> Turn {
    let Key { name, tight, allow, .. } = *at.key;
    let (gateway, ended) = (at.gateway, Instant::now());
    Turn { kind, key: name, tight, allow, gateway, began, ended, id, cost, end }
}

fn request(
    at: At<'_>,
    kind: Kind,
    output: u64,
    random: &mut Random,
) -> (String, Vec<(&'static str, String)>, Value) {
    let pace = match kind {
        Kind::Slow => "[[deltas:30]] [[every:100]]",
        Kind::Long => "[[deltas:1800]] [[every:100]]",
        Kind::HangUp => "[[deltas:20]] [[every:50]]",
        _ => "[[deltas:6]]",
    };
    // Each delta has a character at least.
    let more = if kind == Kind::Long { "on and on ".repeat(240) } else { String::new() };
    let words = format!("[[usage:{INPUT},{output}]] {pace} [[say:soak {} {more}]]", random.draw());
    let mut body = json!({"model": kind.model().name, "max_tokens": CAP, "messages": [{"role": "user", "content": words}]});
    if kind.model() == CHAT
        && let Some(body) = body.as_object_mut()
    {
        body.remove("max_tokens");
        body.insert("max_completion_tokens".to_owned(), CAP.into());
    }
    if kind.is_stream() {
        body["stream"] = true.into();
    }
    if kind.is_chat() {
        let url = format!("{}/v1/chat/completions", at.url);
        return (url, vec![("authorization", format!("Bearer {}", at.token))], body);
    }
    let headers = vec![("x-api-key", at.token.to_owned()), ("anthropic-version", "2023-06-01".to_owned())];
    (format!("{}/anthropic/v1/messages", at.url), headers, body)
}

async fn whole(at: At<'_>, kind: Kind, output: u64, random: &mut Random) -> (Option<String>, End) {
    let (url, headers, body) = request(at, kind, output, random);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = match at.http.post(&url, &headers, &body).await {
        Ok(answer) => answer,
        // The client tells no half of a whole answer.
        Err(error) => {
            let began = format!("{error:#}").contains("broke off");
            return (None, End::broken(began.then_some(200), &error));
        }
    };
    let id = answer.header("x-request-id").map(str::to_owned);
    if answer.status != 200 {
        return (id, End::refused(&answer));
    }
    let said = answer.json().unwrap_or_default();
    let usage = said.pointer("/usage/output_tokens").or(said.pointer("/usage/completion_tokens"));
    let end = match usage.and_then(Value::as_u64) == Some(output) {
        true => End::Answered,
        false => End::Garbage(clip(&answer.text())),
    };
    (id, end)
}

async fn streamed(at: At<'_>, kind: Kind, output: u64, random: &mut Random) -> (Option<String>, End) {
    let (id, mut stream) = match open(at, kind, output, random).await {
        Ok(opened) => opened,
        Err(refused) => return refused,
    };
    let most = if kind == Kind::HangUp { 2 + random.below(12) } else { u64::MAX };
    (id, read(&mut stream, most).await)
}

/// A stream and its id; or how it ended before it began.
async fn open(
    at: At<'_>,
    kind: Kind,
    output: u64,
    random: &mut Random,
) -> Result<(Option<String>, Streaming), (Option<String>, End)> {
    let (url, headers, body) = request(at, kind, output, random);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let stream = match at.http.stream(&url, &headers, &body).await {
        Ok(stream) => stream,
        Err(error) => return Err((None, End::broken(None, &error))),
    };
    let id = stream.headers.get("x-request-id").and_then(|v| v.to_str().ok()).map(str::to_owned);
    if stream.status != 200 {
        return Err((id, refused(stream).await));
    }
    Ok((id, stream))
}

/// A refusal of a stream is a whole answer.
async fn refused(stream: Streaming) -> End {
    let (status, headers) = (stream.status, stream.headers.clone());
    match stream.whole().await {
        Ok(body) => End::refused(&Answer { status, headers, body }),
        Err(error) => End::broken(Some(status), &error),
    }
}

/// Reads a stream to its end, or so many events of it.
async fn read(stream: &mut Streaming, most: u64) -> End {
    let mut whole = false;
    for _ in 0..most {
        match stream.next().await {
            Ok(Some(event)) if event.name == "error" || event.json().get("error").is_some() => {
                return End::ErrorEvent(clip(&event.data));
            }
            Ok(Some(event)) => whole |= event.name == "message_stop" || event.data == "[DONE]",
            Ok(None) if whole => return End::Answered,
            Ok(None) => {
                return End::Broken { status: Some(stream.status), words: "it just ended".to_owned() };
            }
            Err(error) => return End::broken(Some(stream.status), &error),
        }
    }
    End::HungUp
}

async fn tool(at: At<'_>, session: &mut Option<Mcp>) -> anyhow::Result<End> {
    let url = format!("{}/mcp", at.url);
    if session.is_none() {
        *session = Some(Mcp::open(url.clone(), at.token).await?);
    }
    let mcp = session.as_mut().context("a session")?;
    mcp.go_to(&url);
    let params = json!({"name": "db__query", "arguments": {"sql": "select * from customers"}});
    let answer = mcp.send("tools/call", params).await?;
    if answer.status != 200 {
        return Ok(End::refused(&answer));
    }
    let said = payload(&answer)?;
    let rows = said.to_string().contains("Ada Lovelace");
    let failed = said.get("error").is_some() || said.pointer("/result/isError") == Some(&true.into());
    Ok(match (failed, rows) {
        (false, true) => End::Answered,
        (true, _) => End::ToolFailed(clip(&said.to_string())),
        (false, false) => End::Garbage(clip(&said.to_string())),
    })
}

fn clip(words: &str) -> String {
    words.chars().take(WORDS).collect()
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.ended.duration_since(self.began).as_secs_f64();
        let id = self.id.as_deref().unwrap_or("-");
        let (kind, key, gateway) = (self.kind.words(), self.key, self.gateway);
        write!(f, "a {kind} of {key} at gateway {gateway} (id {id}, {took:.2} s) ended: {:?}", self.end)
    }
}
