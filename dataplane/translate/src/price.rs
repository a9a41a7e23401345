//! The price catalogue and exact cost in nano-USD (1 USD = 1,000,000,000 nano-USD; integers only).
//!
//! # Layout
//! - `price.rs`: prices, exact and worst cost
//! - `catalogue`: the embedded catalogue, overrides, lookup
//! - `file`: the JSON of both
//! - `names`: what is left of a model's name without region, vendor, version and date

mod catalogue;
mod file;
mod names;
#[cfg(test)]
mod tests;

pub use catalogue::{Catalogue, Source};
pub use file::CatalogueError;

use crate::Usage;

/// Prices of one model, in nano-USD per token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Price {
    /// Plain input.
    pub input: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to the 5-minute cache.
    pub cache_write: u64,
    /// Input written to the 1-hour cache.
    pub cache_write_1h: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// Dearer prices from a total input on, ascending; the tier decides for all tokens of the request.
    pub tiers: Vec<Tier>,
    /// Per web search.
    pub web_search: u64,
}

/// A long-context tier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tier {
    /// The tier holds when total input is above this.
    pub above: u64,
    /// The prices in it (its own `tiers` empty).
    pub price: Price,
}

/// What the catalogue knows of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Model {
    /// Its prices, when known; never silently zero.
    pub price: Option<Price>,
    /// The most output tokens it can make.
    pub max_output: Option<u64>,
    /// The most input tokens it takes: its context window, where the provider does not count output apart.
    pub context: Option<u64>,
    /// Its prices where a client asks to be served in another way: `priority` (OpenAI's, Azure's, Gemini's and Bedrock's
    /// service tier), `fast` (Anthropic's speed), `us` (Anthropic's `inference_geo`).
    pub modes: Vec<(Box<str>, Price)>,
}

// === impl Price ===

impl Price {
    /// The exact cost of `usage` in nano-USD; saturates. A tier that is reached by the total input (cached tokens
    /// included) prices all tokens of the request.
    pub fn cost(&self, usage: &Usage) -> u64 {
        let total = usage.total_input();
        let tier = self.tiers.iter().rfind(|tier| total > tier.above);
        let price = tier.map_or(self, |tier| &tier.price);
        let parts = [
            (usage.input, price.input),
            (usage.cache_read, price.cache_read),
            (usage.cache_write, price.cache_write),
            (usage.cache_write_1h, price.cache_write_1h),
            (usage.output, price.output),
            (usage.web_searches, self.web_search),
        ];
        // Six products of two 64-bit numbers may pass 128 bits only together.
        let sum = parts
            .iter()
            .fold(0_u128, |sum, (n, each)| sum.saturating_add(u128::from(*n) * u128::from(*each)));
        u64::try_from(sum).unwrap_or(u64::MAX)
    }

    /// The worst price per input token over cache writes and every tier reachable with `input` tokens.
    pub fn worst_input(&self, input: u64) -> u64 {
        self.worst(input, |p| p.input.max(p.cache_read).max(p.cache_write).max(p.cache_write_1h))
    }

    /// The worst price per output token over every tier reachable with `input` tokens of input.
    pub fn worst_output(&self, input: u64) -> u64 {
        self.worst(input, |p| p.output)
    }

    fn worst(&self, input: u64, of: impl Fn(&Price) -> u64) -> u64 {
        let reachable = self.tiers.iter().filter(|tier| input > tier.above);
        reachable.map(|tier| of(&tier.price)).fold(of(self), u64::max)
    }
}

// === impl Model ===

impl Model {
    /// The price when served in `mode` (see [`Model::modes`]): the plain price where the mode has none of its own.
    pub fn price_in(&self, mode: &str) -> Option<&Price> {
        let own = self.modes.iter().find(|(name, _)| **name == *mode);
        own.map(|(_, price)| price).or(self.price.as_ref())
    }
}
