use super::*;
use proptest::prelude::*;
use uuid::Uuid;

fn ask(input: u64, price: u64, cap: u64, floor: u64, choices: u64) -> Ask {
    Ask {
        id: Uuid::nil(),
        now: 0,
        input_cost: input,
        output_price: price,
        input_tokens: input,
        rate_tokens: 0,
        output_cap: cap,
        output_floor: floor,
        choices,
        expires: 0,
    }
}

fn count(limit: Limit, committed: u64, held: u64) -> Count {
    Count { limit, committed, held }
}

#[test]
fn needs_saturate() {
    let most = ask(u64::MAX, u64::MAX, u64::MAX, 0, u64::MAX);
    assert_eq!(most.need(Limit::NanoUsd(0), u64::MAX), u64::MAX);
    assert_eq!(most.need(Limit::Tokens(0), u64::MAX), u64::MAX);
    let none = ask(3, 5, 7, 0, 0);
    assert_eq!(none.need(Limit::NanoUsd(0), 7), 38, "no choice is one choice");
}

#[test]
fn progress_and_difference_go_by_kind() {
    let a = Actual { cost: 10, input_tokens: 100, output_tokens: 5 };
    let b = Actual { cost: 7, input_tokens: 120, output_tokens: 9 };
    assert_eq!(a.max(b), Actual { cost: 10, input_tokens: 120, output_tokens: 9 });
    assert_eq!(b.above(a).tokens(), 24);
    assert_eq!(b.above(a), Actual { cost: 0, input_tokens: 20, output_tokens: 4 });
    // Less input and more output than estimated: only what is more in all.
    let c = Actual { cost: 12, input_tokens: 90, output_tokens: 20 };
    assert_eq!(c.above(a), Actual { cost: 2, input_tokens: 0, output_tokens: 5 });
}

proptest! {
    #[test]
    fn the_granted_cap_is_the_largest_that_fits(
        limit in 1_u64..2_000, committed in 0_u64..2_500, held in 0_u64..2_500, tokens: bool,
        input in 0_u64..1_000, price in 0_u64..20, cap in 0_u64..300, floor in 0_u64..300, choices in 0_u64..4,
    ) {
        let limit = if tokens { Limit::Tokens(limit) } else { Limit::NanoUsd(limit) };
        let ask = ask(input, price, cap, floor.min(cap), choices);
        let fits = |cap, held| committed < limit.amount() && committed + held + ask.need(limit, cap) <= limit.amount();
        match count(limit, committed, held).fit(&ask) {
            Fit::Fits { output_cap } => {
                prop_assert!(ask.output_floor <= output_cap && output_cap <= cap);
                prop_assert!(fits(output_cap, held));
                prop_assert!(output_cap == cap || !fits(output_cap + 1, held), "not the largest");
            }
            Fit::Busy { needed } => {
                prop_assert_eq!(needed, ask.need(limit, ask.output_floor));
                prop_assert!(!fits(ask.output_floor, held) && fits(ask.output_floor, 0));
            }
            Fit::Exhausted { needed } => {
                prop_assert_eq!(needed, ask.need(limit, ask.output_floor));
                prop_assert!(!fits(ask.output_floor, 0));
            }
        }
    }

    #[test]
    fn no_minute_passes_more_than_the_limit_and_the_burst(
        per_minute in 1_u64..2_000, steps in prop::collection::vec((0_i64..20_000, 1_u64..500), 1..200),
    ) {
        let rate = Rate::tokens(per_minute);
        let (mut state, mut now) = (Drained::default(), 1_750_000_000_000_i64);
        let mut passed: Vec<(i64, u64)> = Vec::new();
        for (pause, amount) in steps {
            now += pause;
            match rate.check(state, amount, now) {
                Ok(()) => {
                    state = rate.charge(state, amount, now);
                    passed.push((now, amount));
                }
                Err(Some(wait)) => {
                    let later = now + i64::try_from(wait).unwrap();
                    prop_assert!(rate.check(state, amount, later).is_ok(), "the told wait is enough");
                    prop_assert!(rate.check(state, amount, later - 1).is_err(), "and not too long");
                }
                Err(None) => prop_assert!(amount > per_minute),
            }
        }
        // In any time t: what fits at once and what drained meanwhile, never more.
        for (i, (start, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (end, amount) in passed.iter().skip(i) {
                sum += amount;
                let elapsed = u64::try_from(end - start).unwrap();
                prop_assert!(sum * 60_000 <= per_minute * (60_000 + elapsed) + 60_000, "{sum} in {elapsed} ms");
            }
        }
    }

    #[test]
    fn exactly_the_limit_of_requests_fits_at_once(per_minute in 1_u64..5_000) {
        let rate = Rate::requests(per_minute);
        let (mut state, mut passed) = (Drained::default(), 0);
        while rate.check(state, 1, 1_000).is_ok() {
            state = rate.charge(state, 1, 1_000);
            passed += 1;
        }
        prop_assert_eq!(passed, per_minute);
    }

    #[test]
    fn a_correction_never_leaves_less_than_was_used(
        per_minute in 1_u64..100_000, charged in 0_u64..100_000, used in 0_u64..100_000, elapsed in 0_i64..100_000,
    ) {
        let rate = Rate::tokens(per_minute);
        let state = rate.charge(Drained::default(), charged, 0);
        let corrected = rate.correct(state, charged, used, 0, elapsed);
        let exact = rate.charge(Drained::default(), used, 0);
        let left = |state: Drained| (state.0 - elapsed * 1_000).max(0);
        prop_assert!(left(corrected) + 2 >= left(exact), "{corrected:?} {exact:?}");
        if used <= charged {
            prop_assert!(left(corrected) <= left(exact) + 2, "nothing is kept that could be given back");
        }
    }

    #[test]
    fn nothing_panics_at_the_bounds(
        a in prop::sample::select(vec![0, 1, u64::MAX / 2, u64::MAX]),
        b in prop::sample::select(vec![0, 1, u64::MAX / 2, u64::MAX]),
        now in prop::sample::select(vec![i64::MIN, -1, 0, i64::MAX]),
        state in prop::sample::select(vec![i64::MIN, -1, 0, i64::MAX]),
    ) {
        for rate in [Rate::tokens(a), Rate::requests(a)] {
            let _checked = rate.check(Drained(state), b, now);
            let _charged = rate.charge(Drained(state), b, now);
            let _corrected = rate.correct(Drained(state), a, b, state, now);
        }
        let _fit = count(Limit::NanoUsd(a), b, a).fit(&ask(a, b, b, a, a));
    }
}
