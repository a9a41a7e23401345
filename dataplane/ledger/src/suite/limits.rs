//! Rates and concurrency.

use super::*;

#[allow(missing_docs)]
pub async fn requests_a_minute(store: &impl Store) {
    let levels = [Level { requests_per_minute: Some(7), ..level("a/key", &[]) }];
    for id in 0..7 {
        let grant = granted(store, &levels, &ask(id, 0, NOON)).await;
        store.settle(&levels, &grant, &used(0), NOON).await;
    }
    let refusal = refused(store, &levels, &ask(8, 0, NOON)).await;
    // A seventh of a minute is 8571.4 ms.
    assert_eq!(refusal.reason, Reason::Requests { limit: 7, retry_after_ms: 8_572 });
    refused(store, &levels, &ask(8, 0, NOON + 8_571)).await;
    granted(store, &levels, &ask(8, 0, NOON + 8_572)).await;
    refused(store, &levels, &ask(9, 0, NOON + 8_572)).await;
}

#[allow(missing_docs)]
pub async fn refused_requests_are_not_charged(store: &impl Store) {
    let levels = [Level { requests_per_minute: Some(60), ..level("a/key", &[]) }];
    for id in 0..60 {
        granted(store, &levels, &ask(id, 0, NOON)).await;
    }
    for id in 100..200 {
        let refusal = refused(store, &levels, &ask(id, 0, NOON)).await;
        assert_eq!(refusal.reason, Reason::Requests { limit: 60, retry_after_ms: 1_000 });
    }
    granted(store, &levels, &ask(300, 0, NOON + 1_000)).await;
}

fn with_tokens(limit: u64) -> [Level<'static>; 1] {
    [Level { tokens_per_minute: Some(limit), ..level("a/key", &[]) }]
}

fn rated(id: u128, tokens: u64, now: i64) -> Ask {
    Ask { rate_tokens: tokens, ..ask(id, 0, now) }
}

#[allow(missing_docs)]
pub async fn tokens_a_minute_are_estimated_then_corrected(store: &impl Store) {
    let levels = with_tokens(60_000);
    let grant = granted(store, &levels, &rated(1, 50_000, NOON)).await;
    let refusal = refused(store, &levels, &rated(2, 20_000, NOON)).await;
    assert_eq!(refusal.reason, Reason::Tokens { limit: 60_000, retry_after_ms: Some(10_000) });
    // Most of it came from a cache: 5,000 in, 5,000 out, and 50,000 are free again.
    store.settle(&levels, &grant, &Actual { cost: 0, input_tokens: 5_000, output_tokens: 5_000 }, NOON).await;
    refused(store, &levels, &rated(3, 50_001, NOON)).await;
    granted(store, &levels, &rated(3, 50_000, NOON)).await;
}

#[allow(missing_docs)]
pub async fn tokens_used_beyond_the_estimate_delay_the_next(store: &impl Store) {
    let levels = with_tokens(60_000);
    let grant = granted(store, &levels, &rated(1, 10_000, NOON)).await;
    let actual = Actual { cost: 0, input_tokens: 20_000, output_tokens: 60_000 };
    store.settle(&levels, &grant, &actual, NOON).await;
    let refusal = refused(store, &levels, &rated(2, 1_000, NOON)).await;
    assert_eq!(refusal.reason, Reason::Tokens { limit: 60_000, retry_after_ms: Some(21_000) });
    granted(store, &levels, &rated(2, 1_000, NOON + 21_000)).await;
}

#[allow(missing_docs)]
pub async fn request_above_a_minutes_tokens_never_passes(store: &impl Store) {
    let levels = with_tokens(60_000);
    let refusal = refused(store, &levels, &rated(1, 60_001, NOON)).await;
    assert_eq!(refusal.reason, Reason::Tokens { limit: 60_000, retry_after_ms: None });
    granted(store, &levels, &rated(1, 60_000, NOON)).await;
}

#[allow(missing_docs)]
pub async fn cancel_gives_tokens_back(store: &impl Store) {
    let levels = with_tokens(60_000);
    let grant = granted(store, &levels, &rated(1, 60_000, NOON)).await;
    store.cancel(&levels, &grant, NOON).await;
    let grant = granted(store, &levels, &rated(2, 60_000, NOON)).await;
    // Half has drained since: only the other half is given back, or a minute would pass more than its limit.
    store.cancel(&levels, &grant, NOON + 30_000).await;
    granted(store, &levels, &rated(3, 60_000, NOON + 30_000)).await;
    refused(store, &levels, &rated(4, 1, NOON + 30_000)).await;
}

#[allow(missing_docs)]
pub async fn concurrency_is_freed_by_every_end(store: &impl Store) {
    let levels = [Level { concurrent: Some(3), ..level("a/key", &[]) }];
    let first = granted(store, &levels, &ask(1, 0, NOON)).await;
    let second = granted(store, &levels, &ask(2, 0, NOON)).await;
    granted(store, &levels, &ask(3, 0, NOON)).await;
    let full = Reason::Concurrent { limit: 3 };
    assert_eq!(refused(store, &levels, &ask(4, 0, NOON)).await.reason, full);
    store.settle(&levels, &first, &used(0), NOON).await;
    granted(store, &levels, &ask(4, 0, NOON + 1)).await;
    assert_eq!(refused(store, &levels, &ask(5, 0, NOON)).await.reason, full);
    store.cancel(&levels, &second, NOON).await;
    granted(store, &levels, &ask(5, 0, NOON + 1)).await;
    assert_eq!(refused(store, &levels, &ask(6, 0, NOON)).await.reason, full);
    store.sweep(NOON + MINUTE).await; // The third is dead.
    granted(store, &levels, &ask(6, 0, NOON + MINUTE)).await;
    assert_eq!(refused(store, &levels, &ask(7, 0, NOON + MINUTE)).await.reason, full);
}

#[allow(missing_docs)]
pub async fn limits_hold_at_every_level(store: &impl Store) {
    let root = Level { concurrent: Some(2), ..level("a/root", &[]) };
    let [one, two] = ["a/one", "a/two"].map(|key| [level(key, &[]), root.clone()]);
    granted(store, &one, &ask(1, 0, NOON)).await;
    granted(store, &two, &ask(2, 0, NOON)).await;
    let refusal = refused(store, &one, &ask(3, 0, NOON)).await;
    assert_eq!((refusal.key.as_str(), refusal.reason), ("a/root", Reason::Concurrent { limit: 2 }));
}

#[allow(missing_docs)]
pub async fn the_weightiest_reason_is_told(store: &impl Store) {
    let budget = usd(1_000);
    let limited = Level { requests_per_minute: Some(1), concurrent: Some(1), ..level("a/key", &[]) };
    let levels = [limited, level("a/root", &[&budget])];
    let grant = granted(store, &levels, &ask(1, 900, NOON)).await;
    let refusal = refused(store, &levels, &ask(2, 200, NOON)).await;
    assert!(matches!(refusal.reason, Reason::Requests { .. }), "before concurrency and holds: {refusal:?}");
    store.settle(&levels, &grant, &used(900), NOON).await;
    let refusal = refused(store, &levels, &ask(2, 200, NOON)).await;
    assert_eq!(refusal.key, "a/root", "final before temporary: {refusal:?}");
    exhausted(refusal);
}
