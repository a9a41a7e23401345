//! What OpenAI's model families and the kinds of server that speak Chat take. Data: a new family is a new row.

use crate::Provider;
use crate::request::conversation::Effort::{self, High, Low, Max, Medium, Minimal, None as Off, Xhigh};

/// What a kind of server takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    /// The field of the output cap.
    pub(crate) cap_field: &'static str,
    /// Whether reasoning models get their instructions as `developer` instead of `system`.
    pub(crate) developer: bool,
    /// Whether OpenAI's own fields are known (`safety_identifier`, `prompt_cache_key`, `service_tier`, `strict`, …);
    /// others answer unknown fields with a 400 or 422.
    pub(crate) own_fields: bool,
    /// Whether a message may have several text parts; many imitations only take a string.
    pub(crate) text_parts: bool,
    /// Whether files (PDF) can be sent.
    pub(crate) files: bool,
    /// The longest id of a tool call.
    pub(crate) id_max: usize,
    /// Whether unfinished schemas are refused, so that they must be completed.
    pub(crate) strict_schemas: bool,
}

/// What a family of models takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// How the names begin; the first row that fits counts.
    names: &'static [&'static str],
    /// Whether it reasons, and so refuses `temperature`, `top_p` and `stop` while it does.
    pub(crate) fixed_sampling: bool,
    /// The values of `reasoning_effort`, ascending; empty: the field is not sent.
    pub(crate) efforts: &'static [Effort],
    pub(crate) beside_tools: BesideTools,
    /// Whether `parallel_tool_calls` is known.
    pub(crate) parallel_tools: bool,
    /// Whether the reasoning of earlier answers is sent back as `reasoning_content` (the model loses its thread otherwise).
    pub(crate) replay_reasoning: bool,
}

/// What happens to `reasoning_effort` in a Chat request with tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BesideTools {
    Fine,
    /// It is refused together with tools.
    Omit,
    /// Tools are refused unless it says `none`.
    Off,
}

const PLAIN: Family = Family {
    names: &[],
    fixed_sampling: false,
    efforts: &[],
    beside_tools: BesideTools::Fine,
    parallel_tools: true,
    replay_reasoning: false,
};

const REASONING: Family = Family { fixed_sampling: true, ..PLAIN };

/// Rows in the order in which they are tried. Sources: translation.md §2.2 (quirks), §2.6; OpenAI's model pages of 2026.
const FAMILIES: &[Family] = &[
    Family { names: &["gpt-5-chat", "gpt-5.1-chat", "gpt-5.2-chat", "gpt-5.3-chat"], ..PLAIN },
    Family { names: &["gpt-5-pro"], efforts: &[High], ..REASONING },
    Family { names: &["gpt-5-codex"], efforts: &[Low, Medium, High], ..REASONING },
    Family { names: &["gpt-5.1-codex-max"], efforts: &[Off, Low, Medium, High, Xhigh], ..REASONING },
    Family { names: &["gpt-5.1"], efforts: &[Off, Low, Medium, High], ..REASONING },
    Family { names: &["gpt-5.2", "gpt-5.3"], efforts: &[Off, Low, Medium, High, Xhigh], ..REASONING },
    Family {
        names: &["gpt-5.4", "gpt-5.5"],
        efforts: &[Off, Low, Medium, High, Xhigh],
        beside_tools: BesideTools::Omit,
        ..REASONING
    },
    Family {
        names: &["gpt-5.", "gpt-6", "gpt-7"],
        efforts: &[Off, Low, Medium, High, Xhigh, Max],
        beside_tools: BesideTools::Off,
        ..REASONING
    },
    Family { names: &["gpt-5"], efforts: &[Minimal, Low, Medium, High], ..REASONING },
    Family { names: &["o1-mini", "o1-preview"], parallel_tools: false, ..REASONING },
    Family { names: &["o1", "o3", "o4"], efforts: &[Low, Medium, High], parallel_tools: false, ..REASONING },
    Family { names: &["gpt-oss"], efforts: &[Low, Medium, High], ..PLAIN },
    Family {
        names: &["deepseek", "kimi", "moonshot", "glm", "minimax", "qwen", "qwq", "mimo"],
        replay_reasoning: true,
        ..PLAIN
    },
];

/// The family of `model`: an upstream's model or deployment name, vendor prefixes allowed (`openai/gpt-5`, `openai.gpt-5`).
pub(crate) fn family(model: &str) -> Family {
    let lower = model.to_ascii_lowercase();
    let name = lower.rsplit('/').next().unwrap_or_default();
    let fits = |family: &&Family| family.names.iter().any(|start| begins_a_word(name, start));
    FAMILIES.iter().find(fits).copied().unwrap_or(PLAIN)
}

/// Whether `start` stands in `name` at the beginning or after a separator (deployments are called `team-gpt-5-eu`), and is not
/// cut off inside a version (`o1` is not in `o10`, `gpt-5` not in `gpt-50`).
fn begins_a_word(name: &str, start: &str) -> bool {
    name.match_indices(start).any(|(at, _)| {
        let before = name.get(..at).and_then(|s| s.chars().next_back());
        let after = name.get(at + start.len()..).and_then(|s| s.chars().next());
        let ends_in_digit = start.ends_with(|c: char| c.is_ascii_digit());
        before.is_none_or(|c| !c.is_ascii_alphanumeric())
            && !(ends_in_digit && after.is_some_and(|c| c.is_ascii_digit()))
    })
}

/// What the kind of server takes.
pub(crate) fn server(provider: Provider) -> Server {
    match provider {
        Provider::OpenAi | Provider::AzureOpenAi => Server {
            cap_field: "max_completion_tokens",
            developer: true,
            own_fields: true,
            text_parts: true,
            files: true,
            id_max: 40,
            strict_schemas: true,
        },
        _ => Server {
            cap_field: "max_tokens",
            developer: false,
            own_fields: false,
            text_parts: false,
            files: false,
            id_max: 64,
            strict_schemas: false,
        },
    }
}
