//! The real operator program and real gateway programs against a real API server: TLS of the operator's own authority,
//! tokens of pods, the chart's own RBAC.
//!
//! ```text
//! kubectl -> kube-apiserver <- operator 0, 1, … <- [ Service: a TCP relay ] <- gateway 0, 1, … <- clients
//! ```
//! There is no kubelet, so this does what one would: it makes the pods' objects, their tokens and the files that they mount.
//!
//! # Layout
//! - here: [`ControlPlane`]
//! - [`process`]: one program, started, killed, started again
//! - `service`: what a Service is to the gateways

pub mod process;
mod service;

use crate::{
    client::{Http, eventually},
    cluster::Cluster,
};
use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, api::PostParams};
use process::{Process, Spec};
use serde_json::json;
use service::Service;
use std::{net::TcpListener, path::PathBuf};
use tempfile::TempDir;

/// What is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many operators.
    pub operators: usize,
    /// How many gateways.
    pub gateways: usize,
    /// Namespaces that the operators watch beside their own; none of those of other tests.
    pub watch: Vec<String>,
    /// Further arguments of every operator. Endpoints on loopback are allowed anyway, unless `private_endpoints` says no.
    pub operator: Vec<String>,
    /// Further arguments of every gateway.
    pub gateway: Vec<String>,
    /// Environment of every program, beside what each has.
    pub environment: Vec<(String, String)>,
    /// Whether endpoints may lead to loopback, where the fakes are.
    pub private_endpoints: bool,
    /// Whether gateways listen at all addresses, as in a pod: then their records are shown to those with a token only.
    pub all_addresses: bool,
}

/// An installation of Tollgate in a namespace of its own.
#[derive(Debug)]
pub struct ControlPlane {
    namespace: String,
    folder: TempDir,
    operators: Vec<Process>,
    gateways: Vec<Process>,
    all_addresses: bool,
    environment: Vec<(String, String)>,
    service: Service,
    http: Http,
}

/// The ServiceAccounts of the chart.
const OPERATOR_ACCOUNT: &str = "tollgate-operator";
/// See [`OPERATOR_ACCOUNT`].
pub const GATEWAY_ACCOUNT: &str = "tollgate-gateway";
/// The audience of the tokens.
pub const AUDIENCE: &str = "tollgate";

impl Default for Options {
    fn default() -> Self {
        Options {
            operators: 1,
            gateways: 2,
            watch: Vec::new(),
            operator: Vec::new(),
            gateway: Vec::new(),
            environment: Vec::new(),
            private_endpoints: true,
            all_addresses: false,
        }
    }
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Installs and starts everything, and waits until all of it is ready. The CRDs must be there.
    pub async fn start(cluster: &Cluster, options: Options) -> anyhow::Result<Self> {
        let namespace = cluster.namespace("tollgate").await?;
        Self::start_in(cluster, &namespace, options).await
    }

    /// The same, in a namespace that is there already: with objects in it, say.
    pub async fn start_in(cluster: &Cluster, namespace: &str, options: Options) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("tollgate-control-plane-").tempdir()?;
        install(cluster, namespace, &options.watch).await?;
        let mut kubeconfigs = Vec::new();
        for n in 0..options.operators {
            // Each is a pod of its own to the API server: its audit log tells who wrote.
            make_pod(cluster, namespace, &format!("operator-{n}"), OPERATOR_ACCOUNT).await?;
            kubeconfigs.push(cluster.kubeconfig_for_pod(namespace, &format!("operator-{n}")).await?);
        }
        let token = folder.path().join("operator-token");
        std::fs::write(&token, cluster.token(namespace, OPERATOR_ACCOUNT, AUDIENCE).await?)?;
        let token = token.display().to_string();
        let operators = kubeconfigs.iter().enumerate();
        let operators = operators.map(|(n, kubeconfig)| operator(n, namespace, kubeconfig, &token, &options));
        let operators = operators.collect::<anyhow::Result<Vec<_>>>()?;
        let service = Service::start(operators.iter().map(|(_, port)| *port).collect()).await?;
        let operators = operators.into_iter().map(|(process, _)| process).collect();
        let mut plane = ControlPlane {
            namespace: namespace.to_owned(),
            folder,
            operators,
            gateways: Vec::new(),
            all_addresses: options.all_addresses,
            environment: options.environment.clone(),
            service,
            http: Http::new(),
        };
        for operator in &plane.operators {
            operator.wait_ready(&plane.http).await?;
        }
        for _ in 0..options.gateways {
            plane.add_gateway(cluster, &options.gateway).await?;
        }
        plane.wait_ready().await?;
        Ok(plane)
    }

    /// The namespace of the release.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// An operator.
    pub fn operator(&self, n: usize) -> anyhow::Result<&Process> {
        self.operators.get(n).with_context(|| format!("there is no operator {n}"))
    }

    /// An operator, to be killed or started.
    pub fn operator_mut(&mut self, n: usize) -> anyhow::Result<&mut Process> {
        self.operators.get_mut(n).with_context(|| format!("there is no operator {n}"))
    }

    /// A gateway.
    pub fn gateway(&self, n: usize) -> anyhow::Result<&Process> {
        self.gateways.get(n).with_context(|| format!("there is no gateway {n}"))
    }

    /// A gateway, to be killed or started.
    pub fn gateway_mut(&mut self, n: usize) -> anyhow::Result<&mut Process> {
        self.gateways.get_mut(n).with_context(|| format!("there is no gateway {n}"))
    }

    /// All operators.
    pub fn operators(&self) -> impl Iterator<Item = &Process> {
        self.operators.iter()
    }

    /// Where a gateway keeps what it needs for its next start: `snapshot`, `data`.
    pub fn place(&self, pod: &str) -> PathBuf {
        self.folder.path().join(pod)
    }

    /// All gateways.
    pub fn gateways(&self) -> impl Iterator<Item = &Process> {
        self.gateways.iter()
    }

    /// Where gateways find the operators: `https://127.0.0.1:PORT`.
    pub fn xds_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.service.port())
    }

    /// The authority that gateways trust, as PEM.
    pub async fn authority(&self, cluster: &Cluster) -> anyhow::Result<String> {
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client().await?, &self.namespace);
        eventually("the authority is told", || {
            let maps = maps.clone();
            async move {
                let map = maps.get_opt("tollgate-ca").await?;
                Ok(map.and_then(|map| map.data?.get("ca.crt").cloned()))
            }
        })
        .await
    }

    /// A further gateway, started; its number.
    pub async fn add_gateway(&mut self, cluster: &Cluster, more: &[String]) -> anyhow::Result<usize> {
        let (pod, token) = self.add_pod(cluster).await?;
        self.add_gateway_with(cluster, &pod, &token, more).await
    }

    /// The pod of a further gateway, and its token; nothing is started.
    pub async fn add_pod(&self, cluster: &Cluster) -> anyhow::Result<(String, String)> {
        let pod = format!("gateway-{}", self.gateways.len());
        self.pod(cluster, &pod, GATEWAY_ACCOUNT).await?;
        let token = cluster.token_for_pod(&self.namespace, &pod, AUDIENCE).await?;
        Ok((pod, token))
    }

    /// A further gateway that shows this token, started; its number.
    pub async fn add_gateway_with(
        &mut self,
        cluster: &Cluster,
        pod: &str,
        token: &str,
        more: &[String],
    ) -> anyhow::Result<usize> {
        let authority = self.authority(cluster).await?;
        self.start_gateway(pod, token, &authority, more)
    }

    /// A further gateway that shows this token and trusts this authority, started; its number.
    pub fn start_gateway(
        &mut self,
        pod: &str,
        token: &str,
        authority: &str,
        more: &[String],
    ) -> anyhow::Result<usize> {
        let place = self.folder.path().join(pod);
        std::fs::create_dir_all(&place)?;
        std::fs::write(place.join("token"), token)?;
        std::fs::write(place.join("ca.crt"), authority)?;
        let (port, admin) = (free_port()?, free_port()?);
        let file = |name: &str| place.join(name).display().to_string();
        let address = if self.all_addresses { "0.0.0.0" } else { "127.0.0.1" };
        let mut arguments: Vec<String> = [
            format!("--xds={}", self.xds_url()),
            format!("--xds-token-file={}", file("token")),
            format!("--xds-ca={}", file("ca.crt")),
            format!("--xds-state={}", file("snapshot")),
            format!("--node={pod}"),
            format!("--listen={address}:{port}"),
            format!("--admin=127.0.0.1:{admin}"),
            format!("--data={}", file("data")),
        ]
        .into();
        arguments.extend(more.iter().cloned());
        let spec = Spec {
            name: pod.to_owned(),
            program: "tollgate-dataplane",
            arguments,
            environment: self.environment.clone(),
            url: format!("http://127.0.0.1:{port}"),
            admin: format!("http://127.0.0.1:{admin}"),
        };
        self.gateways.push(Process::start(spec)?);
        Ok(self.gateways.len() - 1)
    }

    /// Kills every gateway that runs, with SIGKILL.
    pub async fn kill_gateways(&mut self) -> anyhow::Result<()> {
        for gateway in self.gateways.iter_mut().filter(|gateway| gateway.is_running()) {
            gateway.kill9().await?;
        }
        Ok(())
    }

    /// A pod's object, whose ServiceAccount is made when it is not there.
    pub async fn pod(&self, cluster: &Cluster, name: &str, account: &str) -> anyhow::Result<()> {
        make_pod(cluster, &self.namespace, name, account).await
    }

    /// Waits until every program that runs is ready.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        for process in self.operators.iter().chain(&self.gateways).filter(|p| p.is_running()) {
            process.wait_ready(&self.http).await?;
        }
        Ok(())
    }
}

async fn make_pod(cluster: &Cluster, namespace: &str, name: &str, account: &str) -> anyhow::Result<()> {
    cluster.service_account(namespace, account).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, namespace);
    let pod = json!({
        "metadata": {"name": name},
        "spec": {"serviceAccountName": account, "containers": [{"name": "main", "image": "none"}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    Ok(())
}

/// A port that is free now. The program that gets it may be started again on it.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn operator(
    n: usize,
    namespace: &str,
    kubeconfig: &std::path::Path,
    token: &str,
    options: &Options,
) -> anyhow::Result<(Process, u16)> {
    let (xds, admin, webhook) = (free_port()?, free_port()?, free_port()?);
    let mut arguments: Vec<String> = [
        "run".to_owned(),
        format!("--namespace={namespace}"),
        format!("--pod=operator-{n}"),
        "--pod-ip=127.0.0.1".to_owned(),
        format!("--xds-listen=127.0.0.1:{xds}"),
        format!("--webhook-listen=127.0.0.1:{webhook}"),
        format!("--admin-listen=127.0.0.1:{admin}"),
        "--tls-name=127.0.0.1".to_owned(),
        "--gateway-tls-name=127.0.0.1".to_owned(),
        "--lease-duration=6".to_owned(),
        format!("--token-file={token}"),
        format!("--watch-namespace={namespace}"),
    ]
    .into();
    arguments.extend(options.watch.iter().map(|watched| format!("--watch-namespace={watched}")));
    if options.private_endpoints {
        arguments.push("--allow-private-endpoints".to_owned());
    }
    arguments.extend(options.operator.iter().cloned());
    // As the chart sets it; what is set later counts.
    let mut environment = vec![("MIMALLOC_PURGE_DELAY".to_owned(), "10".to_owned())];
    environment.extend(options.environment.iter().cloned());
    environment.push(("KUBECONFIG".to_owned(), kubeconfig.display().to_string()));
    let spec = Spec {
        name: format!("operator-{n}"),
        program: "tollgate-operator",
        arguments,
        environment,
        url: format!("https://127.0.0.1:{xds}"),
        admin: format!("http://127.0.0.1:{admin}"),
    };
    Ok((Process::start(spec)?, xds))
}

/// What the chart would install beside the programs: the operator's rights.
async fn install(cluster: &Cluster, namespace: &str, watch: &[String]) -> anyhow::Result<()> {
    for account in [OPERATOR_ACCOUNT, GATEWAY_ACCOUNT] {
        cluster.service_account(namespace, account).await?;
    }
    let watched = [&[namespace.to_owned()], watch].concat().join(",");
    let set = format!("watchNamespaces={{{watched}}}");
    let templates = ["templates/rbac/operator.yaml", "templates/admission/rootkeys.yaml"];
    let rendered = chart(namespace, &[set.as_str()], &templates).await?;
    cluster.apply(&rendered).await?;
    Ok(())
}

/// Templates of the chart, rendered for a release `tollgate` in `namespace`.
pub async fn chart(namespace: &str, set: &[&str], templates: &[&str]) -> anyhow::Result<String> {
    let helm = crate::cluster::install("helm").await?.join("helm");
    let mut command = tokio::process::Command::new(helm);
    let chart: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "charts", "tollgate"].iter().collect();
    command.args(["template", "tollgate"]).arg(chart).args(["--namespace", namespace]);
    command.args(set.iter().flat_map(|value| ["--set", value]));
    command.args(templates.iter().flat_map(|template| ["--show-only", template]));
    let output = command.kill_on_drop(true).output().await.context("cannot start helm")?;
    ensure!(output.status.success(), "helm template: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
