//! How many requests a second one tree can have: reserve and settle over three levels, all in one slot of one Redis.
//!
//! `redis_calls redis://127.0.0.1:6379 [SECONDS]`. Everything is written under the prefix `bench`.
#![allow(clippy::expect_used, reason = "a measurement, not a part of the gateway")]

use std::sync::Arc;
use std::time::{Duration, Instant};
use tollgate_ledger::budget::{Budget, Limit, Period};
use tollgate_ledger::charge::{Actual, Ask, Decision, Level};
use tollgate_ledger::redis::{Address, Billing, Options, RedisStore};

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let seconds = args.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    let address = Address::parse(&url).expect("an address of Redis");
    let options = Options {
        prefix: "bench".into(),
        timeout: Duration::from_secs(5),
        stream: 10_000,
        ..Options::default()
    };
    let store = Arc::new(RedisStore::connect(&address, options).await.expect("Redis answers"));
    store.found().await.expect("a ledger");
    for clients in [1, 8, 32, 128] {
        let until = Instant::now() + Duration::from_secs(seconds);
        let running: Vec<_> =
            (0..clients).map(|client| tokio::spawn(work(store.clone(), client, until))).collect();
        let mut times = Vec::new();
        for client in running {
            times.append(&mut client.await.expect("a client's times"));
        }
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        println!(
            "{clients:>4} clients: {:>7} requests/s = {:>7} calls/s; reserve + settle p50 {:?}, p99 {:?}",
            times.len() as u64 / seconds,
            2 * times.len() as u64 / seconds,
            at(50),
            at(99)
        );
    }
}

/// The time of each request.
async fn work(store: Arc<RedisStore>, client: u128, until: Instant) -> Vec<Duration> {
    let zone = jiff::tz::TimeZone::UTC;
    let month = Budget::new("month", Limit::NanoUsd(9_000_000_000_000_000), Period::Month, zone.clone());
    let day = Budget::new("day", Limit::NanoUsd(9_000_000_000_000_000), Period::Day, zone);
    let own = format!("bench/key-{client}");
    let level = |key, budgets: &[&'static Budget]| Level {
        key,
        budgets: budgets.iter().copied().collect(),
        requests_per_minute: Some(60_000_000),
        tokens_per_minute: Some(1_000_000_000),
        concurrent: Some(10_000),
    };
    let (month, day): (&'static Budget, &'static Budget) = (Box::leak(month.into()), Box::leak(day.into()));
    let levels = [level(own.as_str(), &[day]), level("bench/team", &[month]), level("bench/root", &[month])];
    let mut times = Vec::new();
    for i in 0_u128.. {
        let start = Instant::now();
        if start >= until {
            break;
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let ask = Ask {
            id: uuid::Uuid::from_u128((client << 64) | ((now as u128) << 20) | (i % (1 << 20))),
            now,
            input_cost: 6_000_000,
            output_price: 15_000,
            input_tokens: 2_000,
            rate_tokens: 1_200,
            output_cap: 32_000,
            output_floor: 4_096,
            choices: 1,
            expires: now + 60_000,
        };
        let Ok(Decision::Granted(grant)) = store.reserve(&levels, &ask).await else { continue };
        let actual = Actual { cost: 12_000_000, input_tokens: 1_500, output_tokens: 500 };
        let billing = Billing { request: ask.id, record: &[b'x'; 600] };
        store.settle_with(&levels, &grant, &actual, now, billing).await.ok();
        times.push(start.elapsed());
    }
    times
}
