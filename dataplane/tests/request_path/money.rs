//! What is held, charged and recorded when a request does not go the plain way.

use super::*;
use tollgate_dataplane::model::Globs;

fn with_budget(nano: u64) -> tollgate_dataplane::model::Key {
    let mut key = key("k");
    key.budgets.push(budget(nano));
    key
}

#[tokio::test]
async fn a_broken_attempt_is_charged_its_input_as_an_estimate_beside_the_answer() {
    let cut = upstream(|_| stream(&[])).await;
    let good = upstream(|_| stream(&EVENTS)).await;
    let w = world(vec![with_budget(1_000_000)], vec![route("anthropic", Anthropic, &[&cut, &good])]).await;
    let (status, _, answer) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", true)).await;
    assert_eq!((status, answer), (200, EVENTS.concat()));
    let record = w.record(0).await;
    let model = model_record(&record);
    let (committed, held) = w.spent("k");
    assert!(committed > 20 && held == 0, "the answer's 20 and the broken attempt's input: {committed}");
    assert_eq!((model.cost, model.usage_estimated), (Some(committed), true));
    assert_eq!(
        record.postings.iter().map(|p| p.amount).collect::<Vec<_>>(),
        [committed],
        "one posting a counter"
    );
    assert_eq!(model.overrun, 0, "each attempt has its own hold");

    let w = world(vec![with_budget(1_000_000)], vec![route("anthropic", Anthropic, &[&cut])]).await;
    let (status, ..) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", true)).await;
    assert_eq!(status, 502);
    let record = w.record(0).await;
    assert_eq!(model_record(&record).cost, Some(committed - 20));
    assert_eq!(w.spent("k"), (committed - 20, 0));
}

#[tokio::test]
async fn a_fallback_is_charged_to_the_budgets_of_its_own_model() {
    let bad = upstream(|_| Reply::Whole(500, "{}", vec![])).await;
    let good = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let routes = || {
        let mut first = route("first", Anthropic, &[&bad]);
        first.fallbacks = vec!["second/other".into()];
        let mut second = route("second", Anthropic, &[&good]);
        second.models[0].max_output = Some(10);
        vec![first, second]
    };
    let keyed = |second: u64| {
        let mut k = with_budget(second);
        k.budgets[0].models = Globs::new(["second/*"]);
        k
    };
    let w = world(vec![keyed(1_000_000)], routes()).await;
    let uncapped = ask("first/m", false).replace(r#""max_tokens":100,"#, "");
    assert_eq!(w.post(MESSAGES, Some("k"), &uncapped).await.0, 200);
    assert_eq!(w.spent("k"), (20, 0));
    let record = w.record(0).await;
    assert_eq!(model_record(&record).model.as_deref(), Some("second/other"), "the model that was used");
    assert_eq!(model_record(&record).model_asked, "first/m");
    let sent: Value = serde_json::from_slice(&good.seen.lock()[0].body).unwrap();
    assert_eq!(sent["max_tokens"], 10, "a cap of the gateway's own is never above the model's");

    let w = world(vec![keyed(30)], routes()).await;
    let (status, ..) = w.post(MESSAGES, Some("k"), &ask("first/m", false)).await;
    assert_eq!((status, good.seen.lock().len()), (500, 1), "no fallback on a budget that is used up");
    assert_eq!(w.gateway.ledger.holds(), 0);
}

#[tokio::test]
async fn a_relaxed_key_is_charged_afterwards_and_stops_when_its_budget_is_used_up() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let mut k = with_budget(30);
    k.spending.strict = false;
    k.budgets[0].budget.limit = tollgate_ledger::budget::Limit::Tokens(20);
    let w = world(vec![k], vec![route("anthropic", Anthropic, &[&up])]).await;
    let body = ask("anthropic/m", false).replace("100", "32000");
    for _ in 0..2 {
        assert_eq!(w.post(MESSAGES, Some("k"), &body).await.0, 200);
    }
    assert!(
        up.seen.lock().iter().all(|seen| seen.body.windows(5).any(|w| w == b"32000")),
        "no cap is lowered"
    );
    assert_eq!(w.spent("k"), (30, 0), "15 tokens each");
    assert_eq!(w.post(MESSAGES, Some("k"), &body).await.0, 402);
    for n in 0..2 {
        assert_eq!(model_record(&w.record(n).await).overrun, 0, "it holds nothing to overrun");
    }
}

#[tokio::test]
async fn the_providers_own_searches_are_held_for() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let mut r = route("anthropic", Anthropic, &[&up]);
    r.models[0].price.as_mut().unwrap().web_search = 1_000_000;
    let w = world(vec![with_budget(5_000_000)], vec![r]).await;
    let with = |uses: u64| {
        let tool =
            format!(r#""tools":[{{"type":"web_search_20250305","name":"web_search","max_uses":{uses}}}],"#);
        ask("anthropic/m", false).replacen("{ ", &format!("{{{tool}"), 1)
    };
    assert_eq!(w.post(MESSAGES, Some("k"), &with(8)).await.0, 402);
    assert_eq!(w.post(MESSAGES, Some("k"), &with(2)).await.0, 200);
}

#[tokio::test]
async fn a_fallback_without_a_price_is_left_out_on_a_budget_and_harms_nobody() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let mut first = route("first", Anthropic, &[&up]);
    first.fallbacks = vec!["second/nobody-knows".into()];
    let mut second = route("second", Anthropic, &[&up]);
    second.models[0].price = None;
    let w = world(vec![with_budget(1_000_000)], vec![first, second]).await;
    assert_eq!(w.post(MESSAGES, Some("k"), &ask("first/m", false)).await.0, 200);
    let (status, _, words) = w.post(MESSAGES, Some("k"), &ask("second/nobody-knows", false)).await;
    assert!(status == 400 && words.contains("no known price"), "{status} {words}");
}
