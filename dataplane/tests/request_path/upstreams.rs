//! What an upstream does and says: what is charged for it, who is told, and what it means for its health.

use super::*;
use tollgate_dataplane::model::{Key, Route, key::Content};

/// What an upstream says of a request that it refuses: with the prompt's words and somebody's key in it.
const WORDS: &str = r#"{"type":"error","error":{"type":"api_error","message":"cannot serve 'the secret plan' with sk-ant-api03-abcDEF123456_xyz"}}"#;

fn with_budget() -> Key {
    let mut key = key("k");
    key.budgets.push(budget(1_000_000));
    key
}

/// One failure is enough to be left alone.
fn strict_health(mut route: Route) -> Route {
    route.health.consecutive_failures = 1;
    route.health.eject_for = std::time::Duration::from_secs(600);
    route
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_request_is_charged_and_not_used_for_it_again() {
    let broken = upstream(|_| Reply::Break).await;
    let good = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let mut r = route("anthropic", Anthropic, &[&broken, &good]);
    r.retry.attempts = 2;
    let w = world(vec![with_budget()], vec![r]).await;
    assert_eq!(w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await.0, 200);
    assert_eq!((broken.seen.lock().len(), good.seen.lock().len()), (1, 1), "the provider may bill each");
    let record = w.record(0).await;
    let (committed, held) = w.spent("k");
    assert!(committed > 20 && held == 0, "the answer's 20 and the broken attempt's input: {committed}");
    assert_eq!((model_record(&record).cost, model_record(&record).usage_estimated), (Some(committed), true));
}

#[tokio::test]
async fn who_could_not_be_reached_is_asked_again_and_bills_nothing() {
    let gone = upstream(|_| Reply::Never).await;
    let good = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let mut r = route("anthropic", Anthropic, &[&gone, &good]);
    r.retry.attempts = 1;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    r.backends[0].endpoint = format!("http://{}", free.local_addr().unwrap()).parse().unwrap();
    drop(free);
    let w = world(vec![with_budget()], vec![r]).await;
    assert_eq!(w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await.0, 200);
    let record = w.record(0).await;
    assert_eq!(model_record(&record).attempts.len(), 3, "{:?}", model_record(&record).attempts);
    assert_eq!(w.spent("k"), (20, 0));
}

#[tokio::test]
async fn an_upstreams_words_are_the_callers_alone() {
    for content in [Content::None, Content::Metadata, Content::Full] {
        let up = upstream(|_| Reply::Whole(500, WORDS, vec![])).await;
        let mut k = key("k");
        k.logging.content = content;
        let w = world(vec![k], vec![strict_health(route("anthropic", Anthropic, &[&up]))]).await;
        let (status, _, answer) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
        assert!(status == 500 && answer.contains("the secret plan"), "{answer}");
        let record = w.record(0).await;
        let attempts = model_record(&record).attempts.join(" ");
        assert!(attempts.starts_with("b0: "), "{attempts}");
        assert_eq!(attempts.contains("the secret plan"), content != Content::None, "{content:?}: {attempts}");
        assert!(!attempts.contains("sk-ant"), "{attempts}");
        let error = record.error.as_deref().unwrap();
        assert!(error.contains("[redacted]") && !error.contains("sk-ant"), "{error}");
        let billing = tollgate_dataplane::records::billing::encode(&record);
        assert!(!String::from_utf8_lossy(&billing).contains("sk-ant"));
        // What the operator is told, and the route's owner reads in its status.
        let ejected = w.gateway.health.all_ejected(w.gateway.now());
        assert_eq!(ejected[0].error, "HTTP 500 (api_error)");
    }
}

#[tokio::test]
async fn a_clients_impatience_ejects_no_backend() {
    let bad = upstream(|_| Reply::Whole(500, WORDS, vec![])).await;
    let slow = upstream(|_| Reply::Never).await;
    let w = world(vec![key("k")], vec![strict_health(route("anthropic", Anthropic, &[&bad, &slow]))]).await;
    let headers = [("x-stainless-timeout", "1")];
    let body = ask("anthropic/m", false);
    let answer = w.send_with(MESSAGES, Some("k"), &body, &headers).await;
    assert_eq!(answer.status().as_u16(), 504);
    let ejected = w.gateway.health.all_ejected(w.gateway.now());
    assert_eq!(ejected.iter().map(|e| e.backend.as_str()).collect::<Vec<_>>(), ["b0"]);
}

#[tokio::test]
async fn what_the_gateway_says_in_a_record_no_client_can_say() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let w = world(vec![key("k")], vec![route("anthropic", Anthropic, &[&up])]).await;
    let headers = [("x-tollgate-meta-tollgate.ledger", "forged"), ("x-tollgate-meta-team", "blue")];
    w.send_with(MESSAGES, Some("k"), &ask("anthropic/m", false), &headers).await;
    assert_eq!(w.record(0).await.metadata, [("team".to_owned(), "blue".to_owned())]);
}

#[tokio::test]
async fn a_count_of_tokens_is_a_request_where_a_provider_is_asked() {
    let up = upstream(|_| Reply::Whole(200, r#"{"input_tokens":7}"#, vec![])).await;
    let mut k = key("k");
    k.limits.requests_per_minute = Some(1);
    let w = world(vec![k], vec![route("anthropic", Anthropic, &[&up])]).await;
    let count = "/anthropic/v1/messages/count_tokens";
    let (status, _, first) = w.post(count, Some("k"), &ask("anthropic/m", false)).await;
    assert_eq!((status, first.as_str()), (200, r#"{"input_tokens":7}"#));
    let (status, _, second) = w.post(count, Some("k"), &ask("anthropic/m", false)).await;
    assert!(status == 200 && second.starts_with(r#"{"input_tokens":"#), "estimated: {second}");
    assert_eq!(up.seen.lock().len(), 1);
    assert_eq!(w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await.0, 429);
}
