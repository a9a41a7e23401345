//! What ends on the way of a request, handed to a thread that writes it into the instruments: these have locks that all requests
//! would share, and hash every attribute.

use super::{Labels, metrics::Instruments};
use std::{
    borrow::Cow,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};
use tollgate_translate::Usage;

/// Something that ended.
#[derive(Debug)]
pub(super) enum Event {
    Attempt(Box<Attempted>),
    Served(Box<Served>),
    Tool(Box<ToolCalled>),
    Mcp(Box<McpCalled>),
    Ejected { route: Arc<str>, backend: String },
    Store { operation: &'static str, seconds: f64, error: Option<&'static str> },
}

/// An attempt at a provider.
#[derive(Debug)]
pub(super) struct Attempted {
    pub(super) provider: &'static str,
    /// The model's name at the provider.
    pub(super) model: String,
    /// What the provider says it used.
    pub(super) answered: Option<String>,
    pub(super) error: Option<Cow<'static, str>>,
    pub(super) seconds: f64,
    /// Seconds until the first piece of a stream.
    pub(super) first: Option<f64>,
    pub(super) usage: Option<Usage>,
}

/// A model request as its client saw it.
#[derive(Debug, Clone)]
pub struct Served {
    /// `namespace/name` of the key.
    pub key: Arc<str>,
    /// Who answered, by [`super::semconv::provider`]; `None`: nobody.
    pub provider: Option<&'static str>,
    /// `route/model`; `None`: it led nowhere.
    pub model: Option<String>,
    /// The client's status.
    pub status: u16,
    /// From the first byte to the last.
    pub seconds: f64,
    /// Until the first byte of the answer.
    pub first: Option<f64>,
    /// Output tokens.
    pub output: u64,
    /// Whether the answer was a stream.
    pub stream: bool,
    /// Nano-USD charged.
    pub cost: u64,
    /// Nano-USD charged over the hold.
    pub overrun: u64,
}

/// A tool call as its client saw it.
#[derive(Debug, Clone)]
pub struct ToolCalled {
    /// The tool's name as the client called it; `None`: it does not exist.
    pub tool: Option<String>,
    /// The failure, one of few.
    pub error: Option<&'static str>,
    /// From the first byte to the last.
    pub seconds: f64,
}

/// A request to an MCP server.
#[derive(Debug)]
pub(super) struct McpCalled {
    pub(super) server: Arc<str>,
    pub(super) method: &'static str,
    pub(super) tool: Option<String>,
    pub(super) error: Option<Cow<'static, str>>,
    pub(super) seconds: f64,
}

/// Why a request was refused by a budget or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The budget is used up.
    Exhausted,
    /// The budget is held by others.
    Held,
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Requests at once.
    Concurrent,
    /// The store does not answer.
    Store,
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Queue(SyncSender<Event>);

/// How many may wait: what 20 ms bring at 200,000 a second.
const WAITING: usize = 4096;
/// How long the thread lets them gather: waking it costs the one who does.
const GATHER: Duration = Duration::from_millis(20);

// === impl Refused ===

impl Refused {
    /// All, in order.
    pub const ALL: [Refused; 6] = [
        Refused::Exhausted,
        Refused::Held,
        Refused::Requests,
        Refused::Tokens,
        Refused::Concurrent,
        Refused::Store,
    ];

    /// Its name as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::Exhausted => "budget_exhausted",
            Refused::Held => "budget_held",
            Refused::Requests => "requests_per_minute",
            Refused::Tokens => "tokens_per_minute",
            Refused::Concurrent => "concurrent",
            Refused::Store => "store_unavailable",
        }
    }
}

// === impl Queue ===

impl Queue {
    pub(super) fn start(instruments: Instruments, labels: Labels) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let started = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || write(instruments.labelled(labels), &receiver));
        if let Err(error) = started {
            tracing::error!(%error, "requests are not measured: no thread");
        }
        Queue(sender)
    }

    /// Hands one over; false when it is lost.
    pub(super) fn send(&self, event: Event) -> bool {
        self.0.try_send(event).is_ok()
    }
}

fn write(mut instruments: Instruments, from: &Receiver<Event>) {
    while let Ok(first) = from.recv() {
        instruments.write(first);
        thread::sleep(GATHER);
        while let Ok(next) = from.try_recv() {
            instruments.write(next);
        }
    }
}
