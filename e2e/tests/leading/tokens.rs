use super::support::{Installation, key, until};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tollgate_e2e::cluster::Cluster;

fn entry(secret: &Value, name: &str) -> Option<String> {
    let text = secret["data"][name].as_str()?;
    Some(String::from_utf8(STANDARD.decode(text).unwrap()).unwrap())
}

const SPEC: &str = "models: {allow: ['main/*']}, token: {secretRef: {name: SECRET, key: token}}";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_rotated_with_an_overlap_and_the_old_one_ends() {
    let cluster = Cluster::shared().await.unwrap();
    let here = Installation::start(cluster, 1, 2).await;
    here.apply(&(here.route() + &key("k", &SPEC.replace("SECRET", "k-token")))).await;
    here.wait_for("vk/k", "Ready", "True/Ready").await;
    let (key, secret) = (here.get("vk/k").await, here.get("secret/k-token").await);
    let owner = &secret["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&"VirtualKey".into(), &key["metadata"]["uid"]));
    let first = entry(&secret, "token").unwrap();
    assert!(first.starts_with("tg_") && first.len() >= 35, "{}", first.len());
    assert_eq!(key["status"]["token"]["state"], "Active");
    here.answers(0, &first, 200).await;

    // Rotated with an overlap: both work at every gateway, and the status says so.
    let overlap = "tollgate.dev/rotation-overlap=20s";
    here.kubectl(&["annotate", "vk/k", overlap, "tollgate.dev/rotate-token=today"]).await;
    let second = until("there is a new token", || async {
        let token = entry(&here.get("secret/k-token").await, "token").unwrap();
        if token != first { Ok(token) } else { Err("the old one".to_owned()) }
    })
    .await;
    for gateway in 0..2 {
        here.answers(gateway, &second, 200).await;
    }
    let secret = here.get("secret/k-token").await;
    if let Some(previous) = entry(&secret, "previous-token") {
        assert_eq!(previous, first);
    }
    // Its time is over: it ends at the gateways, and leaves the Secret.
    for gateway in 0..2 {
        here.answers(gateway, &first, 401).await;
        here.answers(gateway, &second, 200).await;
    }
    until("the old token leaves the Secret", || async {
        let secret = here.get("secret/k-token").await;
        match entry(&secret, "previous-token") {
            None if entry(&secret, "token").as_ref() == Some(&second) => Ok(()),
            previous => Err(format!("previous: {}", previous.is_some())),
        }
    })
    .await;
    let logs = here.plane.operator(0).unwrap().log().text();
    assert!(!logs.contains(&first) && !logs.contains(&second), "no token is in a log");
    let events = until("it is told of", || async {
        let events = here.kubectl(&["get", "events.events.k8s.io", "-o", "wide"]).await;
        let all = ["TokenGenerated", "TokenRotated", "PreviousTokenExpired"];
        if all.iter().all(|reason| events.contains(reason)) { Ok(events) } else { Err(events) }
    })
    .await;
    assert!(!events.contains("tg_"));
    // A token that was made at once was missing for a moment, which is no news.
    let alarm = |line: &str| line.contains("SecretNotFound") && line.contains("virtualkey/k");
    assert!(!events.lines().any(alarm), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_somebody_elses_is_left_alone() {
    let cluster = Cluster::shared().await.unwrap();
    let here = Installation::start(cluster, 1, 1).await;
    let token = "mine-0123456789abcdef0123456789abcdef";
    let secrets = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: full}}\nstringData: {{token: {token}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: empty}}\nstringData: {{other: x}}\n---\n"
    );
    let keys = key("full", &SPEC.replace("SECRET", "full")) + &key("empty", &SPEC.replace("SECRET", "empty"));
    here.apply(&(here.route() + &secrets + &keys)).await;
    here.wait_for("vk/full", "Ready", "True/Ready").await;
    here.wait_for("vk/empty", "Ready", "False/SecretNotFound").await;
    let before = [here.get("secret/full").await, here.get("secret/empty").await];
    here.kubectl(&["annotate", "vk/full", "tollgate.dev/rotate-token=today"]).await;
    until("both are told of", || async {
        let events = here.kubectl(&["get", "events.events.k8s.io", "-o", "wide"]).await;
        let told = |name: &str| events.lines().any(|l| l.contains("TokenNotChanged") && l.contains(name));
        if told("virtualkey/full") && told("virtualkey/empty") { Ok(()) } else { Err(events) }
    })
    .await;
    assert_eq!(before, [here.get("secret/full").await, here.get("secret/empty").await]);
    here.answers(0, token, 200).await;
}
