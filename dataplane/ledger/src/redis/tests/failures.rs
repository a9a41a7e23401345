//! Redis slow, away, emptied, replaced.

use super::*;

/// While nothing drains the stream, memory may become full: nothing is granted or posted by halves then, and all goes on when there is
/// room again.
#[tokio::test]
async fn a_redis_that_is_full_refuses_and_goes_on_when_its_stream_was_drained() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(1_000_000);
    let levels = [level("a/key", &[&budget])];
    granted(&store, &levels, &ask(1, 1, NOON)).await;
    let info: String = server.command(&["INFO", "memory"]);
    let taken = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let room = taken.trim().parse::<u64>().unwrap() + (2 << 20);
    server.command::<()>(&["CONFIG", "SET", "maxmemory", &room.to_string()]);
    let (mut posted, record) = (0, vec![b'x'; 50_000]);
    let refused = loop {
        let grant = match store.reserve(&levels, &ask(100 + posted, 300, NOON)).await {
            Ok(Decision::Granted(grant)) => grant,
            other => break other.unwrap_err(),
        };
        let billing = Billing { request: grant.id, record: &record };
        match store.settle_with(&levels, &grant, &used(250), NOON, billing).await {
            Ok(_) => posted += 1,
            Err(error) => break error,
        }
        assert!(posted < 1_000, "2 MB are full of 50 kB each by now");
    };
    assert!(refused.is_store_failure() && refused.to_string().contains("maxmemory"), "{refused}");
    // What runs is renewed all the same, and nobody ends it.
    let running = Upkeep { now: NOON, expires: NOON + 10 * MINUTE, hold: Duration::ZERO };
    assert!(store.look_after(&running).await.failed.is_empty());
    let other = RedisStore::connect(&server.address(), options(Clock::Given)).await.unwrap();
    assert_eq!(other.expire(NOON + 5 * MINUTE).await.unwrap(), []);
    let entries = entries(&store, "a/key").await;
    let committed = || async { counted(&store, &levels[0], NOON).await.0 };
    assert_eq!((entries.len() as u128, committed().await), (posted, 250 * posted as u64));
    let positions: Vec<String> = entries.into_iter().map(|entry| entry.position).collect();
    store.delete_entries("a/key", &positions).await.unwrap();
    let patience = Patience::new();
    while store.repeat_now(NOON, Duration::from_secs(1)).await > 0 {
        patience.wait("what waited is posted").await;
    }
    granted(&store, &levels, &ask(2, 300, NOON)).await;
    let waited = self::entries(&store, "a/key").await.len() as u64;
    assert_eq!(committed().await, 250 * (posted as u64 + waited));
}

#[tokio::test]
async fn an_emptied_redis_is_noticed_and_no_fresh_budget() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget]), level("a/root", &[&budget])];
    let grant = granted(&store, &levels, &ask(1, 600, NOON)).await;
    let spent = store.settle(&levels, &grant, &used(500), NOON).await.unwrap();
    let running = granted(&store, &levels, &ask(2, 100, NOON)).await;
    server.command::<()>(&["FLUSHALL"]);
    let other = server.store_unfounded().await;
    for store in [&store, &other] {
        let error = store.reserve(&levels, &ask(3, 1, NOON)).await.unwrap_err();
        assert!(matches!(error, StoreError::Emptied), "{error}");
        assert!(error.is_store_failure());
        assert!(matches!(store.state(&levels[0], NOON).await, Err(StoreError::Emptied)));
    }
    let error = store.settle(&levels, &running, &used(80), NOON).await.unwrap_err();
    assert!(matches!(error, StoreError::Emptied), "{error}");
    assert_eq!(store.waiting(), 1);

    // Restored from the records, even twice; then the settle that waited is posted.
    for trees in [1, 0] {
        let restored = other.restore(&backup("a/root", &spent.postings, &[grant.id]), "new").await.unwrap();
        assert_eq!((restored.trees, restored.counters), (trees, 2 * trees));
    }
    store.sweep(NOON).await.unwrap();
    assert_eq!(store.waiting(), 0);
    for level in &levels {
        assert_eq!(counted(&other, level, NOON).await, (580, 0));
    }
    granted(&other, &levels, &ask(4, 420, NOON)).await;
    // A reset of the past is not carried out again: what tells that it was is lost.
    let billing = Billing { request: Uuid::from_u128(50), record: b"" };
    for (fresh, id) in [(false, "old"), (true, "old"), (true, "new")] {
        let done = other.reset("a/root", "a/key", None, id, fresh, NOON, billing).await.unwrap();
        assert_eq!(
            done,
            [Reset::Noted, Reset::Before, Reset::Done][usize::from(fresh) + usize::from(id == "new")]
        );
    }
    assert_eq!(counted(&other, &levels[0], NOON).await, (0, 420));
    let until: i64 = server.command(&["PTTL", "tollgate:1:{a/root}:restored"]);
    assert!((1..=86_400_000).contains(&until), "and a day later everything is: {until}");
}

#[tokio::test]
async fn one_lost_tree_is_noticed_though_the_ledger_is_there() {
    let Fresh { store, _server: server } = fresh().await;
    let levels = [level("a/root", &[])];
    granted(&store, &levels, &ask(1, 600, NOON)).await;
    server.lose("a/root");
    assert!(matches!(store.reserve(&levels, &ask(2, 1, NOON)).await, Err(StoreError::Emptied)));
    granted(&store, &[level("a/other", &[])], &ask(3, 1, NOON)).await;
}

#[tokio::test]
async fn a_redis_that_may_evict_is_refused() {
    let server = Server::start();
    let store = server.store(Clock::Given).await;
    server.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    assert!(matches!(store.check().await, Err(StoreError::WrongPolicy(_))));
    let error = RedisStore::connect(&server.address(), options(Clock::Given)).await.unwrap_err();
    assert!(error.to_string().contains("allkeys-lru"), "{error}");
}

#[tokio::test]
async fn a_slow_redis_times_out_and_what_it_did_is_taken_back() {
    let server = Server::start();
    let quick = Options { timeout: Duration::from_millis(50), ..options(Clock::Given) };
    let store = RedisStore::connect(&server.address(), quick).await.unwrap();
    store.found().await.unwrap();
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let patience = Patience::new();
    let running = loop {
        // The machine may be busy: what counts is what happens in the pause.
        match store.reserve(&levels, &ask(1, 300, NOON)).await {
            Ok(Decision::Granted(grant)) => break grant,
            Ok(other) => panic!("{other:?}"),
            Err(_) => patience.wait("an answer").await,
        }
    };
    server.command::<()>(&["CLIENT", "PAUSE", "3000", "ALL"]);
    let error = store.reserve(&levels, &ask(2, 300, NOON)).await.unwrap_err();
    assert!(matches!(error, StoreError::Slow(_)), "{error}");
    let error = store.settle(&levels, &running, &used(200), NOON).await.unwrap_err();
    assert!(matches!(error, StoreError::Slow(_)), "{error}");
    assert_eq!(store.waiting(), 1);
    // The pause ends by itself: while it lasts no other command is heard either.
    loop {
        patience.wait("all is repeated and taken back").await;
        store.sweep(NOON).await.ok();
        if store.waiting() == 0
            && let Ok(states) = store.state(&levels[0], NOON).await
            && (states[0].committed, states[0].held) == (200, 0)
        {
            break;
        }
    }
    let late = store.settle(&levels, &running, &used(200), NOON).await;
    assert!(late.is_err() || late.is_ok_and(|settled| settled == Settled::default()));
}

#[tokio::test]
async fn a_redis_that_is_away_says_so_and_is_found_again() {
    let mut server = Server::durable();
    let store = server.store(Clock::Given).await;
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget])];
    let running = granted(&store, &levels, &ask(1, 300, NOON)).await;
    server.kill();
    let error = store.settle(&levels, &running, &used(200), NOON).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Away(_) | StoreError::Unreachable(_) | StoreError::Slow(_)),
        "{error}"
    );
    assert!(server.launch());
    let patience = Patience::new();
    while store.waiting() > 0 {
        patience.wait("the settle is repeated").await;
        store.sweep(NOON).await.ok();
    }
    assert_eq!(counted(&store, &levels[0], NOON).await, (200, 0));
}

/// The new master does not know the last second: here, a server that comes back with an old snapshot.
#[tokio::test]
async fn holds_and_settles_that_a_failover_lost_are_replayed() {
    let mut server = Server::with(&["--save", "3600 1", "--appendonly", "no"]);
    let store = server.store(Clock::Given).await;
    let budget = usd(10_000);
    let limited = Level { requests_per_minute: Some(5), concurrent: Some(3), ..level("a/key", &[&budget]) };
    let levels = [limited, level("a/root", &[&budget])];
    let known = granted(&store, &levels, &ask(1, 300, NOON)).await;
    let known_too = granted(&store, &levels, &ask(2, 400, NOON)).await;
    store.sweep(NOON).await.unwrap();
    server.command::<()>(&["SAVE"]);
    store.settle(&levels, &known, &used(250), NOON).await.unwrap();
    let lost = granted(&store, &levels, &ask(3, 500, NOON)).await;
    store.settle(&levels, &lost, &used(450), NOON).await.unwrap();
    let running = granted(&store, &levels, &ask(4, 600, NOON)).await;
    store.progress(&running, &used(100), NOON + 5 * MINUTE).await.unwrap();
    assert_eq!(counted(&store, &levels[1], NOON).await, (700, 1_000));
    server.kill();
    assert!(server.launch());
    let patience = Patience::new();
    while store.sweep(NOON).await.is_err() {
        patience.wait("Redis is found again").await;
    }
    for level in &levels {
        assert_eq!(counted(&store, level, NOON).await, (700, 1_000));
    }
    // Once is enough, and what was replayed lives on.
    store.sweep(NOON).await.unwrap();
    assert_eq!(store.sweep(NOON + 2 * MINUTE).await.unwrap(), [], "the second hold died without progress");
    assert_eq!(counted(&store, &levels[1], NOON + 2 * MINUTE).await, (700, 600));
    store.settle(&levels, &running, &used(550), NOON + 2 * MINUTE).await.unwrap();
    store.settle(&levels, &known_too, &used(0), NOON + 2 * MINUTE).await.unwrap();
    assert_eq!(counted(&store, &levels[1], NOON + 2 * MINUTE).await, (1_250, 0));
}

/// A server that comes back with an old snapshot has holds whose end is over by what it knows; they were renewed since.
#[tokio::test]
async fn a_server_that_knows_less_than_the_last_one_ends_no_hold_before_it_is_told() {
    let mut server = Server::with(&["--save", "3600 1", "--appendonly", "no"]);
    let store = server.store(Clock::Given).await;
    let budget = usd(10_000);
    let levels = [level("a/key", &[&budget])];
    granted(&store, &levels, &ask(1, 300, NOON)).await;
    assert_eq!(store.expire(NOON).await.unwrap(), []);
    server.command::<()>(&["SAVE"]);
    store.renew(Duration::ZERO, NOON + 5 * MINUTE).await.unwrap();
    server.kill();
    assert!(server.launch());
    let (later, patience) = (NOON + 2 * MINUTE, Patience::new());
    let dead = loop {
        match store.expire(later).await {
            Ok(dead) => break dead,
            Err(_) => patience.wait("Redis is found again").await,
        }
    };
    assert_eq!(dead, []);
    assert_eq!(store.expire(later).await.unwrap(), []);
    assert_eq!(counted(&store, &levels[0], later).await, (0, 300));
}

/// A replay that fails in the middle is done again by the next sweep, and what it can do it does.
#[tokio::test]
async fn a_replay_that_fails_is_repeated_until_it_succeeds() {
    let mut server = Server::with(&["--save", "3600 1", "--appendonly", "no"]);
    let store = server.store(Clock::Given).await;
    let hour = Budget::new("hour", Limit::NanoUsd(10_000), Period::Rolling(3_600), jiff::tz::TimeZone::UTC);
    let levels = [level("a/key", &[&hour])];
    granted(&store, &levels, &ask(1, 300, NOON)).await;
    store.sweep(NOON).await.unwrap();
    server.command::<()>(&["SAVE"]);
    let lost = granted(&store, &levels, &ask(2, 500, NOON)).await;
    store.settle(&levels, &lost, &used(450), NOON).await.unwrap();
    granted(&store, &levels, &ask(3, 600, NOON)).await;
    server.kill();
    assert!(server.launch());
    let patience = Patience::new();
    while store.check().await.is_err() {
        patience.wait("Redis is found again").await;
    }
    // A hold is put into the order of their ends; a settle takes it out.
    server.command::<()>(&["ACL", "SETUSER", "default", "-zadd"]);
    while entries(&store, "a/key").await.is_empty() {
        patience.wait("the settle is replayed").await;
        assert!(store.sweep(NOON).await.is_err(), "all is not well");
    }
    server.command::<()>(&["ACL", "SETUSER", "default", "+zadd"]);
    while store.sweep(NOON).await.is_err() {
        patience.wait("the rest is replayed").await;
    }
    assert_eq!(counted(&store, &levels[0], NOON).await, (450, 900));
}

/// Redis was away for longer than a hold lives: whoever comes back first must not end what others could not renew.
#[tokio::test]
async fn a_renewal_that_failed_is_due_and_holds_are_spared_until_it_was_told() {
    let mut server = Server::durable();
    let (store, other) = (server.store(Clock::Given).await, server.store(Clock::Given).await);
    let budget = usd(10_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(&store, &levels, &ask(1, 300, NOON)).await;
    store.note(&grant, &used(20));
    server.kill();
    let before = std::time::Instant::now();
    let later = NOON + 2 * MINUTE;
    assert!(store.renew(Duration::ZERO, later + MINUTE).await.is_err());
    assert!(server.launch());
    let patience = Patience::new();
    while other.spare(later).await.is_err() {
        patience.wait("Redis is found again").await;
    }
    assert_eq!(counted(&other, &levels[0], later).await, (0, 300), "it is overdue, and lives");
    // Not told since before it failed: so it is due.
    while store.renew(before.elapsed(), later + MINUTE).await.is_err() {
        patience.wait("Redis is found again").await;
    }
    assert_eq!(other.sweep(later).await.unwrap(), []);
    store.settle(&levels, &grant, &used(250), later).await.unwrap();
    assert_eq!((counted(&other, &levels[0], later).await, store.overrun_total()), ((250, 0), 0));
}

/// A charge that another process kept is posted once, however often it is told; one that may have been posted longer ago
/// than that is remembered is not posted again.
#[tokio::test]
async fn a_charge_that_was_kept_is_posted_once() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(10_000);
    let levels = [level("a/key", &[&budget]), level("a/root", &[&budget])];
    let grant = granted(&store, &levels, &ask(1, 300, NOON)).await;
    let billing = Billing { request: Uuid::from_u128(77), record: b"record" };
    let settling = store.begin_settle(&levels, &grant, &used(250), NOON, billing);
    let _ = store.leave(settling);
    let kept = store.to_keep(false);
    assert_eq!((kept.len(), store.to_keep(false).len()), (1, 1), "until it is kept");
    store.kept(&kept);
    assert!(store.to_keep(false).is_empty(), "once is enough");
    let (charge, tried) = (kept[0].charge().clone(), kept[0].tried());
    assert_eq!((tried, charge.id, charge.used, &*charge.record), (None, grant.id, used(250), &b"record"[..]));
    for _ in 0..2 {
        let again = server.store(Clock::Given).await;
        assert_eq!(again.take_over(charge.clone(), tried, NOON).unwrap().postings.len(), 2);
        assert_eq!(again.repeat_now(NOON, SOON).await, 0);
        assert_eq!(again.take_posted(), [grant.id]);
    }
    store.sweep(NOON).await.unwrap();
    for level in &levels {
        assert_eq!(counted(&store, level, NOON).await, (250, 0));
    }
    // An hour and more later nobody remembers it.
    let settled = format!("tollgate:1:{{a/root}}:e:{}", NOON / 60_000);
    assert_eq!(server.command::<u64>(&["SCARD", &settled]), 1);
    assert!(server.command::<i64>(&["PTTL", &settled]) > 3_600_000, "it ends by itself, after an hour");
    server.command::<()>(&["DEL", &settled]);
    let late = NOON + 61 * MINUTE;
    let again = server.store(Clock::Given).await;
    let unsent = Charge { id: Uuid::from_u128(2), ..charge.clone() };
    again.take_over(charge, Some(NOON), late).unwrap();
    again.take_over(unsent, None, late).unwrap();
    assert_eq!(again.repeat_now(late, SOON).await, 0);
    assert_eq!(counted(&again, &levels[0], late).await, (500, 0), "the one that surely was not posted is");
}

/// A settle that comes after its hold died, whose answer is lost, and which is repeated when its id is long forgotten.
#[tokio::test]
async fn a_late_charge_counts_once_however_late_it_is_repeated() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(10_000);
    let levels = [level("a/key", &[&budget]), level("a/root", &[&budget])];
    let grant = granted(&store, &levels, &ask(1, 300, NOON)).await;
    store.progress(&grant, &used(40), NOON + 1).await.unwrap();
    let dead = NOON + 2 * MINUTE;
    assert_eq!(store.sweep(dead).await.unwrap().len(), 2);
    let settling = store.begin_settle(&levels, &grant, &used(250), dead, BILLING);
    let _ = store.leave(settling);
    let charge = store.to_keep(true).remove(0).charge().clone();
    store.sweep(dead).await.unwrap();
    for later in [dead, dead + MINUTE, dead + 82 * MINUTE, dead + 24 * 60 * MINUTE] {
        if later > dead + MINUTE {
            let lots: Vec<String> = server.command(&["KEYS", "tollgate:1:{a/root}:e:[0-9]*"]);
            let lots: Vec<_> =
                lots.into_iter().filter(|lot| lot.rsplit(':').next().unwrap().len() < 20).collect();
            lots.iter().for_each(|lot| server.command::<()>(&["DEL", lot]));
        }
        let again = server.store(Clock::Given).await;
        again.take_over(charge.clone(), Some(dead), later).unwrap();
        assert_eq!(again.repeat_now(later, SOON).await, 0);
        for level in &levels {
            assert_eq!(counted(&store, level, NOON).await, (250, 0), "repeated at {later}");
        }
    }
    assert_eq!(entries(&store, "a/root").await.len(), 2, "one for the death, one for what came late");
}

/// Settled ids are bounded, and the youngest of them are never among those that are forgotten sooner.
#[tokio::test]
async fn too_many_settled_ids_are_forgotten_oldest_first() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(10_000);
    let levels = [level("a/root", &[&budget])];
    granted(&store, &levels, &ask(1, 0, NOON)).await;
    let lot = |ago: i64| format!("tollgate:1:{{a/root}}:e:{}", NOON / MINUTE - ago);
    let fill = "for i = 1, ARGV[1], 500 do local ids = {} for j = 1, 500 do ids[j] = ARGV[2] .. (i + j) end \
                redis.call('SADD', KEYS[1], unpack(ids)) end return 1";
    for (ago, count) in [(0, 300_000), (1, 500_000), (2, 150_000), (3, 100_000), (4, 1_000)] {
        let fill = ["EVAL", fill, "1", &lot(ago), &count.to_string(), &format!("{ago}:")];
        server.command::<i64>(&fill);
    }
    store.sweep(NOON).await.unwrap();
    let left: Vec<u64> = (0..5).map(|ago| server.command(&["SCARD", &lot(ago)])).collect();
    assert_eq!(left, [300_000, 500_000, 150_000, 0, 0]);
    // What may have been posted since then is looked up, what may have been before is not posted again.
    let grant = Grant { id: Uuid::from_u128(7), ..granted(&store, &levels, &ask(2, 0, NOON)).await };
    let settling = store.begin_settle(&levels, &grant, &used(100), NOON, BILLING);
    let _ = store.leave(settling);
    let charge = store.to_keep(true).remove(0).charge().clone();
    store.sweep(NOON).await.unwrap();
    let end = NOON - NOON % MINUTE - 2 * MINUTE;
    for (n, tried, posted) in [(8, Some(end), true), (9, Some(end - 1), false), (10, None, true)] {
        let (before, _) = counted(&store, &levels[0], NOON).await;
        let charge = Charge { id: Uuid::from_u128(n), ..charge.clone() };
        store.take_over(charge, tried, NOON).unwrap();
        store.sweep(NOON).await.unwrap();
        let (after, _) = counted(&store, &levels[0], NOON).await;
        assert_eq!(after > before, posted, "tried at {tried:?}, {before} and {after}");
    }
}

const SOON: Duration = Duration::from_secs(10);
const BILLING: Billing<'_> = Billing { request: Uuid::from_u128(77), record: b"record" };

impl Server {
    /// A gateway that comes later and does not know whether there is a ledger.
    pub(super) async fn store_unfounded(&self) -> RedisStore {
        RedisStore::connect(&self.address(), options(Clock::Given)).await.unwrap()
    }
}
