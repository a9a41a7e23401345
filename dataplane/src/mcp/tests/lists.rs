//! `tools/list`.

use super::{
    DEAD,
    fake::{Fake, until},
    world::*,
};
use crate::model::Globs;
use std::time::Duration;

const QUERY: &str = r#"{ "inputSchema":{"type":"object","properties":{"name":{}}},"name":"query" ,"execution":{"taskSupport":"optional"},"x":1.0e2}"#;

#[tokio::test]
async fn all_pages_of_all_servers_become_one_list_and_only_names_change() {
    let db = Fake::start(true, &[&[r#"{"name":"write"}"#], &[], &[QUERY]]).await;
    let files = Fake::start(false, &[&[r#"{"name":"read.file","title":"Read"}"#]]).await;
    let world = everything(&[("files", &files), ("db", &db)]);
    let (status, body) = world.ask(&Client::of("dev"), LIST).await;
    let hashed = tollgate_mcp::names::public("files", "read.file");
    let want = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{},{{"name":"db__write"}},{{"name":"{hashed}","title":"Read"}}]}}}}"#,
        QUERY.replace("\"query\"", "\"db__query\"")
    );
    assert_eq!((status, body), (200, want));
    let lists = db.posted("tools/list");
    assert_eq!(lists.len(), 3);
    assert_eq!(lists[0].headers["authorization"], "Bearer upstream");
    assert_eq!(lists[0].headers["mcp-protocol-version"], "2025-06-18");
    assert_eq!(lists[0].headers["mcp-session-id"], "1");
    assert_eq!(world.names(&Client::of("dev")).await.len(), 3);
    assert_eq!(db.posted("tools/list").len(), 3, "the list is cached");
    assert!(world.call(&Client::of("dev"), &hashed).await.contains(r#""name":"read.file""#));
}

#[tokio::test]
async fn every_level_of_the_tree_narrows_what_a_key_sees() {
    let tools: &[&str] =
        &[r#"{"name":"query"}"#, r#"{"name":"drop_all"}"#, r#"{"name":"write"}"#, r#"{"name":"hidden"}"#];
    let (db, prod) = (Fake::start(false, &[tools]).await, Fake::start(false, &[tools]).await);
    let team = |name: &str, parent: Option<&str>, tools| {
        let mut team = key(name, tools);
        team.parent = parent.map(id);
        team
    };
    let mut quiet = team("quiet", Some("root"), Vec::new());
    quiet.any_tools = true;
    let keys = vec![
        team("root", None, vec![rule("db", &["*"], &["drop_*"])]),
        quiet,
        team(
            "dev",
            Some("quiet"),
            vec![rule("db", &["q*", "drop_*"], &[]), rule("prod", &["*"], &[]), rule("db", &["hidden"], &[])],
        ),
        team("none", None, Vec::new()),
    ];
    let mut db_server = server("db", db.address);
    db_server.tools = Globs::new(["query", "drop_all", "write"]);
    let world = World::new(keys, vec![db_server, server("prod", prod.address)]);
    let dev = Client::of("dev");
    assert_eq!(world.names(&dev).await, ["db__query"]);
    assert!(world.names(&Client::of("none")).await.is_empty());
    for tool in ["db__drop_all", "db__write", "db__hidden", "prod__query", "db__nothing", "query"] {
        let body = world.call(&dev, tool).await;
        assert!(
            body.contains(r#""id":"c-1","error":{"code":-32602,"message":"Unknown tool: "#),
            "{tool}: {body}"
        );
    }
    assert!(world.call(&dev, "db__query").await.contains("\"result\""));
    assert!(
        db.posted("tools/call").len() == 1 && prod.all().is_empty(),
        "a server that is not seen is not asked"
    );
}

#[tokio::test]
async fn a_dead_server_hides_nothing_but_itself() {
    let db = Fake::start(false, &[&[QUERY]]).await;
    let rules = vec![rule("gone", &["*"], &[]), rule("db", &["*"], &[]), rule("off", &["*"], &[])];
    let mut off = server("off", db.address);
    off.off = Some("Secret token does not exist".into());
    let world =
        World::new(vec![key("dev", rules)], vec![server("gone", DEAD), server("db", db.address), off]);
    let dev = Client::of("dev");
    assert_eq!(world.names(&dev).await, ["db__query"]);
    let body = world.call(&dev, "gone__query").await;
    assert!(
        body.contains(r#""isError":true"#)
            && body.contains("MCP server gone could not answer")
            && body.contains("It was not run"),
        "{body}"
    );
    assert!(world.call(&dev, "off__x").await.contains("it is off: Secret token does not exist"));
    assert!(world.call(&dev, "db__query").await.contains("\"result\""));
}

#[tokio::test]
async fn a_server_that_must_not_be_missing_fails_the_list_for_now() {
    let mut gone = server("gone", DEAD);
    gone.fail_open = false;
    let world = World::new(vec![key("dev", vec![rule("gone", &["*"], &[])])], vec![gone]);
    let response = world.post(&Client::of("dev"), LIST).await;
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    assert!(text(response).await.contains("MCP server \\\"gone\\\" is not available"));
}

#[tokio::test]
async fn a_slow_server_is_left_out_and_comes_back_by_itself() {
    let (db, slow) =
        (Fake::start(false, &[&[QUERY]]).await, Fake::start(false, &[&[r#"{"name":"a"}"#]]).await);
    *slow.slow_list.lock() = true;
    let mut slow_server = server("slow", slow.address);
    slow_server.timeouts.list = Duration::from_millis(300);
    let rules = vec![rule("db", &["*"], &[]), rule("slow", &["*"], &[])];
    let world = World::new(vec![key("dev", rules)], vec![server("db", db.address), slow_server]);
    let dev = Client::of("dev");
    assert_eq!(world.names(&dev).await, ["db__query"]);
    *slow.slow_list.lock() = false;
    slow.gate.add_permits(10);
    let upstreams = &world.endpoint.0.upstreams;
    let state = upstreams.get(world.snapshot.server("ns", "slow").unwrap()).unwrap();
    until("the list of the slow server", || {
        drop(state.fetch());
        state.catalogs.last().is_some()
    })
    .await;
    assert_eq!(world.names(&dev).await, ["db__query", "slow__a"]);
}

#[tokio::test]
async fn the_last_good_list_is_served_while_a_server_is_away() {
    let db = Fake::start(false, &[&[QUERY]]).await;
    let world = everything(&[("db", &db)]);
    let dev = Client::of("dev");
    assert_eq!(world.names(&dev).await, ["db__query"]);
    *db.slow_list.lock() = true;
    let state = world.endpoint.0.upstreams.get(world.snapshot.server("ns", "db").unwrap()).unwrap();
    state.catalogs.invalidate();
    assert_eq!(world.names(&dev).await, ["db__query"]);
    assert_eq!(db.posted("tools/list").len(), 2, "it was asked again");
}

#[tokio::test]
async fn a_changed_list_is_asked_for_again() {
    let db = Fake::start(false, &[&[r#"{"name":"stream"}"#]]).await;
    let world = everything(&[("db", &db)]);
    let dev = Client::of("dev");
    assert_eq!(world.names(&dev).await, ["db__stream"]);
    db.pages.lock()[0].push(r#"{"name":"new"}"#.into());
    assert_eq!(world.names(&dev).await, ["db__stream"]);
    text(world.post(&dev, &call("db__stream")).await).await;
    assert_eq!(world.names(&dev).await, ["db__new", "db__stream"]);
}

#[tokio::test]
async fn one_fetch_serves_all_who_wait_for_it() {
    let db = Fake::start(false, &[&[QUERY]]).await;
    *db.slow_list.lock() = true;
    let world = everything(&[("db", &db)]);
    let dev = Client::of("dev");
    let all = futures_util::future::join_all((0..20).map(|_| world.names(&dev)));
    let release = async {
        until("the fetch", || !db.posted("tools/list").is_empty()).await;
        db.gate.add_permits(1);
    };
    let (lists, ()) = tokio::join!(all, release);
    assert!(lists.iter().all(|l| l == &["db__query"]));
    assert_eq!(db.posted("tools/list").len(), 1);
}

#[tokio::test]
async fn one_server_alone_keeps_its_own_names() {
    let (db, files) = (Fake::start(false, &[&[QUERY]]).await, Fake::start(false, &[&[QUERY]]).await);
    let world = everything(&[("db", &db), ("files", &files)]);
    let mut dev = Client::of("dev");
    dev.server = Some("db");
    assert_eq!(world.names(&dev).await, ["query"]);
    assert!(world.call(&dev, "query").await.contains("\"result\""));
    assert!(world.call(&dev, "db__query").await.contains("-32602"));
    assert!(files.all().is_empty());
    dev.server = Some("nothing");
    let (status, body) = world.ask(&dev, LIST).await;
    assert!(status == 404 && body.contains("has no MCP server"), "{body}");
}

#[tokio::test]
async fn a_huge_list_comes_in_pages_that_only_its_key_can_turn() {
    let tool = |name: &str| format!("{{\"name\":\"{name}\",\"description\":\"{}\"}}", "x".repeat(3 << 20));
    let (a, b) = (tool("a"), tool("b"));
    let db = Fake::start(false, &[&[&a], &[&b]]).await;
    let keys = ["dev", "other"].map(|name| key(name, vec![rule("db", &["*"], &[])]));
    let world = World::new(keys.into(), vec![server("db", db.address)]);
    let page = async |client: &str, cursor: &str| {
        let list = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{cursor}}}}}"#);
        let (_, body) = world.ask(&Client::of(client), &list).await;
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    let first = page("dev", "").await;
    assert_eq!(
        (first["result"]["tools"].as_array().unwrap().len(), &first["result"]["tools"][0]["name"]),
        (1, &"db__a".into())
    );
    let cursor = format!("\"cursor\":{}", first["result"]["nextCursor"]);
    let second = page("dev", &cursor).await;
    assert_eq!(second["result"]["tools"][0]["name"], "db__b");
    assert!(second["result"].get("nextCursor").is_none());
    assert_eq!(page("other", &cursor).await["error"]["code"], -32602);
}
