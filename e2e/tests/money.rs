//! Money and limits through the whole gateway.

use serde_json::{Value, json};
use tollgate_e2e::{
    client::{Answer, eventually},
    gateway::{Gateway, manifests},
    lab::Lab,
    provider::{Api, Reply, Rule, UsageSpec},
};

const MODEL: &str = "anthropic/claude-sonnet-4-5"; // $3 and $15 a million

fn ask(cap: u64) -> Value {
    json!({"model": MODEL, "max_tokens": cap, "messages": [{"role": "user", "content": "hello"}]})
}

/// A key with a budget of so many dollars, and further lines.
fn budget(usd: &str, more: &str) -> String {
    format!("models: {{allow: [\"*/*\"]}}\nbudgets: [{{name: month, usd: \"{usd}\", period: Month}}]\n{more}")
}

fn used(output: u64) -> Rule {
    let usage = UsageSpec { input: 1_000, output, ..UsageSpec::default() };
    Rule::once(Reply { usage: Some(usage), ..Reply::text("spent") })
}

fn refused(answer: &Answer) -> anyhow::Result<String> {
    assert_eq!(answer.status, 402, "{}", answer.text());
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    Ok(answer.json()?["error"]["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_request_is_charged_exactly() -> anyhow::Result<()> {
    let lab = Lab::with(|m, _| m.key("vk-exact", &budget("1", ""))).await?;
    let usage = UsageSpec {
        input: 1_000,
        cache_read: 10_000,
        cache_write: 2_000,
        output: 500,
        ..UsageSpec::default()
    };
    lab.provider.script(Rule::once(Reply { usage: Some(usage), ..Reply::text("x") }));
    lab.gateway.message("vk-exact", &ask(1_000)).await?.expect(200)?;
    // 1,000 × $3 + 10,000 × $0.30 + 2,000 × $3.75 + 500 × $15, a million
    let want = 3_000_000 + 3_000_000 + 7_500_000 + 7_500_000;
    assert_eq!(lab.gateway.spent("vk-exact").await?, want);
    Ok(())
}

#[tokio::test]
async fn a_price_in_a_manifest_is_charged_instead_of_the_catalogues_without_a_restart() -> anyhow::Result<()>
{
    let lab = Lab::with(|m, _| m.key("vk-own", &budget("100", ""))).await?;
    let charged = async || {
        let before = lab.gateway.records("vk-own").await?.len();
        lab.provider.script(used(500));
        lab.gateway.message("vk-own", &ask(1_000)).await?.expect(200)?;
        eventually("the request is recorded", || async {
            let records = lab.gateway.records("vk-own").await?;
            Ok((records.len() > before).then(|| records[0]["cost"].clone()))
        })
        .await
    };
    assert_eq!(charged().await?, 1_000 * 3_000 + 500 * 15_000);
    // One model's price, then that of all that are called so; nothing is said of the others.
    let one = "models: [{name: claude-sonnet-4-5, price: {input: '1', output: '2'}}, {name: 'claude-*'}]";
    let all = "models: [{name: 'claude-*', price: {input: '4', output: '5'}}]";
    for (models, want) in [(one, 1_000 * 1_000 + 500 * 2_000), (all, 1_000 * 4_000 + 500 * 5_000)] {
        lab.home.write(
            "anthropic.yaml",
            &manifests::route("anthropic", "anthropic", &lab.provider.url(), models),
        )?;
        eventually("the new price is charged", || async { Ok((charged().await? == want).then_some(())) })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_used_up_budget_refuses_in_words_and_in_both_shapes() -> anyhow::Result<()> {
    let lab = Lab::with(|m, _| m.key("vk-small", &budget("0.1", ""))).await?;
    lab.provider.script(used(6_000)); // $0.093
    lab.gateway.message("vk-small", &ask(6_000)).await?.expect(200)?;
    let words = refused(&lab.gateway.message("vk-small", &ask(6_000)).await?)?;
    for part in ["vk-small", "month", "0.093", "0.1", "reset"] {
        assert!(words.contains(part), "{part:?} is not in: {words}");
    }
    let chat = lab.gateway.chat("vk-small", &ask(6_000)).await?.expect(402)?.json()?;
    assert_eq!(chat["error"]["code"], "insufficient_quota", "{chat}");
    assert_eq!(lab.provider.requests().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_team_pays_for_its_people() -> anyhow::Result<()> {
    let child = "parentRef: {name: team}\nmodels: {allow: [\"*/*\"]}\n";
    let team = manifests::team("team", "budgets: [{name: month, usd: \"0.1\", period: Month}]\n");
    let lab = Lab::with(|m, _| m.file("team.yaml", &team).key("vk-ada", child).key("vk-bob", child)).await?;
    lab.provider.script(used(6_000));
    lab.gateway.message("vk-ada", &ask(6_000)).await?.expect(200)?;
    assert_eq!(lab.gateway.spent("team").await?, 93_000_000);
    let words = refused(&lab.gateway.message("vk-bob", &ask(6_000)).await?)?;
    assert!(words.contains("team"), "{words}");
    Ok(())
}

#[tokio::test]
async fn near_its_end_a_budget_lowers_the_output_cap() -> anyhow::Result<()> {
    let lab =
        Lab::with(|m, _| m.key("vk-near", &budget("0.3", "spending: {nearLimit: LowerOutputCap}\n"))).await?;
    // 64,000 output tokens would be $0.96: the cap becomes what $0.30 buys.
    let answer = lab.gateway.message("vk-near", &ask(64_000)).await?.expect(200)?;
    let sent = lab.provider.requests_to(Api::Messages)[0].json()["max_tokens"].as_u64().unwrap_or(0);
    assert!((4_096..20_000).contains(&sent), "{sent}");
    let named = answer
        .headers
        .iter()
        .any(|(n, v)| n.as_str().starts_with("x-tollgate") && v.as_bytes() == sent.to_string().as_bytes());
    assert!(named, "the lowered cap is named in a header: {:?}", answer.headers);
    Ok(())
}

#[tokio::test]
async fn parallel_requests_do_not_overspend() -> anyhow::Result<()> {
    let lab = Lab::with(|m, _| m.key("vk-crowd", &budget("0.5", "spending: {nearLimit: Refuse}\n"))).await?;
    let usage = UsageSpec { input: 10, output: 5_000, ..UsageSpec::default() };
    lab.provider.script(Rule::always(Reply { usage: Some(usage), delay_ms: 100, ..Reply::text("x") }));
    let requests = (0..40).map(|_| async {
        let body = ask(5_000); // $0.075 each: six fit
        lab.gateway.message("vk-crowd", &body).await.map(|a| a.status)
    });
    let statuses = futures_util::future::try_join_all(requests).await?;
    let fine = statuses.iter().filter(|s| **s == 200).count();
    assert!((1..=6).contains(&fine), "{statuses:?}");
    assert!(statuses.iter().all(|s| [200, 402, 429].contains(s)), "{statuses:?}");
    assert!(lab.gateway.spent("vk-crowd").await? <= 500_000_000);
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_it_got() -> anyhow::Result<()> {
    let lab = Lab::with(|m, _| m.key("vk-leaver", &budget("1", "limits: {concurrent: 1}\n"))).await?;
    let endless = Reply { every_ms: 20, deltas: Some(2_000), ..Reply::text("words ".repeat(4_000)) };
    lab.provider.script(Rule::once(endless));
    let headers = [("x-api-key", "vk-leaver"), ("anthropic-version", "2023-06-01")];
    let mut body = ask(8_000);
    body["stream"] = json!(true);
    let mut stream = lab.http.stream(&lab.messages(), &headers, &body).await?;
    for _ in 0..6 {
        stream.next().await?;
    }
    let busy = lab.gateway.message("vk-leaver", &ask(10)).await?;
    assert_eq!(busy.status, 429, "one at a time: {}", busy.text());
    assert!(busy.header("retry-after").is_some());
    drop(stream);
    let paid = eventually("the hold is settled", || async {
        let free = lab.gateway.message("vk-leaver", &ask(10)).await?.status == 200;
        let paid = lab.gateway.spent("vk-leaver").await?;
        Ok((free && paid > 0).then_some(paid))
    })
    .await?;
    assert!(paid < 60_000_000, "{paid} nano-USD: the whole hold was charged");
    Ok(())
}

#[tokio::test]
async fn kill_9_keeps_the_spend() -> anyhow::Result<()> {
    let Lab { provider, home, gateway, .. } =
        Lab::with(|m, _| m.key("vk-killed", &budget("0.1", ""))).await?;
    provider.script(used(6_000));
    gateway.message("vk-killed", &ask(6_000)).await?.expect(200)?;
    eventually("the record is written", || async {
        Ok((!gateway.records("vk-killed").await?.is_empty()).then_some(()))
    })
    .await?;
    gateway.kill().await?;
    let gateway = Gateway::start(&home).await?;
    assert_eq!(gateway.spent("vk-killed").await?, 93_000_000);
    refused(&gateway.message("vk-killed", &ask(6_000)).await?)?;
    gateway.stop().await
}

#[tokio::test]
async fn requests_a_minute() -> anyhow::Result<()> {
    let spec = "models: {allow: [\"*/*\"]}\nlimits: {requestsPerMinute: 3}\n";
    let lab = Lab::with(|m, _| m.key("vk-rate", spec)).await?;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let answer = lab.gateway.message("vk-rate", &ask(10)).await?;
        assert_eq!(answer.status == 429, answer.header("retry-after").is_some());
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert_eq!(statuses[4], 429);
    Ok(())
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_on_a_budget() -> anyhow::Result<()> {
    let free = "models: {allow: [\"*/*\"]}\n";
    let lab = Lab::with(|m, _| m.key("vk-priced", &budget("1", "")).key("vk-free", free)).await?;
    let unknown = json!({"model": "openai/gpt-unheard-of", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]});
    let answer = lab.gateway.chat("vk-priced", &unknown).await?;
    assert!((400..500).contains(&answer.status) && answer.text().contains("price"), "{}", answer.text());
    lab.gateway.chat("vk-free", &unknown).await?.expect(200)?;
    Ok(())
}
