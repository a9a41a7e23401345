//! `tools/call`.

use super::{
    fake::{Fake, until},
    world::*,
};
use crate::{
    model::key::Content,
    records::{Record, record::RecordKind},
};
use std::{sync::Arc, time::Duration};

const TOOLS: &[&str] = &[
    r#"{"name":"echo"}"#,
    r#"{"name":"slow"}"#,
    r#"{"name":"stream"}"#,
    r#"{"name":"broken"}"#,
    r#"{"name":"refuse"}"#,
    r#"{"name":"fail"}"#,
    r#"{"name":"vanish"}"#,
];

async fn db(sessions: bool) -> (Arc<Fake>, World) {
    let fake = Fake::start(sessions, &[TOOLS]).await;
    let world = everything(&[("db", &fake)]);
    (fake, world)
}

#[tokio::test]
async fn a_call_and_its_answer_keep_every_byte_but_ids_names_and_tokens() {
    let (fake, world) = db(false).await;
    let body = world.call(&Client::of("dev"), "db__echo").await;
    let sent = fake.posted("tools/call").remove(0).body;
    let number: u64 = serde_json::from_str::<serde_json::Value>(&sent).unwrap()["id"].as_u64().unwrap();
    let want = call("db__echo")
        .replace("db__echo", "echo")
        .replace("\"c-1\"", &number.to_string())
        .replace("Token\":4", &format!("Token\":{number}"));
    assert_eq!(sent, want);
    let answer =
        format!(r#"{{ "result":{{"content":[ ],"got":{sent},"n":1.0e2}}, "id":"c-1" ,"jsonrpc":"2.0"}}"#);
    assert_eq!(body, answer);
}

#[tokio::test]
async fn a_call_is_recorded() {
    let (_fake, world) = db(false).await;
    let client = Client::of("dev")
        .with("x-claude-code-session-id", "s-1")
        .with("x-tollgate-meta-ticket", "T-7")
        .with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    world.call(&client, "db__fail").await;
    let (record, tool) = world.record().await;
    assert_eq!((record.key.as_ref(), record.status, record.error), ("ns/dev", 200, None));
    assert_eq!(record.session.as_deref(), Some("s-1"));
    assert_eq!(record.metadata, [("ticket".to_owned(), "T-7".to_owned())]);
    assert_eq!(record.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert!(record.latency.first_byte >= Some(record.latency.gateway) && record.latency.total > 0);
    assert_eq!((tool.server.as_deref(), tool.tool.as_str()), (Some("ns/db"), "db__fail"));
    assert_eq!(tool.tool_use_id.as_deref(), Some("toolu_1"));
    assert_eq!(tool.arguments.as_deref(), Some(r#"{"b":1,"a":2.0}"#));
    assert_eq!(tool.result.as_deref(), Some(r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#));
    assert!(tool.is_error);
}

#[tokio::test]
async fn content_is_recorded_only_where_every_level_lets_it() {
    let fake = Fake::start(false, &[TOOLS]).await;
    let mut team = key("team", Vec::new());
    (team.any_tools, team.logging.content) = (true, Content::Metadata);
    team.logging.retention = Duration::from_secs(3600);
    let mut dev = key("dev", vec![rule("db", &["*"], &[])]);
    dev.parent = Some(id("team"));
    let world = World::new(vec![team, dev], vec![server("db", fake.address)]);
    world.call(&Client::of("dev"), "db__echo").await;
    let (record, tool) = world.record().await;
    assert_eq!((record.content, tool.arguments, tool.result), (Content::Metadata, None, None));
    assert_eq!(record.retention_s, 3600, "the parent's, which is the shorter");
    assert_eq!(record.tree.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["ns/dev", "ns/team"]);
}

#[tokio::test]
async fn refused_and_failed_calls_are_recorded_with_their_reason() {
    for (tool, server, error) in [
        ("db__nothing", None, "Unknown tool: db__nothing"),
        ("db__refuse", Some("ns/db"), "bad arguments"),
        ("db__broken", Some("ns/db"), "it ended the answer before it was whole"),
    ] {
        let (_fake, world) = db(false).await;
        world.call(&Client::of("dev"), tool).await;
        let (record, recorded) = world.record().await;
        assert_eq!((recorded.server.as_deref(), record.error.as_deref()), (server, Some(error)));
        assert!(recorded.is_error);
    }
}

#[tokio::test]
async fn names_that_a_client_thinks_of_count_as_requests_before_anybody_is_asked() {
    let fake = Fake::start(false, &[TOOLS]).await;
    let mut dev = key("dev", vec![rule("db", &["*"], &[])]);
    dev.limits.requests_per_minute = Some(2);
    let world = World::new(vec![dev], vec![server("db", fake.address)]).counted();
    let dev = Client::of("dev");
    assert!(world.call(&dev, "db__one").await.contains("Unknown tool"));
    assert!(world.call(&dev, "db__two").await.contains("Unknown tool"));
    let asked = fake.all().len();
    assert!(world.call(&dev, "db__three").await.contains("The tool was not run"));
    assert_eq!(fake.all().len(), asked);
    let found = |record: &Record| matches!(&record.kind, RecordKind::Tool(tool) if tool.found);
    assert!(!world.records.lock().iter().any(found));
}

#[tokio::test]
async fn errors_pass_through_and_failures_are_told_to_the_model() {
    let (_fake, world) = db(false).await;
    let dev = Client::of("dev");
    let want =
        r#"{"jsonrpc":"2.0","id":"c-1","error":{"code":-32602,"message":"bad arguments","data":[1.0]}}"#;
    assert_eq!(world.call(&dev, "db__refuse").await, want);
    for tool in ["db__broken", "db__vanish"] {
        let body = world.call(&dev, tool).await;
        assert!(body.contains("\"isError\":true") && body.contains("check before repeating it"), "{body}");
    }
}

#[tokio::test]
async fn progress_reaches_the_caller_with_its_own_token() {
    let (fake, world) = db(true).await;
    let response = world.post(&Client::of("dev"), &call("db__stream")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let progress = |n: u32| {
        format!(
            "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":4,\"progress\":{n}.50,\"more\":[ ]}}}}\n\n"
        )
    };
    let done = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"c-1\",\"result\":{\"content\":[]}}\n\n";
    assert_eq!(text(response).await, format!("{}{}{done}", progress(1), progress(2)));
    let pong = r#"{"jsonrpc":"2.0","id":"ping-1","result":{}}"#;
    until("the ping's answer", || fake.all().iter().any(|s| s.body == pong)).await;
}

#[tokio::test]
async fn a_client_that_takes_no_stream_gets_json() {
    let (_fake, world) = db(false).await;
    let client = Client::of("dev").with("accept", "application/json");
    let response = world.post(&client, &call("db__stream")).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(text(response).await, r#"{"jsonrpc":"2.0","id":"c-1","result":{"content":[]}}"#);
}

#[tokio::test]
async fn a_lost_upstream_session_is_opened_again_and_the_call_runs_once() {
    let (fake, world) = db(true).await;
    let client = world.open(&Client::of("dev")).await;
    assert!(world.call(&client, "db__echo").await.contains("\"result\""));
    let before = fake.posted("initialize").len();
    fake.lose_sessions();
    assert!(world.call(&client, "db__echo").await.contains("\"result\""));
    assert_eq!(fake.posted("initialize").len(), before + 1);
    let sessions: Vec<_> = fake
        .posted("tools/call")
        .iter()
        .map(|s| s.headers["mcp-session-id"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(sessions.len(), 3, "one that was refused, and one in the new session");
    assert!(sessions[0] == sessions[1] && sessions[1] != sessions[2]);
}

#[tokio::test]
async fn clients_do_not_share_an_upstream_session() {
    let (fake, world) = db(true).await;
    let (one, two) = (world.open(&Client::of("dev")).await, world.open(&Client::of("dev")).await);
    for client in [&one, &one, &two] {
        world.call(client, "db__echo").await;
    }
    let calls = fake.posted("tools/call");
    let session = |n: usize| calls[n].headers["mcp-session-id"].clone();
    assert!(session(0) == session(1) && session(1) != session(2));
}

#[tokio::test]
async fn a_server_without_sessions_is_opened_once() {
    let (fake, world) = db(false).await;
    for _ in 0..3 {
        let client = world.open(&Client::of("dev")).await;
        world.call(&client, "db__echo").await;
    }
    assert_eq!(fake.posted("initialize").len(), 1);
    assert_eq!(fake.posted("notifications/initialized").len(), 1);
}

#[tokio::test]
async fn a_cancelled_call_ends_and_the_server_is_told() {
    let (fake, world) = db(true).await;
    let client = world.open(&Client::of("dev")).await;
    let slow = call("db__slow");
    let cancel = async {
        until("the call", || !fake.posted("tools/call").is_empty()).await;
        let other = world.open(&Client::of("dev")).await;
        let notice = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c-1"}}"#;
        assert_eq!(world.ask(&other, notice).await.0, 202, "another session's, so nothing happens");
        assert!(fake.posted("notifications/cancelled").is_empty());
        assert_eq!(world.ask(&client, notice).await.0, 202);
    };
    let ((_, body), ()) = tokio::join!(world.ask(&client, &slow), cancel);
    assert!(body.contains(r#""id":"c-1","error":{"code":-32800"#), "{body}");
    until("the cancellation upstream", || !fake.posted("notifications/cancelled").is_empty()).await;
    let sent: serde_json::Value = serde_json::from_str(&fake.posted("tools/call")[0].body).unwrap();
    let told: serde_json::Value =
        serde_json::from_str(&fake.posted("notifications/cancelled")[0].body).unwrap();
    assert_eq!(told["params"]["requestId"], sent["id"]);
}

#[tokio::test]
async fn a_legacy_client_that_goes_away_cancels_nothing() {
    let (fake, world) = db(false).await;
    let (client, slow) = (Client::of("dev"), call("db__slow"));
    tokio::select! {
        _ = world.ask(&client, &slow) => panic!("answered"),
        () = until("the call", || !fake.posted("tools/call").is_empty()) => {}
    }
    fake.gate.add_permits(1);
    let (record, tool) = world.record().await;
    assert_eq!((record.status, record.error, tool.is_error), (499, None, false));
    assert!(tool.result.unwrap().contains("slept") && fake.posted("notifications/cancelled").is_empty());
}

#[tokio::test]
async fn a_modern_client_that_goes_away_cancels_its_call() {
    let (fake, world) = db(false).await;
    let (client, slow) = super::protocol::modern("tools/call", Some("db__slow"));
    tokio::select! {
        _ = world.ask(&client, &slow) => panic!("answered"),
        () = until("the call", || !fake.posted("tools/call").is_empty()) => {}
    }
    let (record, tool) = world.record().await;
    assert_eq!((record.status, record.error.as_deref()), (499, Some("cancelled by the client")));
    assert!(tool.is_error);
    until("the cancellation upstream", || !fake.posted("notifications/cancelled").is_empty()).await;
}
