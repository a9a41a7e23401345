//! What a gateway that starts waits for.

use crate::support::{Shared, ask, budget, ledger};
use tollgate_e2e::{
    client::{Http, eventually},
    control_plane::free_port,
    gateway::{Gateway, Home, Manifests},
    provider::{Provider, Reply, Rule},
    redis::{DURABLE, Redis},
};

const KEY: &str = "vk-first";
const ALLOWS: &str = "spending: {onStoreFailure: Allow}\n";

/// Waits until a gateway that is not ready says why on /readyz.
async fn says(port: u16, words: &str) -> anyhow::Result<()> {
    let (http, url) = (Http::new(), format!("http://127.0.0.1:{port}/readyz"));
    eventually("it says why it is not ready", || async {
        let Ok(answer) = http.get(&url).await else { return Ok(None) };
        assert_eq!(answer.status, 503, "{}", answer.text());
        Ok(answer.text().contains(words).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_waits_for_a_founded_ledger_and_no_later_one() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    provider.script(Rule::always(Reply::text("first")));
    let mut redis = Redis::start(&DURABLE)?;
    let home = Home::new(&Manifests::routes(&provider.url()).key(KEY, &budget("1", "")))?;
    let (url, port) = (redis.url(), free_port()?);
    let flags = ["--redis", &url, "--redis-patience", "0"];
    let listen = format!("127.0.0.1:{port}");
    let starting = Gateway::start_on(&home, &listen, &flags);
    let founding = async {
        says(port, "waiting for the ledger: Redis was emptied (or never set up)").await?;
        ledger(&["found", "--redis", &url])
    };
    let (gateway, founded) = tokio::join!(starting, founding);
    founded?;
    let gateway = gateway?;
    gateway.message(KEY, &ask()).await?.expect(200)?;
    redis.kill();
    gateway.message(KEY, &ask()).await?.expect(503)?;
    let ready = Http::new().get(&format!("{}/readyz", gateway.url())).await?;
    assert_eq!(ready.status, 200, "a loss of Redis is no reason: {}", ready.text());
    gateway.kill().await?;
    // As a container that is started again in its pod: it has known the ledger.
    let again = Gateway::start_on(&home, "127.0.0.1:0", &flags).await?;
    again.message(KEY, &ask()).await?.expect(503)?;
    redis.launch()?;
    eventually("the key is served", || async {
        Ok((again.message(KEY, &ask()).await?.status == 200).then_some(()))
    })
    .await
}

/// A new pod while Redis is away: with a key that does without it is ready after a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_without_redis_serves_the_keys_that_do_without() -> anyhow::Result<()> {
    let mut shared =
        Shared::start(&DURABLE, |m| m.key(KEY, &budget("1", ALLOWS)).key("vk-denies", &budget("1", "")))
            .await?;
    shared.redis.kill();
    let home = Home::new(
        &Manifests::routes(&shared.provider.url())
            .key(KEY, &budget("1", ALLOWS))
            .key("vk-denies", &budget("1", "")),
    )?;
    let fresh = shared.gateway(&home).await?;
    fresh.message(KEY, &ask()).await?.expect(200)?;
    fresh.message("vk-denies", &ask()).await?.expect(503)?;
    assert!(fresh.log().find("waiting for the ledger: Redis cannot be reached").is_some(), "it waited");
    Ok(())
}
