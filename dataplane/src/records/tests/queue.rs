use super::*;
use proptest::prelude::*;

on_both!(
    absurd_numbers_are_sums_still,
    a_full_queue_drops_content_then_spills_and_loses_no_money,
    an_id_is_stored_and_charged_once,
    a_spill_file_of_an_earlier_process_is_replayed_once,
);

#[tokio::test]
async fn what_is_flushed_is_there_after_reopening_without_close() {
    let place = Place::sqlite();
    let (recorder, store) = place.open().await;
    for n in 0..700 {
        recorder.submit(model("eng/alice", AT + n, "hello", "hi"));
    }
    recorder.flush().await;
    assert_eq!(recorder.counts().written, 700);
    // The first store stays open and its WAL is not checkpointed: what a killed process leaves behind.
    let copy = Place::sqlite();
    for name in ["records.sqlite", "records.sqlite-wal"] {
        std::fs::copy(place.folder().join(name), copy.folder().join(name)).unwrap();
    }
    let (again, reopened) = copy.open().await;
    assert_eq!(reopened.postings_since(AT).await.unwrap(), store.postings_since(AT).await.unwrap());
    again.submit(model("eng/alice", AT, "hello", "hi"));
    again.flush().await;
    assert_eq!(copy.count("SELECT COUNT(*) FROM records").await, 701);
}

async fn an_id_is_stored_and_charged_once(place: &Place) {
    let (recorder, store) = place.open().await;
    let one = model("eng/alice", AT, "hello", "hi");
    for record in [one.clone(), one.clone(), model("eng/alice", AT, "other", "hi")] {
        recorder.submit(record);
    }
    recorder.flush().await;
    recorder.submit(one);
    recorder.flush().await;
    assert_eq!(place.count("SELECT COUNT(*) FROM records").await, 2);
    let sums = summed(&store.postings_since(AT).await.unwrap());
    assert_eq!(sums[&("eng/alice".to_owned(), "month".to_owned())], 2_000_000);
}

async fn a_full_queue_drops_content_then_spills_and_loses_no_money(place: &Place) {
    let options = Options { queue_records: 64, queue_bytes: 4 << 10, ..Options::default() };
    let (recorder, store) = place.open_with(options).await;
    // The writer cannot write while another holds what it needs: the queue fills.
    let other = place.lock_out().await;
    let records = 2_000;
    for n in 0..records {
        recorder.submit(model("eng/alice", AT + n, &"word ".repeat(100), "hi"));
    }
    let counts = recorder.counts();
    assert!(counts.content_dropped > 0 && counts.spilled > 0, "{counts:?}");
    assert_eq!(counts.lost, 0);
    other.rollback().await.unwrap();
    while recorder.counts().spill_pending > 0 {
        recorder.flush().await;
    }
    assert_eq!(place.count("SELECT COUNT(*) FROM records").await, records);
    let sums = summed(&store.postings_since(AT).await.unwrap());
    assert_eq!(sums[&("eng/team".to_owned(), "month".to_owned())], records as u64 * 1_000_000);
    let left = |name: &str| place.folder().join(name).exists();
    assert!(!left("spill.jsonl") && !left("spill.replay.jsonl"));
    assert!(place.count("SELECT COUNT(*) FROM records WHERE content = 3").await > 0);
}

async fn a_spill_file_of_an_earlier_process_is_replayed_once(place: &Place) {
    let line = |record: &Record| serde_json::to_string(&entry::Entry::take(&mut record.clone())).unwrap();
    let (first, second) = (model("eng/alice", AT, "a", "b"), tool("eng/bob", AT, "toolu_1"));
    // Both files are there, one record is in both, and the last line is cut off by the crash.
    std::fs::write(place.folder().join("spill.replay.jsonl"), format!("{}\n", line(&first))).unwrap();
    let cut = &line(&second)[..40];
    std::fs::write(place.folder().join("spill.jsonl"), format!("{}\n{}\n{cut}", line(&first), line(&second)))
        .unwrap();
    let (recorder, store) = place.open().await;
    assert_eq!(place.count("SELECT COUNT(*) FROM records").await, 2);
    let sums = summed(&store.postings_since(AT).await.unwrap());
    assert_eq!(sums[&("eng/alice".to_owned(), "month".to_owned())], 1_000_000);
    assert_eq!(recorder.counts().lost, 1, "the line that was cut off is counted");
    assert!(
        !place.folder().join("spill.jsonl").exists() && !place.folder().join("spill.replay.jsonl").exists()
    );
}

fn absurd(key: &str) -> Record {
    let mut record = model(key, AT, "a", "b");
    let RecordKind::Model(model) = &mut record.kind else { panic!("a model record") };
    model.usage = Some(Usage { input: i64::MAX as u64, ..Usage::default() });
    model.cost = Some(u64::MAX);
    record
}

/// An upstream that tells absurd numbers costs nobody his content, and its sums can be read.
async fn absurd_numbers_are_sums_still(place: &Place) {
    let (recorder, store) = place.open().await;
    for _ in 0..3 {
        recorder.submit(absurd("eng/mallory"));
        recorder.submit(model("eng/alice", AT, "a", "b"));
        recorder.flush().await;
    }
    let counts = recorder.counts();
    assert_eq!((counts.written, counts.spilled, counts.content_dropped, counts.lost), (6, 0, 0, 0));
    let spend = store.spend(&Viewer::All, Period::last(AT, 72, 0), None).await.unwrap();
    assert_eq!((spend.total.requests, spend.by_key.len()), (6, 2));
    assert_eq!(spend.by_key[0].sum.cost, 1_000_000_000_000_000, "the most that is believed of an hour");
}

/// Nobody else's record may wait for one that the database refuses.
#[tokio::test]
async fn what_the_database_refuses_is_set_aside_and_the_others_are_written() {
    let place = Place::postgres();
    let line = |record: &Record| serde_json::to_string(&entry::Entry::take(&mut record.clone())).unwrap();
    let spill = |records: &[Record]| {
        let text: String = records.iter().map(|record| line(record) + "\n").collect();
        std::fs::write(place.folder().join("spill.jsonl"), text).unwrap();
    };
    drop(place.open().await);
    place.execute("ALTER TABLE records ADD CHECK (input < 1000000)").await;
    let absurd = || absurd("eng/mallory");
    spill(&[model("eng/alice", AT, "a", "b"), absurd(), model("eng/bob", AT, "a", "b")]);
    let (recorder, _store) = place.open().await;
    assert_eq!(place.count("SELECT COUNT(*) FROM records").await, 2);
    assert_eq!(recorder.counts().lost, 1);
    let refused = std::fs::read_to_string(place.folder().join("refused.jsonl")).unwrap();
    assert!(refused.lines().count() == 1 && refused.contains("eng/mallory") && !refused.contains("alice"));
    assert!(!place.folder().join("spill.replay.jsonl").exists(), "nothing is left to be replayed");
}

#[tokio::test]
async fn a_store_of_a_later_version_is_refused() {
    let place = Place::sqlite();
    drop(place.open().await);
    place.execute("PRAGMA user_version = 99").await;
    let error = open(place.location()).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
}

#[tokio::test]
async fn memory_works_like_a_file() {
    let (recorder, store) = open(Location::Memory).await.unwrap();
    recorder.sink()(model("eng/alice", AT, "hello", "hi"));
    recorder.flush().await;
    assert_eq!(store.postings_since(AT).await.unwrap().len(), 2);
    assert_eq!(
        store.postings_since(AT + 86_400_000).await.unwrap().len(),
        0,
        "windows that are over are left out"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// What the ledger is rebuilt from equals what was posted, however the records were batched.
    #[test]
    fn rebuilt_postings_equal_those_made(
        amounts in proptest::collection::vec((0u8..4, 0u8..3, 0u64..1 << 40), 1..300), cuts in 1usize..40
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (recorder, store) = open(Location::Memory).await.unwrap();
            let mut all = Vec::new();
            for (n, (key, budget, amount)) in amounts.iter().enumerate() {
                let posting = posting(&format!("eng/k{key}"), &format!("b{budget}"), *amount);
                all.push(posting.clone());
                recorder.submit(Record { postings: vec![posting], ..model("eng/a", AT, "p", "r") });
                if n % cuts == 0 {
                    recorder.flush().await;
                }
            }
            recorder.flush().await;
            prop_assert_eq!(summed(&store.postings_since(AT).await.unwrap()), summed(&all));
            Ok(())
        })?;
    }
}
