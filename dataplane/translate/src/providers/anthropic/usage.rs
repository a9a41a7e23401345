//! Usage in Anthropic's terms: kinds are exclusive, as ours.

use crate::{
    Usage,
    json::{self, Num, Obj},
};
use serde::Deserialize;

/// The `usage` object of a message, of `message_start` or of `message_delta`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wire {
    input_tokens: Num,
    cache_read_input_tokens: Num,
    cache_creation_input_tokens: Num,
    cache_creation: Obj<CacheCreation>,
    output_tokens: Num,
    output_tokens_details: Obj<OutputDetails>,
    server_tool_use: Obj<ServerToolUse>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Num,
    ephemeral_1h_input_tokens: Num,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Num,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServerToolUse {
    web_search_requests: Num,
}

// === impl Wire ===

impl Wire {
    /// Takes the numbers over into `usage`. They are totals that only grow; `message_delta` may leave some out, and servers
    /// that imitate the API repeat some as 0.
    pub(crate) fn merge_into(&self, usage: &mut Usage) {
        let set = |slot: &mut u64, number: Num| *slot = number.get().max(*slot);
        set(&mut usage.input, self.input_tokens);
        set(&mut usage.cache_read, self.cache_read_input_tokens);
        set(&mut usage.output, self.output_tokens);
        if let Some(details) = &self.output_tokens_details.0 {
            set(&mut usage.reasoning, details.thinking_tokens);
        }
        usage.reasoning = usage.reasoning.min(usage.output);
        if let Some(tools) = &self.server_tool_use.0 {
            set(&mut usage.web_searches, tools.web_search_requests);
        }
        self.merge_cache_writes(usage);
    }

    /// The total of cache writes counts; the split by lifetime says how it is priced.
    fn merge_cache_writes(&self, usage: &mut Usage) {
        let known = usage.cache_write.saturating_add(usage.cache_write_1h);
        let split = self.cache_creation.0.as_ref();
        let (short, long) =
            split.map_or((0, 0), |s| (s.ephemeral_5m_input_tokens.get(), s.ephemeral_1h_input_tokens.get()));
        let total = self.cache_creation_input_tokens.0.unwrap_or(short.saturating_add(long)).max(known);
        usage.cache_write_1h = long.max(usage.cache_write_1h).min(total);
        usage.cache_write = total - usage.cache_write_1h;
    }
}

/// Appends `usage` as a Messages `usage` object.
pub(crate) fn write(usage: &Usage, out: &mut Vec<u8>) {
    let creation = usage.cache_write.saturating_add(usage.cache_write_1h);
    for (key, number) in [
        ("{\"input_tokens\":", usage.input),
        (",\"cache_creation_input_tokens\":", creation),
        (",\"cache_read_input_tokens\":", usage.cache_read),
        (",\"output_tokens\":", usage.output),
    ] {
        out.extend_from_slice(key.as_bytes());
        json::number(number, out);
    }
    if usage.reasoning > 0 {
        out.extend_from_slice(b",\"output_tokens_details\":{\"thinking_tokens\":");
        json::number(usage.reasoning, out);
        out.push(b'}');
    }
    if usage.web_searches > 0 {
        out.extend_from_slice(b",\"server_tool_use\":{\"web_search_requests\":");
        json::number(usage.web_searches, out);
        out.push(b'}');
    }
    out.push(b'}');
}
