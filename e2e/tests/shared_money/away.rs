//! Redis slow, away, emptied, never set up.

use crate::support::{COST, Shared, ask, budget, ledger};
use tollgate_e2e::{
    client::{Answer, eventually},
    gateway::Manifests,
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
