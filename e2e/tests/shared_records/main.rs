//! One book of records for all gateways: two real gateways, a real Redis, a real PostgreSQL, each of them killed.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod encrypted;
mod external;
mod restored;
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use support::{COST, World, ask, command, keep_asking};
use tollgate_e2e::client::{Http, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn each_gateway_shows_what_went_through_any() -> anyhow::Result<()> {
    let world = World::start().await?;
    for (n, gateway) in world.gateways.iter().enumerate() {
        gateway.message("alice", &ask(&format!("question number{n}"))).await?.expect(200)?;
    }
    for gateway in &world.gateways {
        let records = eventually("all records are shown", || async {
            let records = gateway.records("alice").await?;
            let whole = records.iter().all(|r| r["prompt"].is_string() && r["reply"] == "recorded words");
            Ok((records.len() == 3 && whole).then_some(records))
        })
        .await?;
        assert!(records.iter().all(|r| r["cost"] == COST), "{records:?}");
        let found = gateway.logs("records?q=number1").await?;
        assert_eq!(found["records"].as_array().map(Vec::len), Some(1));
        let id = found["records"][0]["id"].as_str().unwrap_or_default();
        let full = gateway.logs(&format!("records/{id}")).await?;
        assert_eq!(full["conversation"]["messages"][0]["content"], "question number1");
        assert_eq!(full["postings"][0]["amount"], COST);
        let live = gateway.logs("live?after=0").await?;
        assert_eq!(live["records"].as_array().map(Vec::len), Some(3));
        let spend = gateway.logs("spend").await?;
        assert_eq!((&spend["total"]["requests"], &spend["total"]["cost"]), (&3.into(), &(3 * COST).into()));
    }
    world.adds_up(1, 3 * COST).await?;
    assert_eq!(world.count("SELECT COUNT(*) FROM charges")?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_gateway_that_is_killed_is_billed() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let gateway = world.gateways.remove(0);
    for _ in 0..5 {
        gateway.message("alice", &ask("last words")).await?.expect(200)?;
    }
    // Its records are in batches of 50 ms: those of the last answers die with it.
    gateway.kill().await?;
    let other = &world.gateways[0];
    // A tree that a gateway uses is looked after every second, others less often.
    other.message("alice", &ask("the other's")).await?.expect(200)?;
    eventually("all requests are recorded", || async {
        Ok((other.records("alice").await?.len() == 7).then_some(()))
    })
    .await?;
    // A settle that was on its way when it died is charged as its hold dies, what it had used.
    let counted = eventually("all holds are gone", || async {
        let counted = world.count("SELECT COALESCE(SUM(amount), 0) FROM counters")?;
        let held = other.budgets().await?.iter().map(|budget| budget.held).sum::<u64>();
        Ok((held == 0).then_some(counted))
    })
    .await?;
    assert!((2 * COST..=7 * COST).contains(&counted), "{counted}");
    let counted = other.spent("alice").await?;
    world.adds_up(0, counted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_restarted_in_the_middle_loses_nothing_and_doubles_nothing() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let stop = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..6)
        .map(|n| {
            let url = world.gateways[n % 2].url().to_owned();
            tokio::spawn(keep_asking(url, stop.clone()))
        })
        .collect();
    eventually("some are recorded", || async {
        Ok((world.count("SELECT COUNT(*) FROM records")? > 50).then_some(()))
    })
    .await?;
    world.postgres.kill();
    let page = world.gateways[0].logs("records").await;
    assert!(page.is_err(), "records cannot be shown without their database");
    // Requests go on all the while: a client fails on the first that does not.
    tokio::time::sleep(Duration::from_secs(3)).await;
    tokio::task::block_in_place(|| world.postgres.restart()).map_err(anyhow::Error::msg)?;
    eventually("records are written again", || async {
        Ok(world.count("SELECT COUNT(*) FROM records").ok().filter(|count| *count > 60))
    })
    .await?;
    stop.store(1, Relaxed);
    let mut answers = 1;
    for client in clients {
        answers += client.await??;
    }
    eventually("every record is there", || async {
        Ok((world.count("SELECT COUNT(*) FROM records WHERE source = 2")? == answers).then_some(()))
    })
    .await?;
    world.adds_up(0, answers * COST).await?;
    world.adds_up(1, answers * COST).await?;
    assert_eq!(world.count("SELECT COUNT(*) FROM charges")?, answers);
    assert_eq!(world.count("SELECT SUM(requests) FROM spend")?, answers);
    assert_eq!(world.count("SELECT SUM(cost) FROM spend")?, answers * COST);
    println!("{answers} requests, none lost, none twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drainer_killed_between_writing_and_deleting_doubles_nothing() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    // Entries can be read and not be deleted: whoever drains is always between the two.
    world.redis(&["ACL", "SETUSER", "default", "-xdel"])?;
    for n in 0..4 {
        world.gateways[n % 2].message("alice", &ask("again")).await?.expect(200)?;
    }
    eventually("they are written", || async {
        Ok((world.count("SELECT COUNT(*) FROM charges")? == 5).then_some(()))
    })
    .await?;
    let holder = world.postgres.psql("SELECT holder FROM leases WHERE name = 'drainer'");
    assert!(holder.is_ok_and(|holder| !holder.is_empty()), "one of them drains");
    let gateway = world.gateways.remove(0);
    gateway.kill().await?;
    world.again(0).await?;
    world.redis(&["ACL", "SETUSER", "default", "+xdel"])?;
    world.adds_up(0, 5 * COST).await?;
    assert_eq!(world.count("SELECT COUNT(*) FROM charges")?, 5);
    assert_eq!(world.count("SELECT SUM(cost) FROM spend")?, 5 * COST);
    assert_eq!(world.count("SELECT COUNT(*) FROM records")?, 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_grants_nothing_until_it_is_restored_from_postgresql() -> anyhow::Result<()> {
    let world = World::start().await?;
    for n in 0..4 {
        world.gateways[n % 2].message("alice", &ask("before")).await?.expect(200)?;
    }
    world.adds_up(0, 5 * COST).await?;
    world.redis(&["FLUSHALL"])?;
    let refused = world.gateways[0].message("alice", &ask("meanwhile")).await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let urls = ["--redis", &world.redis.url(), "--postgres", &world.postgres.url()].map(str::to_owned);
    let said = command(&["ledger", "restore"], &urls)?;
    assert!(said.contains("1 counters of 1 trees"), "{said}");
    assert!(command(&["ledger", "restore"], &urls)?.contains("nothing was changed"));
    assert_eq!(world.gateways[1].spent("alice").await?, 5 * COST);
    world.gateways[0].message("alice", &ask("after")).await?.expect(200)?;
    world.adds_up(1, 6 * COST).await?;
    assert!(command(&["audit"], &urls)?.contains("\"consistent\": true"));
    Ok(())
}

/// Beyond loopback a key sees its own, an administrator everything.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_reads_all_records_and_the_audit() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let gateway = world.open_to_all(["--logs-admin", "default/auditor"]).await?;
    gateway.message("alice", &ask("for the audit")).await?.expect(200)?;
    world.adds_up(0, 2 * COST).await?;
    let client = Http::new();
    let get = async |path: &str, key: &str| {
        let url = format!("{}/logs/api/{path}", gateway.url());
        client.call(http::Method::GET, &url, &[("x-api-key", key)], bytes::Bytes::new()).await
    };
    let audit = get("audit", "auditor").await?.expect(200)?.json()?;
    assert_eq!((&audit["consistent"], &audit["counters"]), (&true.into(), &1.into()), "{audit}");
    let records = get("records", "auditor").await?.expect(200)?.json()?;
    assert_eq!(records["records"].as_array().map(Vec::len), Some(2));
    get("audit", "alice").await?.expect(403)?;
    for path in ["audit", "records"] {
        assert!(get(path, "stranger").await?.status >= 400, "{path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_cannot_be_read_are_set_aside_and_the_rest_goes_on() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.redis(&["XADD", "tollgate:1:{default/alice}:s", "*", "how", "unheard-of", "id", "x"])?;
    world.gateways[0].message("alice", &ask("after it")).await?.expect(200)?;
    eventually("the rest is written", || async {
        Ok((world.count("SELECT COUNT(*) FROM charges")? == 2).then_some(()))
    })
    .await?;
    assert_eq!(world.count("SELECT COUNT(*) FROM set_aside WHERE entry LIKE '%unheard-of%'")?, 1);
    let audit = world.gateways[1].logs("audit").await?;
    assert_eq!((&audit["set_aside"], &audit["consistent"]), (&1.into(), &false.into()), "{audit}");
    Ok(())
}
