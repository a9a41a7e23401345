use super::support::{Installation, key, until};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tollgate_e2e::cluster::Cluster;

fn entry(secret: &Value, name: &str) -> Option<String> {
    let text = secret["data"][name].as_str()?;
    Some(String::from_utf8(STANDARD.decode(text).unwrap()).unwrap())
}

const SPEC: &str = "models: {allow: ['main/*']}, token: {secretRef: {name: SECRET, key: token}}";

/// Asks for another token with this overlap, and returns it.
async fn rotate(here: &Installation<'_>, request: &str, overlap: &str, before: &str) -> String {
    let (request, overlap) =
        (format!("tollgate.dev/rotate-token={request}"), format!("tollgate.dev/rotation-overlap={overlap}"));
    here.kubectl(&["annotate", "--overwrite", "vk/k", &overlap, &request]).await;
    until("there is a new token", || async {
        let token = entry(&here.get("secret/k-token").await, "token").unwrap();
        if token != before { Ok(token) } else { Err("the old one".to_owned()) }
    })
    .await
}

/// Waits until the key's status says this of its token.
async fn token_is(here: &Installation<'_>, state: &str) -> Value {
    until(&format!("the token is {state}"), || async {
        let status = here.get("vk/k").await["status"]["token"].clone();
        if status["state"] == state { Ok(status) } else { Err(status.to_string()) }
    })
    .await
}

/// What was told of the tokens: that they were made, rotated and taken out, and none of them.
async fn told_without_tokens(here: &Installation<'_>, tokens: &[&str]) {
    let logs = here.plane.operator(0).unwrap().log().text();
    assert!(!tokens.iter().any(|token| logs.contains(token)), "no token is in a log");
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
async fn a_token_is_made_rotated_with_an_overlap_and_the_old_one_ends() {
    let cluster = Cluster::shared().await.unwrap();
    let mut here = Installation::start(cluster, 1, 2).await;
    here.apply(&(here.route() + &key("k", &SPEC.replace("SECRET", "k-token")))).await;
    here.wait_for("vk/k", "Ready", "True/Ready").await;
    let (key, secret) = (here.get("vk/k").await, here.get("secret/k-token").await);
    let owner = &secret["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&"VirtualKey".into(), &key["metadata"]["uid"]));
    let first = entry(&secret, "token").unwrap();
    assert!(first.starts_with("tg_") && first.len() >= 35, "{}", first.len());
    assert_eq!(key["status"]["token"]["state"], "Active");
    here.answers(0, &first, 200).await;

    // Rotated with an overlap: both work at every gateway, the Secret holds both, and the status says until when.
    let second = rotate(&here, "today", "1h", &first).await;
    for gateway in 0..2 {
        // A gateway that takes the new one has what was said of the old one.
        here.answers(gateway, &second, 200).await;
        here.answers(gateway, &first, 200).await;
    }
    let secret = here.get("secret/k-token").await;
    assert_eq!(entry(&secret, "previous-token"), Some(first.clone()));
    let until_when = entry(&secret, "previous-token-expires").unwrap();
    assert_eq!(token_is(&here, "Rotating").await["previousUntil"], until_when);

    // Again, with a short one. A gateway knows by itself when it is over: nobody is there to tell it.
    let third = rotate(&here, "tomorrow", "20s", &second).await;
    for gateway in 0..2 {
        here.answers(gateway, &third, 200).await;
    }
    here.plane.operator_mut(0).unwrap().kill9().await.unwrap();
    assert_eq!(entry(&here.get("secret/k-token").await, "previous-token"), Some(second.clone()));
    for gateway in 0..2 {
        here.answers(gateway, &second, 401).await;
        here.answers(gateway, &first, 401).await;
        here.answers(gateway, &third, 200).await;
    }
    // The operator comes back, and it leaves the Secret.
    here.plane.operator_mut(0).unwrap().restart().unwrap();
    until("the old token leaves the Secret", || async {
        let secret = here.get("secret/k-token").await;
        match entry(&secret, "previous-token") {
            None if entry(&secret, "token").as_ref() == Some(&third) => Ok(()),
            previous => Err(format!("previous: {}", previous.is_some())),
        }
    })
    .await;
    token_is(&here, "Active").await;
    told_without_tokens(&here, &[&first, &second, &third]).await;
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
