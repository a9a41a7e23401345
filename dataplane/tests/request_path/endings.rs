//! Every way in which a request can end: what the client sees, and that nothing stays held.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{World, world_with};
use tollgate_dataplane::{client::Reach, model::Key};

const BUSY: &str = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;

/// A key that may have one request at a time.
fn one_at_a_time() -> Key {
    let mut key = key("k");
    key.limits.concurrent = Some(1);
    key.budgets.push(budget(1_000_000));
    key
}

async fn nothing_is_held(w: &World) {
    eventually(|| (w.gateway.ledger.holds() == 0).then_some(())).await;
    assert_eq!(w.spent("k").1, 0);
}

#[tokio::test]
async fn the_slot_comes_back_when_a_request_cannot_be_translated() {
    const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#;
    let up = upstream(|_| Reply::Whole(200, ANSWER, vec![])).await;
    let mut r = route("openai", OpenAi, &[&up]);
    r.strict = true;
    let w = world(vec![one_at_a_time()], vec![r]).await;
    let lossy = ask("openai/m", false).replacen("{ ", r#"{"top_k":5,"#, 1);
    let (status, _, words) = w.post(MESSAGES, Some("k"), &lossy).await;
    assert!(status == 400 && words.contains("top_k"), "{status} {words}");
    nothing_is_held(&w).await;
    assert_eq!(w.post(MESSAGES, Some("k"), &ask("openai/m", false)).await.0, 200);
}

#[tokio::test]
async fn the_slot_comes_back_when_the_client_leaves_before_the_first_byte() {
    let silent = AtomicBool::new(true);
    let up = upstream(move |_| match silent.swap(false, Ordering::Relaxed) {
        true => Reply::Never,
        false => Reply::Whole(200, WHOLE_MESSAGE, vec![]),
    })
    .await;
    let w = world(vec![one_at_a_time()], vec![route("anthropic", Anthropic, &[&up])]).await;
    w.send_and_leave(&up, MESSAGES, "k", &ask("anthropic/m", false)).await;
    let record = w.record(0).await;
    assert_eq!((record.status, model_record(&record).usage_estimated), (499, true));
    assert_eq!(record.error.as_deref(), Some("the client went away"));
    nothing_is_held(&w).await;
    assert_eq!(w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await.0, 200);
}

#[tokio::test]
async fn the_slot_comes_back_when_the_upstream_does_not_answer_in_time() {
    let up = upstream(|_| Reply::Never).await;
    let mut r = route("anthropic", Anthropic, &[&up]);
    r.timeouts.first_byte = Duration::from_millis(50);
    let w = world(vec![one_at_a_time()], vec![r]).await;
    for _ in 0..2 {
        assert_eq!(w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await.0, 504);
        nothing_is_held(&w).await;
    }
    let record = w.record(0).await;
    assert!(model_record(&record).cost.unwrap() > 0 && model_record(&record).usage_estimated);
}

#[tokio::test]
async fn a_name_that_leads_into_this_network_is_not_followed() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let to_name = |reach| {
        let mut r = route("anthropic", Anthropic, &[&up]);
        r.backends[0].endpoint = format!("http://localhost:{}", up.address.port()).parse().unwrap();
        r.reach = reach;
        r
    };
    let w = world(vec![one_at_a_time()], vec![to_name(Reach::Public)]).await;
    let (status, _, body) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, error["type"].as_str()), (502, Some("error")), "{body}");
    let words = error["error"]["message"].as_str().unwrap();
    assert!(words.contains("localhost leads to a private or cluster address"), "{words}");
    assert!(!words.contains("127.0.0.1") && !words.contains("::1"), "{words}");
    assert!(up.seen.lock().is_empty());
    nothing_is_held(&w).await;
    assert_eq!(model_record(&w.record(0).await).usage, None, "nobody was asked");
    w.gateway.replace(support::snapshot(2, vec![one_at_a_time()], vec![to_name(Reach::Private)]));
    assert_eq!(w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await.0, 200);
}

#[tokio::test]
async fn a_panic_closes_the_connection_and_holds_nothing() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let once = AtomicBool::new(true);
    let look = move |_: &_| assert!(!once.swap(false, Ordering::Relaxed), "injected");
    let w = world_with(vec![one_at_a_time()], vec![route("anthropic", Anthropic, &[&up])], look).await;
    let client = tollgate_dataplane::client::http_client(Duration::from_secs(2), Reach::Private).unwrap();
    let request = http::Request::post(format!("http://{}{MESSAGES}", w.address)).header("x-api-key", "k");
    let body = tollgate_dataplane::body::full(ask("anthropic/m", false));
    assert!(client.request(request.body(body).unwrap()).await.is_err(), "a closed connection");
    nothing_is_held(&w).await;
    assert_eq!(w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await.0, 200);
}

#[tokio::test]
async fn what_is_cut_off_by_the_end_of_the_process_is_settled_and_recorded_first() {
    let (send, receive) = mpsc::channel(8);
    let pieces = parking_lot::Mutex::new(Some(receive));
    let up = upstream(move |_| Reply::Stream(pieces.lock().take().unwrap())).await;
    let w = world(vec![one_at_a_time()], vec![route("anthropic", Anthropic, &[&up])]).await;
    send.send(Ok(Bytes::from_static(EVENTS[0].as_bytes()))).await.unwrap();
    let mut body = w.send(MESSAGES, Some("k"), &ask("anthropic/m", true)).await.into_body();
    body.frame().await.unwrap().unwrap();
    let gateway = w.gateway.clone();
    let records = w.stop().await;
    assert_eq!((records.len(), gateway.ledger.holds()), (1, 0));
    assert!(!records[0].postings.is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_with_the_last_event_has_had_its_whole_answer() {
    let (send, receive) = mpsc::channel(8);
    let pieces = parking_lot::Mutex::new(Some(receive));
    let up = upstream(move |_| Reply::Stream(pieces.lock().take().unwrap())).await;
    let w = world(vec![one_at_a_time()], vec![route("anthropic", Anthropic, &[&up])]).await;
    send.send(Ok(Bytes::from(EVENTS.concat()))).await.unwrap();
    let mut body = w.send(MESSAGES, Some("k"), &ask("anthropic/m", true)).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let record = w.record(0).await;
    assert_eq!((record.status, record.error.as_deref(), w.spent("k")), (200, None, (20, 0)));
    assert!(!model_record(&record).usage_estimated);
}

#[tokio::test]
async fn an_upstream_that_leaves_its_stream_open_does_not_keep_the_client() {
    let (send, receive) = mpsc::channel(8);
    let pieces = parking_lot::Mutex::new(Some(receive));
    let up = upstream(move |_| Reply::Stream(pieces.lock().take().unwrap())).await;
    let mut r = route("anthropic", Anthropic, &[&up]);
    r.timeouts.idle = Duration::from_secs(3600);
    let w = world(vec![one_at_a_time()], vec![r]).await;
    send.send(Ok(Bytes::from(EVENTS.concat()))).await.unwrap();
    let (status, _, answer) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", true)).await;
    assert_eq!((status, answer), (200, EVENTS.concat()));
    assert_eq!(w.record(0).await.status, 200);
    drop(send);
}

#[tokio::test]
async fn a_key_revoked_while_the_upstream_thinks_does_not_get_the_stream() {
    let (send, receive) = mpsc::channel(8);
    let pieces = parking_lot::Mutex::new(Some(receive));
    let up = upstream(move |_| Reply::Stream(pieces.lock().take().unwrap())).await;
    let routes = || vec![route("anthropic", Anthropic, &[&up])];
    let w = world(vec![key("k")], routes()).await;
    let body = ask("anthropic/m", true);
    let asking = w.send(MESSAGES, Some("k"), &body);
    let revoking = async {
        eventually(|| (!up.seen.lock().is_empty()).then_some(())).await;
        let mut narrowed = key("k");
        narrowed.providers.allow = Some(vec![OpenAi]);
        w.gateway.replace(snapshot(2, vec![narrowed], routes()));
        send.send(Ok(Bytes::from_static(EVENTS[0].as_bytes()))).await.unwrap();
    };
    let (response, ()) = tokio::join!(asking, revoking);
    let rest = response.into_body().collect().await.unwrap().to_bytes();
    let rest = String::from_utf8(rest.to_vec()).unwrap();
    assert!(rest.contains("event: error") && rest.contains("provider Anthropic is not allowed"), "{rest}");
    assert!(!send.is_closed() || w.records.lock().len() == 1);
}

#[tokio::test]
async fn an_error_in_pieces_is_still_an_http_error() {
    const ERROR: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    let (send, receive) = mpsc::channel(8);
    let pieces = parking_lot::Mutex::new(Some(receive));
    let up = upstream(move |_| Reply::Stream(pieces.lock().take().unwrap())).await;
    let w = world(vec![one_at_a_time()], vec![route("anthropic", Anthropic, &[&up])]).await;
    let (half, rest) = ERROR.split_at(40);
    send.send(Ok(Bytes::from_static(half.as_bytes()))).await.unwrap();
    let body = ask("anthropic/m", true);
    let sending = async {
        eventually(|| (!up.seen.lock().is_empty()).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        send.send(Ok(Bytes::from_static(rest.as_bytes()))).await.unwrap();
    };
    let (answer, ()) = tokio::join!(w.post(MESSAGES, Some("k"), &body), sending);
    assert!(answer.0 == 529 && answer.2.contains("busy"), "{answer:?}");
    assert_eq!(model_record(&w.record(0).await).cost, None, "an error is not billed");
    nothing_is_held(&w).await;
}

#[tokio::test]
async fn a_redirect_is_a_clear_502_and_is_not_passed_on() {
    let up = upstream(|_| Reply::Whole(302, "{}", vec![("location", "http://internal.example/")])).await;
    let w = world(vec![one_at_a_time()], vec![route("anthropic", Anthropic, &[&up])]).await;
    let (status, headers, words) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
    assert!(
        status == 502 && words.contains("redirect (HTTP 302)") && words.contains("b0"),
        "{status} {words}"
    );
    assert!(!headers.contains_key("location") && !words.contains("internal.example"));
    assert_eq!(up.seen.lock().len(), 1);
}

#[tokio::test]
async fn what_an_upstream_must_not_answer_is_a_502_in_the_clients_shape() {
    for reply in [
        (502, "<html>bad gateway</html>", vec![("content-type", "text/html")]),
        (200, "\u{1f}garbled", vec![("content-encoding", "gzip")]),
    ] {
        let (code, text, headers) = reply;
        let up = upstream(move |_| Reply::Whole(code, text, headers.clone())).await;
        let w = world(vec![one_at_a_time()], vec![route("anthropic", Anthropic, &[&up])]).await;
        let (status, _, answer) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
        let body: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &body["error"]["type"]), (502, &Value::from("api_error")), "{answer}");
        assert_eq!(model_record(&w.record(0).await).cost, None);
    }
}

#[tokio::test]
async fn a_backend_that_asks_for_a_long_pause_is_not_asked_again() {
    let busy = |after: &'static str| {
        upstream(move |_| {
            Reply::Whole(429, BUSY, vec![("retry-after", after), ("anthropic-organization-id", "org")])
        })
    };
    let (soon, late) = (busy("0").await, busy("60").await);
    let good = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let retrying = |ups: &[&support::Upstream]| {
        let mut r = route("anthropic", Anthropic, ups);
        r.retry.attempts = 1;
        vec![r]
    };
    let w = world(vec![key("k")], retrying(&[&late])).await;
    let (status, headers, words) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap(), words.as_str()), (429, "60", BUSY));
    assert!(!headers.contains_key("anthropic-organization-id"), "whose account it is, is nobody's business");
    assert_eq!(late.seen.lock().len(), 1);
    let w = world(vec![key("k")], retrying(&[&late, &good])).await;
    assert_eq!(w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await.0, 200);
    assert_eq!(late.seen.lock().len(), 2);
    let w = world(vec![key("k")], retrying(&[&soon])).await;
    assert_eq!(w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await.0, 429);
    assert_eq!(soon.seen.lock().len(), 2, "a short one is waited for");
}

#[tokio::test]
async fn what_a_failed_translation_lost_is_not_said_of_the_answer_that_came() {
    let bad = upstream(|_| Reply::Whole(500, "{}", vec![])).await;
    let good = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let mut first = route("openai", OpenAi, &[&bad]);
    first.fallbacks = vec!["anthropic/m".into()];
    let w = world(vec![key("k")], vec![first, route("anthropic", Anthropic, &[&good])]).await;
    let lossy = ask("openai/m", false).replacen("{ ", r#"{"top_k":5,"#, 1);
    let (status, headers, _) = w.post(MESSAGES, Some("k"), &lossy).await;
    assert_eq!((status, headers.get("x-tollgate-degraded")), (200, None));
    assert!(model_record(&w.record(0).await).degradations.is_empty());
}

#[tokio::test]
async fn a_denied_key_is_told_why() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let mut orphan = key("k");
    orphan.parent = Some(tollgate_dataplane::model::ObjectId::new("default", "nobody"));
    let w = world(vec![orphan], vec![route("anthropic", Anthropic, &[&up])]).await;
    let (status, headers, words) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
    assert!(status == 403 && words.contains("parent default/nobody"), "{status} {words}");
    assert_eq!(headers["x-should-retry"], "false");
}
