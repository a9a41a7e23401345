//! 5,000 keys, 200 routes, 100 servers.

use crate::support::{Installation, until};
use futures_util::{StreamExt as _, stream};
use kube::{Api, api::PostParams};
use serde_json::json;
use std::time::Instant;
use tollgate_crds::api::{McpServer, ProviderRoute, VirtualKey};
use tollgate_e2e::{cluster::Cluster, control_plane::Options};

/// How many objects are made at once.
const AT_ONCE: usize = 16;

async fn make<K>(api: Api<K>, objects: Vec<serde_json::Value>)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let create = |object: serde_json::Value| {
        let api = api.clone();
        async move {
            let object: K = serde_json::from_value(object).unwrap();
            api.create(&PostParams::default(), &object).await.unwrap();
        }
    };
    stream::iter(objects).for_each_concurrent(AT_ONCE, create).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_thousand_keys_one_change_is_one_small_resource() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.namespace("tollgate").await.unwrap();
    let client = cluster.client().await.unwrap();
    let object = |kind: &str, name: String, spec: serde_json::Value| json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let key = |n: usize| {
        let spec = match n % 50 {
            0 => json!({"allowedNamespaces": "All"}),
            _ => json!({"parentRef": {"name": format!("k{}", n / 50 * 50)}, "models": {"allow": ["r1/*"]}}),
        };
        object("VirtualKey", format!("k{n}"), spec)
    };
    let route = |n: usize| {
        object(
            "ProviderRoute",
            format!("r{n}"),
            json!({"backends": [{"name": "main", "anthropic": {}, "endpoint": "https://x.example.com"}]}),
        )
    };
    let server = |n: usize| {
        object(
            "McpServer",
            format!("s{n}"),
            json!({"streamableHttp": {"url": "https://mcp.example.com/mcp"}}),
        )
    };
    let started = Instant::now();
    make::<VirtualKey>(Api::namespaced(client.clone(), &namespace), (0..5000).map(key).collect()).await;
    make::<ProviderRoute>(Api::namespaced(client.clone(), &namespace), (0..200).map(route).collect()).await;
    make::<McpServer>(Api::namespaced(client.clone(), &namespace), (0..100).map(server).collect()).await;
    println!("5,300 objects made in {:?}", started.elapsed());

    let started = Instant::now();
    let provider = tollgate_e2e::provider::Provider::start().await.unwrap();
    let options = Options { gateways: 1, ..Options::default() };
    let plane =
        tollgate_e2e::control_plane::ControlPlane::start_in(cluster, &namespace, options).await.unwrap();
    println!("the first gateway is ready after {:?} (debug builds)", started.elapsed());
    let installation = Installation { cluster, plane, provider, http: tollgate_e2e::client::Http::new() };
    let gateway = installation.plane.gateway(0).unwrap().log().clone();
    until("the gateway has all of it", || async {
        gateway.find("keys=5000 routes=200 servers=100").map(drop).ok_or_else(|| gateway.text())
    })
    .await;
    let before = installation.plane.gateway(0).unwrap().log().text().lines().count();
    let started = Instant::now();
    installation
        .kubectl(&["patch", "virtualkey", "k7", "--type=merge", "-p", r#"{"spec":{"disabled":true}}"#])
        .await;
    let operator = installation.plane.operator(0).unwrap().log().clone();
    until("the change is sent", || async {
        let text = gateway.text();
        let new = text.lines().skip(before).find(|line| line.contains("a configuration is in force"));
        new.map(drop).ok_or_else(|| operator.text())
    })
    .await;
    println!("one change among 5,000 keys took {:?} (debug builds)", started.elapsed());
    let sent = operator.text();
    let last = sent.lines().rev().find(|line| line.contains("resources are sent")).unwrap_or_default();
    assert!(last.contains("resources=1 ") && bytes(last) <= 2048, "{last}");
}

/// What `bytes=N` says.
fn bytes(line: &str) -> usize {
    let (_, rest) = line.split_once("bytes=").unwrap();
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}
