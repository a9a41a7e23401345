use super::*;
use crate::budget::{Budget, Period};
use crate::charge::{Reason, Refusal};
use crate::memory::MemoryStore;
use crate::suite::{self, MINUTE, NOON, USD, ask, level, usd, used};
use server::{Server, options};
use uuid::Uuid;

mod failures;
mod forms;
mod hammer;
mod same;
pub(crate) mod server;

/// A store with its server. Time is what the cases say.
struct Fresh {
    store: RedisStore,
    _server: Server,
}

async fn fresh() -> Fresh {
    let server = Server::start();
    Fresh { store: server.store(Clock::Given).await, _server: server }
}

impl suite::Store for Fresh {
    async fn reserve(&self, levels: &[Level<'_>], ask: &Ask) -> Decision {
        self.store.reserve(levels, ask).await.unwrap()
    }

    async fn settle(&self, levels: &[Level<'_>], grant: &Grant, actual: &Actual, now: i64) -> Settled {
        self.store.settle(levels, grant, actual, now).await.unwrap()
    }

    async fn cancel(&self, levels: &[Level<'_>], grant: &Grant, now: i64) {
        self.store.cancel(levels, grant, now).await.unwrap();
    }

    async fn progress(&self, grant: &Grant, so_far: &Actual, expires: i64) {
        self.store.progress(grant, so_far, expires).await.unwrap();
    }

    async fn sweep(&self, now: i64) -> Vec<Posting> {
        self.store.sweep(now).await.unwrap()
    }

    async fn state(&self, level: &Level<'_>, now: i64) -> Vec<BudgetState> {
        self.store.state(level, now).await.unwrap()
    }
}

crate::store_suite!(fresh().await);

/// Now, as a gateway sees it.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Fails a test that waits for what never comes. Called in each turn of its loop.
struct Patience(std::time::Instant);

impl Patience {
    fn new() -> Self {
        Patience(std::time::Instant::now() + Duration::from_secs(60))
    }

    async fn wait(&self, what: &str) {
        assert!(std::time::Instant::now() < self.0, "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn granted(store: &RedisStore, levels: &[Level<'_>], ask: &Ask) -> Grant {
    match store.reserve(levels, ask).await.unwrap() {
        Decision::Granted(grant) => grant,
        Decision::Refused(refusal) => panic!("refused: {refusal:?}"),
    }
}

async fn counted(store: &RedisStore, level: &Level<'_>, now: i64) -> (u64, u64) {
    let states = store.state(level, now).await.unwrap();
    (states[0].committed, states[0].held)
}

#[tokio::test]
async fn a_limit_that_cannot_be_counted_exactly_is_refused() {
    let Fresh { store, _server } = fresh().await;
    let (most, above) = (usd(MAX_AMOUNT), usd(MAX_AMOUNT + 1));
    granted(&store, &[level("a/key", &[&most])], &ask(1, 1, NOON)).await;
    let error = store.reserve(&[level("a/key", &[&above])], &ask(2, 1, NOON)).await.unwrap_err();
    assert!(error.to_string().contains("budget \"day\" of key a/key"), "{error}");
    assert!(!error.is_store_failure(), "onStoreFailure: Allow must not let it pass");
}

#[tokio::test]
async fn amounts_near_the_largest_are_counted_to_the_last_nano() {
    let Fresh { store, _server } = fresh().await;
    let budget = usd(MAX_AMOUNT);
    let levels = [level("a/key", &[&budget])];
    let big = MAX_AMOUNT - 3;
    let grant = granted(&store, &levels, &ask(1, big, NOON)).await;
    assert_eq!(counted(&store, &levels[0], NOON).await, (0, big));
    assert_eq!(store.settle(&levels, &grant, &used(big), NOON).await.unwrap().postings[0].amount, big);
    assert_eq!(counted(&store, &levels[0], NOON).await, (big, 0));
    // Three are left: with two tokens a nano-USD each the cap is lowered to three.
    let rest = Ask { output_price: 1, output_cap: 1_000, ..ask(2, 0, NOON) };
    assert_eq!(granted(&store, &levels, &rest).await.output_cap, 3);
    // Prices at which a double's quotient would be rounded up.
    let price = 94_906_263; // Its square is a little below 2^53.
    let odd = usd(price * (price - 2) - 1);
    let levels = [level("a/odd", &[&odd])];
    let ask = Ask { output_price: price, output_cap: price, ..suite::ask(3, 0, NOON) };
    let grant = granted(&store, &levels, &ask).await;
    assert_eq!((grant.output_cap, grant.held), (price - 3, price * (price - 3)));
    assert_eq!(counted(&store, &levels[0], NOON).await.1, grant.held);
}

#[tokio::test]
async fn a_revoked_key_is_refused_whatever_the_gateway_knows() {
    let Fresh { store, _server } = fresh().await;
    let budget = usd(USD);
    let levels = [level("a/key", &[]), level("a/team", &[&budget]), level("a/root", &[])];
    let grant = granted(&store, &levels, &ask(1, 10, NOON)).await;
    store.deny("a/root", "a/team", Some("left the company")).await.unwrap();
    let error = store.reserve(&levels, &ask(2, 10, NOON)).await.unwrap_err();
    assert_eq!(error.to_string(), "key a/team is revoked: left the company");
    assert!(!error.is_store_failure());
    // What runs is still charged.
    store.settle(&levels, &grant, &used(7), NOON).await.unwrap();
    assert_eq!(counted(&store, &levels[1], NOON).await, (7, 0));
    // A key that was never used can be revoked too.
    store.deny("a/root", "a/new", Some("x")).await.unwrap();
    let new = [level("a/new", &[]), level("a/root", &[])];
    assert!(matches!(store.reserve(&new, &ask(3, 1, NOON)).await, Err(StoreError::Denied { .. })));
    store.deny("a/root", "a/team", None).await.unwrap();
    granted(&store, &levels, &ask(2, 10, NOON)).await;
}

#[tokio::test]
async fn a_settle_and_its_record_are_one_step() {
    let Fresh { store, _server: server } = fresh().await;
    let (own, team) = (usd(USD), usd(USD));
    let levels = [level("a/key", &[&own]), level("a/root", &[&team])];
    let grant = granted(&store, &levels, &ask(1, 10, NOON)).await;
    for _ in 0..3 {
        store.settle_with(&levels, &grant, &used(7), NOON, b"{\"any\":\xff}").await.unwrap();
    }
    granted(&store, &levels, &ask(2, 10, NOON)).await;
    store.sweep(NOON + 2 * MINUTE).await.unwrap();
    let entries: Vec<(String, Vec<Vec<u8>>)> = server.command(&["XRANGE", "tollgate:1:{a/root}:s", "-", "+"]);
    let word = |entry: usize, at: usize| String::from_utf8_lossy(&entries[entry].1[at]).into_owned();
    assert_eq!(entries.len(), 2, "one for the settle, one for the hold that died");
    assert_eq!((word(0, 1), word(0, 3)), (Uuid::from_u128(1).simple().to_string(), "live".into()));
    assert_eq!((word(0, 5), word(0, 7), word(0, 9)), ("7".into(), "1".into(), "1".into()));
    let window = own.window(NOON);
    let posting = |key| format!("[\"{key}\",\"u:{}:{}:day\",\"{USD}\",\"7\"]", window.start, window.end);
    assert_eq!(word(0, 11), format!("[{},{}]", posting("a\\/key"), posting("a\\/root")));
    assert_eq!(entries[0].1[13], b"{\"any\":\xff}");
    assert_eq!((word(1, 3), word(1, 5)), ("dead".into(), "0".into()));
}

/// Redis's clock decides, not the gateway's: a little off goes unnoticed, more is told.
#[tokio::test]
async fn the_window_is_chosen_by_the_clock_of_redis() {
    let server = Server::start();
    let store = server.store(Clock::Server).await;
    let hour = Budget::new("hour", Limit::NanoUsd(USD), Period::Hour, jiff::tz::TimeZone::UTC);
    let levels = [level("a/key", &[&hour])];
    for (id, wrong_by) in [(1, 0), (2, -50 * MINUTE), (3, 50 * MINUTE)] {
        let before = hour.window(now());
        let grant = granted(&store, &levels, &ask(id, 10, now() + wrong_by)).await;
        let after = hour.window(now());
        assert!([before, after].contains(&grant.counters[0].window), "off by {wrong_by} ms");
    }
    let error = store.reserve(&levels, &ask(4, 10, now() + 5 * 60 * MINUTE)).await.unwrap_err();
    assert!(matches!(error, StoreError::Clock(ms) if (ms + 5 * 60 * MINUTE).abs() < MINUTE), "{error}");
    // A hold lives as long as was asked, by the clock of Redis.
    let rolling = Budget::new("r", Limit::NanoUsd(USD), Period::Rolling(3_600), jiff::tz::TimeZone::UTC);
    let late = Ask { expires: now() - 3 * MINUTE + 1, ..ask(5, 10, now() - 3 * MINUTE) };
    let levels = [level("a/roll", &[&rolling])];
    granted(&store, &levels, &late).await;
    let patience = Patience::new();
    while counted(&store, &levels[0], now()).await.1 > 0 {
        patience.wait("the hold dies").await;
        store.sweep(0).await.unwrap();
    }
}

/// A key moves between trees of two gateways that disagree for a while: nothing is lost or counted twice.
#[tokio::test]
async fn a_key_that_two_gateways_pull_at_is_counted_once() {
    let Fresh { store, _server: server } = fresh().await;
    let other = server.store(Clock::Given).await;
    let (own, team) = (usd(1_000), usd(10_000));
    let [old, new] = ["a/old", "a/new"].map(|root| [level("a/key", &[&own]), level(root, &[&team])]);
    let mut grants = Vec::new();
    for id in 0..6 {
        let (store, levels) = if id % 2 == 0 { (&store, &old) } else { (&other, &new) };
        grants.push((store, levels, granted(store, levels, &ask(id, 100, NOON)).await));
    }
    assert_eq!(counted(&store, &old[0], NOON).await, (0, 600));
    for (store, levels, grant) in &grants {
        store.settle(*levels, grant, &used(90), NOON).await.unwrap();
    }
    for levels in [&old, &new] {
        assert_eq!(counted(&store, &levels[0], NOON).await, (540, 0));
        assert_eq!(counted(&other, &levels[1], NOON).await, (270, 0));
    }
    // A hold that dies elsewhere follows as well.
    let grant = granted(&store, &old, &ask(10, 100, NOON)).await;
    store.progress(&grant, &used(40), NOON + MINUTE).await.unwrap();
    granted(&other, &new, &ask(11, 100, NOON + MINUTE)).await;
    assert_eq!(store.sweep(NOON + MINUTE).await.unwrap().len(), 2);
    assert_eq!(counted(&store, &old[0], NOON + MINUTE).await, (580, 100));
}
