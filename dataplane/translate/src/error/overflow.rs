//! A prompt that is longer than the model's context, said in the words by which Claude Code knows to compact its
//! conversation: `prompt is too long: N tokens > M maximum`. Every server says it differently.

use super::{Kind, body::Body};

/// The words, when the error is a context overflow; `None` when it is something else, or is said in these words already.
pub(super) fn words(kind: Kind, body: &Body) -> Option<String> {
    let message = body.message.as_deref().unwrap_or_default();
    let by_code = matches!(body.code.as_str(), "context_length_exceeded" | "exceed_context_size_error")
        || body.kind == "exceed_context_size_error";
    let may = by_code || matches!(kind, Kind::InvalidRequest | Kind::TooLarge | Kind::Api);
    let lower = message.to_ascii_lowercase();
    let known = lower.contains("prompt is too long") || lower.contains("exceed context limit");
    if !may || known || !(by_code || TELLING.iter().any(|words| lower.contains(words))) {
        return None;
    }
    let sizes = body.overflow.map(|(input, limit)| Sizes { input, output: 0, limit });
    Some(match sizes.or_else(|| Sizes::read(&lower)) {
        // The prompt alone fits: a smaller output cap is enough, and Claude Code finds it by these words.
        Some(Sizes { input, output, limit }) if output > 0 && input < limit => {
            format!(
                "input length and `max_tokens` exceed context limit: {input} + {output} > {limit}, decrease input length or `max_tokens` and try again"
            )
        }
        Some(Sizes { input, limit, .. }) => format!("prompt is too long: {input} tokens > {limit} maximum"),
        None => format!("prompt is too long: {message}"),
    })
}

/// What servers say of a prompt that is too long, in lower case.
const TELLING: [&str; 11] = [
    "maximum context length",                // OpenAI, vLLM, DeepSeek, Mistral
    "exceeds the context window",            // OpenAI Responses
    "input token count",                     // Gemini
    "input is too long for requested model", // Bedrock
    "exceeds the available context size",    // llama.cpp
    "too large for model with",              // Mistral
    "longer than the maximum model length",  // vLLM
    "context length exceeded",               // many
    "exceeds maximum context length",        // SGLang
    "exceeds the model's context length",    // TGI-like servers
    "prompt exceeds max length",             // GLM
];

/// The numbers of an overflow, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    input: u64,
    /// What was asked for as output, where the server counts it in; else 0.
    output: u64,
    limit: u64,
}

// === impl Sizes ===

impl Sizes {
    /// Reads the numbers by the words beside them.
    fn read(lower: &str) -> Option<Sizes> {
        let limit = number_after(lower, &LIMIT)?;
        let output = number_before(lower, &["in the completion", "for the completion", "in your completion"])
            .or_else(|| number_after(lower, &["'max_completion_tokens' is too large:", "is too large:"]))
            .unwrap_or(0);
        let input =
            number_before(lower, &["in the messages", "in your prompt", "of text input", "input tokens"])
                .or_else(|| number_after(lower, &INPUT))?;
        (output > 0 || input > limit).then_some(Sizes { input, output, limit })
    }
}

const LIMIT: [&str; 6] = [
    "maximum context length is",
    "maximum number of tokens allowed (",
    "maximum model length of",
    "too large for model with",
    "maximum context length of",
    "available context size (",
];

const INPUT: [&str; 6] = [
    "messages resulted in",
    "input token count (",
    "prompt (length",
    "prompt contains",
    "you requested",
    "request (",
];

/// The number that follows the first of `words` that is found with one.
fn number_after(text: &str, words: &[&str]) -> Option<u64> {
    words.iter().find_map(|word| {
        let rest = text.get(text.find(word)? + word.len()..)?.trim_start();
        number(rest.split(|c: char| !c.is_ascii_digit() && c != ',').next()?)
    })
}

/// The number right before the first of `words` that is found with one; `tokens` may stand between.
fn number_before(text: &str, words: &[&str]) -> Option<u64> {
    words.iter().find_map(|word| {
        let before = text.get(..text.find(word)?)?.trim_end();
        let before = before.strip_suffix("tokens").unwrap_or(before).trim_end();
        number(before.rsplit(|c: char| !c.is_ascii_digit() && c != ',').next()?)
    })
}

fn number(digits: &str) -> Option<u64> {
    digits.replace(',', "").parse().ok()
}
