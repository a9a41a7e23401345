//! What the operator does in a team's namespace, by the Role that it has there: `e2e/tools/rbac` counts what it asked for.

use super::support::{Installation, LEADS, key, until};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tollgate_e2e::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    provider::Provider,
};

/// kubectl in the team's namespace; what it refuses is the error.
async fn kubectl(cluster: &Cluster, team: &str, arguments: &[&str]) -> Result<String, String> {
    let all = ["--namespace", team].into_iter().chain(arguments.iter().copied());
    cluster.kubectl(all).await.map_err(|error| error.to_string())
}

async fn get(cluster: &Cluster, team: &str, object: &str) -> Result<Value, String> {
    let found = kubectl(cluster, team, &["get", object, "-o", "json"]).await?;
    serde_json::from_str(&found).map_err(|error| error.to_string())
}

async fn apply(cluster: &Cluster, team: &str, yaml: &str) {
    let apply = ["apply", "--namespace", team, "-f", "-"];
    cluster.kubectl_as(cluster.kubeconfig(), apply, yaml).await.unwrap();
}

/// Waits until the key's Secret has a token that is none of these.
async fn token(cluster: &Cluster, team: &str, old: &[&str]) -> String {
    until("the team's key has a new token", || async {
        let secret = get(cluster, team, "secret/k-token").await?;
        let text = secret["data"]["token"].as_str().ok_or("no token")?;
        let token = String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
        if old.contains(&token.as_str()) { Err("the old one".to_owned()) } else { Ok(token) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teams_namespace_gets_all_that_the_releases_own_gets() {
    let cluster = Cluster::shared().await.unwrap();
    let team = cluster.namespace("team").await.unwrap();
    let more =
        ["--dataplane-image=tollgate/dataplane:test", "--allowed-stdio-image=ghcr.io/acme/*", "--log-json"];
    let operator = more.map(str::to_owned).to_vec();
    let options = Options { gateways: 1, watch: vec![team.clone()], operator, ..Options::default() };
    let plane = ControlPlane::start(cluster, options).await.unwrap();
    let here = Installation { cluster, plane, provider: Provider::start().await.unwrap() };

    // A key below the platform's: its token is made, and rotated twice. The second time is an Event that is counted.
    here.apply(&key("org", "models: {allow: ['*/*']}, allowedNamespaces: All")).await;
    let parent = format!("parentRef: {{name: org, namespace: {}}}", here.plane.namespace());
    let spec = format!(
        "models: {{allow: ['main/*']}}, token: {{secretRef: {{name: k-token, key: token}}}}, {parent}"
    );
    apply(cluster, &team, &(here.route() + &key("k", &spec))).await;
    let first = token(cluster, &team, &[]).await;
    here.answers(0, &first, 200).await;
    let leaked = ["annotate", "vk/k", "tollgate.dev/rotation-overlap=0", "tollgate.dev/rotate-token=monday"];
    kubectl(cluster, &team, &leaked).await.unwrap();
    let second = token(cluster, &team, &[&first]).await;
    let again = ["annotate", "--overwrite", "vk/k", "tollgate.dev/rotate-token=tuesday"];
    kubectl(cluster, &team, &again).await.unwrap();
    let third = token(cluster, &team, &[&first, &second]).await;
    here.answers(0, &third, 200).await;
    here.answers(0, &second, 401).await;
    until("both rotations are told of in one Event", || async {
        let events = get(cluster, &team, "events.events.k8s.io").await?;
        let rotated = |event: &&Value| event["reason"] == "TokenRotated" && event["series"]["count"] == 2;
        events["items"].as_array().into_iter().flatten().find(rotated).map(drop).ok_or(events.to_string())
    })
    .await;

    // A server of the team's: it is run, told of, changed and taken away.
    let server = |version: u32| {
        format!(
            "apiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: db}}\n\
             spec: {{stdio: {{image: 'ghcr.io/acme/db:{version}', command: [serve]}}}}\n"
        )
    };
    for version in [1, 2] {
        apply(cluster, &team, &server(version)).await;
        until("it runs in this version", || async {
            let deployment = get(cluster, &team, "deployment/mcp-db").await?;
            let containers = deployment["spec"]["template"]["spec"].to_string();
            if containers.contains(&format!("ghcr.io/acme/db:{version}")) { Ok(()) } else { Err(containers) }
        })
        .await;
    }
    until("its state is told", || async {
        let status = get(cluster, &team, "mcps/db").await?["status"].clone();
        if status["conditions"].is_array() { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let children = ["deployment/mcp-db", "service/mcp-db", "networkpolicy/mcp-db"];
    for child in children {
        get(cluster, &team, child).await.unwrap();
    }
    kubectl(cluster, &team, &["delete", "mcps/db"]).await.unwrap();
    until("all that was made for it goes with it", || async {
        for child in children {
            if get(cluster, &team, child).await.is_ok() {
                return Err(format!("{child} is there"));
            }
        }
        Ok(())
    })
    .await;
    // Whatever happened, each line of the log is one object.
    let log = here.plane.operator(0).unwrap().log().text();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    assert!(lines.iter().all(|line| line["message"].is_string() && line["level"].is_string()), "{log}");
    assert!(lines.iter().any(|line| line["message"].as_str().is_some_and(|said| said.contains(LEADS))));
}
