//! The neutral conversation that every format is decoded into and encoded from: Messages-shaped, a superset of what the
//! formats can say. N decoders and M encoders, no pairs. Texts, schemas and inputs are slices of the client's body.

use crate::raw::{Text, Value};
use std::borrow::Cow;

/// A request, format left behind.
#[derive(Debug, Default)]
pub(crate) struct Conversation<'a> {
    /// Instructions before the first turn, one entry a block.
    pub(crate) system: Vec<SystemBlock<'a>>,
    pub(crate) turns: Vec<Turn<'a>>,
    pub(crate) tools: Vec<Tool<'a>>,
    pub(crate) tool_choice: Option<ToolChoice<'a>>,
    /// The only tools that may be chosen, while decoding.
    pub(crate) allowed: Option<Vec<Cow<'a, str>>>,
    /// Whether several tool calls may come in one answer.
    pub(crate) parallel_tools: Option<bool>,
    /// The client's own output cap.
    pub(crate) cap: Option<u64>,
    pub(crate) stream: bool,
    pub(crate) sampling: Sampling<'a>,
    pub(crate) thinking: Option<Thinking>,
    pub(crate) effort: Option<Effort>,
    pub(crate) output: Option<OutputFormat<'a>>,
    /// The end user, as the client names them: never sent on as it stands unless the target's field means the same.
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) tier: Option<Tier>,
}

/// A block of instructions.
#[derive(Debug)]
pub(crate) struct SystemBlock<'a> {
    pub(crate) text: Text<'a>,
    /// `cache_control` as JSON.
    pub(crate) cache: Option<&'a str>,
}

/// Numbers stay as the client wrote them.
#[derive(Debug, Default)]
pub(crate) struct Sampling<'a> {
    pub(crate) temperature: Option<Value<'a>>,
    pub(crate) top_p: Option<Value<'a>>,
    pub(crate) top_k: Option<Value<'a>>,
    pub(crate) stop: Vec<Text<'a>>,
}

#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) role: Role,
    pub(crate) blocks: Vec<Block<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Assistant,
    /// Instructions in the middle of a conversation.
    System,
}

#[derive(Debug)]
pub(crate) enum Block<'a> {
    Text {
        text: Text<'a>,
        /// `cache_control` as JSON.
        cache: Option<&'a str>,
    },
    Media(Media<'a>),
    Thinking {
        text: Text<'a>,
        signature: Option<Text<'a>>,
    },
    RedactedThinking {
        data: Text<'a>,
    },
    ToolUse(ToolUse<'a>),
    ToolResult(ToolResult<'a>),
}

#[derive(Debug)]
pub(crate) struct ToolUse<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) name: Cow<'a, str>,
    /// A JSON object, as text.
    pub(crate) input: Cow<'a, str>,
}

#[derive(Debug)]
pub(crate) struct ToolResult<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) is_error: bool,
    /// Texts and media only.
    pub(crate) content: Vec<Block<'a>>,
}

/// An image or a document.
#[derive(Debug)]
pub(crate) struct Media<'a> {
    pub(crate) kind: MediaKind,
    pub(crate) source: Source<'a>,
    /// A title or file name.
    pub(crate) title: Option<Text<'a>>,
    /// `cache_control` as JSON.
    pub(crate) cache: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaKind {
    Image,
    Document,
}

#[derive(Debug)]
pub(crate) enum Source<'a> {
    Base64 { media_type: Cow<'a, str>, data: Text<'a> },
    Url(Text<'a>),
}

/// A tool that the client runs.
#[derive(Debug)]
pub(crate) struct Tool<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) description: Option<Text<'a>>,
    /// The schema of its input, when given.
    pub(crate) schema: Option<Value<'a>>,
    pub(crate) strict: bool,
    /// `cache_control` as JSON.
    pub(crate) cache: Option<&'a str>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ToolChoice<'a> {
    Auto,
    Any,
    None,
    Tool(Cow<'a, str>),
}

/// How the client asked for reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinking {
    Disabled,
    Budget(u64),
    Adaptive,
}

/// Degrees of reasoning, ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// The shape that the answer must have.
#[derive(Debug)]
pub(crate) enum OutputFormat<'a> {
    /// Any JSON object.
    Json,
    Schema {
        name: Option<Text<'a>>,
        schema: Value<'a>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Auto,
    Standard,
}

// === impl Conversation ===

impl<'a> Conversation<'a> {
    /// The tool calls of the history, in order.
    pub(crate) fn tool_uses(&self) -> impl Iterator<Item = &ToolUse<'a>> {
        self.turns.iter().flat_map(|turn| &turn.blocks).filter_map(|block| match block {
            Block::ToolUse(call) => Some(call),
            _ => None,
        })
    }
}

// === impl Block ===

impl<'a> Block<'a> {
    pub(crate) fn text(text: impl Into<Text<'a>>) -> Self {
        Block::Text { text: text.into(), cache: None }
    }
}

// === impl Effort ===

impl Effort {
    pub(crate) const ALL: [Effort; 7] = [
        Effort::None,
        Effort::Minimal,
        Effort::Low,
        Effort::Medium,
        Effort::High,
        Effort::Xhigh,
        Effort::Max,
    ];

    /// The word both OpenAI and Anthropic use.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Xhigh => "xhigh",
            Effort::Max => "max",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Effort> {
        Effort::ALL.into_iter().find(|effort| effort.as_str() == word)
    }

    /// The nearest of `accepted` (ascending) that is not higher, else the lowest that reasons at all.
    pub(crate) fn clamp_to(self, accepted: &[Effort]) -> Option<Effort> {
        let lower = accepted.iter().rev().find(|effort| **effort <= self && (**effort != Effort::None));
        let lower = if self == Effort::None { accepted.first() } else { lower };
        lower.or_else(|| accepted.iter().find(|effort| **effort != Effort::None)).copied()
    }
}
