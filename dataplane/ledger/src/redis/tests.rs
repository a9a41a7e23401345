use super::*;
use crate::budget::{Budget, Period};
use crate::charge::{BudgetState, Reason, Refusal};
use crate::memory::MemoryStore;
use crate::suite::{self, MINUTE, NOON, USD, ask, level, usd, used};
use server::{Server, options};
use uuid::Uuid;

mod failures;
mod forms;
mod hammer;
mod real;
mod restores;
mod rights;
mod rounds;
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

/// What records would know of charges in one tree.
fn backup(root: &str, postings: &[Posting], settled: &[Uuid]) -> Backup {
    let mut backup = Backup::default();
    backup.trees.entry(root.to_owned()).or_default().settled = settled.to_vec();
    for posting in postings {
        let key = backup.keys.entry(posting.counter.key.clone()).or_default();
        key.roots.insert(root.to_owned());
        key.postings.push(posting.clone());
    }
    backup
}

async fn entries(store: &RedisStore, root: &str) -> Vec<Entry> {
    store.read_stream(root, "", 1_000).await.unwrap().into_iter().map(Result::unwrap).collect()
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
    let mut denied = store.denied().await.unwrap();
    denied.sort();
    assert_eq!(denied, [("a/new".into(), "a/root".into()), ("a/team".into(), "a/root".into())]);
    store.deny("a/root", "a/team", None).await.unwrap();
    assert_eq!(store.denied().await.unwrap().len(), 1);
    granted(&store, &levels, &ask(2, 10, NOON)).await;
}

#[tokio::test]
async fn a_settle_and_its_record_are_one_step() {
    let Fresh { store, _server: server } = fresh().await;
    let (own, team) = (usd(USD), usd(USD));
    let levels = [level("a/key", &[&own]), level("a/root", &[&team])];
    let grant = granted(&store, &levels, &ask(1, 10, NOON)).await;
    for _ in 0..3 {
        let billing = Billing { request: Uuid::from_u128(77), record: b"{\"any\":\xff}" };
        store.settle_with(&levels, &grant, &used(7), NOON, billing).await.unwrap();
    }
    granted(&store, &levels, &ask(2, 10, NOON)).await;
    store.sweep(NOON + 2 * MINUTE).await.unwrap();
    let entries = entries(&store, "a/root").await;
    assert_eq!(entries.len(), 2, "one for the settle, one for the hold that died");
    let (settled, died) = (&entries[0], &entries[1]);
    assert_eq!((settled.reservation, settled.request), (grant.id, Uuid::from_u128(77)));
    assert_eq!((settled.how, settled.actual, &*settled.record), (How::Live, used(7), &b"{\"any\":\xff}"[..]));
    let posting = |at: usize| Posting { counter: grant.counters[at].clone(), amount: 7 };
    assert_eq!(settled.postings, [posting(0), posting(1)]);
    assert_eq!((died.how, died.actual, died.request), (How::Dead, Actual::default(), Uuid::from_u128(2)));
    assert!(died.postings.is_empty() && died.record.is_empty());
    assert_eq!(died.levels, ["a/key", "a/root"]);
    // Read on from a position, and deleted.
    let rest = store.read_stream("a/root", &settled.position, 10).await.unwrap();
    assert_eq!(rest, [Ok(died.clone())]);
    store.delete_entries("a/root", std::slice::from_ref(&settled.position)).await.unwrap();
    assert_eq!(store.read_stream("a/root", "", 10).await.unwrap(), rest);
    // What is not understood is told as such.
    server.command::<()>(&["XADD", "tollgate:1:{a/root}:s", "*", "how", "other"]);
    let all = store.read_stream("a/root", "", 10).await.unwrap();
    assert!(matches!(&all[1], Err(Malformed { fields, .. }) if fields.contains("how=\"other\"")), "{all:?}");
}

#[tokio::test]
async fn a_reset_takes_back_what_was_spent_once() {
    let Fresh { store, _server } = fresh().await;
    let (day, tokens) = (usd(USD), suite::tokens(1_000));
    let levels = [level("a/key", &[&day, &tokens]), level("a/root", &[&day])];
    let grant = granted(&store, &levels, &ask(1, 10, NOON)).await;
    store.settle(&levels, &grant, &used(7), NOON).await.unwrap();
    granted(&store, &levels, &ask(2, 10, NOON)).await;
    let billing = |n| Billing { request: Uuid::from_u128(n), record: b"by ada" };
    for (again, id) in [(0, "may"), (1, "may"), (2, "june")] {
        let done =
            store.reset("a/root", "a/key", Some("day"), id, true, NOON, billing(50 + again)).await.unwrap();
        assert_eq!(done == Reset::Done, id == "june" || again == 0);
    }
    assert_eq!(counted(&store, &levels[0], NOON).await, (0, 10), "what is held stays");
    assert_eq!(store.state(&levels[0], NOON).await.unwrap()[1].committed, 2, "another budget stays");
    assert_eq!(counted(&store, &levels[1], NOON).await, (7, 10), "its parent stays");
    let entries = entries(&store, "a/root").await;
    let reset = &entries[1];
    assert_eq!((reset.how, reset.request, &*reset.record), (How::Reset, Uuid::from_u128(50), &b"by ada"[..]));
    assert_eq!(reset.taken_back.len(), 1);
    assert_eq!((reset.taken_back[0].amount, &*reset.taken_back[0].counter.key), (7, "a/key"));
    assert!(entries[2].taken_back.is_empty(), "nothing was left to take back");
}

/// A hold lives as long as its gateway says so, and what it says counts if it dies.
#[tokio::test]
async fn renewals_keep_holds_alive_and_tell_their_progress() {
    let Fresh { store, _server } = fresh().await;
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let mut grants = Vec::new();
    for id in 0..250 {
        grants.push(granted(&store, &levels, &ask(id, 1, NOON)).await);
    }
    store.note(&grants[7], &used(1));
    store.renew(Duration::from_secs(3600), NOON + 10 * MINUTE).await.unwrap();
    store.renew(Duration::ZERO, NOON + 5 * MINUTE).await.unwrap();
    assert_eq!(store.sweep(NOON + 4 * MINUTE).await.unwrap(), []);
    let dead = store.expire(NOON + 5 * MINUTE).await.unwrap();
    assert_eq!(dead.len(), 250);
    assert_eq!(dead.iter().filter(|dead| dead.charged == used(1)).count(), 1);
    assert_eq!(store.holds(), 0);
}

#[tokio::test]
async fn a_reserve_that_nobody_waits_for_any_more_is_taken_back() {
    let Fresh { store, _server } = fresh().await;
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    granted(&store, &levels, &ask(1, 1, NOON)).await;
    let asked = ask(2, 1_000 - 1, NOON);
    {
        let mut reserve = std::pin::pin!(store.reserve(&levels, &asked));
        std::future::poll_fn(|cx| {
            assert!(reserve.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }
    assert_eq!(store.unsure(), 1);
    let patience = Patience::new();
    while counted(&store, &levels[0], NOON).await.1 != 1 || store.unsure() > 0 {
        patience.wait("it is taken back").await;
        store.sweep(NOON).await.unwrap();
    }
}

#[tokio::test]
async fn many_keys_of_a_tree_are_read_together() {
    let Fresh { store, _server } = fresh().await;
    let (own, team) = (usd(500), usd(1_000_000));
    let names: Vec<String> = (0..120).map(|n| format!("a/key-{n}")).collect();
    for (n, name) in names.iter().enumerate().take(110) {
        let levels = [level(name, &[&own]), level("a/root", &[&team])];
        let grant = granted(&store, &levels, &ask(n as u128, 100, NOON)).await;
        store.settle(&levels, &grant, &used(n as u64), NOON).await.unwrap();
    }
    // One has moved to another tree since.
    granted(&store, &[level("a/key-3", &[&own]), level("a/new", &[])], &ask(999, 1, NOON)).await;
    let budgets: [&Budget; 1] = [&own];
    let keys: Vec<(&str, &[&Budget])> = names.iter().map(|name| (name.as_str(), &budgets[..])).collect();
    let states = store.states("a/root", &keys, NOON).await.unwrap();
    for (n, state) in states.iter().enumerate() {
        assert_eq!(state[0].committed, if n < 110 { n as u64 } else { 0 }, "key {n}");
    }
    assert_eq!(states[3][0].held, 1);
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
