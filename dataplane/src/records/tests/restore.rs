//! What a ledger is restored from that lost something.

use super::shared::{charge, charged};
use super::*;
use crate::records::postgres::{
    charge::{Charged, How},
    restore,
};
use std::collections::BTreeSet;
use tollgate_ledger::{
    charge::Actual,
    redis::{Backup, DeadHold},
};

const MINUTE: i64 = 60_000;

fn key(name: &str, ago: i64) -> Charged {
    Charged { position: format!("{}-0", AT - ago), ..charged(&model(name, AT - ago, "", ""), true) }
}

/// However long ago Redis died, gateways tell it again what they told it in the last moments before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_may_be_told_again_is_among_what_was_settled() {
    let place = Place::postgres();
    let (_recorder, store) = place.open().await;
    let ages = [-5, 0, 1, 20, 40, 70, 90, 24 * 60].map(|minutes| minutes * MINUTE);
    let charges: Vec<Charged> = ages.iter().map(|ago| key("eng/alice", *ago)).collect();
    let elsewhere = Charged { root: "eng/other".into(), ..key("eng/bob", 55 * MINUTE) };
    assert_eq!(charge(&place, &charges).await + charge(&place, std::slice::from_ref(&elsewhere)).await, 9);
    let Backup { trees, forgotten, .. } = store.ledger_backup(AT).await.unwrap();
    let ids =
        |charges: &[Charged]| charges.iter().map(|charged| charged.reservation).collect::<BTreeSet<_>>();
    let told = |root: &str| trees[root].settled.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!((told("eng/team"), told("eng/other")), (ids(&charges[..6]), ids(&[elsewhere])));
    assert_eq!(forgotten, None);
    // Where they are too many, the newest.
    for (most, count, since) in [(2, 3, 0), (3, 3, 0), (4, 4, -19 * MINUTE)] {
        let mut some = Backup::default();
        let mut tx = place.pool().await.begin().await.unwrap();
        restore::settled(&mut tx, &mut some, AT, most).await.unwrap();
        assert_eq!(some.trees["eng/team"].settled.len(), count, "{most} at most");
        assert_eq!(some.forgotten, Some(AT + since), "{most} at most");
    }
}

/// What comes late for a hold that died is posted as far as it is above what its death was charged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_that_died_are_no_settled_ones() {
    let place = Place::postgres();
    let (_recorder, store) = place.open().await;
    let week = 7 * 24 * 60 * MINUTE;
    let dies = |ago| Charged { how: How::Died, ..key("eng/alice", ago) };
    let (alone, old, forgotten, both) = (dies(MINUTE), dies(week), dies(week + week), dies(week));
    let more = Actual { cost: 5, input_tokens: 0, output_tokens: 2 };
    let late = Charged { how: How::Late, reservation: both.reservation, used: more, ..key("eng/alice", 0) };
    let late_alone =
        Charged { how: How::Late, reservation: forgotten.reservation, used: more, ..key("eng/alice", 0) };
    charge(&place, &[alone.clone(), old.clone(), forgotten, both.clone(), late, late_alone]).await;
    let mut tree = store.ledger_backup(AT).await.unwrap().trees.remove("eng/team").unwrap();
    assert!(tree.settled.is_empty(), "{tree:?}");
    let hold = |of: &Charged, late, charged| DeadHold { id: of.reservation, charged, late };
    let with = Actual { cost: 1_000_005, input_tokens: 10, output_tokens: 7 };
    let mut want = [hold(&alone, false, alone.used), hold(&old, false, old.used), hold(&both, true, with)];
    want.sort_by_key(|hold| hold.id);
    tree.died.sort_by_key(|hold| hold.id);
    assert_eq!(tree.died, want);
}

/// A key that has moved is one key: its counters are not put into two trees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_moved_is_told_once_with_all_its_trees() {
    let place = Place::postgres();
    let (_recorder, store) = place.open().await;
    let mut moved = Charged { root: "eng/other".into(), ..key("eng/alice", 0) };
    moved.postings.retain(|line| line.key == "eng/alice");
    moved.postings[0].budget = "gpt".to_owned();
    charge(&place, &[key("eng/alice", MINUTE), moved]).await;
    let keys = store.ledger_backup(AT).await.unwrap().keys;
    let alice = &keys["eng/alice"];
    assert_eq!((keys.len(), alice.postings.len()), (2, 2));
    assert_eq!(alice.roots.iter().collect::<Vec<_>>(), ["eng/other", "eng/team"]);
}

/// A backup of Redis was put back: its generation is the newest again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_generation_that_was_noted_last_is_the_newest() {
    let place = Place::postgres();
    let (_recorder, store) = place.open().await;
    for generation in ["first", "second", "first", "first", "third", "second"] {
        store.set_generation(generation).await.unwrap();
        assert_eq!(store.generation().await.unwrap().as_deref(), Some(generation));
    }
}
