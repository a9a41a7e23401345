//! What an operator has of Secrets: by the memory of its process.

use crate::support::{route, until};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_e2e::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    memory::in_memory,
    provider::DEFAULT_KEY,
};

/// What stands in Secrets that no object names; see where it is searched for of its length.
const UNNAMED: &str = "canary-in-a-secret-that-nobody-names";
/// What stands in the same Secrets' metadata, which the operator watches.
const NOTE: &str = "note-beside-it-for-whoever-watches-it";
/// What stands in the entry of a Secret that a route names.
const NAMED: &str = "canary-in-the-entry-that-a-route-names";
/// How often each stands there: what is freed is overwritten a little at a time.
const TIMES: usize = 50;
/// How many Secrets nobody names.
const SECRETS: usize = 50;
/// Keys whose tokens the operator makes: so many that it lists their Secrets when it starts.
const KEYS: usize = 40;

fn secret(n: usize) -> String {
    let (note, canary) = (NOTE.repeat(TIMES), UNNAMED.repeat(TIMES));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: unnamed-{n}, annotations: {{note: {note}}}}}\n\
         stringData: {{apiKey: {canary}}}\n---\n"
    )
}

fn key(n: usize) -> String {
    format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: k{n}}}\n\
         spec: {{token: {{secretRef: {{name: token-{n}, key: token}}}}}}\n---\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_never_has_the_content_of_a_secret_that_no_object_names() {
    let cluster = Cluster::shared_own().await.unwrap();
    let namespace = cluster.namespace("tollgate").await.unwrap();
    let all = (0..SECRETS).map(secret).chain((0..KEYS).map(key)).collect::<String>()
        + &route("main", "http://127.0.0.1:9", "").replace(DEFAULT_KEY, NAMED);
    // Not by `apply`, which would copy the content into an annotation.
    let create = ["create", "--namespace", &namespace, "-f", "-"];
    cluster.kubectl_as(cluster.kubeconfig(), create, &all).await.unwrap();
    // What was freed stays to be found.
    let environment = vec![("MIMALLOC_PURGE_DELAY".to_owned(), "-1".to_owned())];
    let options = Options { gateways: 0, environment, ..Options::default() };
    let mut plane = ControlPlane::start_in(cluster, &namespace, options).await.unwrap();
    let label = "app.kubernetes.io/component=token";
    until("every key has its token", async || {
        let made =
            cluster.kubectl(["get", "secret", "-n", &namespace, "-l", label, "-o", "name"]).await.unwrap();
        if made.lines().count() == KEYS { Ok(()) } else { Err(made) }
    })
    .await;
    // From its start on it knows of all of them.
    plane.operator_mut(0).unwrap().kill9().await.unwrap();
    plane.operator_mut(0).unwrap().restart().unwrap();
    plane.wait_ready().await.unwrap();

    let pid = plane.operator(0).unwrap().pid().unwrap();
    let has = |text: &str| in_memory(pid, text.as_bytes()).unwrap();
    assert!(has(NAMED), "the search finds what a route names");
    assert!(has(NOTE), "the search finds what the watch has told and nobody kept");
    assert!(!has(UNNAMED), "the operator has read a Secret that nobody names");
    // Nor as it travels.
    assert_eq!(UNNAMED.len() % 3, 0, "so that its base64 is the same wherever it stands");
    assert!(!has(&STANDARD.encode(UNNAMED)), "the operator was sent a Secret that nobody names");
    // And that is so though it has listed Secrets: those that it has made itself, by their labels.
    let own = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dtollgate-operator%2Capp.kubernetes.io%2Fcomponent%3Dtoken";
    let asked = cluster.audit().unwrap();
    let listed = asked.iter().filter(|asked| {
        asked.pod == "operator-0"
            && asked.namespace == namespace
            && asked.resource == "secrets"
            && asked.verb == "list"
    });
    assert!(listed.clone().any(|asked| asked.url.contains(own)), "{:#?}", listed.collect::<Vec<_>>());
}
