//! Holds from their start to their end, and windows.

use super::*;
use jiff::tz::TimeZone;

#[allow(missing_docs)]
pub async fn same_id_holds_once(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let first = granted(store, &levels, &ask(1, 600, NOON)).await;
    let again = granted(store, &levels, &ask(1, 600, NOON + 1)).await;
    assert_eq!(first, again);
    assert_eq!(count(store, &levels[0], NOON).await, (0, 600));
}

#[allow(missing_docs)]
pub async fn settle_is_idempotent(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(store, &levels, &ask(1, 600, NOON)).await;
    store.settle(&levels, &grant, &used(500), NOON + 1).await;
    assert_eq!(store.settle(&levels, &grant, &used(500), NOON + 2).await, Settled::default());
    assert_eq!(store.settle(&levels, &grant, &used(900), NOON + MINUTE).await, Settled::default());
    assert_eq!(count(store, &levels[0], NOON).await, (500, 0));
}

#[allow(missing_docs)]
pub async fn cancel_is_idempotent(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(store, &levels, &ask(1, 600, NOON)).await;
    granted(store, &levels, &ask(2, 300, NOON)).await;
    store.cancel(&levels, &grant, NOON).await;
    store.cancel(&levels, &grant, NOON).await;
    assert_eq!(count(store, &levels[0], NOON).await, (0, 300));
}

#[allow(missing_docs)]
pub async fn cancel_after_settle_does_nothing(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(store, &levels, &ask(1, 600, NOON)).await;
    granted(store, &levels, &ask(2, 300, NOON)).await;
    store.settle(&levels, &grant, &used(500), NOON).await;
    store.cancel(&levels, &grant, NOON).await;
    assert_eq!(count(store, &levels[0], NOON).await, (500, 300));
}

#[allow(missing_docs)]
pub async fn settled_id_may_hold_anew(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    for _ in 0..2 {
        let grant = granted(store, &levels, &ask(1, 300, NOON)).await;
        assert_eq!(store.settle(&levels, &grant, &used(200), NOON).await.postings.len(), 1);
    }
    assert_eq!(count(store, &levels[0], NOON).await, (400, 0));
}

#[allow(missing_docs)]
pub async fn dead_hold_is_charged_its_progress(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(store, &levels, &ask(1, 600, NOON)).await;
    store.progress(&grant, &used(100), NOON + MINUTE).await;
    assert_eq!(store.sweep(NOON + MINUTE - 1).await, []);
    let posted = store.sweep(NOON + MINUTE).await;
    assert_eq!(posted, [Posting { counter: grant.counters[0].clone(), amount: 100 }]);
    assert_eq!(count(store, &levels[0], NOON + MINUTE).await, (100, 0));
    assert_eq!(store.sweep(NOON + 2 * MINUTE).await, []);
}

#[allow(missing_docs)]
pub async fn late_settle_posts_the_difference(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(store, &levels, &ask(1, 600, NOON)).await;
    store.progress(&grant, &used(100), NOON + MINUTE).await;
    store.sweep(NOON + MINUTE).await;
    let late = NOON + 60 * MINUTE;
    let settled = store.settle(&levels, &grant, &used(450), late).await;
    assert_eq!(settled.postings[0].amount, 350);
    assert_eq!(settled.overrun, 350, "nothing was held for it any more");
    assert_eq!(store.settle(&levels, &grant, &used(450), late).await, Settled::default());
    assert_eq!(count(store, &levels[0], late).await, (450, 0));
}

#[allow(missing_docs)]
pub async fn late_settle_below_progress_posts_nothing(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(store, &levels, &ask(1, 600, NOON)).await;
    store.progress(&grant, &used(100), NOON + MINUTE).await;
    store.sweep(NOON + MINUTE).await;
    assert_eq!(store.settle(&levels, &grant, &used(90), NOON + MINUTE).await, Settled::default());
    assert_eq!(count(store, &levels[0], NOON + MINUTE).await, (100, 0));
}

#[allow(missing_docs)]
pub async fn progress_renews_the_hold(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(store, &levels, &ask(1, 600, NOON)).await;
    store.progress(&grant, &used(100), NOON + 5 * MINUTE).await;
    store.progress(&grant, &used(50), NOON + 2 * MINUTE).await;
    assert_eq!(store.sweep(NOON + 4 * MINUTE).await, []);
    assert_eq!(count(store, &levels[0], NOON + 4 * MINUTE).await, (0, 600));
    assert_eq!(store.sweep(NOON + 5 * MINUTE).await[0].amount, 100);
}

#[allow(missing_docs)]
pub async fn settle_of_the_unknown_posts_in_full(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let window = budget.window(NOON);
    let counter = crate::charge::Counter {
        key: "a/key".into(),
        budget: "day".into(),
        window,
        limit: Limit::NanoUsd(1_000),
    };
    let grant = Grant { id: Uuid::from_u128(7), output_cap: 1, held: 10, counters: vec![counter] };
    let settled = store.settle(&levels, &grant, &used(10), NOON).await;
    assert_eq!((settled.postings[0].amount, settled.overrun), (10, 10));
    assert_eq!(store.settle(&levels, &grant, &used(10), NOON).await, Settled::default());
    assert_eq!(count(store, &levels[0], NOON).await, (10, 0));
}

#[allow(missing_docs)]
pub async fn next_window_starts_empty(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(store, &levels, &ask(1, 1_000, NOON)).await;
    store.settle(&levels, &grant, &used(1_000), NOON).await;
    let midnight = NOON + 12 * 60 * MINUTE;
    exhausted(refused(store, &levels, &ask(2, 1, midnight - 1)).await);
    granted(store, &levels, &ask(2, 1_000, midnight)).await;
    assert_eq!(count(store, &levels[0], midnight).await, (0, 1_000));
}

#[allow(missing_docs)]
pub async fn hold_settles_to_its_own_window(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let midnight = NOON + 12 * 60 * MINUTE;
    let grant = granted(store, &levels, &ask(1, 900, midnight - 1)).await;
    let settled = store.settle(&levels, &grant, &used(700), midnight + 1).await;
    assert_eq!(settled.postings[0].counter.window.end, midnight);
    assert_eq!(settled.overrun, 0);
    assert_eq!(count(store, &levels[0], midnight + 1).await, (0, 0));
}

fn rolling_hour() -> Budget {
    Budget::new("hour", Limit::NanoUsd(1_000), Period::Rolling(3_600), TimeZone::UTC)
}

#[allow(missing_docs)]
pub async fn rolling_budget_forgets_after_its_span(store: &impl Store) {
    let budget = rolling_hour();
    let levels = [level("a/key", &[&budget])];
    for (id, minute) in [(1, 0), (2, 20)] {
        let at = NOON + minute * MINUTE + 59_999;
        let grant = granted(store, &levels, &ask(id, 500, at)).await;
        store.settle(&levels, &grant, &used(500), at).await;
    }
    // Never less than the span, and at most one bucket (a minute) more.
    let at = NOON + 59_999 + 60 * MINUTE;
    assert_eq!(count(store, &levels[0], at).await, (1_000, 0));
    exhausted(refused(store, &levels, &ask(3, 1, at)).await);
    assert_eq!(count(store, &levels[0], at + 1).await, (500, 0));
    granted(store, &levels, &ask(3, 500, at + 1)).await;
    assert_eq!(count(store, &levels[0], NOON + 81 * MINUTE).await, (0, 500));
}

#[allow(missing_docs)]
pub async fn rolling_refusal_tells_when_room_comes(store: &impl Store) {
    let budget = rolling_hour();
    let levels = [level("a/key", &[&budget])];
    for (id, minute, cost) in [(1, 0, 100), (2, 20, 300), (3, 40, 500)] {
        let at = NOON + minute * MINUTE;
        let grant = granted(store, &levels, &ask(id, cost, at)).await;
        store.settle(&levels, &grant, &used(cost), at).await;
    }
    let at = NOON + 50 * MINUTE;
    let resets = |minute: i64| NOON + minute * MINUTE;
    assert_eq!(exhausted(refused(store, &levels, &ask(4, 200, at)).await).resets_at, resets(61));
    assert_eq!(exhausted(refused(store, &levels, &ask(4, 201, at)).await).resets_at, resets(81));
    assert_eq!(exhausted(refused(store, &levels, &ask(4, 600, at)).await).resets_at, resets(101));
    assert_eq!(store.state(&levels[0], at).await[0].resets_at, resets(61));
}

#[allow(missing_docs)]
pub async fn moved_key_takes_its_counters_along(store: &impl Store) {
    let (own, old, new) = (usd(1_000), usd(5_000), usd(5_000));
    let before = [level("a/key", &[&own]), level("a/old", &[&old])];
    let after = [level("a/key", &[&own]), level("a/new", &[&new])];
    let grant = granted(store, &before, &ask(1, 800, NOON)).await;
    exhausted(refused(store, &after, &ask(2, 1_001, NOON)).await);
    busy(refused(store, &after, &ask(2, 300, NOON)).await);
    store.settle(&after, &grant, &used(800), NOON).await;
    exhausted(refused(store, &after, &ask(2, 300, NOON)).await);
    assert_eq!(
        count(store, &before[1], NOON).await,
        (800, 0),
        "the old parent keeps what was spent under it"
    );
    assert_eq!(count(store, &after[1], NOON).await, (0, 0));
}

#[allow(missing_docs)]
pub async fn same_name_other_unit_counts_apart(store: &impl Store) {
    let dollars = Budget::new("b", Limit::NanoUsd(1_000), Period::Day, TimeZone::UTC);
    let toks = Budget::new("b", Limit::Tokens(1_000), Period::Day, TimeZone::UTC);
    let grant = granted(store, &[level("a/key", &[&dollars])], &ask(1, 900, NOON)).await;
    store.settle(&[level("a/key", &[&dollars])], &grant, &used(900), NOON).await;
    assert_eq!(count(store, &level("a/key", &[&toks]), NOON).await, (0, 0));
    let raised = Budget::new("b", Limit::NanoUsd(2_000), Period::Day, TimeZone::UTC);
    assert_eq!(
        count(store, &level("a/key", &[&raised]), NOON).await,
        (900, 0),
        "a raised limit keeps its counter"
    );
}
