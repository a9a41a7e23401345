//! Eight clients of each of two gateways hammer one key that has one dollar, with the ledger in Redis and the records in
//! PostgreSQL: what is committed, what the stream says and what PostgreSQL has are one number, to the nano-dollar.

use crate::support::{COST, DOLLAR, Place, Shared, Spent, budget, spend};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::task::JoinSet;
use tollgate_e2e::{client::eventually, redis::DURABLE};

const KEY: &str = "vk-dollar";

/// Nobody may delete what a stream has, so that it can be compared with what was written of it.
const KEEPING: [&str; 8] = ["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-xdel"];

/// What all clients learned.
struct Outcome {
    /// Answers, by the gateway that gave them.
    answers: BTreeMap<String, u64>,
    /// What was spent at the first final refusal.
    first_refusal: u64,
}

/// Two gateways on a Redis with these flags and PostgreSQL, ready to spend.
async fn start(flags: &[&str]) -> anyhow::Result<Shared> {
    let shared = Shared::recorded(&[flags, &KEEPING].concat(), |m| m.key(KEY, &budget("1", ""))).await?;
    Ok(shared)
}

fn clients(shared: &Shared, done: &Arc<AtomicU64>) -> (Vec<Place>, JoinSet<anyhow::Result<Spent>>) {
    let places: Vec<Place> =
        shared.gateways.iter().map(|g| Arc::new(parking_lot::Mutex::new(g.url().to_owned()))).collect();
    let mut clients = JoinSet::new();
    for place in &places {
        for _ in 0..8 {
            clients.spawn(spend(place.clone(), KEY, done.clone()));
        }
    }
    (places, clients)
}

async fn finish(mut clients: JoinSet<anyhow::Result<Spent>>) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome { answers: BTreeMap::new(), first_refusal: u64::MAX };
    while let Some(ended) = clients.join_next().await {
        let spent = ended??;
        for (gateway, answers) in spent.answers {
            *outcome.answers.entry(gateway).or_default() += answers;
        }
        outcome.first_refusal = outcome.first_refusal.min(spent.at_refusal);
    }
    Ok(outcome)
}

/// What is committed when nothing is held any more.
async fn settled(shared: &Shared) -> anyhow::Result<u64> {
    eventually("every hold is settled", || async {
        let (committed, held) = shared.counted(KEY).await?;
        Ok((held == 0).then_some(committed))
    })
    .await
}

/// The promise: never above the limit (no overrun is reported), nearly all of it spent before anybody is refused for good,
/// and one number in the ledger, in its stream and in PostgreSQL, before and after the stream is drained.
async fn adds_up(shared: &Shared, first_refusal: u64) -> anyhow::Result<u64> {
    let committed = settled(shared).await?;
    assert!(committed <= DOLLAR, "{committed}");
    assert!(first_refusal >= DOLLAR / 100 * 95, "refused for good at {first_refusal}");
    assert_eq!(shared.asked("SELECT COUNT(*) FROM records WHERE overrun > 0")?, 0);
    eventually("all is written", || async {
        Ok((shared.asked("SELECT COALESCE(SUM(cost), 0) FROM charges")? == committed).then_some(()))
    })
    .await?;
    assert_eq!(shared.streamed(KEY)?, committed, "the stream is the account");
    shared.redis.command("ACL SETUSER default +xdel")?;
    let audit = eventually("the stream is drained", || async {
        let Ok(audit) = shared.gateways[0].logs("audit").await else { return Ok(None) };
        Ok((shared.streamed(KEY)? == 0 && audit["waiting"] == 0).then_some(audit))
    })
    .await?;
    assert_eq!((&audit["consistent"], &audit["counters"]), (&true.into(), &1.into()), "{audit}");
    assert_eq!(shared.asked("SELECT SUM(amount) FROM counters")?, committed, "PostgreSQL is the account");
    assert_eq!(shared.asked("SELECT SUM(cost) FROM charges")?, committed, "and every charge of it");
    assert_eq!(shared.asked("SELECT SUM(cost) FROM spend")?, committed, "and the spend of all hours");
    assert_eq!(settled(shared).await?, committed, "nothing has moved meanwhile");
    Ok(committed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_spend_one_dollar_and_no_more() -> anyhow::Result<()> {
    let shared = start(&["--save", ""]).await?;
    let (_, clients) = clients(&shared, &Arc::default());
    let outcome = finish(clients).await?;
    let committed = adds_up(&shared, outcome.first_refusal).await?;
    let answers: u64 = outcome.answers.values().sum();
    assert_eq!(committed, answers * COST, "what is charged is what was answered");
    assert_eq!(shared.asked("SELECT COUNT(*) FROM charges")?, answers, "each of them once");
    for gateway in shared.gateways {
        let spend = gateway.logs("spend").await?;
        assert_eq!(spend["total"]["cost"], committed, "every gateway shows it");
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_and_a_restarted_redis_give_no_money_away() -> anyhow::Result<()> {
    let mut shared = start(&DURABLE).await?;
    let done = Arc::<AtomicU64>::default();
    let (places, clients) = clients(&shared, &done);
    let reach = async |n: u64| {
        eventually("requests are answered", || async { Ok((done.load(Relaxed) >= n).then_some(())) }).await
    };
    reach(20).await?;
    let second = shared.gateways.remove(1);
    second.kill().await?;
    *places[1].lock() = shared.gateways[0].url().to_owned();
    reach(50).await?;
    shared.redis.kill();
    shared.redis.launch()?;
    reach(80).await?;
    let outcome = finish(clients).await?;
    let committed = adds_up(&shared, outcome.first_refusal).await?;
    // Of what the killed gateway had answered, that is missing which it had not yet told Redis; of the other's, nothing.
    let survivor = outcome.answers.get(shared.gateways[0].url()).copied().unwrap_or(0);
    assert!(survivor > 0 && outcome.answers.len() == 2, "{:?}", outcome.answers);
    assert!(committed >= survivor * COST, "{committed} for {survivor} answers");
    let settled = shared.asked(&format!("SELECT COUNT(*) FROM charges WHERE cost = {COST}"))?;
    assert!(settled >= survivor, "{settled} charges for {survivor} answers");
    Ok(())
}
