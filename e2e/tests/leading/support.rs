//! An installation, and what kubectl says of its objects.

use serde_json::{Value, json};
use std::{
    future::Future,
    time::{Duration, Instant},
};
use tollgate_e2e::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    provider::{DEFAULT_KEY, Provider},
};

/// How long anything may take before a test fails: the machine may be busy.
pub(crate) const BOUND: Duration = Duration::from_secs(120);
/// What an operator logs for each status that it writes.
pub(crate) const WRITES: &str = "a status is written";
/// What an operator logs when it begins to lead.
pub(crate) const LEADS: &str = "this replica leads";

/// An installation, and what its users use.
pub(crate) struct Installation<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) plane: ControlPlane,
    pub(crate) provider: Provider,
}

/// Waits until a check passes; what it says meanwhile is shown when it does not.
pub(crate) async fn until<T, F, Fut>(what: &str, mut check: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    loop {
        match check().await {
            Ok(found) => return found,
            Err(now) => assert!(started.elapsed() < BOUND, "not within {BOUND:?}: {what}; now: {now}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A VirtualKey's manifest.
pub(crate) fn key(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"
    )
}

/// A request for a model.
pub(crate) fn ask(model: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]})
}

// === impl Installation ===

impl<'c> Installation<'c> {
    /// So many operators and gateways.
    pub(crate) async fn start(cluster: &'c Cluster, operators: usize, gateways: usize) -> Self {
        let provider = Provider::start().await.unwrap();
        let options = Options { operators, gateways, ..Options::default() };
        let plane = ControlPlane::start(cluster, options).await.unwrap();
        Installation { cluster, plane, provider }
    }

    /// A route `main` to the fake provider.
    pub(crate) fn route(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: main}}\nstringData: {{apiKey: {DEFAULT_KEY}}}\n---\n\
             apiVersion: tollgate.dev/v1alpha1\nkind: ProviderRoute\nmetadata: {{name: main}}\n\
             spec: {{backends: [{{name: main, anthropic: {{}}, endpoint: {:?}, \
             credentials: {{secretRef: {{name: main, key: apiKey}}}}}}]}}\n---\n",
            self.provider.url()
        )
    }

    /// `kubectl apply` in the installation's namespace.
    pub(crate) async fn apply(&self, yaml: &str) {
        let apply = ["apply", "--namespace", self.plane.namespace(), "-f", "-"];
        self.cluster.kubectl_as(self.cluster.kubeconfig(), apply, yaml).await.unwrap();
    }

    /// kubectl in the installation's namespace.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).await.unwrap()
    }

    pub(crate) async fn try_kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let all = ["--namespace", self.plane.namespace()].into_iter().chain(arguments.iter().copied());
        self.cluster.kubectl(all).await
    }

    /// An object as the API server has it.
    pub(crate) async fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", object, "-o", "json"]).await).unwrap()
    }

    /// `status/reason` of a condition that is about the object's newest generation; what there is else is the error.
    pub(crate) async fn condition(&self, object: &str, kind: &str) -> Result<(String, String), String> {
        let object = self.get(object).await;
        let generation = &object["metadata"]["generation"];
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|c| c["type"] == kind && c["observedGeneration"] == *generation);
        let text = |c: &Value, field: &str| c[field].as_str().unwrap_or_default().to_owned();
        found
            .map(|c| (format!("{}/{}", text(c, "status"), text(c, "reason")), text(c, "message")))
            .ok_or_else(|| format!("generation {generation}: {conditions:#?}"))
    }

    /// Waits until a condition about the newest generation is this; its message.
    pub(crate) async fn wait_for(&self, object: &str, kind: &str, wanted: &str) -> String {
        until(&format!("{object}: {kind} is {wanted}"), || async {
            let (now, message) = self.condition(object, kind).await?;
            if now == wanted { Ok(message) } else { Err(format!("{now}: {message}")) }
        })
        .await
    }

    /// Waits until a gateway answers the key's request with this status.
    pub(crate) async fn answers(&self, gateway: usize, token: &str, status: u16) {
        until(&format!("gateway {gateway} answers {status}"), || async {
            let answer =
                self.plane.gateway(gateway).unwrap().message(token, &ask("main/claude-sonnet-4-5")).await;
            match answer {
                Ok(answer) if answer.status == status => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Which operator leads, by its log: the only one that runs and began to lead after all others.
    pub(crate) async fn leader(&self, operators: &[usize]) -> usize {
        until("an operator leads", || async {
            let holder = self.get("lease/tollgate-operator").await["spec"]["holderIdentity"].clone();
            let leads = |n: &usize| holder == format!("operator-{n}");
            operators.iter().copied().find(leads).ok_or_else(|| holder.to_string())
        })
        .await
    }

    /// How often an operator has logged these words.
    pub(crate) fn logged(&self, operator: usize, words: &str) -> usize {
        self.plane.operator(operator).unwrap().log().text().matches(words).count()
    }
}
