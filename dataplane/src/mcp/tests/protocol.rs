//! Both eras, sessions, and HTTP.

use super::{fake::Fake, world::*};
use crate::{body::full, mcp::Endpoint};
use http::{Method, Request};
use std::sync::Arc;

const TOOL: &[&[&str]] = &[&[r#"{"name":"echo"}"#]];

/// A modern request with its headers.
pub(super) fn modern(method: &str, tool: Option<&str>) -> (Client, String) {
    let name = tool.map(|t| format!("\"name\":\"{t}\",")).unwrap_or_default();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{name}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"trace":1}}}}}}"#
    );
    let mut client = Client::of("dev").with("mcp-protocol-version", "2026-07-28").with("mcp-method", method);
    if let Some(tool) = tool {
        client = client.with("mcp-name", tool);
    }
    (client, body)
}

fn parse(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_session_is_good_on_every_gateway_with_the_key_and_for_its_key_only() {
    let db = Fake::start(false, TOOL).await;
    let mut world = everything(&[("db", &db)]);
    let response = world.post(&Client::of("dev"), INITIALIZE).await;
    let token = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let result = parse(&text(response).await)["result"].clone();
    assert_eq!(result["protocolVersion"], "2025-11-25");
    assert_eq!(result["capabilities"], serde_json::json!({"tools": {}}));
    let instructions = result["instructions"].as_str().unwrap();
    assert!(
        instructions.contains("- db: The db server") && instructions.contains("Ask nicely."),
        "{instructions}"
    );
    let client = Client::of("dev").with("mcp-session-id", &token).with("mcp-protocol-version", "2025-11-25");
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(world.ask(&client, initialized).await, (202, String::new()));
    let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
    world.endpoint = Endpoint::new(Arc::new(|_| ()), &[[1; 32], SEALING]).unwrap();
    assert_eq!(world.ask(&client, ping).await, (200, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#.into()));
    world.endpoint = Endpoint::new(Arc::new(|_| ()), &[[1; 32]]).unwrap();
    let (status, body) = world.ask(&client, ping).await;
    assert!(status == 404 && body.contains(r#""code":-32001"#), "{body}");
}

#[tokio::test]
async fn a_request_without_a_session_is_served_all_the_same() {
    let db = Fake::start(false, TOOL).await;
    let world = everything(&[("db", &db)]);
    assert_eq!(world.names(&Client::of("dev")).await, ["db__echo"]);
}

#[tokio::test]
async fn modern_clients_discover_list_and_call_over_legacy_servers() {
    let db = Fake::start(true, TOOL).await;
    let world = everything(&[("db", &db)]);
    let (client, body) = modern("server/discover", None);
    let response = world.post(&client, &body).await;
    assert!(response.headers().get("mcp-session-id").is_none());
    let result = parse(&text(response).await)["result"].clone();
    assert_eq!(result["resultType"], "complete");
    assert_eq!(
        (&result["supportedVersions"][0], &result["cacheScope"]),
        (&"2026-07-28".into(), &"private".into())
    );
    let (client, body) = modern("tools/list", None);
    let result = parse(&world.ask(&client, &body).await.1)["result"].clone();
    assert_eq!((&result["tools"][0]["name"], &result["ttlMs"]), (&"db__echo".into(), &60_000.into()));
    let (client, body) = modern("tools/call", Some("db__echo"));
    let answer = parse(&world.ask(&client, &body).await.1);
    assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&7.into(), &"complete".into()));
    assert_eq!(answer["result"]["got"]["params"]["_meta"], serde_json::json!({"trace": 1}));
}

#[tokio::test]
async fn modern_errors_have_their_statuses() {
    let world = everything(&[]);
    let (client, body) = modern("resources/list", None);
    let (status, text) = world.ask(&client, &body).await;
    assert!(status == 404 && text.contains("-32601"), "{text}");
    let (client, body) = modern("tools/list", None);
    let (status, text) = world.ask(&client.with("mcp-method", "tools/call"), &body).await;
    assert!(status == 400 && text.contains("-32020"), "{text}");
    let (status, text) =
        world.ask(&Client::of("dev"), r#"{"jsonrpc":"2.0","id":1,"method":"prompts/list"}"#).await;
    assert!(status == 200 && text.contains("-32601"), "{text}");
}

#[tokio::test]
async fn batches_are_answered_in_one_array() {
    let db = Fake::start(false, TOOL).await;
    let world = everything(&[("db", &db)]);
    let batch = format!(
        r#"[{{"jsonrpc":"2.0","id":1,"method":"ping"}},{{"jsonrpc":"2.0","method":"x"}},{}]"#,
        call("db__echo")
    );
    let answers = parse(&world.ask(&Client::of("dev"), &batch).await.1);
    assert_eq!(
        (answers.as_array().unwrap().len(), &answers[0]["id"], &answers[1]["id"]),
        (2, &1.into(), &"c-1".into())
    );
    let only = r#"[{"jsonrpc":"2.0","method":"x"}]"#;
    assert_eq!(world.ask(&Client::of("dev"), only).await, (202, String::new()));
}

#[tokio::test]
async fn http_is_kept_within_bounds() {
    let world = everything(&[]);
    let dev = Client::of("dev");
    for method in [Method::GET, Method::DELETE] {
        let request = Request::builder().method(method).uri("/mcp").body(full("")).unwrap();
        let response = world.send(&dev, request).await;
        assert_eq!(
            (response.status().as_u16(), response.headers()["allow"].to_str().unwrap()),
            (405, "POST")
        );
    }
    assert_eq!(world.ask(&dev.clone().with("content-type", "text/plain"), LIST).await.0, 415);
    assert_eq!(world.ask(&dev, &" ".repeat((4 << 20) + 1)).await.0, 413);
    assert_eq!(world.ask(&dev, "{").await.0, 400);
    let (status, body) =
        world.ask(&dev, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}"#).await;
    assert!(status == 200 && body.contains("-32602"), "{body}");
}

#[tokio::test]
async fn the_future_can_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let world = everything(&[]);
    let caller = world.snapshot.key(&id("dev")).unwrap().clone();
    let request = Client::of("dev").request(LIST);
    let response = is_send(world.endpoint.handle(world.snapshot.clone(), caller, None, request)).await;
    assert_eq!(text(response).await, r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#);
}
