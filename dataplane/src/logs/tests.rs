//! The router as a listener calls it, over real stores in memory.

use super::*;
use crate::{
    model::key::Content,
    records::{
        self, Location, Record, Recorder,
        record::{Latency, ModelRecord, RecordKind},
    },
};
use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use serde_json::Value;
use tollgate_ledger::{budget::Limit, charge::BudgetState};
use tollgate_translate::{
    Usage,
    answer::{Block, Summary},
};
use tower::ServiceExt as _;
use uuid::Uuid;

/// What every field of a record says in the test of escaping.
const ATTACK: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

async fn started() -> (Recorder, Router) {
    let (recorder, store) = records::open(Location::Memory).await.unwrap();
    let budgets = super::budgets::at_once(|| vec![spend("eng/alice", 20, 20), spend("eng/bob", 50, 3)]);
    (recorder, router(LogsState { store, budgets }))
}

fn spend(key: &str, limit: u64, committed: u64) -> KeySpend {
    let state = BudgetState {
        budget: "month".into(),
        limit: Limit::NanoUsd(limit * 1_000_000_000),
        committed: committed * 1_000_000_000,
        held: 0,
        needed: 0,
        resets_at: 1_796_083_200_000,
    };
    KeySpend { tree: vec![key.into()], budgets: vec![state] }
}

fn record(key: &str, words: &str) -> Record {
    let body = serde_json::json!({"model": words, "system": words, "tools": [{"name": words}],
        "messages": [{"role": words, "content": [{"type": "text", "text": words}, {"type": words, "x": words}]}]});
    let answer =
        Summary { stop: Some(words.into()), content: vec![Block::Text(words.into())], ..Summary::default() };
    let model = ModelRecord {
        api: "messages",
        model_asked: words.into(),
        model: Some(words.into()),
        backend: Some(words.into()),
        attempts: vec![words.into()],
        usage: Some(Usage { input: 10, output: 5, ..Usage::default() }),
        cost: Some(12_345_678),
        request: Some(body.to_string().into()),
        answer,
        ..ModelRecord::default()
    };
    Record {
        id: Uuid::now_v7(),
        kind: RecordKind::Model(Box::new(model)),
        at: jiff::Timestamp::now().as_millisecond(),
        key: key.into(),
        tree: vec![key.into()],
        session: Some(words.into()),
        user_agent: Some(words.into()),
        status: 200,
        error: None,
        latency: Latency { total: 1_240_000, first_byte: Some(500_000), gateway: 300 },
        metadata: vec![(words.into(), words.into())],
        trace_id: Some(words.into()),
        postings: vec![],
        content: Content::Full,
        retention_s: 3600,
    }
}

async fn get(app: &Router, viewer: Option<Viewer>, uri: &str) -> Answer {
    let mut request = Request::get(uri).header(header::HOST, "localhost:8080").body(Body::empty()).unwrap();
    if let Some(viewer) = viewer {
        request.extensions_mut().insert(viewer);
    }
    send(app, request).await
}

async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), 10 << 20).await.unwrap();
    Answer { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
}

fn key(name: &str) -> Option<Viewer> {
    Some(Viewer::Keys([name.into()].into()))
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text).unwrap()
}

#[tokio::test]
async fn pages_show_what_happened() {
    let (recorder, app) = started().await;
    let one = record("eng/alice", "claude-haiku");
    recorder.submit(one.clone());
    recorder.flush().await;
    for (uri, words) in [
        ("/logs".to_owned(), vec!["claude-haiku", "eng/alice", "$0.0123", "1.24 s", "data-live="]),
        (format!("/logs/records/{}", one.id), vec!["claude-haiku", "$0.0123", "300 µs", "Conversation"]),
        ("/logs/spend".to_owned(), vec!["$0.0123", "$20.00 of $20.00", "used up", "eng/bob"]),
        ("/logs/spend?since=30d&tz=120&key=eng/alice".to_owned(), vec!["$0.0123", "$20.00 of $20.00"]),
    ] {
        let page = get(&app, Some(Viewer::All), &uri).await;
        assert_eq!(page.status, StatusCode::OK, "{uri}");
        for word in words {
            assert!(page.text.contains(word), "{uri} has no {word}");
        }
    }
}

#[tokio::test]
async fn an_empty_store_tells_what_to_do_next() {
    let (_recorder, app) = started().await;
    let page = get(&app, Some(Viewer::All), "/logs").await;
    assert!(page.text.contains("export ANTHROPIC_BASE_URL=http://localhost:8080/anthropic"));
    assert!(page.text.contains("export ANTHROPIC_API_KEY="));
    assert!(page.text.contains("claude mcp add"));
}

#[tokio::test]
async fn content_is_never_markup() {
    let (recorder, app) = started().await;
    let mut bad = record("eng/alice", ATTACK);
    bad.error = Some(ATTACK.into());
    recorder.submit(bad.clone());
    recorder.submit(record("eng/alice", ATTACK));
    recorder.flush().await;
    let query = "q=%3Cscript%3E&key=%22%3E%3Cscript%3E&since=%22%3E%3Cscript%3E&from=%22%3E%3Cscript%3E&tz=%22%3E%3Cscript%3E";
    for uri in [
        "/logs".to_owned(),
        "/logs/rows?after=0".to_owned(),
        format!("/logs/records/{}", bad.id),
        "/logs/spend".to_owned(),
        format!("/logs?{query}"),
        format!("/logs/spend?{query}"),
        "/logs?model=%22%3E%3Cscript%3E".to_owned(),
    ] {
        let page = get(&app, Some(Viewer::All), &uri).await;
        assert!(!page.text.contains("<script>") && !page.text.contains("<img"), "{uri}: {}", page.text);
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_key() {
    let (recorder, app) = started().await;
    let one = record("eng/alice", "secret words");
    recorder.submit(one.clone());
    recorder.flush().await;
    let uris = [
        "/logs",
        "/logs/rows?after=0",
        "/logs/spend",
        "/logs/api/records",
        "/logs/api/spend",
        "/logs/api/live?after=0",
    ];
    let own = [format!("/logs/records/{}", one.id), format!("/logs/api/records/{}", one.id)];
    for uri in uris.into_iter().chain(own.iter().map(String::as_str)) {
        for viewer in [None, Some(Viewer::Nobody)] {
            let answer = get(&app, viewer, uri).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{uri}");
            assert!(!answer.text.contains("secret words") && !answer.text.contains("eng/"), "{uri}");
            let help = if uri.starts_with("/logs/api") { "x-api-key" } else { "Sign in" };
            assert!(answer.text.contains(help), "{uri}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_key_sees_its_own_only() {
    let (recorder, app) = started().await;
    let (alice, bob) = (record("eng/alice", "alices-words"), record("eng/bob", "bobs-words"));
    recorder.submit(alice.clone());
    recorder.submit(bob.clone());
    recorder.flush().await;
    for uri in [
        "/logs",
        "/logs/rows?after=0",
        "/logs/spend",
        "/logs/api/records",
        "/logs/api/spend",
        "/logs/api/live?after=0",
        "/logs?key=eng/alice",
        "/logs?q=alices",
    ] {
        let answer = get(&app, key("eng/bob"), uri).await;
        assert_eq!(answer.status, StatusCode::OK, "{uri}");
        let shown = answer
            .text
            .replace("value=\"eng/alice\"", "")
            .replace("value=\"alices\"", "")
            .replace("key=eng/alice", "")
            .replace("q=alices", "");
        assert!(!shown.contains("alice"), "{uri}: {shown}");
    }
    for prefix in ["/logs/records/", "/logs/api/records/"] {
        assert_eq!(
            get(&app, key("eng/bob"), &format!("{prefix}{}", alice.id)).await.status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(get(&app, key("eng/bob"), &format!("{prefix}{}", bob.id)).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_api_pages_follows_and_explains_mistakes() {
    let (recorder, app) = started().await;
    for n in 0..7 {
        recorder.submit(record("eng/alice", &format!("m{n}")));
    }
    recorder.flush().await;
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let page =
            json(&get(&app, Some(Viewer::All), &format!("/logs/api/records?limit=3&cursor={next}")).await);
        seen.extend(
            page["records"].as_array().unwrap().iter().map(|r| r["model"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(cursor) => next = cursor.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["m6", "m5", "m4", "m3", "m2", "m1", "m0"]);
    let begin = json(&get(&app, Some(Viewer::All), "/logs/api/live").await)["after"].as_i64().unwrap();
    recorder.submit(record("eng/alice", "fresh"));
    recorder.flush().await;
    let live = json(&get(&app, Some(Viewer::All), &format!("/logs/api/live?after={begin}")).await);
    assert_eq!(live["records"][0]["model"], "fresh");
    assert_eq!(live["after"].as_i64().unwrap(), begin + 1);
    let rows = get(&app, Some(Viewer::All), &format!("/logs/rows?after={begin}")).await;
    assert_eq!(rows.headers["x-tollgate-after"], (begin + 1).to_string());
    assert!(rows.text.contains("fresh") && !rows.text.contains("m6"));
    for (uri, word) in [
        ("records?status=teapot", "status"),
        ("records?limit=x", "limit"),
        ("live?after=x", "after"),
        ("spend?since=x", "since"),
    ] {
        let answer = get(&app, Some(Viewer::All), &format!("/logs/api/{uri}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(json(&answer)["error"]["message"].as_str().unwrap().contains(word));
    }
    for uri in ["/logs/api/records/nonsense", "/logs/records/nonsense", "/logs/assets/other"] {
        assert_eq!(get(&app, Some(Viewer::All), uri).await.status, StatusCode::NOT_FOUND);
    }
    let spend = json(&get(&app, key("eng/alice"), "/logs/api/spend").await);
    assert_eq!(spend["total"]["requests"], 8);
    assert_eq!(spend["budgets"].as_array().unwrap().len(), 1);
    // A mistake in a form is told on the page, which still shows.
    assert!(get(&app, Some(Viewer::All), "/logs?status=teapot").await.text.contains("is not understood"));
}

#[tokio::test]
async fn every_answer_is_guarded() {
    let (_recorder, app) = started().await;
    for (viewer, uri) in [
        (Some(Viewer::All), "/logs"),
        (None, "/logs"),
        (None, "/logs/assets/app.js"),
        (Some(Viewer::All), "/logs/api/live"),
    ] {
        let answer = get(&app, viewer, uri).await;
        assert!(
            answer.headers[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .starts_with("default-src 'self';")
        );
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let stored = answer.headers[header::CACHE_CONTROL] != "no-store";
        assert_eq!(stored, uri.contains("assets"), "{uri}");
        // The policy forbids them; a page with one would not work.
        assert!(!answer.text.contains(" style=") && !answer.text.contains(" onclick"), "{uri}");
    }
}

#[tokio::test]
async fn signing_in_puts_the_key_into_a_cookie_and_out_again() {
    let (_recorder, app) = started().await;
    let post = |uri: &str, body: &str| Request::post(uri).body(Body::from(body.to_owned())).unwrap();
    let done = send(&app, post("/logs/signin", "key=vk-engineering%2Bmain")).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    let cookie = done.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
    let mut headers = HeaderMap::new();
    headers.insert(header::COOKIE, format!("a=b; {}", cookie.split(';').next().unwrap()).parse().unwrap());
    assert_eq!(credential(&headers), Some("vk-engineering+main"));
    for wrong in ["", "key=", "key=a%0Ab", "key=a%3Bb", "other=x", "key=%FF"] {
        assert_eq!(send(&app, post("/logs/signin", wrong)).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let out = send(&app, post("/logs/signout", "")).await;
    headers.insert(
        header::COOKIE,
        out.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().parse().unwrap(),
    );
    assert_eq!(credential(&headers), None);
}
