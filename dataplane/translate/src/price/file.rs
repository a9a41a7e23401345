//! The JSON of the embedded catalogue and of overrides:
//!
//! ```json
//! {"providers": {"OpenAICompatible": {"my-model": {"input": 3000, "output": 15000, "maxOutput": 32000}}}}
//! ```
//! Prices are whole nano-USD a token: 3 USD a million tokens are 3000. Absent prices follow from the others, see
//! [`Prices::price`].

use super::{Model, Price, Tier, catalogue::Source};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Why a file of prices was refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// It is not JSON of the right shape.
    #[error(
        "the price file is not valid: {0} (prices are whole nano-USD a token: 3 USD a million tokens are 3000)"
    )]
    Shape(#[from] serde_json::Error),
    /// A provider that does not exist.
    #[error("the price file names provider {name:?}; known are {known}")]
    Provider {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
    /// An entry that makes no sense.
    #[error("the price file's entry for {provider} {model:?} is not valid: {problem}")]
    Model {
        /// The provider.
        provider: &'static str,
        /// The model.
        model: String,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
}

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) source: Option<Source>,
    #[serde(default)]
    pub(super) providers: BTreeMap<String, BTreeMap<Box<str>, Entry>>,
}

/// One model. Its fields are listed here once more than in [`Prices`], because serde does not refuse unknown fields of
/// flattened structs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Entry {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write1h: Option<u64>,
    #[serde(default)]
    tiers: Vec<TierEntry>,
    web_search: Option<u64>,
    max_output: Option<u64>,
    context: Option<u64>,
    #[serde(default)]
    modes: BTreeMap<Box<str>, ModeEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ModeEntry {
    input: u64,
    output: u64,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write1h: Option<u64>,
    #[serde(default)]
    tiers: Vec<TierEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TierEntry {
    above: u64,
    input: u64,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write1h: Option<u64>,
}

/// The prices of an entry or a mode.
struct Prices<'a> {
    claude: bool,
    input: u64,
    output: u64,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    web_search: u64,
    tiers: &'a [TierEntry],
}

/// More than this for a token (0.1 USD) is a mistake of the unit.
const DEAREST: u64 = 100_000_000;

/// What a web search costs with every Claude model, 10 USD a thousand.
const CLAUDE_SEARCH: u64 = 10_000_000;

// === impl Entry ===

impl Entry {
    /// The model that this entry describes on top of `below`, what was known of it before. An entry with a price replaces
    /// the whole price, modes included; without one the price stays.
    pub(super) fn model(&self, name: &str, below: Option<&Model>) -> Result<Model, &'static str> {
        let mut model = below.cloned().unwrap_or_default();
        model.max_output = self.max_output.or(model.max_output);
        model.context = self.context.or(model.context);
        let (Some(input), Some(output)) = (self.input, self.output) else {
            return if self.has_prices() { Err("a price needs both input and output") } else { Ok(model) };
        };
        let claude = name.contains("claude");
        let base = Prices {
            claude,
            input,
            output,
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            cache_write_1h: self.cache_write1h,
            web_search: self.web_search.unwrap_or(if claude { CLAUDE_SEARCH } else { 0 }),
            tiers: &self.tiers,
        };
        model.price = Some(base.price()?);
        let modes = self.modes.iter().map(|(name, mode)| Ok((name.clone(), mode.prices(&base).price()?)));
        model.modes = modes.collect::<Result<_, &'static str>>()?;
        Ok(model)
    }

    fn has_prices(&self) -> bool {
        let prices =
            [self.input, self.output, self.cache_read, self.cache_write, self.cache_write1h, self.web_search];
        prices.iter().any(Option::is_some) || !self.tiers.is_empty() || !self.modes.is_empty()
    }
}

// === impl ModeEntry ===

impl ModeEntry {
    fn prices(&self, base: &Prices<'_>) -> Prices<'_> {
        Prices {
            claude: base.claude,
            input: self.input,
            output: self.output,
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            cache_write_1h: self.cache_write1h,
            web_search: base.web_search,
            tiers: &self.tiers,
        }
    }
}

// === impl Prices ===

impl Prices<'_> {
    /// Fills in what is absent. Claude: a cache read is a tenth of the input, a write five quarters, a write for an hour
    /// twice (Anthropic's price list). Other models: cached tokens are input like any other, so that no kind of token is
    /// ever free by omission. A tier's absent cache prices rise with its input.
    fn price(&self) -> Result<Price, &'static str> {
        let (read, write) = match self.claude {
            true => (self.input.div_ceil(10), self.input.saturating_mul(5).div_ceil(4)),
            false => (self.input, self.input),
        };
        let cache_write = self.cache_write.unwrap_or(write);
        let long = if self.claude { self.input.saturating_mul(2) } else { cache_write };
        let base = Price {
            input: self.input,
            cache_read: self.cache_read.unwrap_or(read),
            cache_write,
            cache_write_1h: self.cache_write_1h.unwrap_or(long),
            output: self.output,
            tiers: Vec::new(),
            web_search: self.web_search,
        };
        let mut tiers: Vec<Tier> = self.tiers.iter().map(|tier| tier.tier(&base)).collect();
        tiers.sort_by_key(|tier| tier.above);
        let all = || std::iter::once(&base).chain(tiers.iter().map(|tier| &tier.price));
        let kinds = |p: &Price| [p.input, p.cache_read, p.cache_write, p.cache_write_1h, p.output];
        if all().flat_map(kinds).any(|price| price > DEAREST) {
            return Err(
                "more than 0.1 USD a token; prices are nano-USD a token: 3 USD a million tokens are 3000",
            );
        }
        Ok(Price { tiers, ..base })
    }
}

// === impl TierEntry ===

impl TierEntry {
    fn tier(&self, base: &Price) -> Tier {
        let rise = |price: u64| {
            let raised = (u128::from(price) * u128::from(self.input)).div_ceil(u128::from(base.input.max(1)));
            u64::try_from(raised).unwrap_or(u64::MAX)
        };
        let price = Price {
            input: self.input,
            cache_read: self.cache_read.unwrap_or_else(|| rise(base.cache_read)),
            cache_write: self.cache_write.unwrap_or_else(|| rise(base.cache_write)),
            cache_write_1h: self.cache_write1h.unwrap_or_else(|| rise(base.cache_write_1h)),
            output: self.output.unwrap_or(base.output),
            tiers: Vec::new(),
            web_search: base.web_search,
        };
        Tier { above: self.above, price }
    }
}
