//! Neutral events: what every upstream's stream or body is decoded to, and every client's is encoded from.

use crate::{Usage, error::UpstreamError};

/// The most tool calls that one answer may suggest: far above any real answer; keeps a broken upstream from filling memory.
pub const MAX_TOOLS: usize = 1024;

/// One step of an answer. Texts are pieces: they append to the block of their kind that is open.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// What the upstream says of the answer itself.
    Start {
        /// The upstream's id of the answer.
        id: Option<&'a str>,
        /// The model that the upstream says it used.
        model: Option<&'a str>,
    },
    /// All usage known so far.
    Usage(Usage),
    /// Visible text.
    Text(&'a str),
    /// Reasoning text.
    Thinking(&'a str),
    /// The opaque proof of the reasoning before it, whole.
    Signature(&'a str),
    /// Reasoning that only its provider can read, whole.
    Redacted(&'a str),
    /// A tool call begins.
    ToolStart {
        /// Its ordinal: 0, 1, 2, … in the order of the starts.
        tool: usize,
        /// Its id; empty when the upstream gives none.
        id: &'a str,
        /// The tool's name; empty when the upstream never gave one: the answer is broken.
        name: &'a str,
    },
    /// A piece of a tool call's arguments.
    ToolArgs {
        /// The ordinal of a call that has begun.
        tool: usize,
        /// A piece of JSON text.
        json: &'a str,
    },
    /// The upstream ended the open block: a next one of the same kind is a block of its own.
    BlockEnd,
    /// Output was produced that has no place in a single answer (a second choice): its bytes count.
    Aside(u64),
    /// Why the answer ended. More events may follow (usage does).
    Stop {
        /// The reason.
        reason: Stop,
        /// The stop sequence that was met, when known.
        sequence: Option<&'a str>,
    },
    /// A sign of life.
    Ping,
    /// The upstream's error: nothing follows.
    Error(UpstreamError),
    /// The proper end: nothing follows.
    End,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The model was done.
    EndTurn,
    /// The model waits for tool results.
    ToolUse,
    /// The output cap was reached.
    MaxTokens,
    /// A stop sequence was met.
    StopSequence,
    /// The model or a filter refused.
    Refusal,
    /// The context window was full.
    ContextWindow,
    /// The provider paused a long turn; sending the answer back continues it.
    PauseTurn,
    /// A reason that this version does not know.
    Other(String),
}

// === impl Stop ===

impl Stop {
    /// Anthropic's word.
    pub fn as_str(&self) -> &str {
        match self {
            Stop::EndTurn => "end_turn",
            Stop::ToolUse => "tool_use",
            Stop::MaxTokens => "max_tokens",
            Stop::StopSequence => "stop_sequence",
            Stop::Refusal => "refusal",
            Stop::ContextWindow => "model_context_window_exceeded",
            Stop::PauseTurn => "pause_turn",
            Stop::Other(word) => word,
        }
    }

    /// The reason behind Anthropic's word.
    pub fn from_anthropic(word: &str) -> Self {
        match word {
            "end_turn" => Stop::EndTurn,
            "tool_use" => Stop::ToolUse,
            "max_tokens" => Stop::MaxTokens,
            "stop_sequence" => Stop::StopSequence,
            "refusal" => Stop::Refusal,
            "model_context_window_exceeded" => Stop::ContextWindow,
            "pause_turn" => Stop::PauseTurn,
            other => Stop::Other(other.to_owned()),
        }
    }

    /// Whether the answer was cut off: its last tool call may be incomplete.
    pub fn truncated(&self) -> bool {
        matches!(self, Stop::MaxTokens | Stop::ContextWindow)
    }

    /// Whether an answer that ends so must have content. A refusal or a cap of one token may well leave none.
    pub fn needs_content(&self) -> bool {
        matches!(self, Stop::EndTurn | Stop::ToolUse | Stop::StopSequence)
    }

    /// The reason that agrees with the content: whoever suggests a tool call waits for its result, whatever the upstream's
    /// word for that is; and nobody waits for the result of no call. Truncation and refusal stay what they are.
    pub fn agreeing(self, has_tools: bool) -> Self {
        match self {
            Stop::EndTurn if has_tools => Stop::ToolUse,
            Stop::ToolUse if !has_tools => Stop::EndTurn,
            other => other,
        }
    }
}
