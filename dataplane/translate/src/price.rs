//! The price catalogue and exact cost in nano-USD (1 USD = 1,000,000,000 nano-USD; integers only).

use crate::{Provider, Usage};

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
    /// Its context window.
    pub context: Option<u64>,
}

/// A set of models by provider and name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    _private: (),
}

// === impl Price ===

impl Price {
    /// The exact cost of `usage` in nano-USD; saturates.
    pub fn cost(&self, _usage: &Usage) -> u64 {
        0
    }

    /// The worst price per input token over cache writes and every tier reachable with `input` tokens.
    pub fn worst_input(&self, _input: u64) -> u64 {
        self.input
    }

    /// The worst price per output token over every tier reachable with `input` tokens of input.
    pub fn worst_output(&self, _input: u64) -> u64 {
        self.output
    }
}

// === impl Catalogue ===

impl Catalogue {
    /// The catalogue embedded at build time (`make prices` refreshes it; date and source inside).
    pub fn embedded() -> &'static Catalogue {
        static EMPTY: Catalogue = Catalogue { _private: () };
        &EMPTY
    }

    /// Looks a model up: exact name, then without region prefix, date and version suffix (`us.`, `anthropic.`, `@date`, `-v1:0`).
    pub fn find(&self, _provider: Provider, _model: &str) -> Option<&Model> {
        None
    }
}
