//! Redis is lost and put back out of PostgreSQL: what was spent counts once, and what records do not know is told again.

use crate::support::{COST, SPEC, USED, World, ask, command};
use tollgate_e2e::{
    client::eventually,
    gateway::{Home, Manifests, manifests},
    provider::{Reply, Rule},
};

/// A new server in place of the old one, and twenty minutes until somebody restores it: gateways tell it again what they told the
/// old one in the minute before, and the holds of what still runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_redis_that_is_restored_late_counts_nothing_twice() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    for n in 0..4 {
        world.gateways[n % 2].message("alice", &ask("before")).await?.expect(200)?;
    }
    world.adds_up(0, 5 * COST).await?;
    world.provider.reset();
    let words = Reply { usage: Some(USED), delay_ms: 10_000, ..Reply::text("recorded words") };
    world.provider.script(Rule::always(words.clone()));
    let gateways: [_; 2] =
        std::mem::take(&mut world.gateways).try_into().map_err(|_| anyhow::anyhow!("two"))?;
    let under_way = async |n: usize| gateways[n].message("alice", &ask("under way")).await?.expect(200);
    let restore = async {
        eventually("both are under way", || async {
            Ok((world.provider.requests().len() == 2).then_some(()))
        })
        .await?;
        tokio::task::block_in_place(|| world.redis.replace())?;
        let aged = world.postgres.psql("UPDATE charges SET at = at - 20 * 60000");
        aged.map_err(anyhow::Error::msg)?;
        let urls = ["--redis", &world.redis.url(), "--postgres", &world.postgres.url()].map(str::to_owned);
        let said = tokio::task::block_in_place(|| command(&["ledger", "restore"], &urls))?;
        anyhow::ensure!(said.contains("1 counters of 1 trees"), "{said}");
        for gateway in &gateways {
            eventually("it noticed", || async {
                Ok(gateway.log().find("the ledger was restored").map(drop))
            })
            .await?;
        }
        anyhow::Ok(())
    };
    let (first, second, restored) = tokio::join!(under_way(0), under_way(1), restore);
    restored?;
    first?;
    second?;
    world.gateways.extend(gateways);
    for n in 0..2 {
        world.adds_up(n, 7 * COST).await?;
        assert!(world.gateways[n].log().find("another ledger").is_none(), "it is the one that was restored");
    }
    Ok(())
}

/// Records do not know which keys were refused, nor which resets were carried out: the gateways do.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_resets_outlive_a_restore() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let urls = ["--redis", &world.redis.url(), "--postgres", &world.postgres.url()].map(str::to_owned);
    let reset = |name: &str| {
        let (head, annotation) =
            ("kind: VirtualKey\nmetadata: {name: alice", "annotations: {tollgate.dev/reset-budget");
        manifests::key("alice", SPEC).replace(head, &format!("{head}, {annotation}: \"month:{name}\"}}"))
    };
    let marks = |world: &World, id: &str| -> anyhow::Result<bool> {
        let mark = format!("tollgate:1:{{default/alice}}:r:default/alice:month:month:{id}");
        Ok(world.redis(&["EXISTS", &mark])? == redis::Value::Int(1))
    };
    world.homes[0].write("bob.yaml", &manifests::key("bob", SPEC))?;
    world.homes[0].write("alice.yaml", &reset("one"))?;
    eventually("bob is served, alice begins anew", || async {
        let served = world.gateways[0].message("bob", &ask("hello")).await?.status == 200;
        Ok((served && marks(&world, "one")?).then_some(()))
    })
    .await?;
    world.homes[0].remove("bob.yaml")?;
    let refused = async || {
        eventually("bob is refused", || async {
            Ok(command(&["ledger", "status"], &urls[..2])?.contains("key default/bob").then_some(()))
        })
        .await
    };
    refused().await?;
    world.gateways[1].message("alice", &ask("after the reset")).await?.expect(200)?;
    at_rest(&world).await?;
    world.redis(&["FLUSHALL"])?;
    command(&["ledger", "restore"], &urls)?;
    refused().await?;
    eventually("the reset is known to be carried out", || async { Ok(marks(&world, "one")?.then_some(())) })
        .await?;
    eventually("and was not carried out again", || async {
        Ok((world.gateways[1].spent("alice").await? == COST).then_some(()))
    })
    .await?;

    // A gateway that starts brings one that nobody knows: it may be older than the restore.
    let urls_of = Manifests::routes(&world.provider.url());
    world.homes.push(Home::new(&urls_of.key("alice", SPEC))?);
    world.homes[2].write("alice.yaml", &reset("two"))?;
    world.again(2).await?;
    eventually("that is said", || async {
        Ok(world.gateways[2].log().find("a budget is not reset").map(drop))
    })
    .await?;
    // A day later the trees are as others; what running gateways know was told.
    world.redis(&["DEL", "tollgate:1:{default/alice}:restored"])?;
    world.homes[2].write("alice.yaml", &reset("one"))?;
    world.gateways.remove(2).stop().await?;
    world.again(2).await?;
    world.gateways[2].message("alice", &ask("last")).await?.expect(200)?;
    world.homes[2].write("alice.yaml", &reset("three"))?;
    eventually("a new one is carried out", || async { Ok(marks(&world, "three")?.then_some(())) }).await?;
    at_rest(&world).await?;
    assert_eq!(world.count("SELECT COUNT(*) FROM charges WHERE how = 3")?, 2, "one and three, once each");
    Ok(())
}

/// Whoever founds a ledger anew makes fresh budgets: that is said aloud.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_founded_anew_is_warned_of() -> anyhow::Result<()> {
    let world = World::start().await?;
    let url = ["--redis".to_owned(), world.redis.url()];
    let before = command(&["ledger", "status"], &url)?;
    let before = before.split_whitespace().nth(1).unwrap_or_default();
    assert_eq!(warnings(&world), 0);
    world.redis(&["FLUSHALL"])?;
    command(&["ledger", "found"], &url)?;
    let said =
        eventually("it is said", || async { Ok(Some(warnings(&world)).filter(|said| *said > 0)) }).await?;
    // The old one is put back.
    world.redis(&["SET", "tollgate:1:{ledger}:generation", before])?;
    eventually("it is said again", || async { Ok((warnings(&world) > said).then_some(())) }).await?;
    eventually("it is the newest again", || async {
        let newest = world.postgres.psql("SELECT generation FROM generations ORDER BY number DESC LIMIT 1");
        Ok((newest.map_err(anyhow::Error::msg)? == before).then_some(()))
    })
    .await?;
    // A shard of a cluster is emptied: which trees it had is told.
    world.gateways[0].message("alice", &ask("afresh")).await?.expect(200)?;
    world.redis(&["DEL", "tollgate:1:{default/alice}:g"])?;
    assert!(command(&["ledger", "status"], &url)?.contains("tree default/alice is lost"));
    Ok(())
}

/// How often the gateways have said that the ledger is another.
fn warnings(world: &World) -> usize {
    let logs = world.gateways.iter().map(|gateway| gateway.log().text());
    logs.map(|log| {
        log.lines().filter(|line| line.contains("WARN") && line.contains("another ledger")).count()
    })
    .sum()
}

/// Waits until everything is in PostgreSQL.
async fn at_rest(world: &World) -> anyhow::Result<()> {
    eventually("all is in PostgreSQL", || async {
        let audit = world.gateways[1].logs("audit").await?;
        Ok((audit["waiting"] == 0 && audit["consistent"] == true).then_some(()))
    })
    .await
}
