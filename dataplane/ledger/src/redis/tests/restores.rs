//! What was lost is put back: whole ledgers on a new server, and single trees beside others that are there.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// Spends so much, and tells what records would know of it.
async fn spend(store: &RedisStore, levels: &[Level<'_>], id: u128, amount: u64) -> Vec<Posting> {
    let grant = granted(store, levels, &ask(id, amount, NOON)).await;
    store.settle(levels, &grant, &used(amount), NOON).await.unwrap().postings
}

pub(super) fn merge(into: &mut Backup, more: Backup) {
    for (root, tree) in more.trees {
        into.trees.entry(root).or_default().settled.extend(tree.settled);
    }
    for (key, of) in more.keys {
        let known = into.keys.entry(key).or_default();
        known.roots.extend(of.roots);
        for posting in of.postings {
            match known.postings.iter_mut().find(|posted| posted.counter == posting.counter) {
                Some(posted) => posted.amount += posting.amount,
                None => known.postings.push(posting),
            }
        }
    }
}

/// Waits until the store has found its server, or another in its place.
async fn found_again(store: &RedisStore) {
    let patience = Patience::new();
    while store.generation().await.is_err() {
        patience.wait("Redis is found again").await;
    }
}

/// Clients repeat what was refused for minutes, so they are there when a restore begins, and its last key may be theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_up_key_is_never_granted_anything_while_the_ledger_is_restored() {
    let mut server = Server::start();
    let store = server.store(Clock::Given).await;
    let budget = usd(1_000);
    let trees = [("a/first", "a/first"), ("z/last", "z/root"), ("z/zzz", "z/zzz")];
    let mut all = Backup::default();
    for (n, (key, root)) in (0..).zip(trees) {
        let levels = [level(key, &[&budget]), level(root, &[])];
        let spent = spend(&store, &levels[..if key == root { 1 } else { 2 }], n, 1_000).await;
        merge(&mut all, backup(root, &spent, &(0..3_000).map(Uuid::from_u128).collect::<Vec<_>>()));
    }
    // Many others, so that it takes a while.
    for n in 0..2_000 {
        let mut posting = all.keys["a/first"].postings[0].clone();
        posting.counter.key = format!("m/{n:04}");
        merge(&mut all, backup(["a/first", "z/root"][n % 2], &[posting], &[]));
    }
    server.replace();
    found_again(&store).await;
    let (done, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let hammer = async |n: usize, (key, root): (&str, &str)| {
        let patience = Patience::new();
        let levels = [level(key, &[&budget]), level(root, &[])];
        let levels = &levels[..if key == root { 1 } else { 2 }];
        for id in 0.. {
            let over = done.load(Relaxed);
            match store.reserve(levels, &ask(1_000_000 * (1 + n as u128) + id, 1, NOON)).await {
                Ok(Decision::Granted(grant)) => panic!("{key} was granted {grant:?}"),
                Ok(Decision::Refused(_)) if over => return,
                _ => refused.fetch_add(1, Relaxed),
            };
            patience.wait("all is back").await;
        }
    };
    let restoring = async {
        let patience = Patience::new();
        while refused.load(Relaxed) < 20 {
            patience.wait("they are there before it begins").await;
        }
        let other = server.store_unfounded().await;
        let restored = other.restore(&all, "second").await.unwrap();
        assert_eq!((restored.trees, restored.there, restored.counters), (3, 0, 2_003));
        done.store(true, Relaxed);
    };
    let all_three = async |n| {
        tokio::join!(hammer(n, trees[0]), hammer(n + 1, trees[1]), hammer(n + 2, trees[2]));
    };
    tokio::join!(restoring, all_three(0), all_three(3));
    assert!(refused.load(Relaxed) > 100, "only {refused:?} came meanwhile");
    assert_eq!(store.generation().await.unwrap().as_deref(), Some("second"));
}

#[tokio::test]
async fn a_restore_that_failed_is_said_again_and_nothing_is_granted_before() {
    let mut server = Server::start();
    let store = server.store(Clock::Given).await;
    let budget = usd(1_000);
    let levels = [level("a/key", &[&budget]), level("a/root", &[&budget])];
    let all = backup("a/root", &spend(&store, &levels, 1, 1_000).await, &[Uuid::from_u128(1)]);
    server.replace();
    found_again(&store).await;
    for command in ["sadd", "del"] {
        server.command::<()>(&["ACL", "SETUSER", "default", &format!("-{command}")]);
        store.restore(&all, "never").await.unwrap_err();
        server.command::<()>(&["ACL", "SETUSER", "default", &format!("+{command}")]);
        let error = store.reserve(&levels, &ask(2, 1, NOON)).await.unwrap_err();
        assert!(matches!(error, StoreError::Emptied), "{command}: {error}");
    }
    assert_eq!(store.restore(&all, "second").await.unwrap().counters, 2);
    assert_eq!(store.restore(&all, "third").await.unwrap(), Restored { there: 1, ..Restored::default() });
    for level in &levels {
        assert_eq!(counted(&store, level, NOON).await, (1_000, 0));
    }
    assert!(matches!(store.reserve(&levels, &ask(3, 1, NOON)).await.unwrap(), Decision::Refused(_)));
}

/// Gateways that run do not make an emptied Redis a ledger that lost their trees: one that is founded anew has none.
#[tokio::test]
async fn an_emptied_redis_that_is_founded_anew_grants_again() {
    let Fresh { store, _server: server } = fresh().await;
    let levels = [level("a/key", &[])];
    granted(&store, &levels, &ask(1, 1, NOON)).await;
    store.sweep(NOON).await.unwrap();
    server.command::<()>(&["FLUSHALL"]);
    for _ in 0..31 {
        assert!(store.sweep(NOON).await.is_err());
    }
    assert!(store.found().await.unwrap());
    granted(&store, &levels, &ask(2, 1, NOON)).await;
}

/// One shard of a cluster is emptied, or the one that has the ledger's own list.
#[tokio::test]
async fn only_what_was_lost_is_restored() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(10_000);
    let roots = ["a/one", "a/two", "a/three"];
    let mut all = Backup::default();
    for (n, root) in (0..).zip(roots) {
        merge(&mut all, backup(root, &spend(&store, &[level(root, &[&budget])], n, 500).await, &[]));
    }
    // Charged since, and not in the records yet.
    spend(&store, &[level("a/one", &[&budget])], 10, 30).await;
    let generation = store.generation().await.unwrap();
    server.lose("a/two");
    for trees in [1, 0] {
        let restored = store.restore(&all, "another").await.unwrap();
        assert_eq!(restored, Restored { trees, there: 3 - trees, counters: trees });
    }
    assert_eq!(store.generation().await.unwrap(), generation);
    let said = store.restored().await.unwrap();
    assert!(said.is_some());
    server.lose("ledger");
    assert!(matches!(store.check().await, Err(StoreError::Emptied)));
    assert_eq!(store.restore(&all, "another").await.unwrap(), Restored { there: 3, ..Restored::default() });
    store.check().await.unwrap();
    assert_ne!(store.restored().await.unwrap(), said, "refusals were lost with it");
    for (root, committed) in roots.into_iter().zip([530, 500, 500]) {
        assert_eq!(counted(&store, &level(root, &[&budget]), NOON).await, (committed, 0), "{root}");
    }
    let mut listed = store.trees().await.unwrap();
    listed.sort();
    assert_eq!(listed, ["a/one", "a/three", "a/two"]);
    // So a later loss of one is noticed.
    server.lose("a/three");
    let error = store.reserve(&[level("a/three", &[&budget])], &ask(20, 1, NOON)).await.unwrap_err();
    assert!(matches!(error, StoreError::Emptied), "{error}");
}

/// A tree that nobody was charged in lately is lost: records do not know it, and it is opened again all the same.
#[tokio::test]
async fn a_lost_tree_without_charges_is_restored_too() {
    let Fresh { store, _server: server } = fresh().await;
    granted(&store, &[level("a/quiet", &[])], &ask(1, 1, NOON)).await;
    server.lose("a/quiet");
    assert_eq!(store.restore(&Backup::default(), "-").await.unwrap().trees, 1);
    granted(&store, &[level("a/quiet", &[])], &ask(2, 1, NOON)).await;
}

/// A key was charged in two trees: by one budget here, by another there.
#[tokio::test]
async fn a_key_that_moved_is_restored_in_one_piece() {
    let mut server = Server::start();
    let store = server.store(Clock::Given).await;
    let (claude, gpt, team) = (
        usd(1_000),
        Budget::new("gpt", Limit::NanoUsd(1_000), Period::Day, jiff::tz::TimeZone::UTC),
        usd(10_000),
    );
    let both = [&claude, &gpt];
    let (old, new) = (
        [level("k/key", &both), level("a/old", &[&team])],
        [level("k/key", &both), level("b/new", &[&team])],
    );
    let mut all = Backup::default();
    for (id, levels, budget, amount) in [(1, &old, &claude, 700), (2, &new, &gpt, 600)] {
        let levels = [level("k/key", &[budget]), levels[1].clone()];
        merge(&mut all, backup(levels[1].key, &spend(&store, &levels, id, amount).await, &[]));
    }
    assert_eq!(all.keys["k/key"].roots.len(), 2);
    let committed = async |store: &RedisStore, level: &Level<'_>| -> Vec<u64> {
        store.state(level, NOON).await.unwrap().iter().map(|state| state.committed).collect()
    };
    // Each of its trees alone, with and without the shard of its home; then everything.
    for lost in [&["a/old"][..], &["b/new"], &["a/old", "k/key"], &["b/new", "k/key"], &["a/old", "b/new"]] {
        lost.iter().for_each(|root| server.lose(root));
        store.restore(&all, "-").await.unwrap();
        assert_eq!(committed(&store, &new[0]).await, [700, 600], "{lost:?}");
        let lives_in: Vec<String> = server.command(&["KEYS", "tollgate:1:*:k:k/key"]);
        assert_eq!(lives_in.len(), 1, "{lost:?}: {lives_in:?}");
        let refused = store.reserve(&new, &ask(50, 401, NOON)).await.unwrap();
        assert!(matches!(refused, Decision::Refused(_)), "{lost:?}: {refused:?}");
        let grant = granted(&store, &new, &ask(51, 1, NOON)).await;
        store.cancel(&new, &grant, NOON).await.unwrap();
    }
    server.replace();
    found_again(&store).await;
    store.restore(&all, "-").await.unwrap();
    for levels in [&new, &old, &new] {
        assert!(matches!(store.reserve(levels, &ask(52, 301, NOON)).await.unwrap(), Decision::Refused(_)));
        assert_eq!(committed(&store, &levels[0]).await, [700, 600]);
        assert_eq!(committed(&store, &levels[1]).await, [if levels[1].key == "a/old" { 700 } else { 600 }]);
    }
}

/// The last step of a move failed; whoever completes it days later brings nothing again.
#[tokio::test]
async fn a_move_that_is_completed_late_counts_once() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(10_000);
    let [old, new] = ["a/old", "b/new"].map(|root| [level("k/key", &[&budget]), level(root, &[])]);
    spend(&store, &old, 1, 700).await;
    granted(&store, &old, &ask(2, 10, NOON)).await;
    granted(&store, &new, &ask(3, 20, NOON)).await;
    let joined: Vec<String> = server.command(&["KEYS", "tollgate:1:{b/new}:j:*"]);
    let id = joined[0].rsplit(':').next().unwrap();
    let kept = |key: String| server.command::<i64>(&["PTTL", &key]);
    let left = kept(format!("tollgate:1:{{a/old}}:l:{id}"));
    assert!(left > 0 && kept(joined[0].clone()) > left, "what is brought is forgotten before that it was");
    server.command::<()>(&["SET", "tollgate:1:{k/key}:home", &format!("b/new<a/old#{id}")]);
    assert_eq!(counted(&store, &new[0], NOON).await, (700, 30));
}

/// A gateway that starts brings every reset that a manifest still asks for, also of a key that has another parent since.
#[tokio::test]
async fn a_reset_is_not_carried_out_again_after_its_key_has_moved() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(10_000);
    let [old, new] = ["a/old", "b/new"].map(|root| [level("k/key", &[&budget]), level(root, &[])]);
    spend(&store, &old, 1, 700).await;
    let reset = async |root: &str, fresh: bool| {
        let billing = Billing { request: Uuid::new_v4(), record: b"" };
        store.reset(root, "k/key", Some("day"), "today", fresh, NOON, billing).await.unwrap()
    };
    assert_eq!(reset("a/old", true).await, Reset::Done);
    spend(&store, &old, 2, 300).await;
    assert_eq!(reset("b/new", false).await, Reset::Before);
    granted(&store, &new, &ask(3, 20, NOON)).await;
    assert_eq!(counted(&store, &new[0], NOON).await, (300, 20));
    drop(server);
}

/// By a person, and put right by one: Redis is the same process as before.
#[tokio::test]
async fn what_is_under_way_is_told_again_after_a_flush_and_a_restore() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(10_000);
    let levels = [level("a/key", &[&budget]), level("a/root", &[&budget])];
    let drained = granted(&store, &levels, &ask(1, 500, NOON)).await;
    let spent = store.settle(&levels, &drained, &used(450), NOON).await.unwrap();
    let running = granted(&store, &levels, &ask(2, 300, NOON)).await;
    // Not in the records before all was lost.
    spend(&store, &levels, 3, 70).await;
    store.sweep(NOON).await.unwrap();
    server.command::<()>(&["FLUSHALL"]);
    assert!(store.sweep(NOON).await.is_err());
    store.restore(&backup("a/root", &spent.postings, &[drained.id]), "second").await.unwrap();
    for _ in 0..2 {
        store.sweep(NOON).await.unwrap();
        for level in &levels {
            assert_eq!(counted(&store, level, NOON).await, (520, 300));
        }
    }
    assert_eq!(store.settle(&levels, &running, &used(250), NOON).await.unwrap().overrun, 0);
    assert_eq!(counted(&store, &levels[1], NOON).await, (770, 0));
}

/// A new server in place of the old, half an hour later: of what gateways tell again only what is not among the sums counts.
#[tokio::test]
async fn settles_and_deaths_that_are_among_the_sums_count_once() {
    let mut server = Server::start();
    let store = server.store(Clock::Given).await;
    let budget = usd(10_000);
    let levels = [level("a/key", &[&budget])];
    let settled = granted(&store, &levels, &ask(1, 500, NOON)).await;
    store.settle(&levels, &settled, &used(450), NOON).await.unwrap();
    let still = [
        granted(&store, &levels, &ask(2, 300, NOON)).await,
        granted(&store, &levels, &ask(3, 300, NOON)).await,
    ];
    for grant in &still {
        store.progress(grant, &used(40), NOON + 1).await.unwrap();
    }
    assert_eq!(store.sweep(NOON + MINUTE).await.unwrap().len(), 2, "their gateway stood still");
    store.settle(&levels, &still[1], &used(100), NOON + MINUTE).await.unwrap();
    let sums = store.committed("a/key").await.unwrap();
    assert_eq!(sums[0].amount, 450 + 40 + 100);
    let mut all = backup("a/key", &sums, &[settled.id]);
    let died = |grant: &Grant, amount, late| DeadHold { id: grant.id, charged: used(amount), late };
    all.trees.get_mut("a/key").unwrap().died = vec![died(&still[0], 40, false), died(&still[1], 100, true)];
    server.replace();
    found_again(&store).await;
    let later = NOON + 30 * MINUTE;
    assert!(store.sweep(later).await.is_err());
    store.restore(&all, "second").await.unwrap();
    store.sweep(later).await.unwrap();
    assert_eq!(counted(&store, &levels[0], later).await, (590, 0));
    // It went on after all: what is above what its death was charged.
    for grant in [&still[0], &still[0], &still[1]] {
        store.settle(&levels, grant, &used(100), later).await.ok();
        assert_eq!(counted(&store, &levels[0], later).await, (650, 0));
    }
}

/// More was settled in an hour than is told to a restored ledger: what may have been before that is not posted again.
#[tokio::test]
async fn what_may_be_among_the_sums_is_not_posted_again() {
    let mut server = Server::start();
    let store = server.store(Clock::Given).await;
    let budget = usd(10_000);
    let levels = [level("a/key", &[&budget])];
    let all = Backup { forgotten: Some(NOON), ..backup("a/key", &spend(&store, &levels, 1, 500).await, &[]) };
    let grant = granted(&store, &levels, &ask(2, 100, NOON)).await;
    let _ = store.leave(store.begin_settle(
        &levels,
        &grant,
        &used(100),
        NOON,
        Billing { request: grant.id, record: b"" },
    ));
    let charge = store.to_keep(true).remove(0).charge().clone();
    server.replace();
    found_again(&store).await;
    store.restore(&all, "second").await.unwrap();
    let other = server.store(Clock::Given).await;
    for (n, tried) in [(7, Some(NOON - 1)), (8, Some(NOON)), (9, None)] {
        other.take_over(Charge { id: Uuid::from_u128(n), ..charge.clone() }, tried, NOON + MINUTE).unwrap();
    }
    other.sweep(NOON + MINUTE).await.unwrap();
    assert_eq!((other.waiting(), counted(&other, &levels[0], NOON).await.0), (0, 700));
}

/// The ledger's list of trees lies in another slot than the trees, and may have lost one.
#[tokio::test]
async fn a_tree_that_the_list_has_lost_is_listed_again() {
    let Fresh { store, _server: server } = fresh().await;
    granted(&store, &[level("a/one", &[])], &ask(1, 1, NOON)).await;
    granted(&store, &[level("a/two", &[])], &ask(2, 1, NOON)).await;
    store.sweep(NOON).await.unwrap();
    let list = "tollgate:1:{ledger}:trees";
    server.command::<()>(&["HDEL", list, "a/one"]);
    server.command::<()>(&["HSET", list, "a/two", "new"]);
    for _ in 0..30 {
        store.sweep(NOON).await.unwrap();
    }
    for root in ["a/one", "a/two"] {
        assert_eq!(server.command::<String>(&["HGET", list, root]), "live");
        server.lose(root);
        let error = store.reserve(&[level(root, &[])], &ask(3, 1, NOON)).await.unwrap_err();
        assert!(matches!(error, StoreError::Emptied), "{root}: {error}");
    }
}
