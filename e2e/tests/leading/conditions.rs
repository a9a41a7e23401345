use super::support::{Installation, key, until};
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;
use tollgate_e2e::{
    cluster::Cluster,
    control_plane::{AUDIENCE, GATEWAY_ACCOUNT},
};
use tollgate_proto::{
    Kind,
    discovery::v1::{
        DeltaDiscoveryRequest, Node, NodeHealth, NodeReport, Rejection,
        aggregated_discovery_client::AggregatedDiscoveryClient, reports_client::ReportsClient,
    },
};
use tonic::{
    Request,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_tells_what_is_in_force_and_what_is_wrong() {
    let cluster = Cluster::shared().await.unwrap();
    let here = Installation::start(cluster, 1, 2).await;
    let good =
        key("good", "models: {allow: ['main/*']}, budgets: [{name: month, usd: '200', period: Month}]");
    here.apply(
        &(here.route()
            + &good
            + &key("orphan", "parentRef: {name: nobody}")
            + &key("idle", "disabled: true")
            + "apiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {name: db}\n\
               spec: {streamableHttp: {url: 'https://db.example.com/mcp'}}\n"),
    )
    .await;
    for object in ["vk/good", "proutes/main"] {
        for kind in ["Accepted", "ResolvedRefs", "Programmed", "Ready"] {
            let reason = if kind == "ResolvedRefs" { "Resolved" } else { kind };
            here.wait_for(object, kind, &format!("True/{reason}")).await;
        }
        let object = here.get(object).await;
        assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
    }
    let said = here.wait_for("vk/orphan", "Ready", "False/ParentNotFound").await;
    assert!(said.contains("nobody"), "{said}");
    here.wait_for("vk/idle", "Ready", "False/Disabled").await;
    here.wait_for("mcps/db", "Accepted", "True/Accepted").await;

    // Each change is about the generation it made, and `kubectl wait` can be relied upon.
    here.kubectl(&["patch", "vk/good", "--type=merge", "-p", r#"{"spec":{"limits":{"concurrent":3}}}"#])
        .await;
    here.kubectl(&["wait", "vk/good", "--for=condition=Ready", "--timeout=100s"]).await;
    here.wait_for("vk/good", "Programmed", "True/Programmed").await;

    let table = here.kubectl(&["get", "vk,proutes"]).await;
    for words in ["SPENT", "LIMIT", "USED%", "RESETS", "PARENT", "READY", "BACKENDS", "AGE"] {
        assert!(table.contains(words), "no {words}:\n{table}");
    }
    let row = table.lines().find(|line| line.starts_with("virtualkey.tollgate.dev/good")).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert!(cells.windows(4).any(|c| c == ["0.00", "200", "USD", "0"]), "{row}");
    let events = until("the orphan is told of", || async {
        let events = here.kubectl(&["get", "events.events.k8s.io", "-o", "wide"]).await;
        if events.contains("ParentNotFound") { Ok(events) } else { Err(events) }
    });
    assert!(events.await.contains("virtualkey/orphan"));
    one_field_manager(&here).await;
}

/// Every status is written by server-side apply, under one name: nobody else's fields are touched, and none of ours is left behind.
async fn one_field_manager(here: &Installation<'_>) {
    let all = here.kubectl(&["get", "tollgate", "-o", "json", "--show-managed-fields"]).await;
    let all: Value = serde_json::from_str(&all).unwrap();
    let objects = all["items"].as_array().unwrap();
    assert!(objects.len() >= 5, "{objects:#?}");
    for object in objects {
        let fields = object["metadata"]["managedFields"].as_array().unwrap();
        let statuses: Vec<_> = fields.iter().filter(|f| !f["fieldsV1"]["f:status"].is_null()).collect();
        let [status] = statuses.as_slice() else { panic!("{} managers: {fields:#?}", statuses.len()) };
        for (field, value) in
            [("manager", "tollgate-operator"), ("operation", "Apply"), ("subresource", "status")]
        {
            assert_eq!(status[field], value, "{status:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_spent_is_told_with_the_limit_and_the_time_of_the_reset() {
    let cluster = Cluster::shared().await.unwrap();
    let here = Installation::start(cluster, 1, 1).await;
    let token = "spender-0123456789abcdef0123456789abcdef";
    let secret =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: k}}\nstringData: {{token: {token}}}\n---\n");
    let spec = "models: {allow: ['main/*']}, token: {secretRef: {name: k, key: token}}, \
                budgets: [{name: year, usd: '10', period: Year}, {name: month, tokens: 1000000, period: Month}]";
    here.apply(&(here.route() + &secret + &key("k", spec))).await;
    here.wait_for("vk/k", "Ready", "True/Ready").await;
    here.answers(0, token, 200).await;
    let status = until("the spend is told", || async {
        let status = here.get("vk/k").await["status"].clone();
        let told = status["budgets"].as_array().is_some_and(|budgets| {
            budgets.len() == 2
                && budgets
                    .iter()
                    .all(|b| b["resetsAt"].is_string() && b["spent"] != "0" && b["spent"] != "0.00")
        });
        if told { Ok(status) } else { Err(status.to_string()) }
    })
    .await;
    assert_eq!(
        (&status["budgets"][0]["limit"], &status["budgets"][0]["unit"]),
        (&"10".into(), &"USD".into())
    );
    assert_eq!(
        (&status["budgets"][1]["limit"], &status["budgets"][1]["unit"]),
        (&"1000000".into(), &"Tokens".into())
    );
    assert!(status["tightest"]["resetsAt"].is_string());
}

/// A gateway that rejects what it gets of one key; and others that do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_rejects_a_key_is_named_with_its_reason_whichever_operator_it_reports_to() {
    let cluster = Cluster::shared().await.unwrap();
    let here = Installation::start(cluster, 2, 3).await;
    here.apply(&(key("a", "limits: {concurrent: 1}") + &key("b", "limits: {concurrent: 2}"))).await;
    for object in ["vk/a", "vk/b"] {
        here.wait_for(object, "Programmed", "True/Programmed").await;
    }
    // One stubborn gateway at each operator: one of them does not lead and passes it on.
    for n in 0..2 {
        let pod = format!("stubborn-{n}");
        here.plane.pod(cluster, &pod, GATEWAY_ACCOUNT).await.unwrap();
        let token = cluster.token_for_pod(here.plane.namespace(), &pod, AUDIENCE).await.unwrap();
        let authority = here.plane.authority(cluster).await.unwrap();
        let url = here.plane.operator(n).unwrap().url().to_owned();
        tokio::spawn(stubborn(url, authority, token, format!("{}/a", here.plane.namespace())));
    }
    let said = here.wait_for("vk/a", "Programmed", "False/Rejected").await;
    let said = match said.starts_with("2 of 5") {
        true => said,
        false => {
            until("both are named", || async {
                let (_, message) = here.condition("vk/a", "Programmed").await?;
                if message.starts_with("2 of 5 gateways") { Ok(message) } else { Err(message) }
            })
            .await
        }
    };
    assert!(said.contains("stubborn-0, stubborn-1: I do not like it"), "{said}");
    assert!(!said.contains("gateway-0"), "it is believed who it says it is: {said}");
    here.wait_for("vk/a", "Ready", "False/Rejected").await;
    here.wait_for("vk/b", "Programmed", "True/Programmed").await;
}

/// A gateway that says of everything that it is in force, and of `refused` that it is rejected. It also says that it is another one:
/// who it is, its token says.
async fn stubborn(url: String, authority: String, token: String, refused: String) {
    let tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority)).domain_name("127.0.0.1");
    let channel: Channel =
        Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap().connect().await.unwrap();
    let authorised =
        |receiver: tokio::sync::mpsc::Receiver<_>| (ReceiverStream::new(receiver), format!("Bearer {token}"));
    let (subscribe, subscriptions) = tokio::sync::mpsc::channel(16);
    let (stream, bearer) = authorised(subscriptions);
    let mut request = Request::new(stream);
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    let type_url = Kind::VirtualKey.type_url();
    let node = Some(Node { id: "gateway-0".to_owned(), ..Default::default() });
    let first =
        DeltaDiscoveryRequest { type_url: type_url.clone(), node: node.clone(), ..Default::default() };
    subscribe.send(first).await.unwrap();
    let mut client = AggregatedDiscoveryClient::new(channel.clone());
    let mut responses = client.delta_resources(request).await.unwrap().into_inner();
    let (report, reports) = tokio::sync::mpsc::channel(16);
    let mut request = Request::new(ReceiverStream::new(reports));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let mut client = ReportsClient::new(channel);
    tokio::spawn(async move { client.report(request).await });
    while let Ok(Some(response)) = responses.message().await {
        let ack = DeltaDiscoveryRequest {
            type_url: type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        subscribe.send(ack).await.unwrap();
        let (bad, good): (Vec<_>, Vec<_>) = response.resources.into_iter().partition(|r| r.name == refused);
        let in_force = good.into_iter().map(|r| tollgate_proto::discovery::v1::InForce {
            type_url: type_url.clone(),
            name: r.name,
            version: r.version,
        });
        let rejected = bad.into_iter().map(|r| Rejection {
            type_url: type_url.clone(),
            name: r.name,
            version: r.version,
            error: "I do not like it".to_owned(),
            kept: String::new(),
        });
        let told = NodeReport {
            node: node.clone(),
            in_force: in_force.collect(),
            rejected: rejected.collect(),
            health: Some(NodeHealth { ready: true, ..Default::default() }),
            ..Default::default()
        };
        report.send(told).await.unwrap();
    }
}
