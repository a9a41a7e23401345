//! Fills a store with invented records, and prints what writing cost and how long the queries of `/logs` take.
//! `cargo run --release -p tollgate-dataplane --example seed_records -- [RECORDS] [FILE]`
//! `RECORDS` of 100000 unless given; without a `FILE`, a temporary one. `small` as a third word: only small records.

use anyhow::Context as _;
use std::{
    future::Future,
    path::PathBuf,
    time::{Duration, Instant},
};
use tollgate_dataplane::records::{
    self, Filter, Location, Period, Record, Recorder, Store, Viewer,
    record::{ModelRecord, RecordKind},
};

#[path = "seeding/seed.rs"]
mod seeding;

/// Each query is timed this often.
const ROUNDS: usize = 40;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let count: u64 = args.next().map_or(Ok(100_000), |n| n.parse()).context("RECORDS is a number")?;
    let folder = tempfile::tempdir()?;
    let file = args.next().map_or_else(|| folder.path().join("records.sqlite"), PathBuf::from);
    let small = args.next().as_deref() == Some("small");
    let (recorder, store) = records::open(Location::File(file.clone())).await?;
    fill(&recorder, count, small).await?;
    let bytes = std::fs::metadata(&file)?.len();
    println!(
        "file              {:>9.1} MB, {:.0} bytes a record",
        bytes as f64 / 1e6,
        bytes as f64 / count.max(1) as f64
    );
    println!("counts            {:?}", recorder.counts());
    queries(&store).await
}

/// Writes as fast as the writer takes them, and tells the processor time of all that is not making them up.
async fn fill(recorder: &Recorder, count: u64, small: bool) -> anyhow::Result<()> {
    let end = jiff::Timestamp::now().as_millisecond();
    let mut seed = seeding::Seed::new(end, 30 * 86_400_000, count);
    let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
    loop {
        let batch: Vec<Record> =
            seed.by_ref().take(4_000).map(|r| if small { shrunk(r) } else { r }).collect();
        if batch.is_empty() {
            break;
        }
        let (began, before) = (Instant::now(), processor_time()?);
        batch.into_iter().for_each(|record| recorder.submit(record));
        recorder.flush().await;
        wall += began.elapsed();
        cpu += processor_time()? - before;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count.max(1) as f64;
    println!("write             {:>9.1} µs a record, {:.1} µs of processor time", each(wall), each(cpu));
    Ok(())
}

/// A record as a short request without history makes it.
fn shrunk(mut record: Record) -> Record {
    if let RecordKind::Model(model) = &mut record.kind {
        let ModelRecord { request, answer, .. } = &mut **model;
        *request = Some(
            r#"{"model":"m","messages":[{"role":"user","content":"Say hello to the nice people."}]}"#.into(),
        );
        answer.content.truncate(1);
    }
    record
}

/// User and system time of this process (Linux, in its clock ticks of 10 ms).
fn processor_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).context("/proc/self/stat is short");
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

async fn queries(store: &Store) -> anyhow::Result<()> {
    let f = Filter::default;
    let text = |words: &str| Filter { text: Some(words.into()), ..f() };
    let now = jiff::Timestamp::now().as_millisecond();
    let week_ago = now - 7 * 86_400_000;
    let cases = [
        ("all", f()),
        ("key", Filter { key: Some("engineering/alice".into()), ..f() }),
        ("team", Filter { key: Some("engineering/team-engineering".into()), ..f() }),
        ("model", Filter { model: Some("openai/gpt-5".into()), ..f() }),
        ("failed", Filter { status: "failed".parse().ok(), ..f() }),
        ("status 402", Filter { status: "402".parse().ok(), ..f() }),
        ("key + 529", Filter { key: Some("research/mina".into()), status: "529".parse().ok(), ..f() }),
        ("tool calls", Filter { kind: Some(records::KindFilter::Tool), ..f() }),
        ("a week's model", Filter { to: Some(week_ago), model: Some("openai/gpt-5-mini".into()), ..f() }),
        ("common word", text("the")),
        ("two words", text("deadlock ledger")),
        ("rare number", text("4711")),
        ("no such word", text("zebra")),
        ("word + team", Filter { key: Some("research/team-research".into()), ..text("invoice") }),
        ("word, a week ago", Filter { to: Some(week_ago), ..text("invoice") }),
        ("prefix", text("s")),
    ];
    println!("{:<34}{:>9} {:>9} {:>9}  rows", "query", "p50 ms", "p95 ms", "max ms");
    for (name, filter) in &cases {
        for (viewer, who) in
            [(Viewer::All, ""), (Viewer::Keys(["engineering/team-engineering".into()].into()), " (scoped)")]
        {
            time(&format!("{name}{who}"), async || {
                Ok(store.list(&viewer, filter, None, 50).await?.records.len())
            })
            .await?;
        }
    }
    let viewer = Viewer::All;
    let page = store.list(&viewer, &f(), None, 50).await?;
    let middle = store.list(&viewer, &Filter { to: Some(week_ago), ..f() }, None, 50).await?.next;
    time("page far down", async || Ok(store.list(&viewer, &f(), middle, 50).await?.records.len())).await?;
    time("live", async || Ok(store.after(&viewer, &f(), store.newest().await? - 20, 50).await?.len()))
        .await?;
    let id = page.records.first().context("nothing is stored")?.id;
    time("one record", async || Ok(usize::from(store.record(&viewer, id).await?.is_some()))).await?;
    let month = Period::last(now, 30 * 24, 0);
    time("spend, 30 days", async || Ok(store.spend(&viewer, month, None).await?.by_key.len())).await?;
    time("names", async || Ok(store.names(&viewer, 0).await?.1.len())).await?;
    time("postings", async || Ok(store.postings_since(now).await?.len())).await
}

async fn time<F: Future<Output = anyhow::Result<usize>>>(
    name: &str,
    run: impl Fn() -> F,
) -> anyhow::Result<()> {
    let mut times = Vec::with_capacity(ROUNDS);
    let mut rows = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        rows = run().await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0.0)
    };
    println!("{name:<34.34}{:>9.2} {:>9.2} {:>9.2}  {rows}", at(50), at(95), at(100));
    Ok(())
}
