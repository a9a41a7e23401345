//! What is held, granted, refused and posted.

use super::*;

#[allow(missing_docs)]
pub async fn all_levels_or_none(store: &impl Store) {
    let (leaf, root) = (usd(10 * USD), usd(USD));
    let levels = [level("a/leaf", &[&leaf]), level("a/root", &[&root])];
    let refusal = refused(store, &levels, &ask(1, 2 * USD, NOON)).await;
    assert_eq!(refusal.key, "a/root");
    assert_eq!(count(store, &levels[0], NOON).await, (0, 0));
    assert_eq!(count(store, &levels[1], NOON).await, (0, 0));

    granted(store, &levels, &ask(2, USD, NOON)).await;
    assert_eq!(count(store, &levels[0], NOON).await, (0, USD));
    assert_eq!(count(store, &levels[1], NOON).await, (0, USD));
}

#[allow(missing_docs)]
pub async fn settle_posts_what_was_used(store: &impl Store) {
    let (leaf, root) = (usd(10 * USD), usd(10 * USD));
    let levels = [level("a/leaf", &[&leaf]), level("a/root", &[&root])];
    let grant = granted(store, &levels, &ask(1, 2 * USD, NOON)).await;
    assert_eq!(grant.held, 2 * USD);
    let settled = store.settle(&levels, &grant, &used(USD / 2), NOON + 5).await;
    assert_eq!(settled.overrun, 0);
    let posted: Vec<_> = settled.postings.iter().map(|p| (p.counter.clone(), p.amount)).collect();
    let expected: Vec<_> = grant.counters.iter().map(|c| (c.clone(), USD / 2)).collect();
    assert_eq!(posted, expected);
    assert_eq!(grant.counters[0].key, "a/leaf");
    assert_eq!(grant.counters[0].budget, "day");
    assert_eq!(grant.counters[0].window, leaf.window(NOON));
    for level in &levels {
        assert_eq!(count(store, level, NOON + 5).await, (USD / 2, 0));
    }
}

#[allow(missing_docs)]
pub async fn cap_is_lowered_to_what_is_left(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let ask = Ask { output_price: 10, output_cap: 500, output_floor: 50, ..ask(1, 100, NOON) };
    let grant = granted(store, &levels, &ask).await;
    assert_eq!(grant.output_cap, 90);
    assert_eq!(grant.held, 1_000);
    assert_eq!(count(store, &levels[0], NOON).await, (0, 1_000));
}

#[allow(missing_docs)]
pub async fn cap_is_lowered_by_the_tightest_budget_of_any_level(store: &impl Store) {
    let (money, count_leaf, count_root) = (usd(100_000), tokens(1_000), tokens(700));
    let levels = [level("a/key", &[&money, &count_leaf]), level("a/root", &[&count_root])];
    let ask =
        Ask { output_price: 10, output_cap: 5_000, output_floor: 50, input_tokens: 60, ..ask(1, 100, NOON) };
    let grant = granted(store, &levels, &ask).await;
    assert_eq!(grant.output_cap, 640);
    assert_eq!(grant.held, 100 + 6_400);
    assert_eq!(count(store, &levels[0], NOON).await, (0, 6_500));
    assert_eq!(count(store, &levels[1], NOON).await, (0, 700));
}

#[allow(missing_docs)]
pub async fn cap_counts_every_choice(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let ask = Ask { output_price: 10, output_cap: 500, output_floor: 1, choices: 4, ..ask(1, 100, NOON) };
    let grant = granted(store, &levels, &ask).await;
    assert_eq!(grant.output_cap, 22);
    assert_eq!(grant.held, 100 + 4 * 22 * 10);
}

#[allow(missing_docs)]
pub async fn below_the_floor_is_refused(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let fits = Ask { output_price: 10, output_cap: 500, output_floor: 90, ..ask(1, 100, NOON) };
    let above = Ask { output_floor: 91, ..fits };
    assert_eq!(exhausted(refused(store, &levels, &above).await).needed, 1_010);
    assert_eq!(granted(store, &levels, &fits).await.output_cap, 90);
}

#[allow(missing_docs)]
pub async fn exhausted_is_told_from_busy(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let first = granted(store, &levels, &ask(1, 800, NOON)).await;
    let state = busy(refused(store, &levels, &ask(2, 300, NOON)).await);
    assert_eq!((state.committed, state.held, state.needed), (0, 800, 300));
    store.settle(&levels, &first, &used(800), NOON).await;
    let state = exhausted(refused(store, &levels, &ask(2, 300, NOON)).await);
    assert_eq!((state.committed, state.held, state.needed), (800, 0, 300));
    // More than the whole limit is final however little is spent.
    exhausted(refused(store, &levels, &ask(3, 1_001, NOON + 86_400_000)).await);
}

#[allow(missing_docs)]
pub async fn nothing_left_refuses_what_is_free(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let free = granted(store, &levels, &ask(1, 0, NOON)).await;
    store.settle(&levels, &free, &used(1_000), NOON).await;
    exhausted(refused(store, &levels, &ask(2, 0, NOON)).await);
}

#[allow(missing_docs)]
pub async fn refusal_tells_the_whole_state(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let first = granted(store, &levels, &ask(1, 700, NOON)).await;
    store.settle(&levels, &first, &used(600), NOON).await;
    granted(store, &levels, &ask(2, 100, NOON)).await;
    let refusal = refused(store, &levels, &ask(3, 500, NOON)).await;
    assert_eq!(refusal.key, "a/key");
    let expected = BudgetState {
        budget: "day".into(),
        limit: Limit::NanoUsd(1_000),
        committed: 600,
        held: 100,
        needed: 500,
        resets_at: NOON + 12 * 60 * MINUTE,
    };
    assert_eq!(exhausted(refusal), expected);
    assert_eq!(store.state(&levels[0], NOON).await, [BudgetState { needed: 0, ..expected }]);
}

#[allow(missing_docs)]
pub async fn overrun_is_charged_and_reported(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(store, &levels, &ask(1, 900, NOON)).await;
    let settled = store.settle(&levels, &grant, &used(1_200), NOON).await;
    assert_eq!(settled.overrun, 300);
    assert_eq!(settled.postings[0].amount, 1_200);
    assert_eq!(count(store, &levels[0], NOON).await, (1_200, 0));
    exhausted(refused(store, &levels, &ask(2, 1, NOON)).await);
}

#[allow(missing_docs)]
pub async fn token_budgets_count_tokens(store: &impl Store) {
    let budget = tokens(1_000);
    let levels = [level("a/key", &[&budget])];
    let ask = Ask { input_tokens: 300, output_cap: 200, output_floor: 200, choices: 2, ..ask(1, 5, NOON) };
    let grant = granted(store, &levels, &ask).await;
    assert_eq!(count(store, &levels[0], NOON).await, (0, 700));
    let actual = Actual { cost: 9, input_tokens: 250, output_tokens: 150 };
    let settled = store.settle(&levels, &grant, &actual, NOON).await;
    assert_eq!((settled.postings[0].amount, settled.overrun), (400, 0));
    assert_eq!(count(store, &levels[0], NOON).await, (400, 0));
}

#[allow(missing_docs)]
pub async fn huge_amounts_do_not_wrap(store: &impl Store) {
    let (money, count_tokens) = (usd(9_000_000 * USD), tokens(1 << 52));
    let levels = [level("a/key", &[&money, &count_tokens])];
    let huge = Ask {
        output_price: u64::MAX,
        output_cap: u64::MAX,
        output_floor: u64::MAX,
        choices: u64::MAX,
        input_tokens: u64::MAX,
        ..ask(1, u64::MAX, NOON)
    };
    exhausted(refused(store, &levels, &huge).await);
    assert_eq!(count(store, &levels[0], NOON).await, (0, 0));
}

#[allow(missing_docs)]
pub async fn exact_fit_is_granted(store: &impl Store) {
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let first = granted(store, &levels, &ask(1, 400, NOON)).await;
    store.settle(&levels, &first, &used(400), NOON).await;
    granted(store, &levels, &ask(2, 600, NOON)).await;
    assert_eq!(count(store, &levels[0], NOON).await, (400, 600));
}
