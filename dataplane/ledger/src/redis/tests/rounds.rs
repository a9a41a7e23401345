//! A round over all trees: its order, and what it does where some of them fail.

use super::*;
use ::redis::Value;

/// What a round at `now` is to do, without sparing anything.
fn at(now: i64) -> Upkeep {
    Upkeep { now, expires: now + MINUTE, hold: Duration::ZERO }
}

/// A charge that waits.
async fn left(store: &RedisStore, levels: &[Level<'_>], id: u128) {
    let grant = granted(store, levels, &ask(id, 300, NOON)).await;
    let billing = Billing { request: grant.id, record: b"" };
    let _ = store.leave(store.begin_settle(levels, &grant, &used(250), NOON, billing));
}

/// As on a lost shard of a cluster: more trees than are tried in a round, and each with charges that wait.
#[tokio::test]
async fn trees_that_fail_keep_no_other_from_being_looked_after() {
    let Fresh { store, _server: server } = fresh().await;
    let other = server.store(Clock::Given).await;
    let budget = usd(10_000);
    let roots: Vec<String> = (0..40).map(|n| format!("a/{n:02}")).collect();
    for (n, root) in roots.iter().enumerate() {
        let levels = [level(root, &[&budget])];
        granted(&store, &levels, &ask(100 + n as u128, 10, NOON)).await;
        left(&store, &levels, 200 + n as u128).await;
        server.command::<()>(&["DEL", &format!("tollgate:1:{{{root}}}:g")]);
    }
    let levels = [level("a/zz", &[&budget])];
    granted(&store, &levels, &ask(1, 600, NOON)).await;
    let later = NOON + 2 * MINUTE;
    for round in 0..3 {
        left(&store, &levels, 2 + round).await;
        let looked = store.look_after(&at(later)).await;
        assert_eq!(looked.dead, [], "the hold was renewed first");
        assert_eq!(looked.fine.iter().map(|root| &**root).collect::<Vec<_>>(), ["a/zz"]);
        assert!(
            looked.failed.len() >= 16 && looked.failed.iter().all(|(_, e)| matches!(e, StoreError::Emptied))
        );
        assert_eq!(counted(&store, &levels[0], later).await, (250 * (1 + round as u64), 600));
    }
    assert_eq!(store.waiting(), 40);
    let theirs = other.look_after(&at(later)).await;
    assert_eq!(theirs.dead, [], "another gateway ends it neither");
    assert_eq!(counted(&other, &levels[0], later).await.1, 600);
    // They are back: all that waits is told.
    for root in &roots {
        let generation: String = server.command(&["GET", "tollgate:1:{ledger}:generation"]);
        server.command::<()>(&["SET", &format!("tollgate:1:{{{root}}}:g"), &generation]);
    }
    let patience = Patience::new();
    while !store.look_after(&at(later)).await.failed.is_empty() || store.waiting() > 0 {
        patience.wait("all is told").await;
    }
    for root in &roots {
        assert_eq!(counted(&store, &level(root, &[&budget]), later).await, (250, 10));
    }
}

/// After an outage every tree answers again, and its holds are renewed at once: those that wait longer are ended by others.
#[tokio::test]
async fn after_an_outage_all_trees_are_looked_after_in_one_round() {
    let mut server = Server::durable();
    let store = server.store(Clock::Given).await;
    let budget = usd(10_000);
    let roots: Vec<String> = (0..400).map(|n| format!("a/{n:03}")).collect();
    for (n, root) in roots.iter().enumerate() {
        granted(&store, &[level(root, &[&budget])], &ask(n as u128, 10, NOON)).await;
    }
    server.kill();
    let round = store.look_after(&at(NOON)).await;
    assert!(round.fine.is_empty() && round.failed.len() >= 400);
    assert!(server.launch());
    let patience = Patience::new();
    while store.trouble().is_some() {
        patience.wait("it is connected again").await;
    }
    let round = store.look_after(&at(NOON + MINUTE / 2)).await;
    assert_eq!((round.fine.len(), round.failed.len()), (400, 0));
    let theirs = server.store(Clock::Given).await.look_after(&at(NOON + MINUTE + 1)).await;
    assert_eq!((theirs.dead.len(), theirs.failed.len()), (0, 0), "all were renewed in time");
}

/// In a tree where ours could not be renewed nothing is given up as dead.
#[tokio::test]
async fn nothing_is_ended_where_nothing_could_be_renewed() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(10_000);
    let levels = [level("a/key", &[&budget])];
    let grant = granted(&store, &levels, &ask(1, 300, NOON)).await;
    // It cannot be read, so it cannot be renewed.
    let key = format!("tollgate:1:{{a/key}}:h:{}", grant.id.simple());
    let packed: Vec<u8> =
        ::redis::cmd("GET").arg(&key).query(&mut server.client().get_connection().unwrap()).unwrap();
    server.command::<()>(&["SET", &key, "no hold"]);
    granted(&server.store(Clock::Given).await, &levels, &ask(2, 100, NOON - 2 * MINUTE)).await;
    let round = store.look_after(&at(NOON)).await;
    assert_eq!((round.dead.len(), round.failed.len()), (0, 1));
    assert_eq!(counted(&store, &levels[0], NOON).await, (0, 400), "the other's, which is overdue, lives too");
    ::redis::cmd("SET").arg(&key).arg(packed).exec(&mut server.client().get_connection().unwrap()).unwrap();
    let round = store.look_after(&at(NOON)).await;
    assert_eq!((round.dead.len(), round.failed.len()), (1, 0));
}

/// A backlog is told after the holds were renewed, and for a while only.
#[tokio::test]
async fn holds_come_before_a_backlog_and_a_backlog_does_not_take_for_ever() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(1_000_000);
    let levels = [level("a/key", &[&budget])];
    for id in 10..60 {
        left(&store, &levels, id).await;
    }
    granted(&store, &levels, &ask(1, 300, NOON)).await;
    assert_eq!(store.repeat_now(NOON, Duration::ZERO).await, 50, "there was no time");
    server.command::<()>(&["CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "1000"]);
    let round = store.look_after(&at(NOON)).await;
    assert!(round.failed.is_empty());
    let log: Vec<Value> = server.command(&["SLOWLOG", "GET", "1000"]);
    let mut log: Vec<String> = log.iter().map(|entry| format!("{entry:?}")).collect();
    log.reverse();
    // A settle says how long the stream may be, a renewal does not.
    let first = |id: u128, settle: bool| {
        let id = Uuid::from_u128(id).simple().to_string();
        log.iter().position(|entry| entry.contains(&id) && entry.contains("1000000") == settle)
    };
    let renewed = first(1, false).expect("it was renewed");
    assert!((10..60).filter_map(|id| first(id, true)).all(|told| renewed < told));
    let patience = Patience::new();
    while store.repeat_now(NOON, Duration::from_secs(1)).await > 0 {
        patience.wait("all is told").await;
    }
    assert_eq!(counted(&store, &levels[0], NOON).await, (50 * 250, 300));
}
