//! Usage in OpenAI's terms: `prompt_tokens` contains the cached ones, `completion_tokens` the reasoning. Other servers with
//! this API differ in small ways, read here.

use crate::{
    Usage,
    json::{self, Num, Obj},
};
use serde::Deserialize;

/// The `usage` object of a completion or of a chunk.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wire {
    prompt_tokens: Num,
    completion_tokens: Num,
    total_tokens: Num,
    prompt_tokens_details: Obj<PromptDetails>,
    completion_tokens_details: Obj<CompletionDetails>,
    /// DeepSeek's name for the cached tokens.
    prompt_cache_hit_tokens: Num,
    /// LiteLLM passes Anthropic's names on beside OpenAI's.
    cache_read_input_tokens: Num,
    cache_creation_input_tokens: Num,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Num,
    cache_write_tokens: Num,
    /// Bifrost's names.
    cached_read_tokens: Num,
    cached_write_tokens: Num,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Num,
}

// === impl Wire ===

impl Wire {
    /// Exclusive kinds, never negative: the cached part is at most the prompt.
    pub(crate) fn usage(&self) -> Usage {
        let prompt = self.prompt_tokens.get();
        let details = self.prompt_tokens_details.0.as_ref();
        let detail = |pick: fn(&PromptDetails) -> Num| details.map(pick).unwrap_or_default();
        let cached = first([
            detail(|d| d.cached_tokens),
            detail(|d| d.cached_read_tokens),
            self.prompt_cache_hit_tokens,
            self.cache_read_input_tokens,
        ]);
        let written = first([
            detail(|d| d.cache_write_tokens),
            detail(|d| d.cached_write_tokens),
            self.cache_creation_input_tokens,
        ]);
        let cache_read = cached.min(prompt);
        let cache_write = written.min(prompt - cache_read);
        let reasoning =
            self.completion_tokens_details.0.as_ref().map(|d| d.reasoning_tokens.get()).unwrap_or_default();
        let output = self.output(reasoning);
        Usage {
            input: prompt - cache_read - cache_write,
            cache_read,
            cache_write,
            output,
            reasoning: reasoning.min(output),
            ..Usage::default()
        }
    }

    /// Output with the reasoning in it. Some servers (xAI) count reasoning beside `completion_tokens`: their total tells.
    fn output(&self, reasoning: u64) -> u64 {
        let completion = self.completion_tokens.get();
        let apart = completion.saturating_add(reasoning);
        let total = self.prompt_tokens.get().saturating_add(apart);
        if self.total_tokens.0 == Some(total) { apart } else { completion }
    }
}

/// The first number above zero.
fn first<const N: usize>(numbers: [Num; N]) -> u64 {
    numbers.into_iter().map(Num::get).find(|number| *number > 0).unwrap_or(0)
}

/// Appends `usage` as a Chat `usage` object.
pub(crate) fn write(usage: &Usage, out: &mut Vec<u8>) {
    let prompt = usage.total_input();
    for (key, number) in [
        ("{\"prompt_tokens\":", prompt),
        (",\"completion_tokens\":", usage.output),
        (",\"total_tokens\":", prompt.saturating_add(usage.output)),
        (",\"prompt_tokens_details\":{\"cached_tokens\":", usage.cache_read),
        (",\"cache_write_tokens\":", usage.cache_write.saturating_add(usage.cache_write_1h)),
        ("},\"completion_tokens_details\":{\"reasoning_tokens\":", usage.reasoning),
    ] {
        out.extend_from_slice(key.as_bytes());
        json::number(number, out);
    }
    out.extend_from_slice(b"}}");
}
