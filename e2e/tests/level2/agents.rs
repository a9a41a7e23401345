//! Agents: Claude Code on a laptop through the Service, and in pods that have no key at all.

use crate::installed::{Installed, TEAM, until};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_e2e::{
    clients::Claude,
    cluster::node::{SLOW, within},
    provider::{Api, Reply, Rule, Seen},
};

/// The tool that Claude Code calls.
const TOOL: &str = "mcp__tollgate__staging-db__query";

/// Claude Code with the address of the Service and a virtual key; its tools come from the server that the operator runs.
pub async fn claude_code_through_the_service(installed: &Installed<'_>) -> anyhow::Result<()> {
    let claude = Claude::new(&installed.url, &installed.token)?;
    installed.provider.script(Rule::once(Reply::text("Hello from the provider.")));
    let said = claude.ask("say hello").await?;
    ensure!(said.ok()? == "Hello from the provider.", "{}", said.json);
    let request = last_request(installed, "say hello")?;
    ensure!(
        request.header("anthropic-beta").is_some_and(|beta| beta.contains("claude-code-")),
        "{request:?}"
    );

    let claude = Claude::new(&installed.url, &installed.token)?.allow(TOOL);
    let header = format!("Authorization: Bearer {}", installed.token);
    claude.mcp_add("tollgate", &format!("{}/mcp", installed.url), &header).await?;
    let query = json!({"sql": "select * from customers"});
    installed.provider.script(Rule::once(Reply::tool(TOOL, query)));
    let said = claude.ask("who are the customers?").await?;
    ensure!(said.ok()?.contains("Ada Lovelace"), "{}", said.json);

    // The call is linked to the answer that suggested it.
    until("the tool call is recorded", async || {
        let records = installed.records("tollgate-system/engineering").await?;
        let calls =
            records.iter().filter(|record| record["kind"] == "tool" && record["tool_use_id"].is_string());
        Ok(if calls.count() == 1 { Ok(()) } else { Err(format!("{records:#?}")) })
    })
    .await?;
    installed.provider.assert_clean()
}

/// A pod that is labelled, asks localhost with a dummy key and is the key of its ServiceAccount.
pub async fn a_labelled_pod_asks_localhost(installed: &Installed<'_>) -> anyhow::Result<()> {
    let before = installed.records("team-a/devbox").await?.len();
    let pod = pod("devbox", "Pod", "[/bin/busybox, sleep, '3600']");
    installed.cluster().apply(&pod).await?;
    installed.kubectl(&format!("wait pod/devbox -n {TEAM} --for=condition=Ready --timeout=120s")).await?;
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "from a pod"}]});
    let body = body.to_string();
    let exec = ["exec", "devbox", "-n", TEAM, "-c", "agent", "--", "/bin/busybox", "wget", "-qO-"];
    let headers = ["--header", "x-api-key: dummy", "--header", "content-type: application/json"];
    let rest = ["--post-data", &body, "http://localhost:8080/anthropic/v1/messages"];
    let answer = installed.cluster().kubectl(exec.into_iter().chain(headers).chain(rest)).await?;
    let answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
    ensure!(answer["type"] == "message", "{answer}");

    let records = recorded(installed, before + 1).await?;
    let last = records.last().context("no record")?;
    ensure!(last["tree"] == json!(["team-a/devbox", "tollgate-system/engineering"]), "{last}");
    ensure!(last["cost"].as_u64() > Some(0), "it is accounted: {last}");

    // Whose ServiceAccount no key names gets nothing, with the reason.
    installed
        .cluster()
        .apply(
            &self::pod("stranger", "Pod", "[/bin/busybox, sleep, '3600']")
                .replace("serviceAccountName: devbox", "serviceAccountName: default"),
        )
        .await?;
    installed.kubectl(&format!("wait pod/stranger -n {TEAM} --for=condition=Ready --timeout=120s")).await?;
    let exec = ["exec", "stranger", "-n", TEAM, "-c", "agent", "--", "/bin/busybox", "wget", "-SO-"];
    let refused = installed.cluster().kubectl(exec.into_iter().chain(headers).chain(rest)).await;
    let refused = format!("{:#}", refused.err().context("a stranger was answered")?);
    ensure!(refused.contains("401"), "{refused}");
    installed.kubectl(&format!("delete pod/devbox pod/stranger -n {TEAM} --timeout=90s")).await?;
    Ok(())
}

/// Claude Code in a Job, with nothing configured but a label: what it needs is in its environment, and the Job completes although the
/// relay would run for ever.
pub async fn claude_code_in_a_job_without_a_key(installed: &Installed<'_>) -> anyhow::Result<()> {
    let before = installed.records("team-a/devbox").await?.len();
    installed.provider.script(Rule::once(Reply::text("Hello from a Job.")));
    let command = "[claude, -p, 'say hello from a job', --output-format, json]";
    installed.cluster().apply(&pod("claude", "Job", command)).await?;
    let done = format!("wait job/claude -n {TEAM} --for=condition=complete --timeout=180s");
    let done = installed.kubectl(&done).await;
    let said = installed.kubectl(&format!("logs job/claude -n {TEAM} -c agent")).await?;
    done.with_context(|| said.clone())?;
    let said: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    ensure!(said["result"] == "Hello from a Job." && said["is_error"] == false, "{said}");
    let request = last_request(installed, "say hello from a job")?;
    ensure!(request.header("x-claude-code-session-id").is_some(), "{request:?}");

    let get = format!("get pods -n {TEAM} -l job-name=claude -o json");
    let pods: Value = serde_json::from_str(&installed.kubectl(&get).await?)?;
    let pod = pods.pointer("/items/0").context("no pod")?;
    ensure!(pod["status"]["phase"] == "Succeeded", "{pod}");
    ensure!(pod.pointer("/spec/initContainers/0/restartPolicy") == Some(&json!("Always")), "{pod}");
    let relay = pod.pointer("/status/initContainerStatuses/0").context("no relay")?;
    ensure!(
        relay.pointer("/state/terminated/exitCode") == Some(&json!(0)),
        "the relay ends in peace: {relay}"
    );
    let records = recorded(installed, before + 1).await?;
    ensure!(records.iter().all(|record| record["tree"][0] == "team-a/devbox"), "{records:#?}");
    installed.kubectl(&format!("delete job/claude -n {TEAM} --timeout=90s")).await?;
    installed.provider.assert_clean()
}

/// The records of the pods' key, once there are so many: content follows the billing record.
async fn recorded(installed: &Installed<'_>, count: usize) -> anyhow::Result<Vec<Value>> {
    within(SLOW, "the requests are recorded", || async {
        let records = installed.records("team-a/devbox").await?;
        Ok((records.len() >= count).then_some(records))
    })
    .await
}

/// The last request that holds these words.
fn last_request(installed: &Installed<'_>, words: &str) -> anyhow::Result<Arc<Seen>> {
    let mut all = installed.provider.requests_to(Api::Messages);
    all.retain(|request| String::from_utf8_lossy(&request.body).contains(words));
    all.pop().with_context(|| format!("no request with {words:?} reached the provider"))
}

/// An agent's pod, or a Job of one.
fn pod(name: &str, kind: &str, command: &str) -> String {
    let spec = format!(
        "serviceAccountName: devbox
automountServiceAccountToken: false
restartPolicy: Never
terminationGracePeriodSeconds: 5
securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
containers:
- name: agent
  image: localhost/agent:level2
  imagePullPolicy: Never
  command: {command}
  env:
  - {{name: HOME, value: /tmp}}
  - {{name: CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC, value: '1'}}
  - {{name: DISABLE_TELEMETRY, value: '1'}}
  - {{name: DISABLE_AUTOUPDATER, value: '1'}}
  securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
  volumeMounts: [{{name: tmp, mountPath: /tmp}}]
volumes: [{{name: tmp, emptyDir: {{}}}}]
"
    );
    let indented =
        |by: usize| spec.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect::<String>();
    let metadata =
        format!("metadata: {{name: {name}, namespace: {TEAM}, labels: {{tollgate.dev/inject: enabled}}}}");
    match kind {
        "Job" => format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, namespace: {TEAM}}}\nspec:\n  backoffLimit: 0\n  template:\n    \
             metadata: {{labels: {{tollgate.dev/inject: enabled}}}}\n    spec:\n{}",
            indented(6)
        ),
        _ => format!("apiVersion: v1\nkind: Pod\n{metadata}\nspec:\n{}", indented(2)),
    }
}
