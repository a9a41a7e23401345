//! An installation, and the plugin as its users run it.

use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tollgate_e2e::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    provider::{DEFAULT_KEY, Provider},
};

/// How long anything may take before a test fails: the machine may be busy.
pub(crate) const BOUND: Duration = Duration::from_secs(120);
/// What the tests ask for.
pub(crate) const MODEL: &str = "main/claude-sonnet-4-5";

/// An installation, and what its users use.
pub(crate) struct Installation<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) plane: ControlPlane,
    pub(crate) provider: Provider,
}

/// What the plugin said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) error: String,
}

/// Waits until a check passes; what it says meanwhile is shown when it does not.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match check().await {
            Ok(found) => return found,
            Err(now) => assert!(started.elapsed() < BOUND, "not within {BOUND:?}: {what}; now: {now}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A key's token: long enough for a cluster.
pub(crate) fn token(name: &str) -> String {
    format!("{name}-0123456789abcdef0123456789abcdef")
}

/// A VirtualKey.
pub(crate) fn key(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"
    )
}

/// A VirtualKey with a token of the user's own.
pub(crate) fn key_with_token(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{token: {}}}\n---\n{}",
        token(name),
        key(name, &format!("token: {{secretRef: {{name: {name}, key: token}}}}, {spec}"))
    )
}

/// The plugin, run by kubectl with a kubeconfig and further variables.
pub(crate) async fn plugin(
    cluster: &Cluster,
    kubeconfig: &Path,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> Said {
    let mut command = cluster.kubectl_command(kubeconfig).unwrap();
    command.arg("tollgate").args(arguments).envs(variables.iter().copied());
    let ended = tollgate_e2e::clients::run(command).await.unwrap();
    Said { code: ended.code.unwrap(), out: ended.stdout, error: ended.stderr }
}

// === impl Said ===

impl Said {
    /// It says all of this on its standard output.
    #[track_caller]
    pub(crate) fn has(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.out.contains(part), "{part:?} is missing in:\n{}{}", self.out, self.error);
        }
        self
    }

    /// The line that holds these words, and no other does.
    #[track_caller]
    pub(crate) fn line(&self, words: &str) -> &str {
        let all: Vec<_> = self.out.lines().filter(|line| line.contains(words)).collect();
        assert_eq!(all.len(), 1, "{words:?} in:\n{}{}", self.out, self.error);
        all[0]
    }
}

// === impl Installation ===

impl<'c> Installation<'c> {
    pub(crate) async fn start(cluster: &'c Cluster, gateways: usize) -> Self {
        let namespace = cluster.namespace("tollgate").await.unwrap();
        Self::start_in(cluster, &namespace, gateways, Vec::new()).await
    }

    /// One operator with further arguments, in a namespace that is there.
    pub(crate) async fn start_in(
        cluster: &'c Cluster,
        namespace: &str,
        gateways: usize,
        operator: Vec<String>,
    ) -> Self {
        let provider = Provider::start().await.unwrap();
        let options = Options { gateways, operator, all_addresses: true, ..Options::default() };
        let plane = ControlPlane::start_in(cluster, namespace, options).await.unwrap();
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

    pub(crate) async fn apply(&self, yaml: &str) {
        let apply = ["apply", "--namespace", self.plane.namespace(), "-f", "-"];
        self.cluster.kubectl_as(self.cluster.kubeconfig(), apply, yaml).await.unwrap();
    }

    /// kubectl in the installation's namespace.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let all = ["--namespace", self.plane.namespace()].into_iter().chain(arguments.iter().copied());
        self.cluster.kubectl(all).await.unwrap()
    }

    /// The plugin, for this installation and its namespace.
    pub(crate) async fn plugin(&self, arguments: &[&str]) -> Said {
        let namespace = self.plane.namespace();
        let variables = [("TOLLGATE_NAMESPACE", namespace)];
        let arguments = [arguments, &["--namespace", namespace]].concat();
        plugin(self.cluster, self.cluster.kubeconfig(), &variables, &arguments).await
    }

    /// Asks gateway `n` until it answers with this status.
    pub(crate) async fn asks(&self, n: usize, token: &str, status: u16) {
        let gateway = self.plane.gateway(n).unwrap();
        until(&format!("gateway {n} answers {status}"), async || {
            match gateway.message(token, &ask(MODEL)).await {
                Ok(answer) if answer.status == status => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }
}

/// A request for a model.
pub(crate) fn ask(model: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]})
}
