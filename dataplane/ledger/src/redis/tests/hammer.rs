//! Two gateways, eight clients each, one dollar.

use super::*;
use std::sync::atomic::AtomicBool;

struct Outcome {
    /// Posted by the clients' own count.
    spent: u64,
    /// What was committed when the first client was refused for good.
    at_first_refusal: u64,
}

/// Spends a dollar of `a/team`, at most 2 milli-USD at a time, until nobody gets any more. What the store fails is tried
/// again, as a client would.
async fn spend(stores: [Arc<RedisStore>; 2], done: Arc<AtomicU64>) -> Outcome {
    let mut clients = Vec::new();
    let first = Arc::new(AtomicU64::new(u64::MAX));
    for client in 0..16_u128 {
        let (store, first, done) = (stores[client as usize % 2].clone(), first.clone(), done.clone());
        clients.push(tokio::spawn(async move {
            let (budget, wide) = (usd(USD), usd(1_000 * USD));
            let own = format!("a/key-{client}");
            let levels = [level(&own, &[&wide]), level("a/team", &[&budget]), level("a/root", &[&wide])];
            let (mut spent, patience) = (0, Patience::new());
            for i in 0_u128.. {
                assert!(i < 100_000, "the budget never runs out");
                let cost = 500_000 + (i as u64 * 7_919 + client as u64 * 104_729) % 1_500_000;
                let ask = ask(client << 64 | i, 2_000_000, now());
                match store.reserve(&levels, &ask).await {
                    Ok(Decision::Granted(grant)) => {
                        // A settle that Redis fails is repeated by the sweep.
                        if let Err(error) = store.settle(&levels, &grant, &used(cost), now()).await {
                            assert!(error.is_store_failure(), "{error}");
                        }
                        spent += cost;
                        done.fetch_add(1, Relaxed);
                    }
                    Ok(Decision::Refused(Refusal { key, reason: Reason::BudgetExhausted(shown) })) => {
                        assert_eq!(key, "a/team");
                        first.fetch_min(shown.committed, Relaxed);
                        break;
                    }
                    Ok(Decision::Refused(Refusal { reason: Reason::BudgetBusy(shown), .. })) => {
                        assert!(shown.committed + shown.held <= USD);
                    }
                    Ok(Decision::Refused(other)) => panic!("{other:?}"),
                    Err(error) => {
                        assert!(error.is_store_failure(), "{error}");
                        patience.wait("Redis comes back").await;
                    }
                }
            }
            spent
        }));
    }
    let mut spent = 0;
    for client in clients {
        spent += client.await.unwrap();
    }
    Outcome { spent, at_first_refusal: first.load(Relaxed) }
}

/// The sum of the stream's costs.
fn recorded(server: &Server) -> u64 {
    let entries: Vec<(String, Vec<String>)> = server.command(&["XRANGE", "tollgate:1:{a/root}:s", "-", "+"]);
    entries.iter().map(|(_, fields)| fields[5].parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_spend_one_dollar_and_no_more() {
    let server = Server::start();
    let stores = [Arc::new(server.store(Clock::Server).await), Arc::new(server.store(Clock::Server).await)];
    let outcome = spend(stores.clone(), Arc::default()).await;
    let budget = usd(USD);
    let (committed, held) = counted(&stores[0], &level("a/team", &[&budget]), now()).await;
    assert_eq!((committed, held), (outcome.spent, 0));
    assert!(committed <= USD, "{committed}");
    assert!(outcome.at_first_refusal >= USD / 100 * 95, "{}", outcome.at_first_refusal);
    assert_eq!(recorded(&server), committed);
    assert_eq!(stores.iter().map(|store| store.overrun_total()).sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_redis_in_the_middle_loses_no_cent_and_gives_none_away() {
    let mut server = Server::durable();
    let stores = [Arc::new(server.store(Clock::Server).await), Arc::new(server.store(Clock::Server).await)];
    let (done, over) = (Arc::<AtomicU64>::default(), Arc::new(AtomicBool::new(false)));
    let spending = tokio::spawn(spend(stores.clone(), done.clone()));
    let sweeping = tokio::spawn({
        let (stores, over) = (stores.clone(), over.clone());
        async move {
            while !over.load(Relaxed) {
                for store in &stores {
                    store.sweep(now()).await.ok();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    });
    for spent in [100, 300] {
        let patience = Patience::new();
        while done.load(Relaxed) < spent {
            patience.wait("requests").await;
        }
        let started = tokio::task::block_in_place(|| {
            server.kill();
            server.launch()
        });
        assert!(started, "Redis starts again");
    }
    let outcome = spending.await.unwrap();
    over.store(true, Relaxed);
    sweeping.await.unwrap();
    let (budget, team) = (usd(USD), "a/team");
    // Whatever hung in the air is repeated or taken back by the sweep.
    let patience = Patience::new();
    let counts = loop {
        patience.wait("all is repeated and taken back").await;
        for store in &stores {
            store.sweep(now()).await.ok();
        }
        let counts = counted(&stores[0], &level(team, &[&budget]), now()).await;
        if counts.1 == 0 && stores.iter().all(|store| store.waiting() == 0) {
            break counts;
        }
    };
    assert_eq!(counts.0, outcome.spent);
    assert!(counts.0 <= USD, "{}", counts.0);
    assert!(outcome.at_first_refusal >= USD / 100 * 95, "{}", outcome.at_first_refusal);
    assert_eq!(recorded(&server), counts.0);
    assert_eq!(stores.iter().map(|store| store.overrun_total()).sum::<u64>(), 0);
}
