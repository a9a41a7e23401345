//! The file by itself, beside a store whose Redis is nowhere.

use super::*;
use std::time::Duration;
use tollgate_ledger::{
    budget::{Limit, Window},
    charge::{Actual, Counter, Grant},
    redis::{Address, Billing, Options},
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
    let mut more = line::charge(&charge(3, 1), None).unwrap();
    more.extend(Line::Done(vec![Uuid::from_u128(1)]).text().unwrap());
    more.extend(Line::Tried(vec![(Uuid::from_u128(3), 99), (Uuid::from_u128(1), 99)]).text().unwrap());
    kept.append(&more).unwrap();
    drop(kept);
    let (_, left) = Kept::open(dir.path()).unwrap();
    let ids: Vec<_> = left.iter().map(|(charge, tried)| (charge.id.as_u128(), *tried)).collect();
    assert_eq!(ids, [(2, Some(77)), (3, Some(99))]);
}

/// Charges of this process, which are in no file yet.
fn add(store: &RedisStore, ids: std::ops::Range<u128>) {
    for id in ids {
        let Charge { held, counters, used, request, .. } = charge(id, 1);
        let grant = Grant { id: Uuid::from_u128(id), output_cap: 1, held, counters };
        let billing = Billing { request, record: &[7; 100] };
        let _ = store.leave(store.begin_unheld(&[], &grant, &used, 0, billing));
    }
}

fn inode(kept: &Kept) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(kept.path()).unwrap())
}

fn length(kept: &Kept) -> u64 {
    std::fs::metadata(kept.path()).unwrap().len()
}

fn in_file(kept: &Kept) -> BTreeMap<Uuid, Tried> {
    read(&mut File::open(kept.path()).unwrap()).unwrap()
}

/// A full file is not written anew for each charge; when half of it is free, it takes more.
#[tokio::test]
async fn a_full_file_goes_on_when_half_of_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let (mut kept, _) = Kept::with(dir.path(), 8_000).unwrap();
    let store = nowhere();
    add(&store, 0..50);
    let within = kept.update(&store).unwrap();
    assert!((2..50).contains(&within), "{within}");
    let (full, first) = (length(&kept), inode(&kept));
    assert!(full <= 8_000);
    for n in 50..60 {
        add(&store, n..n + 1);
        kept.full = Some(Instant::now() - MEND);
        assert_eq!(kept.update(&store).unwrap(), within);
        assert_eq!((length(&kept), inode(&kept)), (full, first), "nothing was written");
    }
    // As when they are posted: the rest of the room goes to others.
    let ids: Vec<Uuid> = kept.ids.keys().copied().collect();
    for id in ids.iter().take(within / 2 + 1) {
        kept.forget(*id);
    }
    assert_eq!(kept.update(&store).unwrap(), within);
    assert_eq!(in_file(&kept).len(), within);
    assert_ne!(inode(&kept), first);
    assert!(length(&kept) <= 8_000);
}

/// A disk that is full, or fails: nothing counts as kept that is not, and what was is whole.
#[tokio::test]
async fn what_could_not_be_written_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let (mut kept, _) = Kept::open(dir.path()).unwrap();
    let store = nowhere();
    add(&store, 0..2);
    assert_eq!(kept.update(&store).unwrap(), 2);
    let good = std::mem::replace(&mut kept.file, File::options().write(true).open("/dev/full").unwrap());
    add(&store, 2..4);
    kept.update(&store).unwrap_err();
    assert_eq!(store.to_keep(false).len(), 2, "they are not kept");
    assert_eq!(kept.update(&store).unwrap(), 2, "it is tried again later");
    drop(good);
    kept.broken = Some(Instant::now() - MEND);
    assert_eq!(kept.update(&store).unwrap(), 4);
    assert!(store.to_keep(false).is_empty());
    assert_eq!(in_file(&kept).len(), 4);
    add(&store, 4..5);
    assert_eq!(kept.update(&store).unwrap(), 5);
    drop(kept);
    assert_eq!(Kept::open(dir.path()).unwrap().1.len(), 5);
}

/// A line that was written in part is taken away, so that it does not swallow the next.
#[tokio::test]
async fn half_a_line_is_taken_away_after_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (mut kept, _) = Kept::open(dir.path()).unwrap();
    let store = nowhere();
    add(&store, 0..1);
    kept.update(&store).unwrap();
    // As a write leaves it that found no more room.
    kept.file.write_all(b"{\"charge\":{").unwrap();
    let mut good = kept.file.try_clone().unwrap();
    kept.file = File::open(kept.path()).unwrap(); // Not for writing.
    add(&store, 1..2);
    kept.update(&store).unwrap_err();
    kept.broken = Some(Instant::now() - MEND);
    assert_eq!(kept.update(&store).unwrap(), 2);
    good.seek(SeekFrom::End(0)).unwrap();
    assert_eq!(in_file(&kept).len(), 2);
}

/// Two gateways on one folder: each has its file, and the next start has what both left.
#[tokio::test]
async fn each_process_has_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, _) = Kept::open(dir.path()).unwrap();
    let (mut two, left) = Kept::open(dir.path()).unwrap();
    assert!(left.is_empty() && one.path() != two.path());
    let (first, second) = (nowhere(), nowhere());
    add(&first, 0..2);
    add(&second, 2..5);
    assert_eq!((one.update(&first).unwrap(), two.update(&second).unwrap()), (2, 3));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(two.path()).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let other = two.path().to_owned();
    // Only the second ends: what it left is taken over, and the first one's is not.
    drop(two);
    let (two, left) = Kept::open(dir.path()).unwrap();
    assert_eq!((two.path(), left.len()), (&*other, 3));
    drop((one, two));
    let (one, left) = Kept::open(dir.path()).unwrap();
    assert_eq!((left.len(), in_file(&one).len()), (5, 5));
    assert_eq!(std::fs::metadata(other).unwrap().len(), 0);
    drop(one);
    assert_eq!(Kept::open(dir.path()).unwrap().1.len(), 5);
}
