//! The cluster itself: what the other scenarios stand on.

use std::path::Path;
use tollgate_e2e::{
    client::Http,
    cluster::node::{Node, SLOW, within},
};

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: localhost/busybox:1
        imagePullPolicy: Never
        command: [/bin/busybox, sh, -c, "/bin/busybox hostname > /tmp/index.html; exec /bin/busybox httpd -f -p 8080 -h /tmp"]
        readinessProbe: {httpGet: {path: /index.html, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"#;

pub async fn a_deployment_answers_through_its_service_and_its_name(node: &Node) -> anyhow::Result<()> {
    let cluster = node.cluster();
    node.load_files("localhost/busybox:1", &[(Path::new("/bin/busybox"), "bin/busybox")], "/bin/busybox")
        .await?;
    cluster.apply(WEB).await?;
    let rollout = ["rollout", "status", "deployment/web", "--timeout=120s"];
    cluster.kubectl(rollout).await?;

    let address = cluster.kubectl(["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]).await?;
    let http = Http::new();
    within(SLOW, "the Service answers from here", || async {
        let answer = http.get(&format!("http://{address}/")).await;
        Ok(answer.is_ok_and(|answer| answer.text().starts_with("web-")).then_some(()))
    })
    .await?;

    // A pod resolves the name, reaches the Service, and its output can be read.
    let get = "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/busybox wget -qO- http://web.default.svc.cluster.local/ && exit; \
               /bin/busybox sleep 1; done; exit 1";
    let run = ["run", "asks", "--image=localhost/busybox:1", "--image-pull-policy=Never", "--restart=Never"];
    let command = ["--command", "--", "/bin/busybox", "sh", "-c", get];
    cluster.kubectl(run.into_iter().chain(command)).await?;
    let done = ["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/asks", "--timeout=60s"];
    let done = cluster.kubectl(done).await;
    let said = cluster.kubectl(["logs", "asks"]).await?;
    done.map_err(|error| error.context(said.clone()))?;
    assert!(said.starts_with("web-"), "{said}");

    cluster.kubectl(["delete", "deployment/web", "service/web", "pod/asks", "--timeout=60s"]).await?;
    Ok(())
}
