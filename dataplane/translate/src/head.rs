//! What the gateway must know of a request body before it decides anything, found in one scan that builds no tree;
//! and the splices of the byte-preserving pass-through.
//!
//! # Layout
//! - [`peek`](peek()): the scan
//! - [`splice`](splice()): the changed body

mod peek;
mod splice;

pub use peek::peek;
pub use splice::splice;

use std::ops::Range;

/// The parts of a request body that routing, authorisation and the ledger need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// `model`, unescaped. Never empty. A `[1m]` suffix is still on it: routing takes it off.
    pub model: String,
    /// Where the value of `model` stands in the body, quotes included.
    pub model_span: Range<usize>,
    /// `stream`; false when absent.
    pub stream: bool,
    /// The output cap: `max_tokens` (Messages, Chat) or `max_completion_tokens` (Chat; it counts when both are sent).
    pub output_cap: Option<OutputCap>,
    /// A Chat request's `max_tokens` beside the `max_completion_tokens` that counts. Servers disagree on which of the two
    /// they obey, so [`splice`](splice()) never lets this one stand above the cap that counts: call it when this is set.
    pub shadow_cap: Option<OutputCap>,
    /// Where `null` stands as the output cap's value: an added cap is written there, as a second key would be a duplicate.
    pub null_cap_span: Option<Range<usize>>,
    /// `thinking.budget_tokens`, when sent (Messages).
    pub thinking_budget: Option<u64>,
    /// Whether a Chat stream asked for its usage (`stream_options.include_usage: true`).
    pub include_usage: bool,
    /// Where the value of `stream_options` stands, when sent (Chat).
    pub stream_options_span: Option<Range<usize>>,
    /// How many tools the request offers.
    pub tools: usize,
    /// `metadata.user_id` (Messages) or `safety_identifier`, else `user` (Chat): to derive a session from; never logged raw.
    pub user: Option<String>,
    /// `n` choices asked (Chat); 1 otherwise. Multiplies the worst-case output.
    pub choices: u64,
    /// Just after the opening brace of the body: where a missing field is inserted.
    pub insert_at: usize,
    /// Images, and how many bytes of the body are theirs.
    pub images: Images,
    /// Whether a Messages body carries reasoning that only another provider can read (it came from a translated answer).
    /// Anthropic would refuse the request for good; [`splice`](splice()) takes those blocks out: call it when this is set.
    pub foreign_reasoning: bool,
    /// Ways to be served that may have a price of their own ([`crate::price::Model::price_in`]): the values of `service_tier`,
    /// `speed` and `inference_geo`, as sent. A translation carries none of the dearer ones over.
    pub modes: Vec<Box<str>>,
    /// The most web searches that the provider may run of itself for this request (Messages' server tool); 0 without the tool.
    pub web_searches: u64,
}

/// Images of a body: inline ones are bytes that are no text, so they must not be estimated as text; of the others only an address
/// is in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Images {
    /// How many there are inline (small ones, under 4 kB, pass for text).
    pub count: u64,
    /// The length of their base64 in the body, in bytes.
    pub bytes: usize,
    /// At most how many images and documents there are besides: by URL or file id, or inline but small.
    pub others: u64,
}

/// The output cap a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputCap {
    /// The number of tokens.
    pub tokens: u64,
    /// Where the number stands in the body.
    pub span: Range<usize>,
}

/// Why a body cannot be used at all (a 400), in words for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBody(pub String);

/// The changes a pass-through makes to a body. `None` leaves a part as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Splices<'a> {
    /// The upstream's name of the model.
    pub model: Option<&'a str>,
    /// A lowered or added output cap.
    pub output_cap: Option<u64>,
    /// Ask a Chat stream for its usage (the extra chunk is taken out of the answer again).
    pub include_usage: bool,
    /// The field that an added cap is written as; `None`: the format's own (`max_tokens` in Messages,
    /// `max_completion_tokens` in Chat). Servers that only imitate OpenAI want `Some("max_tokens")`.
    pub cap_field: Option<&'static str>,
}

/// The most tokens that one image can cost at any provider (Claude's largest size, rounded up).
const IMAGE_TOKENS_UPPER: u64 = 5_000;

// === impl Head ===

impl Head {
    /// An estimate of the input tokens for holds that is never too low for text and images (a long document of which the body
    /// holds only the address can be more). It knows images from text, which
    /// [`estimate_input_tokens_upper`](crate::request::estimate_input_tokens_upper) cannot.
    pub fn input_tokens_upper(&self, body_len: usize) -> u64 {
        let text = body_len.saturating_sub(self.images.bytes);
        crate::request::estimate_input_tokens_upper(text).saturating_add(
            self.images.count.saturating_add(self.images.others).saturating_mul(IMAGE_TOKENS_UPPER),
        )
    }

    /// The likely input tokens, for rates: [`estimate_input_tokens`](crate::request::estimate_input_tokens) of the text, and 1,500 an image.
    pub fn input_tokens_likely(&self, body_len: usize) -> u64 {
        let text = body_len.saturating_sub(self.images.bytes);
        crate::request::estimate_input_tokens(text).saturating_add(self.images.count.saturating_mul(1_500))
    }
}

#[cfg(test)]
mod tests;
