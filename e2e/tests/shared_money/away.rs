//! Redis slow, away, emptied, never set up.

use crate::support::{COST, Shared, USED, ask, budget, ledger};
use std::collections::BTreeSet;
use tollgate_e2e::{
    client::{Answer, Http, eventually},
    gateway::Manifests,
    provider::{Reply, Rule},
    redis::{DURABLE, Redis},
};

const DENY: &str = "vk-deny";
const ALLOW: &str = "vk-allow";

fn keys(manifests: Manifests) -> Manifests {
    let allow = budget("0.05", "spending: {onStoreFailure: Allow}\n");
    manifests.key(DENY, &budget("1", "")).key(ALLOW, &allow)
}

fn refused(answer: &Answer) -> anyhow::Result<()> {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()?["error"]["type"], "overloaded_error");
    assert!(answer.header("retry-after").is_some());
    Ok(())
}

async fn served(shared: &Shared, key: &str) -> anyhow::Result<()> {
    eventually("the key is served", || async {
        let answer = shared.gateways[0].message(key, &ask()).await?;
        assert!([200, 503].contains(&answer.status), "{}", answer.text());
        Ok((answer.status == 200).then_some(()))
    })
    .await
}

async fn committed(shared: &Shared, key: &str, want: u64) -> anyhow::Result<()> {
    eventually("all is charged", || async { Ok((shared.counted(key).await? == (want, 0)).then_some(())) })
        .await
}

#[tokio::test]
async fn a_paused_redis_leaves_the_choice_to_the_key() -> anyhow::Result<()> {
    let shared = Shared::start(&["--save", ""], keys).await?;
    let gateway = &shared.gateways[0];
    for key in [DENY, ALLOW] {
        gateway.message(key, &ask()).await?.expect(200)?;
        committed(&shared, key, COST).await?;
    }
    shared.redis.pause()?;
    refused(&gateway.message(DENY, &ask()).await?)?;
    // The local allowance has the same limit: $0.05 is not spent six times over.
    let mut answers = 0;
    for _ in 0..10 {
        let answer = gateway.message(ALLOW, &ask()).await?;
        assert!([200, 402].contains(&answer.status), "{}", answer.text());
        answers += u64::from(answer.status == 200);
    }
    assert!((1..=5).contains(&answers), "{answers} answers");
    eventually("each record says so", || async {
        let mut local = 0;
        for record in gateway.records(ALLOW).await? {
            let id = record["id"].as_str().unwrap_or_default();
            let whole = gateway.logs(&format!("records/{id}")).await?;
            local += u64::from(whole.to_string().contains("local allowance"));
        }
        Ok((local == answers).then_some(()))
    })
    .await?;
    shared.redis.resume()?;
    served(&shared, DENY).await?;
    committed(&shared, DENY, 2 * COST).await?;
    committed(&shared, ALLOW, (1 + answers) * COST).await?;
    assert_eq!(shared.streamed(ALLOW)?, (1 + answers) * COST);
    Ok(())
}

#[tokio::test]
async fn what_was_charged_while_redis_was_gone_is_posted_when_it_is_back() -> anyhow::Result<()> {
    let mut shared = Shared::start(&DURABLE, keys).await?;
    shared.gateways[0].message(ALLOW, &ask()).await?.expect(200)?;
    committed(&shared, ALLOW, COST).await?;
    shared.redis.kill();
    refused(&shared.gateways[0].message(DENY, &ask()).await?)?;
    shared.gateways[0].message(ALLOW, &ask()).await?.expect(200)?;
    // A gateway that starts meanwhile serves as well.
    let third = shared.gateway(&shared.homes[0]).await?;
    refused(&third.message(DENY, &ask()).await?)?;
    third.message(ALLOW, &ask()).await?.expect(200)?;
    shared.redis.launch()?;
    committed(&shared, ALLOW, 3 * COST).await?;
    served(&shared, DENY).await?;
    third.stop().await
}

/// What was charged while Redis was away outlives the gateway, killed or stopped, and is posted once.
#[tokio::test]
async fn what_was_charged_while_redis_was_gone_outlives_the_gateway() -> anyhow::Result<()> {
    let mut shared = Shared::start(&DURABLE, keys).await?;
    shared.gateways[0].message(ALLOW, &ask()).await?.expect(200)?;
    committed(&shared, ALLOW, COST).await?;
    shared.redis.kill();
    let file = shared.homes[0].data().join("unposted.jsonl");
    let kept = async |count: usize| {
        eventually("the charges are kept", || async {
            // A charge is written again when it may have been carried out.
            let text = std::fs::read_to_string(&file)?;
            let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let ids: BTreeSet<String> = lines.map(|line| line["charge"]["id"].to_string()).collect();
            Ok((ids.len() == count).then_some(()))
        })
        .await
    };
    for _ in 0..2 {
        shared.gateways[0].message(ALLOW, &ask()).await?.expect(200)?;
    }
    kept(2).await?;
    shared.gateways.remove(0).kill().await?;
    let again = shared.gateway(&shared.homes[0]).await?;
    again.message(ALLOW, &ask()).await?.expect(200)?;
    kept(3).await?;
    again.stop().await?;
    shared.redis.launch()?;
    let third = shared.gateway(&shared.homes[0]).await?;
    committed(&shared, ALLOW, 4 * COST).await?;
    assert_eq!(shared.streamed(ALLOW)?, 4 * COST, "each of them once");
    eventually("nothing is left to keep", || async {
        Ok((std::fs::metadata(&file)?.len() == 0).then_some(()))
    })
    .await?;
    third.kill().await?;
    let fourth = shared.gateway(&shared.homes[0]).await?;
    fourth.message(ALLOW, &ask()).await?.expect(200)?;
    committed(&shared, ALLOW, 5 * COST).await
}

/// Redis is away for longer than a hold lives, under a stream: the hold is renewed when it is back, and not given up.
#[tokio::test]
async fn a_stream_keeps_its_hold_through_an_outage_that_is_longer() -> anyhow::Result<()> {
    let mut shared = Shared::start(&DURABLE, keys).await?;
    let gateway = &shared.gateways[0];
    let slow =
        Reply { usage: Some(USED), every_ms: 500, deltas: Some(24), ..Reply::text("slowly ".repeat(24)) };
    shared.provider.reset();
    shared.provider.script(Rule::always(slow));
    let mut body = ask();
    body["stream"] = true.into();
    let url = format!("{}/anthropic/v1/messages", gateway.url());
    let headers = [("x-api-key", DENY), ("anthropic-version", "2023-06-01")];
    let (http, began) = (Http::new(), std::time::Instant::now());
    let streaming = tokio::spawn(async move { http.post(&url, &headers, &body).await });
    eventually("it is held", || async {
        let (_, held) = shared.counted(DENY).await?;
        Ok((0 < held && held < u64::MAX).then_some(()))
    })
    .await?;
    shared.redis.kill();
    // The hold lives 5 s without a word of its gateway.
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    shared.redis.launch()?;
    let answer = streaming.await??.expect(200)?;
    assert!(began.elapsed() > std::time::Duration::from_secs(8), "{}", answer.text());
    committed(&shared, DENY, COST).await?;
    let ends = shared.redis.command(&format!("XRANGE tollgate:1:{{default/{DENY}}}:s - +"))?;
    assert!(ends.contains("live") && !ends.contains("dead") && !ends.contains("late"), "{ends}");
    Ok(())
}

#[tokio::test]
async fn an_emptied_redis_is_no_fresh_budget() -> anyhow::Result<()> {
    let shared = Shared::start(&["--save", ""], keys).await?;
    for gateway in &shared.gateways {
        gateway.message(DENY, &ask()).await?.expect(200)?;
    }
    shared.redis.command("FLUSHALL")?;
    for gateway in &shared.gateways {
        refused(&gateway.message(DENY, &ask()).await?)?;
        let why = || async { Ok(gateway.log().find("Redis was emptied")) };
        eventually("the log says why", why).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_ledger_is_founded_once_and_by_hand() -> anyhow::Result<()> {
    // One of the keys does without a ledger: the gateways are ready after a while.
    let shared = Shared::on(Redis::start(&["--save", ""])?, keys).await?;
    refused(&shared.gateways[0].message(DENY, &ask()).await?)?;
    let url = shared.redis.url();
    let said = ledger(&["found", "--redis", &url])?;
    assert!(said.contains("founded"), "{said}");
    served(&shared, DENY).await?;
    let said = ledger(&["found", "--redis", &url])?;
    assert!(said.contains("already"), "{said}");
    committed(&shared, DENY, COST).await?;
    let said = ledger(&["status", "--redis", &url])?;
    assert!(said.contains("default/vk-deny"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_stop_posts_what_is_on_its_way() -> anyhow::Result<()> {
    let mut shared = Shared::start(&["--save", ""], keys).await?;
    let first = shared.gateways.remove(0);
    for _ in 0..3 {
        first.message(DENY, &ask()).await?.expect(200)?;
    }
    shared.redis.pause()?;
    first.terminate().await?;
    shared.redis.resume()?;
    first.ended().await?;
    assert_eq!(shared.counted(DENY).await?, (3 * COST, 0));
    Ok(())
}
