//! The behaviour that every store must show, as tests over the [`Store`] trait. [`store_suite!`](crate::store_suite) makes
//! one named test of each case.

use crate::budget::{Budget, Limit, Period};
use crate::charge::{Actual, Ask, BudgetState, Decision, Grant, Level, Posting, Reason, Refusal, Settled};
use std::future::Future;
use uuid::Uuid;

pub mod amounts;
pub mod lifecycle;
pub mod limits;

/// A store under test. Its clock is the time that is passed in.
#[allow(missing_docs)]
pub trait Store {
    fn reserve(&self, levels: &[Level<'_>], ask: &Ask) -> impl Future<Output = Decision>;
    fn settle(
        &self,
        levels: &[Level<'_>],
        grant: &Grant,
        actual: &Actual,
        now: i64,
    ) -> impl Future<Output = Settled>;
    fn cancel(&self, levels: &[Level<'_>], grant: &Grant, now: i64) -> impl Future<Output = ()>;
    fn progress(&self, grant: &Grant, so_far: &Actual, expires: i64) -> impl Future<Output = ()>;
    fn sweep(&self, now: i64) -> impl Future<Output = Vec<Posting>>;
    fn state(&self, level: &Level<'_>, now: i64) -> impl Future<Output = Vec<BudgetState>>;
}

impl Store for crate::memory::MemoryStore {
    async fn reserve(&self, levels: &[Level<'_>], ask: &Ask) -> Decision {
        self.reserve(levels, ask)
    }

    async fn settle(&self, levels: &[Level<'_>], grant: &Grant, actual: &Actual, now: i64) -> Settled {
        self.settle(levels, grant, actual, now)
    }

    async fn cancel(&self, levels: &[Level<'_>], grant: &Grant, now: i64) {
        self.cancel(levels, grant, now);
    }

    async fn progress(&self, grant: &Grant, so_far: &Actual, expires: i64) {
        self.progress(grant, so_far, expires);
    }

    async fn sweep(&self, now: i64) -> Vec<Posting> {
        self.sweep(now)
    }

    async fn state(&self, level: &Level<'_>, now: i64) -> Vec<BudgetState> {
        self.state(level, now)
    }
}

/// 2025-06-15 12:00 UTC, a Sunday.
pub const NOON: i64 = 1_749_988_800_000;

/// One USD in nano-USD.
pub const USD: u64 = 1_000_000_000;

/// One minute in milliseconds.
pub const MINUTE: i64 = 60_000;

/// A USD budget a calendar day.
pub fn usd(amount: u64) -> Budget {
    Budget::new("day", Limit::NanoUsd(amount), Period::Day, jiff::tz::TimeZone::UTC)
}

/// A token budget a calendar day.
pub fn tokens(amount: u64) -> Budget {
    Budget::new("tokens", Limit::Tokens(amount), Period::Day, jiff::tz::TimeZone::UTC)
}

/// A level without limits of its own.
pub fn level<'a>(key: &'a str, budgets: &[&'a Budget]) -> Level<'a> {
    Level::unlimited(key, budgets.iter().copied())
}

/// An ask that needs exactly `cost` nano-USD, whatever its output; one token of input, at most one of output.
pub fn ask(id: u128, cost: u64, now: i64) -> Ask {
    Ask {
        id: Uuid::from_u128(id),
        now,
        input_cost: cost,
        output_price: 0,
        input_tokens: 1,
        rate_tokens: 1,
        output_cap: 1,
        output_floor: 1,
        choices: 1,
        expires: now + MINUTE,
    }
}

/// What a request cost, with one token in and one out.
pub fn used(cost: u64) -> Actual {
    Actual { cost, input_tokens: 1, output_tokens: 1 }
}

/// Reserves, and fails the test on a refusal.
pub async fn granted(store: &impl Store, levels: &[Level<'_>], ask: &Ask) -> Grant {
    match store.reserve(levels, ask).await {
        Decision::Granted(grant) => grant,
        Decision::Refused(refusal) => unreachable!("refused: {refusal:?}"),
    }
}

/// Reserves, and fails the test on a grant.
pub async fn refused(store: &impl Store, levels: &[Level<'_>], ask: &Ask) -> Refusal {
    match store.reserve(levels, ask).await {
        Decision::Refused(refusal) => refusal,
        Decision::Granted(grant) => unreachable!("granted: {grant:?}"),
    }
}

/// Committed and held of the level's first budget.
pub async fn count(store: &impl Store, level: &Level<'_>, now: i64) -> (u64, u64) {
    let states = store.state(level, now).await;
    let first = states.first();
    assert!(first.is_some(), "level {} shows no budget", level.key);
    first.map_or((0, 0), |state| (state.committed, state.held))
}

/// Asserts that the refusal is final, and returns the budget's state.
pub fn exhausted(refusal: Refusal) -> BudgetState {
    match refusal.reason {
        Reason::BudgetExhausted(state) => state,
        other => unreachable!("not exhausted but {other:?}"),
    }
}

/// Asserts that only holds stand in the way, and returns the budget's state.
pub fn busy(refusal: Refusal) -> BudgetState {
    match refusal.reason {
        Reason::BudgetBusy(state) => state,
        other => unreachable!("not busy but {other:?}"),
    }
}

/// One `#[tokio::test]` a case. The argument is an expression for a fresh store; it may await.
#[macro_export]
macro_rules! store_suite {
    ($fresh:expr) => {
        $crate::store_suite! { @cases $fresh;
            amounts: all_levels_or_none, settle_posts_what_was_used, cap_is_lowered_to_what_is_left,
                cap_is_lowered_by_the_tightest_budget_of_any_level, cap_counts_every_choice,
                below_the_floor_is_refused, exhausted_is_told_from_busy, nothing_left_refuses_what_is_free,
                refusal_tells_the_whole_state, overrun_is_charged_and_reported, token_budgets_count_tokens,
                huge_amounts_do_not_wrap, exact_fit_is_granted;
            lifecycle: same_id_holds_once, settle_is_idempotent, cancel_is_idempotent, cancel_after_settle_does_nothing,
                settled_id_may_hold_anew, dead_hold_is_charged_its_progress, late_settle_posts_the_difference,
                late_settle_below_progress_posts_nothing, progress_renews_the_hold, settle_of_the_unknown_posts_in_full,
                next_window_starts_empty, hold_settles_to_its_own_window, rolling_budget_forgets_after_its_span,
                rolling_refusal_tells_when_room_comes, moved_key_takes_its_counters_along, same_name_other_unit_counts_apart;
            limits: requests_a_minute, refused_requests_are_not_charged, tokens_a_minute_are_estimated_then_corrected,
                tokens_used_beyond_the_estimate_delay_the_next, request_above_a_minutes_tokens_never_passes,
                cancel_gives_tokens_back, concurrency_is_freed_by_every_end, limits_hold_at_every_level,
                the_weightiest_reason_is_told;
        }
    };
    (@cases $fresh:expr; $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            #[allow(unused_imports)]
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                $crate::suite::$module::$case(&$fresh).await;
            })+
        })+
    };
}
