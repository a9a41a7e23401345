//! The webhook and the operator's objects against a real API server.

use super::support::Authority;
use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tollgate_crds::api::McpServer;
use tollgate_e2e::{
    client::eventually,
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
};
use tollgate_operator::{
    inject::{self, Injection},
    stdio::{Runtime, apply, objects::objects, plan::Found},
    xds::listen::{self, CertificateFiles},
};

/// The webhook, as the operator serves it, and the configuration that points the API server at it.
struct Webhook {
    stop: CancellationToken,
    _files: TempDir,
}

fn injection(ca: &str) -> Injection {
    Injection {
        image: "tollgate/dataplane:test".into(),
        upstream: "https://tollgate-gateway-headless.tollgate-system.svc:8443".into(),
        server_name: "tollgate.tollgate-system.svc".into(),
        audience: "tollgate".into(),
        ca: ca.into(),
    }
}

async fn webhook(cluster: &Cluster, namespace: &str) -> anyhow::Result<Webhook> {
    let (authority, files) = (Authority::new(), tempfile::tempdir()?);
    let (certificate, key) = authority.write(files.path(), "127.0.0.1");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address: SocketAddr = listener.local_addr()?;
    let stop = CancellationToken::new();
    let connections =
        listen::tls(listener, CertificateFiles { certificate, key }.into(), listen::HTTP, stop.clone())?;
    let (_, receiver) = watch::channel(Arc::new(injection(&authority.pem())));
    tokio::spawn(inject::serve::serve(connections, receiver, stop.clone()));
    configure(cluster, namespace, &format!("https://{address}/inject"), &authority.pem()).await?;
    Ok(Webhook { stop, _files: files })
}

/// Points the API server at a webhook, for the pods of one namespace.
async fn configure(cluster: &Cluster, namespace: &str, url: &str, authority: &str) -> anyhow::Result<()> {
    let bundle = STANDARD.encode(authority);
    cluster
        .apply(&format!(
            "apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {{name: {namespace}}}
webhooks:
- name: inject.tollgate.dev
  clientConfig: {{url: '{url}', caBundle: {bundle}}}
  rules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}}]
  objectSelector: {{matchLabels: {{tollgate.dev/inject: enabled}}}}
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  sideEffects: None
  timeoutSeconds: 5
  admissionReviewVersions: [v1]
"
        ))
        .await?;
    Ok(())
}

/// A pod as the API server shows it to webhooks: in-tree admission has set its ServiceAccount.
fn pod(name: &str, labels: Value, mut spec: Value) -> Value {
    spec["serviceAccountName"] = json!("default");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec})
}

/// A container that fits the restricted standard.
fn container(name: &str) -> Value {
    let context = json!({
        "allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": 1000, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"}
    });
    json!({"name": name, "image": "agent", "securityContext": context})
}

async fn create(api: &Api<Pod>, pod: &Value) -> kube::Result<Value> {
    let pod: Pod = serde_json::from_value(pod.clone()).map_err(kube::Error::SerdeError)?;
    serde_json::to_value(api.create(&PostParams::default(), &pod).await?).map_err(kube::Error::SerdeError)
}

#[tokio::test]
async fn the_api_server_injects_labelled_pods_and_no_others() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("inject").await?;
    cluster
        .kubectl(["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=restricted"])
        .await?;
    let hook = webhook(cluster, &namespace).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client().await?, &namespace);
    let enabled = json!({"tollgate.dev/inject": "enabled"});

    // The configuration takes a moment to be in force.
    let made = eventually("a labelled pod is injected", || async {
        let made =
            create(&api, &pod("agent", enabled.clone(), json!({"containers": [container("agent")]}))).await?;
        if made.pointer("/spec/initContainers/0/name").is_some() {
            return Ok(Some(made));
        }
        api.delete("agent", &DeleteParams::default().grace_period(0)).await?;
        Ok(None)
    })
    .await?;
    assert_eq!(made.pointer("/spec/initContainers/0/restartPolicy"), Some(&json!("Always")), "{made}");
    let token = made.pointer("/spec/volumes/0/projected/sources/0/serviceAccountToken").context("a token")?;
    assert_eq!(token["audience"], "tollgate");
    let env = made.pointer("/spec/containers/0/env").context("variables")?.to_string();
    assert!(env.contains("http://127.0.0.1:8080/anthropic"), "{env}");

    let plain = create(&api, &pod("plain", json!({}), json!({"containers": [container("a")]}))).await?;
    assert!(plain.pointer("/spec/initContainers").is_none(), "{plain}");

    let mut wrong = pod("wrong", enabled.clone(), json!({"containers": [container("a")]}));
    wrong["metadata"]["annotations"] = json!({"tollgate.dev/relay-port": "70000"});
    let refused = create(&api, &wrong).await.expect_err("a wrong annotation").to_string();
    assert!(refused.contains("inject.tollgate.dev") && refused.contains("is no port from 1024"), "{refused}");

    // A pod on the host's network passes as it is; kubectl shows the warning.
    let other = cluster.namespace("hostnet").await?;
    let _hook = webhook(cluster, &other).await?;
    let manifest =
        pod("host", enabled, json!({"hostNetwork": true, "containers": [{"name": "a", "image": "a"}]}));
    let file = hook._files.path().join("pod.json");
    std::fs::write(&file, manifest.to_string())?;
    let said = eventually("a warning is shown", || async {
        let file = file.display().to_string();
        let arguments = ["create", "-n", &other, "-f", &file, "--warnings-as-errors"];
        if let Err(warned) = cluster.kubectl(arguments).await {
            return Ok(Some(warned.to_string()));
        }
        cluster.kubectl(["delete", "-n", &other, "pod", "host", "--now"]).await?;
        Ok(None)
    })
    .await?;
    Api::<Pod>::namespaced(cluster.client().await?, &other).get("host").await?;
    assert!(said.contains("no relay was injected") && said.contains("hostNetwork"), "{said}");
    hook.stop.cancel();
    Ok(())
}

#[tokio::test]
async fn a_stdio_server_becomes_a_deployment_that_the_api_server_takes() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace("stdio").await?);
    cluster
        .kubectl(["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=restricted"])
        .await?;
    cluster
        .apply(&format!(
            "apiVersion: tollgate.dev/v1alpha1
kind: McpServer
metadata: {{name: db, namespace: {namespace}}}
spec:
  stdio: {{image: 'ghcr.io/acme/db:1', command: [db, serve], env: [{{name: A, value: b}}], shared: true}}
"
        ))
        .await?;
    let servers: Api<McpServer> = Api::namespaced(client.clone(), &namespace);
    let runtime =
        Runtime { dataplane_image: "tollgate/dataplane:test".into(), namespace: "tollgate-system".into() };
    let made = objects(&servers.get("db").await?, &runtime);
    let mut written = Vec::new();
    for _ in 0..2 {
        written.clear();
        for object in &made {
            written.push(apply::write(&client, object, false).await?);
        }
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let deployment = deployments.get("mcp-db").await?;
    assert_eq!(deployment.metadata.generation, Some(1), "writing it twice changes nothing");
    let managers = deployment.metadata.managed_fields.context("managed fields")?;
    assert!(managers.iter().all(|m| m.manager.as_deref() == Some("tollgate-operator")), "{managers:?}");
    let service = Api::<Service>::namespaced(client.clone(), &namespace).get("mcp-db").await?;
    assert_eq!(service.spec.and_then(|s| s.ports).context("ports")?[0].port, 8081);
    Api::<NetworkPolicy>::namespaced(client.clone(), &namespace).get("mcp-db").await?;

    // Its pod fits the restricted standard: the API server itself says so.
    let template = made[0].pointer("/spec/template").context("a template")?;
    let mut by_hand = pod("by-hand", json!({}), template["spec"].clone());
    by_hand["metadata"]["labels"] = template["metadata"]["labels"].clone();
    create(&Api::namespaced(client.clone(), &namespace), &by_hand).await?;

    let (mut found, db) = (Found::default(), (namespace.clone(), "db".to_owned()));
    apply::find(&client, Some(&namespace), &mut found).await?;
    let children = found.children.get(&db).context("its objects are found")?;
    assert_eq!(children.get("Deployment"), Some(&apply::print_of(&written[0])), "as they were written");
    assert_eq!(children.keys().collect::<Vec<_>>(), ["Deployment", "NetworkPolicy", "Service"]);
    for kind in children.keys() {
        apply::remove(&client, &db, kind).await?;
        apply::remove(&client, &db, kind).await?;
    }
    assert!(deployments.get_opt("mcp-db").await?.is_none());
    Ok(())
}

/// An operator that runs images of acme.
async fn operator(cluster: &Cluster) -> anyhow::Result<ControlPlane> {
    let operator = ["--dataplane-image=tollgate/dataplane:test", "--allowed-stdio-image=ghcr.io/acme/*"];
    let options =
        Options { gateways: 0, operator: operator.map(str::to_owned).to_vec(), ..Options::default() };
    ControlPlane::start(cluster, options).await
}

/// The manifest of a server over standard input and output.
fn server(namespace: &str, name: &str, image: &str) -> String {
    format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{stdio: {{image: '{image}', command: [serve]}}}}\n---\n"
    )
}

#[tokio::test]
async fn a_running_operator_injects_and_runs_stdio_servers_that_are_allowed() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let plane = operator(cluster).await?;
    let namespace = plane.namespace().to_owned();
    let server = |name: &str, image: &str| server(&namespace, name, image);
    cluster.apply(&format!("{}{}", server("evil", "evil/db:1"), server("db", "ghcr.io/acme/db:1"))).await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client().await?, &namespace);
    eventually("the allowed server runs", || async { Ok(deployments.get_opt("mcp-db").await?) }).await?;
    assert!(deployments.get_opt("mcp-evil").await?.is_none(), "an image that nobody allowed");
    // Somebody removes it: it is there again. Its image is not allowed any more: it is gone.
    deployments.delete("mcp-db", &DeleteParams::background()).await?;
    eventually("it is there again", || async { Ok(deployments.get_opt("mcp-db").await?) }).await?;
    cluster.apply(&server("db", "evil/db:2")).await?;
    eventually("it is gone", || async { Ok(deployments.get_opt("mcp-db").await?.is_none().then_some(())) })
        .await?;

    let authority = plane.authority(cluster).await?;
    let url = eventually("the webhook serves", || {
        let line = plane.operator(0).map(|operator| operator.log().find("the webhook is on https://"));
        async move { Ok(line?.and_then(|line| line.split("the webhook is on ").nth(1).map(str::to_owned))) }
    })
    .await?;
    configure(cluster, &namespace, url.trim(), &authority).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client().await?, &namespace);
    let labels = json!({"tollgate.dev/inject": "enabled"});
    let made = eventually("a labelled pod is injected", || async {
        let made =
            create(&api, &pod("agent", labels.clone(), json!({"containers": [container("agent")]}))).await?;
        if made.pointer("/spec/initContainers/0/env/0/value").is_some() {
            return Ok(Some(made));
        }
        api.delete("agent", &DeleteParams::default().grace_period(0)).await?;
        Ok(None)
    })
    .await?;
    assert_eq!(
        made.pointer("/spec/initContainers/0/env/0/value"),
        Some(&json!(authority)),
        "the authority travels"
    );
    let args = made.pointer("/spec/initContainers/0/args").context("arguments")?.to_string();
    assert!(args.contains(&format!("https://tollgate-gateway-headless.{namespace}.svc:8443")), "{args}");
    Ok(())
}

#[tokio::test]
async fn what_hinders_one_stdio_server_hinders_no_other_and_what_others_made_is_left_to_them()
-> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let plane = operator(cluster).await?;
    let namespace = plane.namespace().to_owned();
    let server = |name: &str, image: &str| server(&namespace, name, image);
    let foreign = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: mcp-a, namespace: {namespace}}}\n\
         spec: {{selector: {{app: mine}}, ports: [{{port: 80}}]}}\n---\n"
    );
    // One that says nothing of what ours would: its endpoints are its owner's.
    let silent = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: mcp-c, namespace: {namespace}}}\n\
         spec: {{ports: [{{name: mcp, port: 80}}]}}\n---\n"
    );
    cluster.apply(&(foreign + &silent)).await?;
    let three = ["a", "b", "c"].map(|name| server(name, &format!("ghcr.io/acme/{name}:1")));
    cluster.apply(&three.concat()).await?;
    let client = cluster.client().await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), &namespace);
    let servers: Api<McpServer> = Api::namespaced(client.clone(), &namespace);
    eventually("the server after it runs", || async { Ok(deployments.get_opt("mcp-b").await?) }).await?;
    for name in ["a", "c"] {
        eventually("the status names what is in the way", || async {
            let message =
                servers.get(name).await?.status.and_then(|status| status.message).unwrap_or_default();
            Ok(message.contains(&format!("Service mcp-{name} is there already")).then_some(()))
        })
        .await?;
        assert!(deployments.get_opt(&format!("mcp-{name}")).await?.is_none());
    }
    let silent = services.get("mcp-c").await?;
    assert!(silent.spec.as_ref().is_some_and(|spec| spec.selector.is_none()), "{silent:?}");
    assert!(silent.metadata.owner_references.is_none() && silent.metadata.labels.is_none(), "{silent:?}");
    // Ours without the label that it is found by is ours all the same.
    cluster.kubectl(["label", "service", "-n", &namespace, "mcp-b", "tollgate.dev/mcp-server-"]).await?;
    eventually("it has its label again", || async {
        let labels = services.get("mcp-b").await?.metadata.labels.unwrap_or_default();
        Ok(labels.contains_key("tollgate.dev/mcp-server").then_some(()))
    })
    .await?;

    // Somebody turns a Service of ours into a way to elsewhere: it leads to the server again.
    let elsewhere = r#"{"spec": {"type": "ExternalName", "externalName": "evil.example", "clusterIP": "", "clusterIPs": null}}"#;
    cluster.kubectl(["patch", "service", "-n", &namespace, "mcp-b", "--type=merge", "-p", elsewhere]).await?;
    let repaired = eventually("it is repaired", || async {
        let spec = services.get("mcp-b").await?.spec.unwrap_or_default();
        // The API server keeps the foreign name; in a Service of this type it means nothing.
        Ok((spec.type_.as_deref() == Some("ClusterIP") && spec.cluster_ip.is_some()).then_some(()))
    });
    repaired.await.with_context(|| plane.operator(0).map(|o| o.log().text()).unwrap_or_default())?;

    // An image is withdrawn while the first is still in trouble.
    cluster.apply(&server("b", "evil/b:1")).await?;
    eventually("it is gone", || async { Ok(deployments.get_opt("mcp-b").await?.is_none().then_some(())) })
        .await?;
    servers.delete("a", &DeleteParams::default()).await?;
    eventually("what was made for the first goes with it", || async {
        Ok(policies.get_opt("mcp-a").await?.is_none().then_some(()))
    })
    .await?;
    let theirs = services.get("mcp-a").await?.spec.unwrap_or_default();
    assert_eq!(theirs.selector, Some([("app".to_owned(), "mine".to_owned())].into()), "theirs is as it was");
    Ok(())
}
