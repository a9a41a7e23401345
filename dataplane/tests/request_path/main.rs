//! The way of a request against a scripted upstream: what reaches it, what comes back, what is charged and recorded.

#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what went wrong by failing"
)]

mod endings;
mod money;
mod support;
mod upstreams;

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use support::{Reply, budget, eventually, key, route, snapshot, stream, upstream, world};
use tokio::sync::mpsc;
use tollgate_dataplane::records::record::RecordKind;
use tollgate_translate::Provider::{Anthropic, OpenAi};

const MESSAGES: &str = "/anthropic/v1/messages?beta=true";
const CHAT: &str = "/v1/chat/completions";

const WHOLE_MESSAGE: &str = r#"{"id":"msg_1", "type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":5}}"#;
const EVENTS: [&str; 5] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":5}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

fn ask(model: &str, stream: bool) -> String {
    format!(
        r#"{{ "model" : "{model}","max_tokens":100, "messages":[{{"role":"user","content":"hä\u00e4"}}],"stream":{stream} }}"#
    )
}

fn model_record(
    record: &tollgate_dataplane::records::Record,
) -> &tollgate_dataplane::records::record::ModelRecord {
    match &record.kind {
        RecordKind::Model(model) => model,
        RecordKind::Tool(_) => panic!("a tool record"),
    }
}

#[tokio::test]
async fn a_pass_through_changes_nothing_but_model_and_credentials() {
    let up =
        upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![("request-id", "req_up"), ("set-cookie", "a=b")]))
            .await;
    let w = world(vec![key("k")], vec![route("anthropic", Anthropic, &[&up])]).await;
    let body = ask("anthropic/claude-x", false);
    let (status, headers, answer) = w.post(MESSAGES, Some("k"), &body).await;
    assert_eq!((status, answer.as_str()), (200, WHOLE_MESSAGE));
    assert_eq!(headers["request-id"], "req_up");
    assert!(!headers.contains_key("set-cookie"));
    let seen = up.seen.lock()[0].clone();
    assert_eq!(seen.body, body.replace("anthropic/claude-x", "claude-x"));
    assert_eq!(seen.path, "/v1/messages?beta=true");
    assert_eq!(seen.headers["x-api-key"], "provider-secret");
    assert_eq!(seen.headers["anthropic-beta"], "some-beta-2026");
    assert_eq!(seen.headers["anthropic-version"], "2023-06-01");
    assert!(!seen.headers.contains_key("cookie"));
    let record = w.record(0).await;
    let model = model_record(&record);
    assert_eq!((record.status, model.cost), (200, Some(10 + 2 * 5)));
    assert_eq!(model.model.as_deref(), Some("anthropic/claude-x"));
    assert_eq!(record.id.to_string(), headers["x-request-id"].to_str().unwrap());
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_and_is_settled() {
    let up = upstream(|_| stream(&EVENTS)).await;
    let mut k = key("k");
    k.budgets.push(budget(1_000_000));
    let w = world(vec![k], vec![route("anthropic", Anthropic, &[&up])]).await;
    let (status, _, answer) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", true)).await;
    assert_eq!((status, answer), (200, EVENTS.concat()));
    let record = w.record(0).await;
    assert_eq!(w.spent("k"), (20, 0));
    assert_eq!(record.postings.iter().map(|p| p.amount).sum::<u64>(), 20);
    assert_eq!(model_record(&record).answer.stop.as_deref(), Some("end_turn"));
    assert!(model_record(&record).request.is_some());
}

#[tokio::test]
async fn without_a_key_the_answer_is_401_at_once_in_both_shapes() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let w = world(vec![key("k")], vec![route("anthropic", Anthropic, &[&up])]).await;
    for credential in [None, Some("wrong")] {
        let (status, headers, answer) = w.post(MESSAGES, credential, &ask("anthropic/m", false)).await;
        let body: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &body["error"]["type"]), (401, &Value::from("authentication_error")));
        assert_eq!(headers["x-should-retry"], "false");
        let (status, _, answer) = w.post(CHAT, credential, &ask("anthropic/m", false)).await;
        let body: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &body["error"]["code"]), (401, &Value::from("invalid_api_key")));
    }
    assert!(up.seen.lock().is_empty());
    let record = w.record(0).await;
    assert_eq!((record.status, &*record.key), (401, ""), "the refusal can be found in the records");
}

#[tokio::test]
async fn a_used_up_budget_is_refused_before_the_upstream_with_all_that_matters_in_words() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let mut team = key("team");
    team.token_hashes.clear();
    team.budgets.push(budget(30));
    let mut k = key("k");
    k.parent = Some(team.id.clone());
    let w = world(vec![k, team], vec![route("anthropic", Anthropic, &[&up])]).await;
    let (status, headers, answer) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
    assert_eq!((status, headers["x-should-retry"].to_str().unwrap()), (402, "false"));
    for word in ["default/team", "default/k", "month", "spent", "resets at"] {
        assert!(answer.contains(word), "{answer}");
    }
    assert!(up.seen.lock().is_empty());
    assert_eq!(w.record(0).await.status, 402);
    let (status, ..) = w.post(CHAT, Some("k"), &ask("anthropic/m", false)).await;
    assert_eq!(status, 402);
}

#[tokio::test]
async fn near_the_end_of_a_budget_the_output_cap_is_lowered_and_said() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let mut k = key("k");
    k.budgets.push(budget(20_000));
    let w = world(vec![k], vec![route("anthropic", Anthropic, &[&up])]).await;
    let body = ask("anthropic/m", false).replace("100", "32000");
    let (status, headers, _) = w.post(MESSAGES, Some("k"), &body).await;
    assert_eq!(status, 200);
    let cap: u64 = headers["x-tollgate-output-cap"].to_str().unwrap().parse().unwrap();
    assert!((4096..10_000).contains(&cap), "{cap}");
    let sent: Value = serde_json::from_slice(&up.seen.lock()[0].body).unwrap();
    assert_eq!(sent["max_tokens"], cap);
    assert_eq!(model_record(&w.record(0).await).output_cap, Some(cap));
}

#[tokio::test]
async fn another_backend_answers_when_the_first_fails() {
    let bad = upstream(|_| {
        Reply::Whole(529, r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#, vec![])
    })
    .await;
    let good = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let w = world(vec![key("k")], vec![route("anthropic", Anthropic, &[&bad, &good])]).await;
    let (status, headers, _) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
    assert_eq!(status, 200);
    assert!(headers["x-tollgate-served-by"].to_str().unwrap().ends_with("backend=b1"));
    let record = w.record(0).await;
    assert_eq!(model_record(&record).attempts.len(), 2, "{:?}", model_record(&record).attempts);
    let none_left = world(vec![key("k")], vec![route("anthropic", Anthropic, &[&bad])]).await;
    let (status, _, answer) = none_left.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
    assert_eq!(status, 529);
    assert!(answer.contains("busy"), "the upstream's own words: {answer}");
}

#[tokio::test]
async fn retries_stay_within_their_number() {
    let up = upstream(|_| {
        Reply::Whole(500, r#"{"type":"error","error":{"type":"api_error","message":"oops"}}"#, vec![])
    })
    .await;
    let mut r = route("anthropic", Anthropic, &[&up]);
    r.retry.attempts = 2;
    let w = world(vec![key("k")], vec![r]).await;
    let (status, ..) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
    assert_eq!((status, up.seen.lock().len()), (500, 3));
}

#[tokio::test]
async fn an_upstream_that_refuses_our_credential_is_not_the_clients_401() {
    let up = upstream(|_| {
        Reply::Whole(
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
            vec![],
        )
    })
    .await;
    let w = world(vec![key("k")], vec![route("anthropic", Anthropic, &[&up])]).await;
    let (status, _, answer) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", false)).await;
    assert_eq!(status, 502);
    assert!(answer.contains("credential"), "{answer}");
    assert_eq!(model_record(&w.record(0).await).cost, None);
}

#[tokio::test]
async fn a_chat_stream_is_charged_exactly_though_the_client_did_not_ask_for_usage() {
    const CHUNKS: [&str; 4] = [
        "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n",
        "data: [DONE]\n\n",
    ];
    let up = upstream(|_| stream(&CHUNKS)).await;
    let w = world(vec![key("k")], vec![route("openai", OpenAi, &[&up])]).await;
    let (status, _, answer) = w.post(CHAT, Some("k"), &ask("openai/gpt-5", true)).await;
    assert_eq!((status, answer), (200, [CHUNKS[0], CHUNKS[1], CHUNKS[3]].concat()));
    let sent: Value = serde_json::from_slice(&up.seen.lock()[0].body).unwrap();
    assert_eq!(sent["stream_options"]["include_usage"], true);
    assert_eq!(up.seen.lock()[0].headers["authorization"], "Bearer provider-secret");
    assert_eq!(model_record(&w.record(0).await).cost, Some(7 + 2 * 3));
}

#[tokio::test]
async fn a_revoked_key_ends_its_running_stream_with_an_error() {
    let (send, receive) = mpsc::channel(8);
    let pieces = parking_lot::Mutex::new(Some(receive));
    let up = upstream(move |_| Reply::Stream(pieces.lock().take().unwrap())).await;
    let w = world(vec![key("k")], vec![route("anthropic", Anthropic, &[&up])]).await;
    send.send(Ok(Bytes::from_static(EVENTS[0].as_bytes()))).await.unwrap();
    let mut body = w.send(MESSAGES, Some("k"), &ask("anthropic/m", true)).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, EVENTS[0]);
    let mut disabled = key("k");
    disabled.disabled = true;
    w.gateway.replace(snapshot(2, vec![disabled], vec![route("anthropic", Anthropic, &[&up])]));
    let rest = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(rest.contains("event: error") && rest.contains("disabled"), "{rest}");
    let _open = send;
    assert!(w.record(0).await.error.unwrap().contains("disabled"));
}

#[tokio::test]
async fn a_client_that_goes_away_pays_for_what_it_used_and_holds_nothing() {
    let (send, receive) = mpsc::channel(8);
    let pieces = parking_lot::Mutex::new(Some(receive));
    let up = upstream(move |_| Reply::Stream(pieces.lock().take().unwrap())).await;
    let mut k = key("k");
    k.budgets.push(budget(1_000_000));
    let w = world(vec![k], vec![route("anthropic", Anthropic, &[&up])]).await;
    for event in &EVENTS[..3] {
        send.send(Ok(Bytes::from_static(event.as_bytes()))).await.unwrap();
    }
    let mut body = w.send(MESSAGES, Some("k"), &ask("anthropic/m", true)).await.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(w.spent("k").1 > 0, "held while it runs");
    drop(body);
    let record = w.record(0).await;
    assert_eq!((record.status, model_record(&record).usage_estimated), (499, true));
    let (committed, held) = w.spent("k");
    assert!(committed >= 11 && held == 0, "{committed} {held}");
    eventually(|| send.is_closed().then_some(())).await;
}

#[tokio::test]
async fn a_stream_that_stops_short_ends_in_an_error_event() {
    let up = upstream(|_| stream(&EVENTS[..3])).await;
    let w = world(vec![key("k")], vec![route("anthropic", Anthropic, &[&up])]).await;
    let (_, _, answer) = w.post(MESSAGES, Some("k"), &ask("anthropic/m", true)).await;
    assert!(answer.starts_with(&EVENTS[..3].concat()) && answer.contains("event: error"), "{answer}");
    assert!(!answer.contains("message_stop"));
    assert!(w.record(0).await.error.is_some());
}

#[tokio::test]
async fn messages_reach_a_chat_upstream_and_come_back_as_messages() {
    const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","created":1,"model":"gpt-5","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#;
    let up = upstream(|_| Reply::Whole(200, ANSWER, vec![])).await;
    let w = world(vec![key("k")], vec![route("openai", OpenAi, &[&up])]).await;
    let (status, headers, answer) = w.post(MESSAGES, Some("k"), &ask("openai/gpt-5", false)).await;
    let body: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &body["content"][0]["text"]), (200, &Value::from("Hi")));
    assert_eq!(body["model"], "openai/gpt-5");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(up.seen.lock()[0].path, "/chat/completions");
    assert_eq!(model_record(&w.record(0).await).cost, Some(13));
}

#[tokio::test]
async fn bad_input_is_a_clear_4xx() {
    let up = upstream(|_| Reply::Whole(200, WHOLE_MESSAGE, vec![])).await;
    let mut listed = route("anthropic", Anthropic, &[&up]);
    listed.models[0].name = "claude-*".into();
    listed.models[0].pattern = tollgate_dataplane::model::Globs::new(["claude-*"]);
    let w = world(vec![key("k")], vec![listed]).await;
    for (body, status, word) in [
        ("{", 400, ""),
        ("[]", 400, ""),
        (r#"{"messages":[]}"#, 400, "model"),
        (r#"{"model":7}"#, 400, "model"),
        (r#"{"model":"nowhere/m","max_tokens":1,"messages":[]}"#, 404, "nowhere/m"),
        (r#"{"model":"anthropic/","max_tokens":1,"messages":[]}"#, 404, "anthropic"),
    ] {
        let (got, _, answer) = w.post(MESSAGES, Some("k"), body).await;
        assert_eq!(got, status, "{body} {answer}");
        assert!(answer.contains(word), "{answer}");
    }
    assert!(up.seen.lock().is_empty());
}
