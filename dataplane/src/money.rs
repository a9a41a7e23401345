//! The ledger as the request path uses it: levels of a key's tree, what to hold, refusals in words.

use crate::{
    error::GatewayError,
    ledger::Refused,
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
use tollgate_translate::{Format, Usage, answer::Summary, head::Head};

/// The levels of one request, the key first.
pub type Levels<'a> = SmallVec<[Level<'a>; 4]>;

/// The least output cap the gateway lowers to by itself: below it an agent cannot work.
const OUTPUT_FLOOR: u64 = 4096;
/// What an agent needs above its thinking budget.
const ABOVE_THINKING: u64 = 1024;
/// The cap that is written when the client sent none and the model's own limit is unknown.
const DEFAULT_CAP: u64 = 32_000;

/// What is to be held for a request, before the ledger's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hold {
    /// Input tokens at worst, for budgets in tokens.
    pub input_tokens: u64,
    /// Nano-USD for the input at worst.
    pub input_cost: u64,
    /// Nano-USD per output token at worst.
    pub output_price: u64,
    /// Output tokens wanted.
    pub cap: u64,
    /// The least useful cap.
    pub floor: u64,
    /// Whether the granted cap is written into the request; else the client's own stays.
    pub writes: bool,
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

/// Whether the same budgets of `node`'s tree count for both models.
pub fn same_budgets(node: &KeyNode, one: &str, other: &str) -> bool {
    let mut budgets = node.path.iter().flat_map(|key| &key.budgets);
    one == other || budgets.all(|b| b.models.matches(one) == b.models.matches(other))
}

/// Takes out the candidates without a price whose model counts against a budget in USD, unless the keys say otherwise.
///
/// # Errors
/// When none is left.
pub fn drop_unpriced(node: &KeyNode, candidates: &mut Vec<Candidate>) -> Result<(), GatewayError> {
    if candidates.iter().all(|c| c.price().is_some()) || !node.path.iter().any(|k| k.spending.deny_unpriced) {
        return Ok(());
    }
    let in_usd = |qualified: &str| {
        let mut budgets = node.path.iter().flat_map(|key| &key.budgets);
        budgets.any(|b| matches!(b.budget.limit, Limit::NanoUsd(_)) && b.models.matches(qualified))
    };
    let usable = |c: &Candidate| c.price().is_some() || !in_usd(&c.resolved.qualified);
    match candidates.iter().any(usable) {
        true => {
            candidates.retain(usable);
            Ok(())
        }
        false => Err(candidates.first().map_or_else(
            || GatewayError::NoBackend("no backend is configured for this model".into()),
            |first| unpriced(node, first),
        )),
    }
}

/// The worst case over all candidates, for a client of `format`.
pub fn hold(
    node: &KeyNode,
    levels: &Levels<'_>,
    candidates: &[Candidate],
    format: Format,
    head: &Head,
    input_upper: u64,
) -> Hold {
    let sent = head.output_cap.as_ref().map(|c| c.tokens);
    if !node.path.iter().any(|k| k.spending.strict) {
        // Charged afterwards only; a hold of nothing still refuses once a budget is used up.
        return Hold::default();
    }
    let (mut input_cost, mut output_price) = (0, 0);
    for (candidate, price) in candidates.iter().filter_map(|c| Some((c, c.price()?))) {
        // A translation leaves the provider's own tools out.
        let searches = if candidate.format == format { head.web_searches } else { 0 };
        let input = price.worst_input(input_upper).saturating_mul(input_upper);
        input_cost = input_cost.max(input.saturating_add(price.web_search.saturating_mul(searches)));
        output_price = output_price.max(price.worst_output(input_upper));
    }
    let budgeted = levels.iter().any(|l| !l.budgets.is_empty());
    let known = candidates.iter().filter_map(|c| c.max_output).max();
    let cap = sent.unwrap_or_else(|| if budgeted { known.unwrap_or(DEFAULT_CAP) } else { 0 });
    let lowers = node.path.iter().all(|k| k.spending.lower_output_cap);
    let least = OUTPUT_FLOOR.max(head.thinking_budget.map_or(0, |b| b.saturating_add(ABOVE_THINKING)));
    let floor = if lowers { cap.min(least) } else { cap };
    Hold { input_tokens: input_upper, input_cost, output_price, cap, floor, writes: true }
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

/// Whether a shared account that is away refuses requests: the strictest along the path counts.
pub fn deny_on_store_failure(node: &KeyNode) -> bool {
    node.path.iter().any(|key| key.spending.deny_on_store_failure)
}

/// Why nothing is held, for the client of `node`.
pub fn not_held(node: &KeyNode, refused: &Refused) -> GatewayError {
    match refused {
        Refused::Limit(refusal) => self::refused(node, refusal),
        Refused::Revoked { key, reason } => {
            GatewayError::KeyRefused(format!("key {key} is revoked: {reason}"))
        }
        Refused::Away => GatewayError::StoreAway(format!(
            "the account of budgets and limits cannot be reached at the moment, and key {} refuses requests without it: try again \
             in a moment",
            node.id()
        )),
        Refused::Unusable(words) => GatewayError::NotAllowed(words.clone()),
    }
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
