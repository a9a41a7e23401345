//! What a translation could not carry over.

use super::{Degradation, RequestError};
use crate::Format;

/// The most degradations that one request reports; a client can send more unknown fields than a record should hold.
const MOST: usize = 32;

/// Collects degradations while a request is decoded, repaired and encoded.
#[derive(Debug)]
pub(crate) struct Report {
    from: Format,
    strict: bool,
    list: Vec<Degradation>,
    /// The first loss, for a strict target.
    lost: Option<Degradation>,
}

/// Fields that encoders speak of; each client format has its own name for them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field {
    Temperature,
    TopP,
    TopK,
    Stop,
    Thinking,
    Effort,
    Output,
    ToolChoice,
    ParallelTools,
    Document,
    Media,
    MidSystem,
}

// === impl Report ===

impl Report {
    pub(crate) fn new(from: Format, strict: bool) -> Self {
        Report { from, strict, list: Vec::new(), lost: None }
    }

    /// `field` is lost or weakened: an error where the target is strict.
    pub(crate) fn lost(&mut self, field: impl Into<String>, what: impl Into<String>) {
        let loss = Degradation { field: field.into(), what: what.into() };
        if self.lost.is_none() {
            self.lost = Some(loss.clone());
        }
        self.push(loss);
    }

    /// A field by the name that the client knows it by.
    pub(crate) fn lost_field(&mut self, field: Field, what: impl Into<String>) {
        self.lost(field.path(self.from), what);
    }

    /// Something broken was mended: reported, but no error for a strict target.
    pub(crate) fn mended(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.push(Degradation { field: field.into(), what: what.into() });
    }

    /// A field of the client's that this gateway has no word for.
    pub(crate) fn unknown(&mut self, key: &str) {
        self.lost(printable(key), "dropped: the target has no such field");
    }

    /// One entry a field and kind of loss, however often it happened.
    fn push(&mut self, degradation: Degradation) {
        if self.list.len() < MOST && !self.list.contains(&degradation) {
            self.list.push(degradation);
        }
    }

    pub(crate) fn finish(self) -> Result<Vec<Degradation>, RequestError> {
        match self.lost {
            Some(lost) if self.strict => Err(RequestError(format!(
                "`{}` cannot be sent to this model ({}), and its route is strict: leave the field out, or choose another model",
                lost.field, lost.what
            ))),
            _ => Ok(self.list),
        }
    }
}

/// A client's key, short and fit for a header.
pub(crate) fn printable(key: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '?' };
    key.chars().take(60).map(clean).collect()
}

// === impl Field ===

impl Field {
    fn path(self, from: Format) -> &'static str {
        let messages = from == Format::Messages;
        match self {
            Field::Temperature => "temperature",
            Field::TopP => "top_p",
            Field::TopK => "top_k",
            Field::Stop if messages => "stop_sequences",
            Field::Stop => "stop",
            Field::Thinking if messages => "thinking",
            Field::Thinking => "reasoning_effort",
            Field::Effort if messages => "output_config.effort",
            Field::Effort => "reasoning_effort",
            Field::Output if messages => "output_config.format",
            Field::Output => "response_format",
            Field::ToolChoice => "tool_choice",
            Field::ParallelTools if messages => "tool_choice.disable_parallel_tool_use",
            Field::ParallelTools => "parallel_tool_calls",
            Field::Document if messages => "messages.content.document",
            Field::Document => "messages.content.file",
            Field::Media if messages => "messages.content.image",
            Field::Media => "messages.content.image_url",
            Field::MidSystem => "messages.system",
        }
    }
}
