//! Rules: which request gets which reply. As JSON they are what `POST /_control/script` takes:
//! `{"api":"messages","model":"claude-*","times":1,"reply":{"status":529,"message":"Overloaded"}}`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Which of the fake's endpoints a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/messages/count_tokens`.
    CountTokens,
    /// `POST /v1/chat/completions`.
    Chat,
    /// `GET /v1/models`.
    Models,
}

/// A reply and the requests it is for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Only requests of this API; absent: the two that answer with text.
    pub api: Option<Api>,
    /// Only models like this (`*` at the end stands for anything); absent: any.
    pub model: Option<String>,
    /// How often; absent: once; 0: for ever.
    pub times: Option<u32>,
    /// What is answered.
    pub reply: Reply,
}

/// What is answered. Everything is optional; the default is a text of one sentence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reply {
    /// Reasoning before the text.
    pub thinking: Option<String>,
    /// The text; absent with tool calls: none.
    pub text: Option<String>,
    /// Tool calls, in parallel.
    pub tools: Vec<ToolCall>,
    /// The stop reason in the API's own words; absent: what fits.
    pub stop: Option<String>,
    /// Usage as given; absent: estimated from the bytes, with a prompt cache.
    pub usage: Option<UsageSpec>,
    /// No usage at all.
    pub no_usage: bool,
    /// An error (or any other) status.
    pub status: Option<u16>,
    /// Extra headers.
    pub headers: BTreeMap<String, String>,
    /// The error's type (Anthropic) or code (OpenAI); absent: what fits the status.
    pub error_type: Option<String>,
    /// The error's words.
    pub message: Option<String>,
    /// A body that is sent as it stands, whatever was asked: garbage.
    pub body: Option<String>,
    /// The content type of `body`.
    pub content_type: Option<String>,
    /// Milliseconds before anything is sent.
    pub delay_ms: u64,
    /// Milliseconds between events.
    pub every_ms: u64,
    /// After so many events comes silence of `pause_ms`.
    pub pause_after: Option<usize>,
    /// The silence's milliseconds.
    pub pause_ms: u64,
    /// After so many events the connection breaks off; 0: before any byte of the body.
    pub break_after: Option<usize>,
    /// The connection is closed without an answer.
    pub drop: bool,
    /// Cut the text into this many deltas.
    pub deltas: Option<usize>,
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The tool's name as the request lists it.
    pub name: String,
    /// Its arguments.
    pub input: Value,
    /// Its id; absent: a fresh one.
    #[serde(default)]
    pub id: Option<String>,
}

/// Tokens as the provider reports them, kinds exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageSpec {
    /// Input that was neither read from nor written to the cache.
    pub input: u64,
    /// Read from the cache.
    pub cache_read: u64,
    /// Written to the cache, five minutes.
    pub cache_write: u64,
    /// Written to the cache, one hour.
    pub cache_write_1h: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// The part of the output that is reasoning.
    pub reasoning: u64,
}

// === impl Rule ===

impl Rule {
    /// This reply, once, whatever is asked.
    pub fn once(reply: Reply) -> Self {
        Rule { reply, ..Rule::default() }
    }

    /// This reply for ever.
    pub fn always(reply: Reply) -> Self {
        Rule { reply, times: Some(0), ..Rule::default() }
    }

    /// Only for this model.
    pub fn model(self, model: &str) -> Self {
        Rule { model: Some(model.to_owned()), ..self }
    }

    /// Only for this API.
    pub fn api(self, api: Api) -> Self {
        Rule { api: Some(api), ..self }
    }

    pub(super) fn fits(&self, api: Api, model: &str) -> bool {
        let api_fits = match self.api {
            Some(only) => only == api,
            None => matches!(api, Api::Messages | Api::Chat),
        };
        let model_fits = match self.model.as_deref() {
            None => true,
            Some(glob) => match glob.strip_suffix('*') {
                Some(prefix) => model.starts_with(prefix),
                None => model == glob,
            },
        };
        api_fits && model_fits
    }

    /// Uses the rule once; true when it is used up.
    pub(super) fn spend(&mut self) -> bool {
        match self.times {
            Some(0) => false,
            Some(n) if n > 1 => {
                self.times = Some(n - 1);
                false
            }
            _ => true,
        }
    }
}

// === impl Reply ===

impl Reply {
    /// A plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Reply { text: Some(text.into()), ..Reply::default() }
    }

    /// One tool call.
    pub fn tool(name: &str, input: Value) -> Self {
        Reply::default().and_tool(name, input)
    }

    /// One more tool call.
    pub fn and_tool(mut self, name: &str, input: Value) -> Self {
        self.tools.push(ToolCall { name: name.to_owned(), input, id: None });
        self
    }

    /// An error.
    pub fn error(status: u16, message: &str) -> Self {
        Reply { status: Some(status), message: Some(message.to_owned()), ..Reply::default() }
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The delay before anything is sent.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }
}
