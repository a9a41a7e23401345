//! The two stores, side by side: whatever happens, they answer the same.

use super::*;
use crate::charge::Expired;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[derive(Debug, Clone)]
enum Op {
    Reserve { key: usize, input: u64, price: u64, cap: u64, floor: u64, choices: u64, rate: u64, ttl: i64 },
    Settle { hold: usize, percent: u64 },
    Cancel { hold: usize },
    Progress { hold: usize, percent: u64, ttl: i64 },
    Sweep,
    Step { ms: i64 },
}

/// A key: its budgets (USD or tokens, amount, period), and its limits.
type Node = (Vec<(bool, u64, usize)>, Option<u64>, Option<u64>, Option<u64>);

const PERIODS: [Period; 4] = [Period::Minute, Period::Month, Period::Rolling(600), Period::Rolling(86_400)];

fn node() -> impl Strategy<Value = Node> {
    let budgets = prop::collection::vec((any::<bool>(), 1_u64..5_000, 0..PERIODS.len()), 0..3);
    let limit = |most| prop::option::weighted(0.4, 1..most);
    (budgets, limit(20_u64), limit(900_u64), limit(6_u64))
}

fn op() -> impl Strategy<Value = Op> {
    let hold = || 0..60_usize;
    prop_oneof![
        8 => (0..4_usize, 0_u64..500, 0_u64..10, 0_u64..300, 0_u64..300, 0_u64..3, 0_u64..400, 1_i64..200_000).prop_map(
            |(key, input, price, cap, floor, choices, rate, ttl)|
                Op::Reserve { key, input, price, cap, floor: floor.min(cap), choices, rate, ttl }),
        5 => (hold(), 0_u64..150).prop_map(|(hold, percent)| Op::Settle { hold, percent }),
        1 => hold().prop_map(|hold| Op::Cancel { hold }),
        2 => (hold(), 0_u64..100, 1_i64..200_000).prop_map(|(hold, percent, ttl)| Op::Progress { hold, percent, ttl }),
        2 => Just(Op::Sweep),
        3 => prop_oneof![0_i64..5_000, 0_i64..200_000, 0_i64..100_000_000].prop_map(|ms| Op::Step { ms }),
    ]
}

struct Both {
    redis: RedisStore,
    memory: MemoryStore,
    names: Vec<String>,
    budgets: Vec<Vec<Budget>>,
    nodes: Vec<Node>,
    /// Holds with their key and their ask.
    holds: Vec<(usize, Ask, Grant)>,
    asked: u128,
    now: i64,
}

impl Both {
    fn new(redis: RedisStore, nodes: Vec<Node>) -> Self {
        let budget = |(i, (usd, amount, period)): (usize, &(bool, u64, usize))| {
            let limit = if *usd { Limit::NanoUsd(*amount) } else { Limit::Tokens(*amount) };
            Budget::new(format!("b:{i}"), limit, PERIODS[*period], TimeZone::get("Europe/Berlin").unwrap())
        };
        Both {
            redis,
            memory: MemoryStore::new(),
            names: (0..nodes.len()).map(|i| format!("ns/key-{i}")).collect(),
            budgets: nodes.iter().map(|node| node.0.iter().enumerate().map(budget).collect()).collect(),
            nodes,
            holds: Vec::new(),
            asked: 0,
            now: NOON,
        }
    }

    /// The path of a key: each key's parent is the one before it.
    fn levels(&self, key: usize) -> Vec<Level<'_>> {
        let one = |key: usize| Level {
            key: &self.names[key],
            budgets: self.budgets[key].iter().collect(),
            requests_per_minute: self.nodes[key].1,
            tokens_per_minute: self.nodes[key].2,
            concurrent: self.nodes[key].3,
        };
        (0..=key).rev().map(one).collect()
    }

    fn part((_, ask, grant): &(usize, Ask, Grant), percent: u64) -> Actual {
        Actual {
            cost: grant.held * percent / 100,
            input_tokens: ask.input_tokens * percent / 100,
            output_tokens: ask.choices.max(1) * grant.output_cap * percent / 100,
        }
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Reserve { key, input, price, cap, floor, choices, rate, ttl } => {
                let (key, id) = (key % self.nodes.len(), Uuid::from_u128(self.asked));
                self.asked += 1;
                let ask = Ask {
                    id,
                    now: self.now,
                    input_cost: input,
                    output_price: price,
                    input_tokens: input / 2,
                    rate_tokens: rate,
                    output_cap: cap,
                    output_floor: floor,
                    choices,
                    expires: self.now + ttl,
                };
                let got = self.redis.reserve(&self.levels(key), &ask).await.unwrap();
                assert_eq!(got, self.memory.reserve(&self.levels(key), &ask));
                if let Decision::Granted(grant) = got {
                    self.holds.push((key, ask, grant));
                }
            }
            Op::Settle { hold, percent } => {
                let Some(hold) = self.holds.get(hold) else { return };
                let (levels, actual) = (self.levels(hold.0), Self::part(hold, percent));
                let got = self.redis.settle(&levels, &hold.2, &actual, self.now).await.unwrap();
                assert_eq!(got, self.memory.settle(&levels, &hold.2, &actual, self.now));
            }
            Op::Cancel { hold } => {
                let Some((key, _, grant)) = self.holds.get(hold) else { return };
                self.redis.cancel(&self.levels(*key), grant, self.now).await.unwrap();
                self.memory.cancel(&self.levels(*key), grant, self.now);
            }
            Op::Progress { hold, percent, ttl } => {
                let Some(hold) = self.holds.get(hold) else { return };
                let (so_far, expires) = (Self::part(hold, percent), self.now + ttl);
                self.redis.progress(&hold.2, &so_far, expires).await.unwrap();
                self.memory.progress(&hold.2, &so_far, expires);
            }
            Op::Sweep => {
                let sorted = |mut dead: Vec<Expired>| {
                    dead.sort_by_key(|dead| dead.id);
                    dead
                };
                let got = self.redis.expire(self.now).await.unwrap();
                assert_eq!(sorted(got), sorted(self.memory.expire(self.now)));
            }
            // What the stores remember of ended holds is forgotten by different clocks here: a day is never reached.
            Op::Step { ms } => self.now += ms.min(2_000_000),
        }
    }

    async fn check(&self) {
        for key in 0..self.nodes.len() {
            let level = &self.levels(key)[0];
            assert_eq!(self.redis.state(level, self.now).await.unwrap(), self.memory.state(level, self.now));
        }
        assert_eq!(self.redis.overrun_total(), self.memory.overrun_total());
        assert_eq!(self.redis.overrun_tokens_total(), self.memory.overrun_tokens_total());
    }
}

/// How long cases are made.
const TIME: Duration = Duration::from_secs(15);

#[test]
fn both_stores_answer_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Server::start();
    let input = (prop::collection::vec(node(), 1..5), prop::collection::vec(op(), 1..80));
    let run = |(nodes, ops): (Vec<Node>, Vec<Op>)| {
        runtime.block_on(async {
            server.command::<()>(&["FLUSHALL"]);
            let mut both = Both::new(server.store(Clock::Given).await, nodes);
            for op in ops {
                both.apply(op).await;
                both.check().await;
            }
        });
        Ok(())
    };
    // As many cases as a busy machine has time for.
    let started = std::time::Instant::now();
    for case in 0..24 {
        let config =
            Config { cases: 1, max_shrink_time: 20_000, max_shrink_iters: 2_000, ..Config::default() };
        TestRunner::new(config).run(&input, run).unwrap();
        if case >= 2 && started.elapsed() > TIME {
            break;
        }
    }
}
