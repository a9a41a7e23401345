//! What the leader keeps in its own namespace grows old, and is replaced while everything goes on.

use crate::support::{Installation, token, until};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tollgate_e2e::control_plane::Options;
use tollgate_operator::certificates::{AUTHORITY, SEALING, authority::Authority, sealing};

/// The life of certificates, in seconds; an authority lives for 40 of these.
const LIFE: u32 = 60;
/// What every MCP client accepts.
const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

async fn secrets(installation: &Installation) -> Api<Secret> {
    Api::namespaced(installation.cluster.client().await.unwrap(), installation.plane.namespace())
}

/// An entry of one of the leader's Secrets, as text.
async fn entry(installation: &Installation, name: &str, key: &str) -> Option<String> {
    let secret = secrets(installation).await.get(name).await.unwrap();
    Some(String::from_utf8(secret.data?.get(key)?.0.clone()).unwrap())
}

/// Puts other text into one of the leader's Secrets, as if it had been there for long.
async fn age(installation: &Installation, name: &str, entries: serde_json::Value) {
    let patch = Patch::Merge(json!({"stringData": entries}));
    secrets(installation).await.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_authority_is_followed_by_another_that_is_trusted_before_it_issues() {
    let short =
        Options { gateways: 1, operator: vec![format!("--certificate-life={LIFE}")], ..Options::default() };
    let mut installation = Installation::start_with(short).await;
    installation.basics().await;
    // Five sixths of its forty lives ago: due, and valid for some minutes still.
    let life = Duration::from_secs(LIFE.into());
    let made = now() - i64::from(LIFE) * 40 * 5 / 6;
    let old = Authority::tended(None, made, life).unwrap().unwrap();
    let parts = json!({"ca.crt": old.current.certificate, "ca.key": old.current.key});
    age(&installation, AUTHORITY, parts).await;
    let bundle = || async {
        let client = installation.cluster.client().await.unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(client, installation.plane.namespace());
        maps.get(AUTHORITY).await.unwrap().data.unwrap()["ca.crt"].clone()
    };
    let old_pem = old.current.certificate.trim().to_owned();
    until("the next authority is told beside the old one", || async {
        let text = bundle().await;
        let both = text.contains(&old_pem) && text.matches("BEGIN CERTIFICATE").count() == 2;
        both.then_some(()).ok_or(text)
    })
    .await;
    assert_eq!(entry(&installation, AUTHORITY, "ca.crt").await.unwrap().trim(), old_pem, "it issues at once");
    until("the next authority issues", || async {
        let current = entry(&installation, AUTHORITY, "ca.crt").await.unwrap_or_default();
        if current.trim() == old_pem { Err("the old one still does".to_owned()) } else { Ok(()) }
    })
    .await;
    assert!(bundle().await.contains(&old_pem), "the old one is not trusted any more");
    // Those that are there go on, and one that comes now is served by it.
    installation.plane.add_gateway(installation.cluster, &[]).await.unwrap();
    installation.plane.wait_ready().await.unwrap();
    installation.every_gateway("k", "main/claude-sonnet-4-5", 200).await;
    let off = r#"{"spec":{"disabled":true}}"#;
    installation.kubectl(&["patch", "virtualkey", "k", "--type=merge", "-p", off]).await;
    installation.every_gateway("k", "main/claude-sonnet-4-5", 403).await;
}

/// Opens an MCP session at the gateway; its sealed id.
async fn session(installation: &Installation) -> String {
    let url = installation.plane.gateway(0).unwrap().at("/mcp");
    let bearer = format!("Bearer {}", token("k"));
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }});
    let headers = [("authorization", bearer.as_str()), ACCEPT];
    let opened = installation.http.post(&url, &headers, &hello).await.unwrap().expect(200).unwrap();
    opened.header("mcp-session-id").unwrap().to_owned()
}

/// The name of the key that a session's id is sealed with: `v1.KEY.…`.
fn sealed_with(session: &str) -> &str {
    session.split('.').nth(1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_sealing_key_still_opens_when_the_next_one_seals() {
    let options =
        Options { gateways: 1, operator: vec!["--certificate-life=60".to_owned()], ..Options::default() };
    let installation = Installation::start_with(options).await;
    installation.basics().await;
    let keys = entry(&installation, SEALING, "keys").await.unwrap();
    let (made, key) = keys.trim().split_once(' ').expect("a time and a key");
    assert!(now() - made.parse::<i64>().unwrap() < 600, "it was made at the start");
    // A session that was opened under this key.
    let old = session(&installation).await;
    age(&installation, SEALING, json!({"keys": format!("{} {key}\n", now() - sealing::PERIOD)})).await;
    let mut next = String::new();
    until("another key is there, the old one behind it", async || {
        let keys = entry(&installation, SEALING, "keys").await.unwrap_or_default();
        let lines: Vec<_> = keys.lines().collect();
        let both = lines.len() == 2 && lines[1].ends_with(key) && !lines[0].ends_with(key);
        next = lines[0].split(' ').next_back().unwrap().to_owned();
        both.then_some(()).ok_or(format!("{} keys", lines.len()))
    })
    .await;
    assert_eq!(sealed_with(&session(&installation).await), sealed_with(&old), "the next only opens at first");
    // Its time to open only is over: the gateway has it, and seals with it.
    let (sealing, opening) = (now() - sealing::STAGED, now() - sealing::PERIOD);
    age(&installation, SEALING, json!({"keys": format!("{sealing} {next}\n{opening} {key}\n")})).await;
    until("the gateway seals with the next key", async || {
        let new = session(&installation).await;
        if sealed_with(&new) == sealed_with(&old) { Err("with the old one".to_owned()) } else { Ok(()) }
    })
    .await;
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let bearer = format!("Bearer {}", token("k"));
    let headers = [("authorization", bearer.as_str()), ("mcp-session-id", old.as_str()), ACCEPT];
    let url = installation.plane.gateway(0).unwrap().at("/mcp");
    installation.http.post(&url, &headers, &list).await.unwrap().expect(200).unwrap();
    // It is the key that is looked at: what it did not seal opens nothing.
    let forged = old.replace(sealed_with(&old), "00000000");
    let headers = [("authorization", bearer.as_str()), ("mcp-session-id", forged.as_str()), ACCEPT];
    installation.http.post(&url, &headers, &list).await.unwrap().expect(404).unwrap();
}
