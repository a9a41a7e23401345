//! A stdio MCP server by manifest: run as a pod, used through the Service, killed, broken, deleted.

use crate::installed::{Installed, TOOLS, until};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tollgate_e2e::{
    client::Mcp,
    cluster::node::{SLOW, within},
};

const QUERY: &str = "staging-db__query";
/// Its program, in its container.
const KILL: &str = "-c server -- /bin/busybox killall -9 fake-mcp";

/// Tools are listed and called, its process and its pod are killed, and it works again.
pub async fn is_run_and_started_again(installed: &Installed<'_>) -> anyhow::Result<()> {
    let mcp = within(SLOW, "its tools are listed", || async {
        let mcp = Mcp::open(format!("{}/mcp", installed.url), &installed.token).await?;
        Ok(mcp.tools().await?.iter().any(|tool| tool == QUERY).then_some(mcp))
    })
    .await?;
    works(&mcp).await?;
    until_health(installed, "staging-db", "Healthy").await?;
    let pod = pod(installed).await?;
    ensure!(pod.pointer("/spec/automountServiceAccountToken") == Some(&json!(false)), "{pod}");

    // The program dies; the bridge starts it again, in the same pod.
    installed.kubectl(&format!("exec deploy/mcp-staging-db -n {TOOLS} {KILL}")).await?;
    works_again(&mcp).await?;
    let after = self::pod(installed).await?;
    let name = |pod: &Value| pod["metadata"]["name"].clone();
    let restarts = after.pointer("/status/containerStatuses/0/restartCount").cloned();
    ensure!(name(&pod) == name(&after) && restarts == Some(json!(0)), "the pod stayed: {after}");

    // The pod dies; the Deployment makes another, and a session goes on.
    let gone = name(&pod).as_str().context("a name")?.to_owned();
    installed.kubectl(&format!("delete pod/{gone} -n {TOOLS} --timeout=90s")).await?;
    works_again(&mcp).await?;
    ensure!(name(&self::pod(installed).await?) != gone, "it is another pod");
    until_health(installed, "staging-db", "Healthy").await
}

/// A server that does not start says so and harms no other; deleting it takes its objects along.
pub async fn that_does_not_start_says_so(installed: &Installed<'_>) -> anyhow::Result<()> {
    let broken = format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: broken, namespace: {TOOLS}}}\n\
         spec: {{stdio: {{image: 'localhost/mcp:level2', command: [/no-such-program]}}}}\n"
    );
    installed.cluster().apply(&broken).await?;
    let get = format!("get mcps broken -n {TOOLS} -o jsonpath={{.status.health}}:{{.status.message}}");
    until("the status says why", async || {
        let said = installed.kubectl(&get).await?;
        let why = ["Unreachable:its pod is not ready", "kubectl describe pods"];
        Ok(if why.iter().all(|words| said.contains(words)) { Ok(()) } else { Err(said) })
    })
    .await?;
    let (_, failing) = installed.plugin(&format!("get servers -n {TOOLS} --failing")).await?;
    ensure!(failing.contains("broken") && !failing.contains("staging-db"), "{failing}");
    let mcp = Mcp::open(format!("{}/mcp", installed.url), &installed.token).await?;
    works(&mcp).await?;

    installed.kubectl(&format!("delete mcps broken -n {TOOLS}")).await?;
    within(SLOW, "its objects go with it", || async {
        let kinds = "deployments,services,networkpolicies,pods";
        let left = format!("get {kinds} -n {TOOLS} -l tollgate.dev/mcp-server=broken -o name");
        Ok(installed.kubectl(&left).await?.is_empty().then_some(()))
    })
    .await
}

async fn works(mcp: &Mcp) -> anyhow::Result<()> {
    let answer = mcp.call(QUERY, json!({"sql": "select * from customers"})).await?;
    ensure!(answer.to_string().contains("Ada Lovelace"), "{answer}");
    Ok(())
}

async fn works_again(mcp: &Mcp) -> anyhow::Result<()> {
    until("it works again", async || Ok(works(mcp).await.map_err(|error| format!("{error:#}")))).await
}

/// Waits for the column HEALTH of `kubectl get mcps`.
async fn until_health(installed: &Installed<'_>, server: &str, health: &str) -> anyhow::Result<()> {
    until(&format!("kubectl get mcps says {health}"), async || {
        let said = installed.kubectl(&format!("get mcps {server} -n {TOOLS} --no-headers")).await?;
        Ok(if said.split_whitespace().nth(1) == Some(health) { Ok(()) } else { Err(said) })
    })
    .await
}

/// The pod that serves.
async fn pod(installed: &Installed<'_>) -> anyhow::Result<Value> {
    let get = format!("get pods -n {TOOLS} -l tollgate.dev/mcp-server=staging-db -o json");
    let pods: Value = serde_json::from_str(&installed.kubectl(&get).await?)?;
    let living = |pod: &&Value| pod.pointer("/metadata/deletionTimestamp").is_none();
    let pod = pods["items"].as_array().into_iter().flatten().find(living);
    pod.cloned().with_context(|| format!("no pod: {pods}"))
}
