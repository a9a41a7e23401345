use super::*;
use crate::budget::{Budget, Period, Window};
use crate::charge::{Reason, Refusal};
use crate::suite::{self, MINUTE, NOON, USD, ask, level, usd, used};
use std::sync::atomic::AtomicU64;
use uuid::Uuid;

crate::store_suite!(MemoryStore::new());

fn state(store: &MemoryStore, level: &Level<'_>, now: i64) -> (u64, u64) {
    let states = store.state(level, now);
    (states[0].committed, states[0].held)
}

fn grant(store: &MemoryStore, levels: &[Level<'_>], ask: &Ask) -> Option<Grant> {
    match store.reserve(levels, ask) {
        Decision::Granted(grant) => Some(grant),
        Decision::Refused(_) => None,
    }
}

/// Eight threads spend one dollar at most 200 micro-USD at a time, each settling what it really used. The first final
/// refusal comes when almost all is spent, and not a nano-USD more than the dollar is.
#[test]
fn eight_threads_spend_one_dollar_and_no_more() {
    let (store, budget, team) = (MemoryStore::new(), usd(USD), usd(1_000 * USD));
    let spent_at_first_refusal = AtomicU64::new(u64::MAX);
    let spent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u128 {
            let (store, budget, team) = (&store, &budget, &team);
            let (first, spent) = (&spent_at_first_refusal, &spent);
            scope.spawn(move || {
                let names = [format!("a/key-{thread}"), "a/team".into(), "a/root".into()];
                let levels =
                    [level(&names[0], &[team]), level(&names[1], &[budget]), level(&names[2], &[team])];
                for i in 0_u128.. {
                    assert!(i < 1_000_000, "the budget never runs out");
                    let cost = 50_000 + (i as u64 * 7_919 + thread as u64 * 104_729) % 150_000;
                    let ask = ask(thread << 64 | i, 200_000, NOON);
                    match store.reserve(&levels, &ask) {
                        Decision::Granted(grant) => {
                            let settled = store.settle(&levels, &grant, &used(cost), NOON);
                            assert_eq!(settled.overrun, 0);
                            spent.fetch_add(cost, Relaxed);
                        }
                        Decision::Refused(Refusal { key, reason: Reason::BudgetExhausted(shown) }) => {
                            assert_eq!(key, "a/team");
                            first.fetch_min(shown.committed, Relaxed);
                            break;
                        }
                        Decision::Refused(Refusal { reason: Reason::BudgetBusy(shown), .. }) => {
                            assert!(shown.committed + shown.held <= USD);
                        }
                        Decision::Refused(other) => panic!("{other:?}"),
                    }
                    let (committed, held) = state(store, &levels[1], NOON);
                    assert!(committed + held <= USD, "{committed} + {held}");
                }
            });
        }
    });
    let (committed, held) = state(&store, &level("a/team", &[&budget]), NOON);
    assert_eq!((committed, held), (spent.load(Relaxed), 0));
    assert_eq!(state(&store, &level("a/root", &[&team]), NOON), (committed, 0));
    assert!(committed <= USD);
    assert!(spent_at_first_refusal.load(Relaxed) >= USD / 100 * 95);
    assert_eq!((store.holds(), store.overrun_total()), (0, 0));
}

/// Requests of one tree under two opposite orders of its keys, as while a parent and a child change places.
#[test]
fn opposite_paths_do_not_wait_for_each_other() {
    let (store, budget) = (MemoryStore::new(), usd(USD));
    std::thread::scope(|scope| {
        for thread in 0..4_u128 {
            let (store, budget) = (&store, &budget);
            scope.spawn(move || {
                let mut names = ["a/x", "a/y", "a/z"];
                if thread % 2 == 1 {
                    names.reverse();
                }
                let levels = names.map(|name| level(name, &[budget]));
                for i in 0..5_000_u128 {
                    let grant = grant(store, &levels, &ask(thread << 64 | i, 10, NOON)).expect("room");
                    store.settle(&levels, &grant, &used(10), NOON);
                }
            });
        }
    });
    assert_eq!(state(&store, &level("a/x", &[&budget]), NOON), (200_000, 0));
}

#[test]
fn concurrent_twins_hold_once() {
    for round in 0..200_u128 {
        let (store, budget) = (MemoryStore::new(), usd(USD));
        let levels = [level("a/key", &[&budget])];
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| grant(&store, &levels, &ask(round, 10, NOON)).expect("room"));
            }
        });
        assert_eq!((store.holds(), state(&store, &levels[0], NOON)), (1, (0, 10)));
    }
}

#[test]
fn a_key_twice_in_a_path_counts_once() {
    let (store, budget) = (MemoryStore::new(), usd(USD));
    let levels = [level("a/key", &[&budget]), level("a/key", &[&budget])];
    let grant = grant(&store, &levels, &ask(1, 10, NOON)).unwrap();
    assert_eq!(state(&store, &levels[0], NOON), (0, 10));
    store.settle(&levels, &grant, &used(10), NOON);
    assert_eq!(state(&store, &levels[0], NOON), (10, 0));
}

#[test]
fn restore_leaves_out_what_is_over() {
    let (store, budget) = (MemoryStore::new(), usd(USD));
    let posting = |window: Window, amount| Posting {
        counter: Counter { key: "a/key".into(), budget: "day".into(), window, limit: Limit::NanoUsd(USD) },
        amount,
    };
    let (today, yesterday) = (budget.window(NOON), budget.window(NOON - 1_440 * MINUTE));
    store.restore([posting(today, 7), posting(yesterday, 100), posting(today, 5)], NOON);
    assert_eq!(state(&store, &level("a/key", &[&budget]), NOON), (12, 0));
    let past = [posting(yesterday, 1)];
    let empty = MemoryStore::new();
    empty.restore(past, NOON);
    assert_eq!(empty.keys(), 0);
}

#[test]
fn a_restored_rolling_budget_still_knows_its_last_span() {
    let budget = Budget::new("b", Limit::NanoUsd(USD), Period::Rolling(3_600), jiff::tz::TimeZone::UTC);
    let levels = [level("a/key", &[&budget])];
    let store = MemoryStore::new();
    let mut journal = Vec::new();
    for minute in 0..120 {
        let at = NOON + minute * MINUTE;
        let grant = grant(&store, &levels, &ask(minute as u128, 100, at)).unwrap();
        journal.extend(store.settle(&levels, &grant, &used(100), at).postings);
    }
    let now = NOON + 119 * MINUTE;
    let restored = MemoryStore::new();
    restored.restore(journal, now);
    assert_eq!(state(&restored, &levels[0], now), (6_100, 0));
    assert_eq!(state(&restored, &levels[0], now), state(&store, &levels[0], now));
}

#[test]
fn memory_stays_bounded() {
    let budget = Budget::new("b", Limit::NanoUsd(u64::MAX), Period::Rolling(60), jiff::tz::TimeZone::UTC);
    let store = MemoryStore::new();
    for i in 0..100_000_i64 {
        let now = NOON + i * 500;
        let key = format!("a/key-{}", i % 5_000);
        let limited = Level {
            requests_per_minute: Some(60),
            tokens_per_minute: Some(1_000),
            ..level(&key, &[&budget])
        };
        let levels = [limited, level("a/root", &[&budget])];
        let ask = Ask { id: Uuid::from_u128(i as u128), ..ask(0, 1, now) };
        let grant = grant(&store, &levels, &ask).expect("room");
        if i % 3 != 0 {
            store.settle(&levels, &grant, &used(1), now);
        }
        if i % 20 == 0 {
            store.sweep(now);
        }
    }
    // A minute of requests, a minute until they are given up, a minute until idle keys are looked for.
    assert!(store.keys() < 500, "{} keys", store.keys());
    assert!(store.holds() < 200, "{} holds", store.holds());
    let root = store.levels.find("a/root").unwrap();
    assert!(root.lock().windows() <= 62);
    // A third died within the last day; of the others only the last two minutes' are known.
    assert!(store.holds.remembered() < 33_334 + 400, "{}", store.holds.remembered());
}

#[test]
fn overrun_is_summed_up() {
    let (store, budget, count) = (MemoryStore::new(), usd(USD), suite::tokens(100));
    let levels = [level("a/key", &[&budget, &count]), level("a/root", &[&budget])];
    let grant = grant(&store, &levels, &ask(1, 10, NOON)).unwrap();
    let actual = Actual { cost: 25, input_tokens: 5, output_tokens: 5 };
    assert_eq!(store.settle(&levels, &grant, &actual, NOON).overrun, 15, "once, however many levels");
    assert_eq!((store.overrun_total(), store.overrun_tokens_total()), (15, 8));
}
