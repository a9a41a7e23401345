//! The pages.

pub(super) mod list;
pub(super) mod record;
pub(super) mod spend;

use crate::records::{Kept, Listed, Store};
use uuid::Uuid;

use super::format::{duration, instant, short, usd, utc};

/// One record as a row, all in words.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) id: String,
    pub(super) at: String,
    pub(super) at_utc: String,
    pub(super) status: u16,
    pub(super) failed: bool,
    /// `ok`, `warn` (the client's part) or `bad`.
    pub(super) tone: &'static str,
    pub(super) key: String,
    pub(super) tool: bool,
    /// The model, or the tool.
    pub(super) what: String,
    pub(super) error: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) reply: Option<String>,
    /// Why there are no words, when there are none.
    pub(super) nothing: Option<&'static str>,
    pub(super) tokens: Option<(String, String)>,
    pub(super) cost: String,
    pub(super) latency: String,
}

/// Periods to choose from: value and label.
pub(super) const PERIODS: &[(&str, &str)] = &[
    ("", "any time"),
    ("15m", "15 minutes"),
    ("1h", "1 hour"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
];

/// Now, Unix milliseconds.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What whoever looks should know of the records themselves. Not why: an error's words are for the log.
pub(super) fn notice(store: &Store) -> Option<String> {
    let trouble = store.trouble()?;
    Some(format!(
        "Since {} UTC the records' database has not taken what this gateway records. Requests are served all the same; \
         their records wait here and are delivered when it is back.",
        instant(trouble.since)
    ))
}

/// An id from a URL.
pub(super) fn record_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}

/// Why a record has no content to show.
pub(super) fn no_content(kept: Kept) -> &'static str {
    match kept {
        Kept::None | Kept::Metadata => "The key’s logging policy keeps no content.",
        Kept::Full => "Nothing was said.",
        Kept::Dropped => "The content was dropped under load; what was charged is complete.",
    }
}

// === impl Row ===

impl Row {
    pub(super) fn new(r: &Listed) -> Self {
        let silent = r.prompt.is_none() && r.reply.is_none() && r.error.is_none();
        let nothing = match r.content {
            Kept::Full => "",
            Kept::Dropped => "content dropped under load",
            Kept::None | Kept::Metadata => "content not kept",
        };
        let what = match r.kind {
            "tool" => r.tool.clone(),
            _ => r.model.clone().or_else(|| r.model_asked.clone()),
        };
        Row {
            seq: r.seq,
            id: r.id.to_string(),
            at: instant(r.at),
            at_utc: utc(r.at),
            status: r.status,
            failed: r.status >= 400 || r.is_error,
            tone: tone(r),
            key: r.key().to_owned(),
            tool: r.kind == "tool",
            what: what.unwrap_or_default(),
            error: r.error.clone(),
            prompt: r.prompt.clone().filter(|_| r.error.is_none() || r.reply.is_none()),
            reply: r.reply.clone(),
            nothing: silent.then_some(nothing),
            tokens: r.tokens.map(|t| (short(t.total_input()), short(t.output))),
            cost: cost(r),
            latency: duration(r.total_us),
        }
    }
}

fn tone(r: &Listed) -> &'static str {
    match r.status {
        500.. => "bad",
        400.. => "warn",
        _ if r.is_error => "warn",
        _ => "ok",
    }
}

/// The cost in words; nothing where nothing was used.
pub(super) fn cost(r: &Listed) -> String {
    match (r.cost, r.tokens) {
        (Some(0), None) | (None, None) => String::new(),
        (Some(nano), _) => usd(nano),
        (None, Some(_)) => "no price".to_owned(),
    }
}
