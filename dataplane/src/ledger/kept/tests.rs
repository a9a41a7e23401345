//! The file by itself, beside a store whose Redis is nowhere.

use super::*;
use std::time::Duration;
use tollgate_ledger::{
    budget::{Limit, Window},
    redis::{Address, Options},
};

fn nowhere() -> RedisStore {
    let options = Options { connect_timeout: Duration::from_millis(10), ..Options::default() };
    RedisStore::start(&Address::parse("redis://127.0.0.1:1").unwrap(), options)
}

fn charge(id: u128, cost: u64) -> Charge {
    let counter = Counter {
        key: "a/key".into(),
        budget: "month".into(),
        window: Window { start: 0, end: i64::MAX / 2 },
        limit: Limit::NanoUsd(1_000),
    };
    Charge {
        id: Uuid::from_u128(id),
        root: "a/root".into(),
        held: 100,
        counters: vec![counter],
        levels: vec![("a/key".into(), Some(7)), ("a/root".into(), None)],
        used: Actual { cost, input_tokens: 1, output_tokens: 2 },
        request: Uuid::from_u128(id + 1_000),
        record: vec![0, 255, b'\n', b'"'],
    }
}

/// A store to which these charges came from elsewhere; they are in no file yet.
fn with(charges: &[Tried]) -> RedisStore {
    let store = nowhere();
    for (charge, tried) in charges {
        store.take_over(charge.clone(), *tried, 0).unwrap();
    }
    store
}

#[tokio::test]
async fn what_was_kept_is_found_again_but_for_what_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let charges = [(charge(1, 5), None), (charge(2, 6), Some(77))];
    let (mut kept, left) = Kept::open(dir.path()).unwrap();
    assert!(left.is_empty());
    assert_eq!(kept.write_anew(&with(&charges)).unwrap(), 2);
    drop(kept);
    let (mut kept, mut left) = Kept::open(dir.path()).unwrap();
    left.sort_by_key(|(charge, _)| charge.id);
    assert_eq!(left, charges);
    // A crash in the middle of a line; what comes after the next start counts.
    kept.append(b"{\"charge\":{\"id\":").unwrap();
    drop(kept);
    let (mut kept, left) = Kept::open(dir.path()).unwrap();
    assert_eq!(left.len(), 2);
    let mut more = lines(&[(charge(3, 1), None)]).unwrap();
    line(&mut more, &Line::Done(vec![Uuid::from_u128(1)])).unwrap();
    kept.append(&more).unwrap();
    drop(kept);
    let (_, left) = Kept::open(dir.path()).unwrap();
    let ids: Vec<u128> = left.iter().map(|(charge, _)| charge.id.as_u128()).collect();
    assert_eq!(ids, [2, 3]);
}

#[tokio::test]
async fn the_file_is_bounded_and_emptied_when_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let charges: Vec<Tried> = (0..50).map(|n| (charge(n, 1), None)).collect();
    let (mut kept, _) = Kept::with(dir.path(), 4_000).unwrap();
    let within = kept.write_anew(&with(&charges)).unwrap();
    assert!((1..50).contains(&within), "{within}");
    assert!(std::fs::metadata(kept.path()).unwrap().len() <= 4_000);
    kept.ids.clear();
    assert_eq!(kept.update(&nowhere()).unwrap(), 0);
    assert_eq!(std::fs::metadata(kept.path()).unwrap().len(), 0);
}
