//! What an allowance counts.

use super::*;
use tollgate_ledger::budget::Period;
use uuid::Uuid;

const NOON: i64 = 1_749_988_800_000;

fn budget(limit: u64, period: Period) -> Budget {
    Budget::new("b", Limit::NanoUsd(limit), period, jiff::tz::TimeZone::UTC)
}

fn levels<'a>(key: &'a str, budget: &'a Budget) -> [Level<'a>; 1] {
    [Level::unlimited(key, [budget])]
}

fn ask(id: u128, cost: u64, now: i64) -> Ask {
    Ask { input_cost: cost, ..Ask::free(Uuid::from_u128(id), now, now + 60_000) }
}

fn posted(budget: &Budget, amount: u64, now: i64) -> Posting {
    posting("a/key", budget, now, amount)
}

/// What fits, in units of ten.
fn fits(own: &Allowance, budget: &Budget, spent: &Mutex<Spent>, now: i64) -> u64 {
    let levels = levels("a/key", budget);
    let granted = (0..50).filter_map(|n| match own.reserve(&levels, &ask(1_000 + n, 10, now), spent) {
        Decision::Granted(grant) => Some(grant),
        Decision::Refused(_) => None,
    });
    let granted: Vec<Grant> = granted.collect();
    granted.iter().for_each(|grant| own.cancel(&levels, grant, now));
    granted.len() as u64
}

#[test]
fn an_allowance_counts_what_was_told_and_what_was_charged_whenever_it_was_made() {
    for period in [Period::Month, Period::Rolling(3_600)] {
        let (budget, spent) = (budget(100, period), Mutex::new(Spent::default()));
        let none = Look::default();
        spent.lock().told("a/key", &[posted(&budget, 20, NOON)], &none);
        let own = Allowance::default();
        assert_eq!(fits(&own, &budget, &spent, NOON), 8);
        // What is charged locally is known at once, and counts once.
        let levels = levels("a/key", &budget);
        let Decision::Granted(grant) = own.reserve(&levels, &ask(1, 10, NOON), &spent) else { panic!() };
        let actual = Actual { cost: 10, ..Actual::default() };
        own.settle(&levels, &grant, &actual, NOON);
        assert_eq!(fits(&own, &budget, &spent, NOON), 7);
        spent.lock().add(&[posted(&budget, 10, NOON)]);
        assert_eq!(fits(&own, &budget, &spent, NOON), 7);
        // So the next allowance is no fresh one.
        assert_eq!(fits(&Allowance::default(), &budget, &spent, NOON), 7);
        // What others spent meanwhile counts in one that is still there.
        spent.lock().add(&[posted(&budget, 30, NOON + 1)]);
        assert_eq!(fits(&own, &budget, &spent, NOON + 1), 4);
        // Other keys' spend is their own, and a window that is over counts no more.
        spent.lock().add(&[Posting {
            counter: Counter { key: "a/b".into(), ..posted(&budget, 1, NOON).counter },
            amount: 90,
        }]);
        assert_eq!(fits(&own, &budget, &spent, NOON + 1), 4);
        let later = NOON + 40 * 86_400_000;
        assert_eq!(fits(&own, &budget, &spent, later), 10);
        assert_eq!(fits(&Allowance::default(), &budget, &spent, later), 10);
    }
}

/// While Redis is asked, charges are made, and others wait: none is lost to what is known.
#[test]
fn what_redis_says_replaces_only_what_it_can_know() {
    let (budget, spent) = (budget(1_000, Period::Month), Mutex::new(Spent::default()));
    let now = |amount| [posted(&budget, amount, NOON)];
    let known = || spent.lock().of("a/key", &budget, NOON);
    spent.lock().add(&now(100));
    // 60 of it wait: Redis says 40.
    let waiting = [(now(0)[0].counter.clone(), 60)].into_iter().collect();
    let look = || Look { charged: spent.lock().charged(["a/key"].into_iter()), ..Look::default() };
    let first = Look { unheld: waiting, ..look() };
    spent.lock().add(&now(7));
    spent.lock().told("a/key", &now(40), &first);
    assert_eq!(known(), 107);
    // Now all of it is posted; two ask at once.
    let (one, two) = [(); 2].map(|()| look()).into();
    spent.lock().add(&now(5));
    spent.lock().told("a/key", &now(107), &one);
    spent.lock().told("a/key", &now(107), &two);
    assert_eq!(known(), 112);
    // A reset takes it back.
    let look = look();
    spent.lock().told("a/key", &[], &look);
    assert_eq!(known(), 0);
}
