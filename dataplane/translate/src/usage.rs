//! Tokens by kind, as they are priced.

/// What an answer used. Kinds are exclusive (Anthropic's convention): `input` does not contain the cached tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Input tokens that were neither read from nor written to a cache.
    pub input: u64,
    /// Input tokens read from the provider's prompt cache.
    pub cache_read: u64,
    /// Input tokens written to a cache with the short (5 minutes) lifetime.
    pub cache_write: u64,
    /// Input tokens written to a cache with the long (1 hour) lifetime.
    pub cache_write_1h: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// The part of `output` that was reasoning.
    pub reasoning: u64,
    /// Web searches the provider ran.
    pub web_searches: u64,
}

// === impl Usage ===

impl Usage {
    /// Both together, kind by kind; saturates.
    pub fn plus(self, other: Usage) -> Usage {
        Usage {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            web_searches: self.web_searches.saturating_add(other.web_searches),
        }
    }

    /// All input tokens: what decides a price tier.
    pub fn total_input(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_1h)
    }
}
