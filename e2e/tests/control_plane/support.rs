//! An installation with a fake provider, and the manifests of these tests.

use serde_json::{Value, json};
use std::time::Duration;
use tollgate_e2e::{
    client::{Answer, Http},
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    provider::{DEFAULT_KEY, Provider},
};

/// How long anything may take before a test fails: the machine may be busy.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

/// An installation, and what its users use.
pub(crate) struct Installation {
    pub(crate) cluster: &'static Cluster,
    pub(crate) plane: ControlPlane,
    pub(crate) provider: Provider,
    pub(crate) http: Http,
}

/// A key's token: long enough for a cluster.
pub(crate) fn token(name: &str) -> String {
    format!("{name}-0123456789abcdef0123456789abcdef")
}

/// A key with a token, and the token's Secret.
pub(crate) fn key(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{token: {}}}\n---\n\
         apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: {name}}}\n\
         spec: {{token: {{secretRef: {{name: {name}, key: token}}}}, {spec}}}\n---\n",
        token(name)
    )
}

/// A route to an endpoint, and its Secret.
pub(crate) fn route(name: &str, endpoint: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{apiKey: {DEFAULT_KEY}}}\n---\n\
         apiVersion: tollgate.dev/v1alpha1\nkind: ProviderRoute\nmetadata: {{name: {name}}}\n\
         spec: {{retry: {{attempts: 0}}, backends: [{{name: main, anthropic: {{}}, endpoint: {endpoint:?}, \
         credentials: {{secretRef: {{name: {name}, key: apiKey}}}}}}], {spec}}}\n---\n"
    )
}

/// A request for a model.
pub(crate) fn ask(model: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]})
}

/// Waits until a check passes; its error, or what it answers meanwhile, is shown when it does not.
pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> Result<(), String>) {
    let started = std::time::Instant::now();
    loop {
        match check().await {
            Ok(()) => return,
            Err(now) => assert!(started.elapsed() < BOUND, "not within {BOUND:?}: {what}; now: {now}"),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

// === impl Installation ===

impl Installation {
    /// One operator, two gateways.
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        Self::start_on(Cluster::shared().await.unwrap(), options).await
    }

    pub(crate) async fn start_on(cluster: &'static Cluster, options: Options) -> Self {
        let provider = Provider::start().await.unwrap();
        let plane = ControlPlane::start(cluster, options).await.unwrap();
        Installation { cluster, plane, provider, http: Http::new() }
    }

    /// `kubectl apply` in the installation's own namespace.
    pub(crate) async fn apply(&self, yaml: &str) {
        self.apply_in(self.plane.namespace(), yaml).await.unwrap();
    }

    /// `kubectl apply` in a namespace.
    pub(crate) async fn apply_in(&self, namespace: &str, yaml: &str) -> anyhow::Result<String> {
        let apply = ["apply", "--namespace", namespace, "-f", "-"];
        self.cluster.kubectl_as(self.cluster.kubeconfig(), apply, yaml).await
    }

    /// kubectl in the installation's own namespace.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let all = ["--namespace", self.plane.namespace()].into_iter().chain(arguments.iter().copied());
        self.cluster.kubectl(all).await.unwrap()
    }

    /// A route `main` to the fake provider, and a key `k` that may use it.
    pub(crate) async fn basics(&self) {
        let both = route("main", &self.provider.url(), "") + &key("k", "models: {allow: [main/*]}");
        self.apply(&both).await;
        self.every_gateway("k", "main/claude-sonnet-4-5", 200).await;
    }

    /// Waits until every gateway answers the key's request with this status; the last answers.
    pub(crate) async fn every_gateway(&self, key: &str, model: &str, status: u16) -> Vec<Answer> {
        let (token, body) = (token(key), ask(model));
        let mut answers = Vec::new();
        for gateway in self.plane.gateways() {
            let mut answer = None;
            let started = std::time::Instant::now();
            while answer.as_ref().is_none_or(|a: &Answer| a.status != status) {
                let now = answer.map(|a| format!("{} {}", a.status, a.text()));
                assert!(started.elapsed() < BOUND, "{key} {model} is never {status}, but {now:?}");
                tokio::time::sleep(Duration::from_millis(25)).await;
                answer = gateway.message(&token, &body).await.ok();
            }
            answers.extend(answer);
        }
        answers
    }

    /// Waits until a metric of the operator has this value.
    pub(crate) async fn operator_metric(&self, name: &str, value: f64) -> bool {
        until(name, || async {
            match self.plane.operator(0).unwrap().metric(&self.http, name).await {
                Ok(now) if now == value => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        true
    }

    /// What an operator says of an object in its log: the first line with all of these parts.
    pub(crate) async fn operator_says(&self, parts: &[&str]) -> String {
        let log = self.plane.operator(0).unwrap().log().clone();
        let find = || log.text().lines().find(|l| parts.iter().all(|p| l.contains(p))).map(str::to_owned);
        until("the operator says so", || async { find().map(drop).ok_or_else(|| log.text()) }).await;
        find().unwrap()
    }
}
