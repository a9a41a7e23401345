//! The ledger as the request path uses it: levels of a key's tree, what to hold, refusals in words.

use crate::{
    error::GatewayError,
    model::{Globs, Key},
    request::plan::Candidate,
    snapshot::KeyNode,
};
use jiff::Timestamp;
use smallvec::SmallVec;
use tollgate_ledger::{
    budget::Limit,
    charge::{BudgetState, Level, Reason, Refusal},
};
use tollgate_translate::{Usage, answer::Summary, head::Head};

/// The levels of one request, the key first.
pub type Levels<'a> = SmallVec<[Level<'a>; 4]>;

/// The least output cap the gateway lowers to by itself: below it an agent cannot work.
const OUTPUT_FLOOR: u64 = 4096;
/// What an agent needs above its thinking budget.
const ABOVE_THINKING: u64 = 1024;
/// The cap that is written when the client sent none and the model's own limit is unknown.
const DEFAULT_CAP: u64 = 32_000;

/// What is to be held for a request, before the ledger's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Nano-USD for the input at worst.
    pub input_cost: u64,
    /// Nano-USD per output token at worst.
    pub output_price: u64,
    /// Output tokens wanted.
    pub cap: u64,
    /// The least useful cap.
    pub floor: u64,
}

/// The levels of `node`'s tree with the budgets that count for `qualified`.
pub fn levels<'a>(node: &'a KeyNode, qualified: &str) -> Levels<'a> {
    node.path.iter().map(|key| level(key, |globs| globs.matches(qualified))).collect()
}

/// The levels with all their budgets, for pages.
pub fn all_levels(node: &KeyNode) -> Levels<'_> {
    node.path.iter().map(|key| level(key, |_| true)).collect()
}

fn level<'a>(key: &'a Key, counts: impl Fn(&Globs) -> bool) -> Level<'a> {
    Level {
        key: key.id.as_str(),
        budgets: key.budgets.iter().filter(|b| counts(&b.models)).map(|b| &b.budget).collect(),
        requests_per_minute: key.limits.requests_per_minute,
        tokens_per_minute: key.limits.tokens_per_minute,
        concurrent: key.limits.concurrent,
    }
}

/// Whether a budget in USD, or any budget, counts for the request.
pub fn budgeted(levels: &Levels<'_>) -> (bool, bool) {
    let usd = levels.iter().flat_map(|l| &l.budgets).any(|b| matches!(b.limit, Limit::NanoUsd(_)));
    (usd, levels.iter().any(|l| !l.budgets.is_empty()))
}

/// The worst case over all candidates. A model without a price on a key with a USD budget is refused unless the key says otherwise.
pub fn hold(
    node: &KeyNode,
    levels: &Levels<'_>,
    candidates: &[Candidate],
    head: &Head,
    input_upper: u64,
) -> Result<Hold, GatewayError> {
    let (usd, any) = budgeted(levels);
    let strict = node.path.iter().any(|k| k.spending.strict);
    let (mut input_cost, mut output_price) = (0, 0);
    for candidate in candidates {
        match &candidate.price {
            Some(price) => {
                input_cost = input_cost.max(price.worst_input(input_upper).saturating_mul(input_upper));
                output_price = output_price.max(price.worst_output(input_upper));
            }
            None if usd && node.path.iter().any(|k| k.spending.deny_unpriced) => {
                return Err(unpriced(node, candidate));
            }
            None => {}
        }
    }
    if !strict {
        // Charged afterwards only; the least hold still refuses once a budget is used up.
        (input_cost, output_price) = (1, 0);
    }
    let sent = head.output_cap.as_ref().map(|c| c.tokens);
    let known = candidates.iter().filter_map(|c| c.max_output).max();
    let cap = sent.unwrap_or_else(|| if any { known.unwrap_or(DEFAULT_CAP) } else { 0 });
    let lowers = strict && node.path.iter().all(|k| k.spending.lower_output_cap);
    let least = OUTPUT_FLOOR.max(head.thinking_budget.map_or(0, |b| b.saturating_add(ABOVE_THINKING)));
    Ok(Hold { input_cost, output_price, cap, floor: if lowers { cap.min(least) } else { cap } })
}

fn unpriced(node: &KeyNode, candidate: &Candidate) -> GatewayError {
    GatewayError::NotAllowed(format!(
        "model {} has no known price and key {} has a budget in USD: set spec.models[].price on route {}, or \
         spec.spending.unpriced: Allow on the key",
        candidate.resolved.qualified,
        node.id(),
        candidate.route().id.name()
    ))
}

/// What an answer without usage probably used: the input estimate, and the bytes it produced at four to a token.
pub fn estimate(summary: &Summary, input_tokens: u64) -> Usage {
    let seen = summary.usage.unwrap_or_default();
    let input = if seen.total_input() > 0 { seen.input } else { input_tokens };
    Usage { input, output: seen.output.max(summary.output_bytes.div_ceil(4)), ..seen }
}

/// A refusal in words for the client of `node`.
pub fn refused(node: &KeyNode, refusal: &Refusal) -> GatewayError {
    let whose = match refusal.key.as_str() == node.id().as_str() {
        true => format!("key {}", refusal.key),
        false => format!("key {} (parent of {})", refusal.key, node.id()),
    };
    let seconds = |ms: u64| ms.div_ceil(1000).max(1);
    let busy = |message: String, retry_after: u64| GatewayError::Busy { message, retry_after };
    match &refusal.reason {
        Reason::BudgetExhausted(state) => {
            GatewayError::BudgetExhausted(format!("{whose}: {}", used_up(state)))
        }
        Reason::BudgetBusy(state) => busy(
            format!(
                "{whose}: budget {:?} is held by requests under way ({}); try again in a moment",
                state.budget,
                amounts(state)
            ),
            2,
        ),
        Reason::Requests { limit, retry_after_ms } => {
            busy(format!("{whose} is limited to {limit} requests a minute"), seconds(*retry_after_ms))
        }
        Reason::Tokens { limit, retry_after_ms: Some(ms) } => {
            busy(format!("{whose} is limited to {limit} tokens a minute"), seconds(*ms))
        }
        Reason::Tokens { limit, retry_after_ms: None } => GatewayError::BadRequest(format!(
            "{whose} is limited to {limit} tokens a minute and this request alone is larger: it can never be served"
        )),
        Reason::Concurrent { limit } => busy(format!("{whose} is limited to {limit} requests at once"), 1),
    }
}

fn used_up(state: &BudgetState) -> String {
    let what = if state.committed >= state.limit.amount() { "is used up" } else { "has too little left" };
    format!("budget {:?} {what}: {}; it resets at {}", state.budget, amounts(state), instant(state.resets_at))
}

fn amounts(state: &BudgetState) -> String {
    match state.limit {
        Limit::NanoUsd(limit) => {
            let held = if state.held > 0 {
                format!(", {} held by requests under way", usd(state.held))
            } else {
                String::new()
            };
            let needs = usd(state.needed);
            format!(
                "spent {} of {}{held}, this request needs at least {needs}",
                usd(state.committed),
                usd(limit)
            )
        }
        Limit::Tokens(limit) => {
            format!(
                "{} of {limit} tokens used, this request needs at least {}",
                state.committed, state.needed
            )
        }
    }
}

/// Unix milliseconds as RFC 3339 in UTC, to the second.
fn instant(ms: i64) -> String {
    Timestamp::from_second(ms.div_euclid(1000)).map_or_else(|_| "(never)".to_owned(), |t| t.to_string())
}

/// Nano-USD in dollars: cents for amounts over a dollar, more digits below (`$200.00`, `$0.0123`, `$0.000004`).
pub fn usd(nano: u64) -> String {
    let (whole, rest) = (nano / 1_000_000_000, nano % 1_000_000_000);
    let digits: usize = match nano {
        0 | 1_000_000_000.. => 2,
        10_000_000.. => 4,
        _ => 6,
    };
    let unit = 10_u64.pow(9 - u32::try_from(digits).unwrap_or(2));
    let rounded =
        (u128::from(whole) * 1_000_000_000 + u128::from(rest) + u128::from(unit / 2)) / u128::from(unit);
    let scale = 10_u128.pow(u32::try_from(digits).unwrap_or(2));
    format!("${}.{:0digits$}", rounded / scale, rounded % scale)
}

#[cfg(test)]
mod tests {
    use super::usd;

    #[test]
    fn dollars_have_the_digits_that_matter() {
        for (nano, want) in [
            (0, "$0.00"),
            (200_000_000_000, "$200.00"),
            (12_345_678, "$0.0123"),
            (4_200, "$0.000004"),
            (999_999_999, "$1.0000"),
            (1_005_000_000, "$1.01"),
        ] {
            assert_eq!(usd(nano), want);
        }
    }
}
