//! An installation on real pods, and how the scenarios ask it.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tollgate_e2e::{
    client::{Answer, Http},
    clients::hermetic,
    cluster::{
        Cluster,
        node::{HOST, Node, SLOW, within},
    },
    gateway::beside,
    provider::{Options, Provider},
};

/// The namespace of the release.
pub const NAMESPACE: &str = "tollgate-system";
/// The namespace of its users.
pub const TEAM: &str = "team-a";
/// A platform namespace: what is in it may be for all teams.
pub const TOOLS: &str = "tools";

/// Both charts are installed, and what `policy.yaml` says is in force.
pub struct Installed<'n> {
    pub node: &'n Node,
    /// On this machine, outside of the cluster.
    pub provider: Provider,
    /// The gateways' Service: `http://ADDRESS:8080`.
    pub url: String,
    /// The token of key `engineering`.
    pub token: String,
    http: Http,
}

// === impl Installed ===

impl<'n> Installed<'n> {
    /// Applies the policy and waits for the first answer.
    pub async fn begin(node: &'n Node) -> anyhow::Result<Self> {
        let listen = format!("{HOST}:0").parse()?;
        let provider = Provider::with(Options { listen, ..Options::default() }).await?;
        let cluster = node.cluster();
        cluster.apply(&include_str!("policy.yaml").replace("PROVIDER", &provider.url())).await?;
        let get = format!("get service tollgate -n {NAMESPACE} -o jsonpath={{.spec.clusterIP}}");
        let url = format!("http://{}:8080", words(cluster, &get).await?);
        let token = within(SLOW, "the key's token is made", || async {
            let template = "go-template={{.data.token|base64decode}}";
            let get = format!("get secret vk-engineering -n {NAMESPACE} -o {template}");
            Ok(words(cluster, &get).await.ok().filter(|token| token.len() >= 32))
        })
        .await?;
        let installed = Installed { node, provider, url, token, http: Http::new() };
        within(SLOW, "the first answer", || async {
            Ok(installed.ask().await.is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .await?;
        Ok(installed)
    }

    pub fn cluster(&self) -> &'n Cluster {
        self.node.cluster()
    }

    /// kubectl with all rights; each word is an argument.
    pub async fn kubectl(&self, line: &str) -> anyhow::Result<String> {
        words(self.cluster(), line).await
    }

    /// A small request through the Service.
    pub async fn ask(&self) -> anyhow::Result<Answer> {
        let url = format!("{}/anthropic/v1/messages", self.url);
        self.http.post(&url, &[("x-api-key", &self.token)], &message()).await
    }

    /// `kubectl tollgate …`: whether it ended with 0, and all that it said.
    pub async fn plugin(&self, line: &str) -> anyhow::Result<(bool, String)> {
        let mut command = hermetic(beside("kubectl-tollgate")?, self.cluster().folder());
        command.env("KUBECONFIG", self.cluster().kubeconfig()).args(line.split_whitespace());
        let ended = tollgate_e2e::clients::run(command).await?;
        Ok((ended.code == Some(0), ended.stdout + &ended.stderr))
    }

    /// `kubectl tollgate check` says that nothing failed and nothing is to be looked at.
    pub async fn until_green(&self) -> anyhow::Result<String> {
        until("kubectl tollgate check is green", async || {
            let (passed, said) = self.plugin("check").await?;
            Ok(if passed && said.contains(" 0 to look at, 0 failed") { Ok(said) } else { Err(said) })
        })
        .await
    }

    /// What the budgets of a key say that they have spent, in dollars.
    pub async fn spent(&self, namespace: &str, key: &str) -> anyhow::Result<f64> {
        let get = format!("get vk {key} -n {namespace} -o jsonpath={{.status.budgets[0].spent}}");
        let text = self.kubectl(&get).await?;
        Ok(text.trim_start_matches('$').parse().unwrap_or(0.0))
    }

    /// The records of a key, as `kubectl tollgate logs` shows them with the team's token: a JSON object each.
    pub async fn records(&self, key: &str) -> anyhow::Result<Vec<Value>> {
        let (fine, said) = self
            .plugin(&format!("logs --as {NAMESPACE}/engineering --key {key} --output json --tail 200"))
            .await?;
        ensure!(fine, "kubectl tollgate logs: {said}");
        said.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

/// Asks again until there is what is wanted; what there was instead is told when it never comes.
pub async fn until<T>(
    what: &str,
    mut check: impl AsyncFnMut() -> anyhow::Result<Result<T, String>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + SLOW;
    loop {
        match check().await? {
            Ok(found) => return Ok(found),
            Err(last) => {
                ensure!(Instant::now() < deadline, "waited {SLOW:?} in vain: {what}; at last: {last}")
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// kubectl with all rights; each word of `line` is an argument.
pub async fn words(cluster: &Cluster, line: &str) -> anyhow::Result<String> {
    cluster.kubectl(line.split_whitespace().collect::<Vec<_>>()).await
}

/// What a small request asks.
pub fn message() -> Value {
    json!({"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]})
}

/// What pods say, for a test that failed.
pub async fn state(cluster: &Cluster) -> String {
    let mut said = String::new();
    for line in [
        "get pods,events -A -o wide".to_owned(),
        "get vk,proutes,mcps -A".to_owned(),
        format!(
            "logs -n {NAMESPACE} -l app.kubernetes.io/part-of=tollgate --prefix --tail=60 --all-containers"
        ),
        format!("logs -n {TOOLS} -l tollgate.dev/mcp-server --prefix --tail=40 --all-containers"),
    ] {
        said += &words(cluster, &line).await.unwrap_or_else(|error| format!("{error:#}"));
    }
    said
}
