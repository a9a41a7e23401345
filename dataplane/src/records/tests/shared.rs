//! What only a store has that several gateways share.

use super::*;
use crate::records::{
    entry::Line,
    postgres::charge::{self, Charged, How},
    trees::Trees,
};
use std::time::{Duration, Instant};
use tollgate_ledger::charge::Actual;

/// Polls until it is so.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < until, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the ledger's stream would tell of a record.
pub(super) fn charged(record: &Record, with_record: bool) -> Charged {
    let entry = billing::decode(&billing::encode(record)).unwrap();
    Charged {
        root: "eng/team".into(),
        position: format!("{AT}-0"),
        reservation: Uuid::new_v4(),
        request: record.id,
        how: How::Settled,
        used: Actual { cost: 1_000_000, input_tokens: 10, output_tokens: 5 },
        postings: record.postings.iter().cloned().map(Line::from).collect(),
        taken_back: Vec::new(),
        levels: Vec::new(),
        record: with_record.then_some(entry),
    }
}

async fn from_stream(place: &Place) -> (Recorder, Store) {
    place.open_with(Options { money: Money::Stream, ..Options::default() }).await
}

pub(super) async fn charge(place: &Place, entries: &[Charged]) -> usize {
    charge::write(place.pool().await, &Trees::default(), entries).await.unwrap()
}

async fn committed(store: &Store, key: &str) -> u64 {
    let sums = summed(&store.postings_since(AT).await.unwrap());
    sums.get(&(key.to_owned(), "month".to_owned())).copied().unwrap_or(0)
}

async fn all(store: &Store) -> Vec<Listed> {
    store.list(&Viewer::All, &Filter::default(), None, 100).await.unwrap().records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_start_at_once_make_one_schema() {
    let place = Place::postgres();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..6 {
        opening.spawn(open(place.location()));
    }
    let opened: Vec<_> = opening.join_all().await.into_iter().map(Result::unwrap).collect();
    for (recorder, _) in &opened {
        recorder.submit(model("eng/alice", AT, "hello", "hi"));
        recorder.flush().await;
    }
    for (_, store) in &opened {
        let all = all(store).await;
        assert_eq!(all.len(), 6);
        assert!(all.iter().all(|r| r.key() == "eng/alice"), "paths of others are known");
    }
    assert_eq!(place.count("SELECT COUNT(*) FROM trees").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_view_misses_nothing_while_gateways_write() {
    const EACH: i64 = 150;
    let (place, other) = {
        let place = Place::postgres();
        let other = place.beside();
        (place, other)
    };
    let (first, store) = place.open().await;
    let (second, _) = other.open().await;
    let write = |recorder: Recorder, name: &'static str| async move {
        for n in 0..EACH {
            recorder.submit(model(&format!("eng/{name}{}", n % 7), AT + n, "hello", "hi"));
            if n % 3 == 0 {
                recorder.flush().await;
            }
        }
        recorder.flush().await;
    };
    let writing = [tokio::spawn(write(first, "a")), tokio::spawn(write(second, "b"))];
    let (mut after, mut seen) = (0, 0);
    eventually("all are seen", async || {
        for record in store.after(&Viewer::All, &Filter::default(), after, 500).await.unwrap() {
            assert!(record.seq > after && !record.tree.is_empty());
            after = record.seq;
            seen += 1;
        }
        seen == 2 * EACH
    })
    .await;
    for done in writing {
        done.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_charged_once_whichever_part_comes_first() {
    let place = Place::postgres();
    let (recorder, store) = from_stream(&place).await;
    let records: Vec<Record> = (0..4).map(|n| model("eng/alice", AT + n, "hello words", "hi")).collect();
    let entries: Vec<Charged> = records.iter().map(|record| charged(record, true)).collect();
    // The first two: the charge, then the record. The others: the record, then the charge. All of it twice.
    assert_eq!(charge(&place, &entries[..2]).await, 2);
    assert_eq!(place.count("SELECT COUNT(*) FROM records WHERE source = 1 AND content = 3").await, 2);
    let listed = all(&store).await;
    assert_eq!(
        (listed[0].cost, listed[0].model.as_deref()),
        (Some(1_000_000), Some("anthropic/claude-haiku"))
    );
    for _ in 0..2 {
        records.iter().for_each(|record| recorder.submit(record.clone()));
        recorder.flush().await;
        charge(&place, &entries).await;
    }
    assert_eq!(place.count("SELECT COUNT(*) FROM records WHERE source = 2 AND content = 2").await, 4);
    assert_eq!(place.count("SELECT COUNT(*) FROM charges").await, 4);
    assert_eq!(place.count("SELECT COUNT(*) FROM contents").await, 4);
    assert_eq!(committed(&store, "eng/alice").await, 4_000_000);
    assert_eq!(committed(&store, "eng/team").await, 4_000_000);
    let spend = store.spend(&Viewer::All, Period::last(AT, 24, 0), None).await.unwrap();
    let Sum { requests, failed, input, output, cost, .. } = spend.total;
    assert_eq!((requests, failed, input, output, cost), (4, 0, 40, 20, 4_000_000));
    let counted = "SELECT CAST(SUM(count) AS BIGINT) FROM latencies WHERE span = 1 AND part = 0";
    assert_eq!(place.count(counted).await, 4, "a latency is counted once");
    let found = Filter { text: Some("words".into()), ..Filter::default() };
    assert_eq!(store.list(&Viewer::All, &found, None, 10).await.unwrap().records.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charges_without_a_record_are_whose_they_are_and_give_way_to_it() {
    let place = Place::postgres();
    let (recorder, store) = from_stream(&place).await;
    let record = model("eng/alice", AT, "hello", "hi");
    let levels = vec!["eng/alice".into(), "eng/team".into()];
    let died = Charged { how: How::Died, levels, ..charged(&record, false) };
    let attempt = Charged { position: format!("{AT}-1"), ..charged(&record, false) };
    assert_eq!(charge(&place, std::slice::from_ref(&died)).await, 1);
    assert_eq!(charge(&place, &[died.clone(), attempt.clone()]).await, 1);
    let listed = all(&store).await;
    let tokens = listed[0].tokens.unwrap();
    assert_eq!((listed.len(), listed[0].cost, tokens.input, tokens.output), (1, Some(2_000_000), 20, 10));
    assert_eq!((listed[0].key(), listed[0].tree.len(), listed[0].status), ("eng/alice", 2, 500));
    let alice = Viewer::Keys(["eng/alice".into()].into());
    assert!(store.record(&alice, record.id).await.unwrap().is_some());
    // The gateway lived after all: the difference, and the whole record.
    let reservation = died.reservation;
    let late = Charged { how: How::Late, reservation, postings: vec![], ..charged(&record, true) };
    assert_eq!(charge(&place, &[late.clone(), late]).await, 1);
    recorder.submit(record);
    recorder.flush().await;
    let spend = store.spend(&Viewer::All, Period::last(AT, 24, 0), None).await.unwrap();
    assert_eq!((spend.total.requests, spend.total.failed, spend.total.cost), (1, 0, 1_000_000));
    assert_eq!(committed(&store, "eng/alice").await, 2_000_000, "what was posted stays posted");
    // A reset takes back.
    let taken_back = attempt.postings.clone();
    let other = model("eng/alice", AT, "", "");
    let reset = Charged { how: How::Reset, postings: vec![], taken_back, ..charged(&other, false) };
    assert_eq!(charge(&place, &[reset]).await, 1);
    assert_eq!(committed(&store, "eng/alice").await, 1_000_000);
    let backup = store.ledger_backup(AT).await.unwrap();
    let ended: Vec<_> =
        backup.trees.iter().map(|(root, of)| (root.as_str(), of.settled.len(), of.died.len())).collect();
    assert_eq!(ended, [("eng/team", 1, 1)], "a reset ends nothing");
    assert!(backup.trees["eng/team"].died[0].late);
    assert_eq!(place.count("SELECT COUNT(*) FROM records").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgresql_is_away_records_wait_and_nothing_else_does() {
    let mut server = place::server::Postgres::start().unwrap();
    let place = Place::on(server.url());
    let (recorder, store) = place.open().await;
    recorder.submit(model("eng/alice", AT, "before", "hi"));
    recorder.flush().await;
    server.kill();
    for n in 0..300 {
        recorder.submit(model("eng/alice", AT + 1 + n, "meanwhile", "hi"));
    }
    eventually("the store says so", async || store.trouble().is_some()).await;
    let unread = store.list(&Viewer::All, &Filter::default(), None, 10).await.unwrap_err();
    assert!(is_away(&unread), "{unread}");
    // A gateway that starts now serves, and its records wait as well.
    let beside = place.beside();
    let (late, _) = beside.open().await;
    late.submit(model("eng/bob", AT + 1000, "late", "hi"));
    // One that ends now leaves its records on disk for the next.
    let other = place.beside();
    let (ending, _) = other.open().await;
    ending.submit(model("eng/carol", AT + 2000, "ending", "hi"));
    ending.flush().await;
    assert_eq!((ending.counts().spilled, ending.counts().lost), (1, 0));
    server.restart().unwrap();
    eventually("what waited is written", async || {
        recorder.counts().written == 301 && late.counts().written == 1 && ending.counts().spill_pending == 0
    })
    .await;
    assert_eq!(place.count("SELECT COUNT(*) FROM records").await, 303);
    assert_eq!(
        place.count("SELECT COUNT(*) FROM records WHERE content = 2").await,
        302,
        "with their content"
    );
    assert_eq!(committed(&store, "eng/alice").await, 301_000_000);
    assert_eq!((store.trouble(), late.trouble()), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_claude_code_costs_few_bytes() {
    const TURNS: usize = 40;
    let place = Place::postgres();
    let (recorder, _store) = place.open().await;
    let size = "SELECT CAST(SUM(pg_total_relation_size(c.oid)) AS BIGINT) FROM pg_class c \
        WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace(current_schema())";
    let (mut sent, mut before) = (0, 0);
    for n in 0..TURNS {
        let mut body = super::content::turn(n);
        // The tools and the system prompt of Claude Code are about 80 kB together.
        body["system"][1]["text"] = json!("You are an agent that writes code. ".repeat(900));
        let tool = |t| json!({"name": format!("tool{t}"), "input_schema": {"description": format!("words {t} ").repeat(200)}});
        body["tools"] = (0..24).map(tool).collect();
        sent += body.to_string().len();
        recorder.submit(with_body("eng/alice", AT + n as i64, &body, "ok"));
        recorder.flush().await;
        if n == 0 {
            before = place.count(size).await;
        }
    }
    let grown = usize::try_from(place.count(size).await - before).unwrap() / (TURNS - 1);
    println!(
        "PostgreSQL grows by {grown} bytes a turn, indexes and all; a turn sends {} bytes",
        sent / TURNS
    );
    assert!(grown * 5 < sent / TURNS, "{grown} bytes a turn for {} sent", sent / TURNS);
}
