//! The store against a model that is too simple to be wrong: a list of holds and a list of postings, summed up anew for
//! each question. Random trees, random requests, holds that never end, and steps of time across windows.

use super::*;
use crate::budget::{Budget, Period, Window};
use crate::charge::{Reason, Refusal};
use crate::suite::{NOON, level};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::collections::HashMap;
use uuid::Uuid;

#[derive(Debug, Clone)]
struct Node {
    parent: Option<prop::sample::Index>,
    budgets: Vec<(bool, u64, usize)>,
    concurrent: Option<u64>,
}

#[derive(Debug, Clone)]
enum Op {
    Reserve { key: prop::sample::Index, input: u64, price: u64, cap: u64, floor: u64, choices: u64, ttl: i64 },
    Replay { hold: prop::sample::Index },
    Settle { hold: prop::sample::Index, percent: u64 },
    Cancel { hold: prop::sample::Index },
    Progress { hold: prop::sample::Index, percent: u64, ttl: i64 },
    Sweep,
    Step { ms: i64 },
}

const PERIODS: [Period; 5] =
    [Period::Minute, Period::Day, Period::Month, Period::Rolling(600), Period::Rolling(86_400)];

fn node() -> impl Strategy<Value = Node> {
    let budget = (any::<bool>(), 1_u64..5_000, 0..PERIODS.len());
    let budgets = prop::collection::vec(budget, 0..3);
    (any::<Option<prop::sample::Index>>(), budgets, prop::option::weighted(0.3, 1_u64..6))
        .prop_map(|(parent, budgets, concurrent)| Node { parent, budgets, concurrent })
}

fn op() -> impl Strategy<Value = Op> {
    let hold = any::<prop::sample::Index>;
    prop_oneof![
        8 => (hold(), 0_u64..500, 0_u64..10, 0_u64..300, 0_u64..300, 0_u64..3, 1_i64..200_000).prop_map(
            |(key, input, price, cap, floor, choices, ttl)|
                Op::Reserve { key, input, price, cap, floor: floor.min(cap), choices, ttl }),
        1 => hold().prop_map(|hold| Op::Replay { hold }),
        5 => (hold(), 0_u64..120).prop_map(|(hold, percent)| Op::Settle { hold, percent }),
        1 => hold().prop_map(|hold| Op::Cancel { hold }),
        2 => (hold(), 0_u64..100, 1_i64..200_000).prop_map(|(hold, percent, ttl)| Op::Progress { hold, percent, ttl }),
        2 => Just(Op::Sweep),
        3 => prop_oneof![0_i64..5_000, 0_i64..200_000, 0_i64..100_000_000].prop_map(|ms| Op::Step { ms }),
    ]
}

/// A budget's counter: key, place of the budget in its key, window.
type Place = (usize, usize, Window);

struct ModelHold {
    ask: Ask,
    path: Vec<usize>,
    grant: Grant,
    places: Vec<Place>,
    so_far: Actual,
    expires: i64,
    live: bool,
    swept_at: Option<i64>,
}

struct World {
    store: MemoryStore,
    keys: Vec<String>,
    parents: Vec<Option<usize>>,
    budgets: Vec<Vec<Budget>>,
    concurrent: Vec<Option<u64>>,
    now: i64,
    holds: Vec<ModelHold>,
    /// Every amount posted, with the part of it that was above its hold.
    posted: Vec<(Place, u64, u64)>,
    postings: Vec<Posting>,
}

impl World {
    fn new(nodes: &[Node]) -> Self {
        let budget = |(i, (usd, amount, period)): (usize, &(bool, u64, usize))| {
            let limit = if *usd { Limit::NanoUsd(*amount) } else { Limit::Tokens(*amount) };
            Budget::new(format!("b{i}"), limit, PERIODS[*period], TimeZone::get("Europe/Berlin").unwrap())
        };
        World {
            store: MemoryStore::new(),
            keys: (0..nodes.len()).map(|i| format!("ns/key-{i}")).collect(),
            parents: nodes
                .iter()
                .enumerate()
                .map(|(i, n)| n.parent.filter(|_| i > 0).map(|p| p.index(i)))
                .collect(),
            budgets: nodes.iter().map(|n| n.budgets.iter().enumerate().map(budget).collect()).collect(),
            concurrent: nodes.iter().map(|n| n.concurrent).collect(),
            now: NOON,
            holds: Vec::new(),
            posted: Vec::new(),
            postings: Vec::new(),
        }
    }

    fn path(&self, key: usize) -> Vec<usize> {
        std::iter::successors(Some(key), |key| self.parents[*key]).collect()
    }

    fn levels(&self, path: &[usize]) -> Vec<Level<'_>> {
        let one = |key: &usize| Level {
            concurrent: self.concurrent[*key],
            ..level(&self.keys[*key], &self.budgets[*key].iter().collect::<Vec<_>>())
        };
        path.iter().map(one).collect()
    }

    /// Committed, held and overrun of a budget now.
    fn count(&self, key: usize, budget: usize) -> (u64, u64, u64) {
        let b = &self.budgets[key][budget];
        let here = |place: &Place| (place.0, place.1) == (key, budget) && b.counts(place.2, self.now);
        let posted = || self.posted.iter().filter(|(place, ..)| here(place));
        let held = self.holds.iter().filter(|hold| hold.live).map(|hold| {
            hold.places
                .iter()
                .filter(|p| here(p))
                .map(|_| hold.ask.need(b.limit, hold.grant.output_cap))
                .sum::<u64>()
        });
        (posted().map(|p| p.1).sum(), held.sum(), posted().map(|p| p.2).sum())
    }

    /// The largest cap that fits everywhere by trying, `None` if none does.
    fn expected_cap(&self, path: &[usize], ask: &Ask) -> Option<u64> {
        let running =
            |key: usize| self.holds.iter().filter(|h| h.live && h.path.contains(&key)).count() as u64;
        let fits = |cap: u64| {
            path.iter().all(|key| {
                self.concurrent[*key].is_none_or(|limit| running(*key) < limit)
                    && self.budgets[*key].iter().enumerate().all(|(i, b)| {
                        let (committed, held, _) = self.count(*key, i);
                        committed < b.limit.amount()
                            && committed + held + ask.need(b.limit, cap) <= b.limit.amount()
                    })
            })
        };
        let caps = ask.output_floor..=ask.output_cap;
        let fitting = caps.clone().count() - caps.rev().take_while(|cap| !fits(*cap)).count();
        (fitting > 0).then(|| ask.output_floor + fitting as u64 - 1)
    }

    fn reserve(&mut self, key: usize, ask: Ask) {
        let path = self.path(key);
        let expected = self.expected_cap(&path, &ask);
        let decision = self.store.reserve(&self.levels(&path), &ask);
        match decision {
            Decision::Refused(refusal) => {
                assert_eq!(expected, None, "refused what fits: {refusal:?}");
                self.check_refusal(&path, &refusal);
            }
            Decision::Granted(grant) => {
                assert_eq!(Some(grant.output_cap), expected);
                assert_eq!(grant.held, ask.need(Limit::NanoUsd(0), grant.output_cap));
                let all = path.iter().flat_map(|key| (0..self.budgets[*key].len()).map(move |b| (*key, b)));
                let places: Vec<_> = all.map(|(k, b)| (k, b, self.budgets[k][b].window(self.now))).collect();
                assert_eq!(grant.counters.len(), places.len());
                let (so_far, expires) = (Actual::default(), ask.expires);
                self.holds.push(ModelHold {
                    ask,
                    path,
                    grant,
                    places,
                    so_far,
                    expires,
                    live: true,
                    swept_at: None,
                });
            }
        }
    }

    /// Final exactly when no end of others' holds would help.
    fn check_refusal(&self, path: &[usize], refusal: &Refusal) {
        let key = path.iter().find(|key| self.keys[**key] == refusal.key).expect("a key of the path");
        let (state, last) = match &refusal.reason {
            Reason::BudgetExhausted(state) => (state, true),
            Reason::BudgetBusy(state) => (state, false),
            Reason::Concurrent { limit } => return assert_eq!(self.concurrent[*key], Some(*limit)),
            other => panic!("no such limit: {other:?}"),
        };
        let budget = self.budgets[*key].iter().position(|b| b.name == state.budget).unwrap();
        let (committed, held, _) = self.count(*key, budget);
        assert_eq!((state.committed, state.held), (committed, held));
        let limit = state.limit.amount();
        assert_eq!(last, committed >= limit || committed + state.needed > limit);
        assert!(state.resets_at > self.now);
    }

    /// A part of what a hold allows, in each kind.
    fn part(hold: &ModelHold, percent: u64) -> Actual {
        let output = hold.ask.choices.max(1) * hold.grant.output_cap;
        Actual {
            cost: hold.grant.held * percent / 100,
            input_tokens: hold.ask.input_tokens * percent / 100,
            output_tokens: output * percent / 100,
        }
    }

    /// Notes what a settle or the sweep must have posted.
    fn post(&mut self, hold: usize, actual: Actual, was_held: bool, got: &Settled) {
        let hold = &self.holds[hold];
        let mut over_usd = 0;
        for place in &hold.places {
            let limit = self.budgets[place.0][place.1].limit;
            let held = if was_held { hold.ask.need(limit, hold.grant.output_cap) } else { 0 };
            let over = actual.amount(limit).saturating_sub(held);
            self.posted.push((*place, actual.amount(limit), over));
            if let Limit::NanoUsd(_) = limit {
                over_usd = over;
            }
        }
        let amount = |p: &Posting| actual.amount(p.counter.limit);
        assert!(got.postings.iter().all(|p| p.amount == amount(p) && p.amount > 0));
        assert_eq!(got.overrun, over_usd);
        self.postings.extend(got.postings.iter().cloned());
    }

    fn settle(&mut self, at: usize, percent: u64) {
        let hold = &self.holds[at];
        let actual = Self::part(hold, percent);
        let levels = self.levels(&hold.path);
        let day = 86_400_000;
        let late = hold.swept_at.filter(|at| self.now - at < day);
        if !hold.live && late.is_none() {
            return;
        }
        let got = self.store.settle(&levels, &hold.grant, &actual, self.now);
        let again = self.store.settle(&levels, &hold.grant, &Self::part(hold, 200), self.now);
        assert_eq!(again, Settled::default(), "a second settle posts nothing");
        self.store.cancel(&levels, &hold.grant, self.now);
        let (live, so_far) = (hold.live, hold.so_far);
        drop(levels);
        self.holds[at].live = false;
        self.holds[at].swept_at = None;
        let posted = if live { actual } else { actual.above(so_far) };
        self.post(at, posted, live, &got);
    }

    fn sweep(&mut self) {
        let mut dead = self.store.expire(self.now);
        dead.sort_by_key(|d| d.id);
        let expected: Vec<_> = (0..self.holds.len()).filter(|i| self.is_dead(*i)).collect();
        assert_eq!(dead.len(), expected.len());
        for at in expected {
            let found = dead.iter().find(|d| d.id == self.holds[at].ask.id).expect("each dead hold is swept");
            assert_eq!(found.charged, self.holds[at].so_far);
            self.holds[at].live = false;
            self.holds[at].swept_at = Some(self.now);
            self.post(at, found.charged, true, &found.settled);
        }
    }

    fn is_dead(&self, at: usize) -> bool {
        self.holds[at].live && self.holds[at].expires <= self.now
    }

    fn apply(&mut self, op: Op) {
        let pick = |index: prop::sample::Index, n: usize| (n > 0).then(|| index.index(n));
        match op {
            Op::Reserve { key, input, price, cap, floor, choices, ttl } => {
                let ask = Ask {
                    id: Uuid::from_u128(self.holds.len() as u128 * 7 + 1),
                    now: self.now,
                    input_cost: input,
                    output_price: price,
                    input_tokens: input / 2,
                    rate_tokens: 0,
                    output_cap: cap,
                    output_floor: floor,
                    choices,
                    expires: self.now + ttl,
                };
                self.reserve(key.index(self.keys.len()), ask);
            }
            Op::Replay { hold } => {
                let live = pick(hold, self.holds.len()).map(|at| &self.holds[at]).filter(|hold| hold.live);
                if let Some(hold) = live {
                    let again = self.store.reserve(&self.levels(&hold.path), &hold.ask);
                    assert_eq!(again, Decision::Granted(hold.grant.clone()));
                }
            }
            Op::Settle { hold, percent } => {
                if let Some(at) = pick(hold, self.holds.len()) {
                    self.settle(at, percent);
                }
            }
            Op::Cancel { hold } => {
                if let Some(at) = pick(hold, self.holds.len()).filter(|at| self.holds[*at].live) {
                    for _ in 0..2 {
                        self.store.cancel(
                            &self.levels(&self.holds[at].path),
                            &self.holds[at].grant,
                            self.now,
                        );
                    }
                    self.holds[at].live = false;
                }
            }
            Op::Progress { hold, percent, ttl } => {
                if let Some(at) = pick(hold, self.holds.len()) {
                    let so_far = Self::part(&self.holds[at], percent);
                    self.store.progress(&self.holds[at].grant, &so_far, self.now + ttl);
                    let hold = &mut self.holds[at];
                    if hold.live {
                        hold.so_far = hold.so_far.max(so_far);
                        hold.expires = hold.expires.max(self.now + ttl);
                    }
                }
            }
            Op::Sweep => self.sweep(),
            Op::Step { ms } => self.now += ms,
        }
    }

    fn check(&self) {
        assert_eq!(self.store.holds(), self.holds.iter().filter(|hold| hold.live).count());
        for key in 0..self.keys.len() {
            let state = self.store.state(&self.levels(&[key])[0], self.now);
            for (i, shown) in state.iter().enumerate() {
                let (committed, held, overrun) = self.count(key, i);
                assert_eq!(
                    (shown.committed, shown.held),
                    (committed, held),
                    "{} {}",
                    self.keys[key],
                    shown.budget
                );
                assert!(
                    committed + held <= shown.limit.amount() + overrun,
                    "spent more than was allowed: {shown:?}"
                );
            }
        }
    }

    /// A store made anew from the postings knows what this one knows.
    fn check_restored(&self) {
        let restored = MemoryStore::new();
        restored.restore(self.postings.iter().cloned(), self.now);
        let committed = |store: &MemoryStore, level: &Level<'_>| -> Vec<u64> {
            store.state(level, self.now).iter().map(|state| state.committed).collect()
        };
        for key in 0..self.keys.len() {
            let level = &self.levels(&[key])[0];
            assert_eq!(committed(&restored, level), committed(&self.store, level));
        }
        assert_eq!(restored.holds(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_store_does_what_the_model_does(
        nodes in prop::collection::vec(node(), 1..7), ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(&nodes);
        for op in ops {
            world.apply(op);
            world.check();
        }
        world.check_restored();
        // All holds die in the end, and a month later nothing is left in memory.
        world.now += 400_000;
        world.sweep();
        world.check();
        world.store.sweep(world.now + 32 * 86_400_000);
        let keys: HashMap<_, _> = world.keys.iter().map(|key| (key, world.store.levels.find(key).is_some())).collect();
        prop_assert_eq!(world.store.keys(), 0, "{:?}", keys);
    }
}
