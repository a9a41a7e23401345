//! Budgets by way of everything: gateways charge one Redis, their reports become status, an annotation resets.

use super::support::{Installation, ask, key, until};
use serde_json::Value;
use tollgate_e2e::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    provider::Provider,
    redis::Redis,
};

/// What one request costs, in US dollars: 24 tokens in, 4 out.
const COST: f64 = 0.000132;
const TOKEN: &str = "spender-0123456789abcdef0123456789abcdef";

async fn start<'c>(cluster: &'c Cluster, redis: &Redis) -> Installation<'c> {
    let dataplane = tollgate_e2e::gateway::beside("tollgate-dataplane").unwrap();
    let url = redis.url();
    tollgate_e2e::helm::run(dataplane, ["ledger", "found", "--redis", &url]).await.unwrap();
    let gateway = vec![format!("--redis={url}"), "--redis-timeout=3000".to_owned()];
    let options = Options { operators: 2, gateways: 2, gateway, ..Options::default() };
    let provider = Provider::start().await.unwrap();
    let plane = ControlPlane::start(cluster, options).await.unwrap();
    Installation { cluster, plane, provider }
}

/// The cells of a key's row in `kubectl get vk`, by their headings. Cells stand under the beginnings of their headings.
async fn columns(here: &Installation<'_>, name: &str) -> Vec<(String, String)> {
    let table = here.kubectl(&["get", "vk", "-o", "wide"]).await;
    let mut lines = table.lines();
    let head = lines.next().unwrap();
    let begins = |at: &usize| !head[*at..].starts_with(' ') && (*at == 0 || head[..*at].ends_with(' '));
    let starts: Vec<usize> = (0..head.len()).filter(begins).collect();
    let row = lines.find(|line| line.starts_with(&format!("{name} ")));
    let row = row.unwrap_or_else(|| panic!("{name}:\n{table}"));
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    let cell = |text: &str, from: usize, to: usize| {
        text.get(from..to.min(text.len())).unwrap_or_default().trim().to_owned()
    };
    starts.iter().zip(ends).map(|(from, to)| (cell(head, *from, to), cell(row, *from, to))).collect()
}

async fn cell(here: &Installation<'_>, name: &str, heading: &str) -> String {
    let cells = columns(here, name).await;
    cells.iter().find(|(head, _)| head == heading).unwrap_or_else(|| panic!("{heading}: {cells:?}")).1.clone()
}

/// What the status says of a budget.
async fn spent(here: &Installation<'_>, object: &str, budget: &str) -> Result<f64, String> {
    let status = here.get(object).await["status"].clone();
    let all = status["budgets"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|b| b["name"] == budget).ok_or_else(|| status.to_string())?;
    found["spent"].as_str().and_then(|text| text.parse().ok()).ok_or_else(|| found.to_string())
}

/// Sends through both gateways until one says that the budget is used up, and then both do.
async fn use_up(here: &Installation<'_>) -> Value {
    let mut answered = 0;
    let refusal = until("the budget is used up", || async {
        let gateway = here.plane.gateway(answered % 2).unwrap();
        let answer =
            gateway.message(TOKEN, &ask("main/claude-sonnet-4-5")).await.map_err(|e| e.to_string())?;
        if answer.status == 402 { Ok(answer) } else { Err(format!("{} {}", answer.status, answer.text())) }
    });
    let refusal = refusal.await;
    answered += 1;
    here.answers(answered % 2, TOKEN, 402).await;
    refusal.json().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_gateways_spend_is_one_status_and_an_annotation_resets_it_at_both() {
    let cluster = Cluster::shared().await.unwrap();
    let redis = Redis::start(&[]).unwrap();
    let here = start(cluster, &redis).await;
    let secret =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: k}}\nstringData: {{token: {TOKEN}}}\n---\n");
    let team = key("team", "budgets: [{name: year, usd: '0.03', period: Year}]");
    let spec = "parentRef: {name: team}, models: {allow: ['main/*']}, token: {secretRef: {name: k, key: token}}, \
                spending: {nearLimit: Refuse}, budgets: [{name: month, usd: '0.012', period: Month}]";
    here.apply(&(here.route() + &secret + &team + &key("k", spec))).await;
    here.wait_for("vk/k", "Ready", "True/Ready").await;
    for gateway in 0..2 {
        here.answers(gateway, TOKEN, 200).await;
    }
    let refusal = use_up(&here).await;
    assert_eq!(refusal["error"]["type"], "billing_error", "{refusal}");

    // What both spent is one number: at the key, and at its team. It is told on steps of 1 %: each request is more than that of
    // the key's budget, and less of the team's.
    let of_key = here.provider.requests().len() as f64 * COST;
    assert!(of_key > 0.005 && of_key <= 0.012, "{of_key}");
    for (object, budget, step) in [("vk/k", "month", 0.0), ("vk/team", "year", 0.0003)] {
        until(&format!("the status of {object} tells ${of_key}"), || async {
            let now = spent(&here, object, budget).await?;
            if now > of_key - step - 1e-9 && now < of_key + 1e-9 { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
    }
    let cells = columns(&here, "k").await;
    assert_eq!(cell(&here, "k", "LIMIT").await, "0.012", "{cells:?}");
    assert!((cell(&here, "k", "SPENT").await.parse::<f64>().unwrap() - of_key).abs() < 1e-9, "{cells:?}");
    let percent = (of_key / 0.012 * 100.0).floor();
    assert_eq!(cell(&here, "k", "USED%").await.parse::<f64>().unwrap(), percent, "{cells:?}");
    assert_eq!(cell(&here, "k", "PARENT").await, "team", "{cells:?}");

    // The reset: once for this value, at both gateways, of this budget alone.
    here.kubectl(&["annotate", "vk/k", "tollgate.dev/reset-budget=month:ticket-4711"]).await;
    for gateway in 0..2 {
        here.answers(gateway, TOKEN, 200).await;
    }
    until("the status tells of the reset", || async {
        let now = spent(&here, "vk/k", "month").await?;
        if now < of_key / 2.0 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    assert!(
        spent(&here, "vk/team", "year").await.unwrap() > of_key - 1e-9,
        "the team's year is another budget"
    );
    until("an Event tells who asked for what", || async {
        let events = here.kubectl(&["get", "events.events.k8s.io", "-o", "wide"]).await;
        let told = events.lines().any(|line| line.contains("virtualkey/k") && line.contains("ticket-4711"));
        if told { Ok(()) } else { Err(events) }
    })
    .await;
    // It is not carried out again by what else changes, nor by a gateway or an operator that starts.
    use_up(&here).await;
    here.kubectl(&["label", "vk/k", "a=b"]).await;
    let mut here = here;
    here.plane.gateway_mut(1).unwrap().stop().await.unwrap();
    here.plane.gateway_mut(1).unwrap().restart().unwrap();
    let leader = here.leader(&[0, 1]).await;
    here.plane.operator_mut(leader).unwrap().kill9().await.unwrap();
    here.leader(&[1 - leader]).await;
    here.plane.wait_ready().await.unwrap();
    for gateway in 0..2 {
        here.answers(gateway, TOKEN, 402).await;
    }
    // Another value asks again.
    here.kubectl(&["annotate", "vk/k", "--overwrite", "tollgate.dev/reset-budget=*:ticket-4712"]).await;
    for gateway in 0..2 {
        here.answers(gateway, TOKEN, 200).await;
    }
}
