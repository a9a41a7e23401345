//! Who may connect, and what each gets.

use crate::support::{Installation, key, route, until};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tollgate_e2e::{
    client::Http,
    cluster::Cluster,
    control_plane::{AUDIENCE, ControlPlane, GATEWAY_ACCOUNT, Options},
    provider::Provider,
};
use tollgate_operator::certificates::{GATEWAY_TLS, authority::Authority};
use tollgate_proto::{
    Kind,
    discovery::v1::{DeltaDiscoveryRequest, aggregated_discovery_client::AggregatedDiscoveryClient},
};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

async fn channel(installation: &Installation) -> Channel {
    let authority = installation.plane.authority(installation.cluster).await.unwrap();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
    Endpoint::from_shared(installation.plane.xds_url())
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// What a client that shows this token gets of all kinds: `Kind namespace/name`.
async fn gets(installation: &Installation, token: &str) -> Result<Vec<String>, Status> {
    let (requests, receiver) = mpsc::channel(64);
    for kind in Kind::ALL {
        let subscribe = DeltaDiscoveryRequest { type_url: kind.type_url(), ..Default::default() };
        requests.send(subscribe).await.unwrap();
    }
    let mut call = tonic::Request::new(ReceiverStream::new(receiver));
    call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let mut client = AggregatedDiscoveryClient::new(channel(installation).await);
    let mut responses = client.delta_resources(call).await?.into_inner();
    let mut got = Vec::new();
    let mut complete = std::collections::BTreeSet::new();
    while complete.len() < Kind::ALL.len() {
        let response = responses.message().await?.expect("no end");
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        requests.send(answer).await.unwrap();
        let kind = Kind::of_type_url(&response.type_url).unwrap();
        got.extend(response.resources.iter().map(|r| format!("{kind} {}", r.name)));
        if !response.more {
            complete.insert(kind);
        }
    }
    got.sort();
    Ok(got)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_gateways_own_token_opens_the_stream() {
    let installation = Installation::start_with(Options { gateways: 0, ..Options::default() }).await;
    let (cluster, namespace) = (installation.cluster, installation.plane.namespace());
    let good = cluster.token(namespace, GATEWAY_ACCOUNT, AUDIENCE).await.unwrap();
    assert!(gets(&installation, &good).await.is_ok());
    // Of the API server's own audience, of another audience, cut, changed, not a token.
    let wrong = cluster.token(namespace, GATEWAY_ACCOUNT, "other").await.unwrap();
    let mut changed = good.clone().into_bytes();
    let middle = good.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    // A token whose header and payload are ours, signed by somebody else.
    let payload = good.split('.').nth(1).unwrap();
    let forged = format!("eyJhbGciOiJub25lIn0.{payload}.");
    for bad in [wrong.as_str(), &changed, &forged, &good[..good.len() - 4], "nothing"] {
        let error = gets(&installation, bad).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{error}");
        assert!(!error.message().contains(bad), "{error}");
    }
    // A ServiceAccount of the cluster that is nobody here is told so.
    let stranger = cluster.token(namespace, "stranger", AUDIENCE).await.unwrap();
    let error = gets(&installation, &stranger).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied, "{error}");
    assert!(error.message().contains("is no gateway of this installation"), "{error}");
    // Nor is one that a key names a gateway, unless whoever runs the operator allows that.
    let named = "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: named}\nspec: {serviceAccounts: [{name: stranger}], models: {allow: [\"*\"]}}\n";
    installation.apply(named).await;
    let gateway = until_it_gets(&installation, &good, "VirtualKey", "named").await;
    assert!(gateway.len() > 1, "{gateway:?}");
    let error = gets(&installation, &stranger).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied, "{error}");
    assert!(error.message().contains("--sidecar-gateways"), "{error}");
}

/// What a gateway gets as soon as an object of its installation is among it.
async fn until_it_gets(installation: &Installation, token: &str, kind: &str, name: &str) -> Vec<String> {
    let wanted = format!("{kind} {}/{name}", installation.plane.namespace());
    let mut seen = Vec::new();
    until("it is published", async || {
        seen = gets(installation, token).await.map_err(|e| e.to_string())?;
        if seen.contains(&wanted) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workloads_gateway_gets_its_own_keys_and_nothing_else() {
    let operator = vec!["--sidecar-gateways".to_owned()];
    let installation =
        Installation::start_with(Options { gateways: 0, operator, ..Options::default() }).await;
    let (cluster, namespace) = (installation.cluster, installation.plane.namespace().to_owned());
    let url = installation.provider.url();
    let objects = [
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: team}\nspec: {}\n---\n".to_owned(),
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: mine}\nspec: {parentRef: {name: team}, serviceAccounts: [{name: devbox}], models: {allow: [main/*]}}\n---\n".to_owned(),
        key("other", "parentRef: {name: team}, models: {allow: [secret/*]}"),
        route("main", &url, ""),
        route("secret", &url, ""),
    ];
    installation.apply(&objects.concat()).await;
    let token = cluster.token(&namespace, "devbox", AUDIENCE).await.unwrap();
    let mut seen = Vec::new();
    until("the workload gets its own", async || {
        seen = gets(&installation, &token).await.map_err(|e| e.to_string())?;
        if seen.len() >= 5 { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let own = [
        format!("ProviderRoute {namespace}/main"),
        format!("Secret {namespace}/main"),
        "TokenIssuer cluster".to_owned(),
        format!("VirtualKey {namespace}/mine"),
        format!("VirtualKey {namespace}/team"),
    ];
    assert_eq!(seen, own);
    // The installation's gateways get all of it, and what they seal with.
    let gateway = cluster.token(&namespace, GATEWAY_ACCOUNT, AUDIENCE).await.unwrap();
    let all = gets(&installation, &gateway).await.unwrap();
    assert!(
        all.contains(&format!("Secret {namespace}/secret"))
            && all.contains(&"SealingKeys tollgate".to_owned()),
        "{all:?}"
    );
    // Without the claim the workload is a stranger.
    installation.kubectl(&["delete", "virtualkey", "mine"]).await;
    until("it is a stranger", || async {
        match gets(&installation, &token).await {
            Err(error) if error.code() == Code::PermissionDenied => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_in_clear_and_everybody_is_told_why() {
    let installation = Installation::start_with(Options { gateways: 0, ..Options::default() }).await;
    let token =
        installation.cluster.token(installation.plane.namespace(), GATEWAY_ACCOUNT, AUDIENCE).await.unwrap();
    // The same token, address and call are good with TLS.
    gets(&installation, &token).await.unwrap();
    let url = installation.plane.xds_url().replace("https://", "http://");
    until("it is refused with the reason", || async {
        let channel = Endpoint::from_shared(url.clone()).unwrap().connect().await;
        let channel = channel.map_err(|error| format!("{error:?}"))?;
        let (_requests, receiver) = mpsc::channel::<DeltaDiscoveryRequest>(1);
        let mut call = tonic::Request::new(ReceiverStream::new(receiver));
        call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let answer = AggregatedDiscoveryClient::new(channel).delta_resources(call).await;
        let error = format!("{:?}", answer.expect_err("a plain stream was answered"));
        // A connection that is ended before the call is on it says less.
        if error.contains("this port speaks TLS only: use https://") { Ok(()) } else { Err(error) }
    })
    .await;
    installation.operator_says(&["WARN", "a connection without TLS is refused"]).await;
    let answer = Http::new().get(&url).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (400, "this port speaks TLS only: use https://"));
}

/// A gateway's certificate that somebody else has issued, and that is due by the operator's own measure.
async fn somebody_elses(cluster: &Cluster, namespace: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let life = Duration::from_secs(60);
    let theirs = Authority::tended(None, now, life).unwrap().unwrap();
    let issued = theirs.issue(&["gateway.example.com".to_owned()], now - 50, life).unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": GATEWAY_TLS},
        "stringData": {"tls.crt": issued.certificate, "tls.key": issued.key, "ca.crt": theirs.bundle()},
    });
    let create = ["create", "--namespace", namespace, "-f", "-"];
    cluster.kubectl_as(cluster.kubeconfig(), create, &secret.to_string()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_and_taken_while_streams_go_on_and_somebody_elses_is_never_written() {
    let short =
        Options { gateways: 1, operator: vec!["--certificate-life=60".to_owned()], ..Options::default() };
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.namespace("tollgate").await.unwrap();
    somebody_elses(cluster, &namespace).await;
    let plane = ControlPlane::start_in(cluster, &namespace, short).await.unwrap();
    let provider = Provider::start().await.unwrap();
    let installation = Installation { cluster, plane, provider, http: Http::new() };
    let theirs = ["get", "secret", GATEWAY_TLS, "-o", "jsonpath={.metadata.resourceVersion}{.data}"];
    let as_it_was = installation.kubectl(&theirs).await;
    installation.basics().await;
    let get = ["get", "secret", "tollgate-operator-tls", "-o", "jsonpath={.data.tls\\.crt}"];
    let before = installation.kubectl(&get).await;
    until("another certificate is issued", || async {
        match installation.kubectl(&get).await == before {
            true => Err("the same".to_owned()),
            false => Ok(()),
        }
    })
    .await;
    installation.operator_says(&["a new certificate is in use"]).await;
    assert_eq!(installation.kubectl(&theirs).await, as_it_was, "the operator wrote what is not its own");
    let trusted = ["get", "configmap", "tollgate-ca", "-o", "jsonpath={.data.ca\\.crt}"];
    assert_eq!(installation.kubectl(&trusted).await.matches("BEGIN").count(), 2, "both are trusted");
    // New connections are made by it, and what changes still arrives.
    drop(channel(&installation).await);
    installation
        .kubectl(&["patch", "virtualkey", "k", "--type=merge", "-p", r#"{"spec":{"disabled":true}}"#])
        .await;
    installation.every_gateway("k", "main/claude-sonnet-4-5", 403).await;
}
