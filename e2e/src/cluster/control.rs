//! etcd and kube-apiserver as processes.

use super::leash::Leashed;
use crate::client::eventually;
use anyhow::{Context, ensure};
use parking_lot::Mutex;
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};
use uuid::Uuid;

/// Who issues service account tokens: what kubeadm writes, so that what a test sees is what a real cluster has.
pub(super) const ISSUER: &str = "https://kubernetes.default.svc";

/// A user in `system:masters`; the token is this cluster's own.
const ADMIN: &str = "tollgate-e2e-admin";
const ADMIN_FILE: &str = "admin.kubeconfig";

/// How often free ports are asked for: another process may take one before the server does.
const ATTEMPTS: usize = 3;

const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// What differs between clusters with and without a node.
#[derive(Debug, Clone)]
pub(super) struct Form<'a> {
    /// Where the API server listens.
    pub(super) address: &'a str,
    /// Further users: the file of their kubeconfig, name and group.
    pub(super) users: &'a [(&'a str, &'a str, &'a str)],
    /// Further arguments of the API server.
    pub(super) more: Vec<String>,
}

/// A running control plane; dropping it kills both processes.
#[derive(Debug)]
pub(super) struct ControlPlane {
    // None while it is stopped. Above etcd: the one that is dropped first must not wait for the other.
    api: Mutex<Option<Leashed>>,
    _etcd: Leashed,
    program: PathBuf,
    folder: PathBuf,
    kubeconfigs: Vec<(String, String)>,
    arguments: Vec<String>,
    url: String,
}

// === impl Form ===

impl Form<'_> {
    /// An API server alone.
    pub(super) fn bare() -> Self {
        // Nobody makes the default service accounts here, and without them this plug-in refuses every pod.
        let more =
            vec!["--disable-admission-plugins=ServiceAccount".into(), "--authorization-mode=RBAC".into()];
        Form { address: "127.0.0.1", users: &[], more }
    }
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Starts both from the programs in a folder, with all files in another, and waits until they are ready.
    pub(super) async fn start(programs: &Path, folder: &Path, form: &Form<'_>) -> anyhow::Result<Self> {
        let kubeconfigs = write_keys(folder, form.users)?;
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            match Self::attempt(programs, folder, form, kubeconfigs.clone()).await {
                Err(error) if format!("{error:#}").contains("address already in use") => failed = Some(error),
                done => return done,
            }
        }
        Err(failed.context("no attempt to start was made")?)
    }

    async fn attempt(
        programs: &Path,
        folder: &Path,
        form: &Form<'_>,
        kubeconfigs: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        let [etcd_port, peer_port, port] = free_ports()?;
        let etcd =
            Leashed::start(&programs.join("etcd"), "etcd", etcd_arguments(etcd_port, peer_port), folder)?;
        let program = programs.join("kube-apiserver");
        let arguments = api_server_arguments(folder, etcd_port, port, form);
        let url = format!("https://{}:{port}", form.address);
        let folder = folder.to_owned();
        let api = Mutex::new(None);
        let plane = ControlPlane { api, _etcd: etcd, program, folder, kubeconfigs, arguments, url };
        plane.start_api_server().await?;
        Ok(plane)
    }

    /// The administrator's kubeconfig.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.join(ADMIN_FILE)
    }

    /// One JSON object a line.
    pub(super) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    pub(super) fn stop_api_server(&self) {
        drop(self.api.lock().take());
    }

    pub(super) async fn start_api_server(&self) -> anyhow::Result<()> {
        let api = Leashed::start(&self.program, "kube-apiserver", self.arguments.clone(), &self.folder)?;
        *self.api.lock() = Some(api);
        eventually("the API server is ready", || self.ready()).await
    }

    async fn ready(&self) -> anyhow::Result<Option<()>> {
        self.api.lock().as_mut().map_or(Ok(()), Leashed::check)?;
        // It signs its certificate at the first start; before that there is nothing to connect with.
        if !self.folder.join("certificates/apiserver.key").exists() {
            return Ok(None);
        }
        let certificate = self.folder.join("certificates/apiserver.crt");
        for (file, token) in &self.kubeconfigs {
            std::fs::write(self.folder.join(file), kubeconfig(&self.url, &certificate, token))?;
        }
        let client = super::client(&self.kubeconfig()).await?;
        let ready = client.request_text(http::Request::get("/readyz").body(Vec::new())?).await;
        Ok(ready.is_ok_and(|text| text == "ok").then_some(()))
    }
}

/// A kubeconfig of one cluster and one user with a token.
pub(super) fn kubeconfig(url: &str, certificate: &Path, token: &str) -> String {
    let certificate = certificate.display();
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: {url:?}, certificate-authority: \"{certificate}\"}}}}]\n\
         users: [{{name: test, user: {{token: {token:?}}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
    )
}

/// Answers the kubeconfigs to write, each with its token.
fn write_keys(folder: &Path, users: &[(&str, &str, &str)]) -> anyhow::Result<Vec<(String, String)>> {
    let key = folder.join("service-account.key");
    let made = Command::new("openssl").arg("genrsa").arg("-out").arg(&key).arg("2048").output();
    let made = made.context("cannot run openssl: e2e/tools/install cluster installs it")?;
    ensure!(made.status.success(), "openssl genrsa: {}", String::from_utf8_lossy(&made.stderr));
    let (mut table, mut kubeconfigs) = (String::new(), Vec::new());
    for (file, user, group) in [(ADMIN_FILE, ADMIN, "system:masters")].iter().chain(users) {
        let token = Uuid::new_v4().simple().to_string();
        table.push_str(&format!("{token},{user},{user},{group}\n"));
        kubeconfigs.push(((*file).to_owned(), token));
    }
    std::fs::write(folder.join("tokens.csv"), table)?;
    std::fs::write(folder.join("audit-policy.yaml"), AUDIT_POLICY)?;
    Ok(kubeconfigs)
}

fn etcd_arguments(port: u16, peer_port: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
    vec![
        "--data-dir=etcd".into(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(), // it dies with the test
        "--log-level=warn".into(),
    ]
}

fn api_server_arguments(folder: &Path, etcd_port: u16, port: u16, form: &Form<'_>) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--bind-address={}", form.address),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", file("certificates")),
        format!("--token-auth-file={}", file("tokens.csv")),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={}", file("service-account.key")),
        format!("--service-account-signing-key-file={}", file("service-account.key")),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        format!("--audit-policy-file={}", file("audit-policy.yaml")),
        format!("--audit-log-path={}", file("audit.log")),
        "--audit-log-mode=blocking-strict".into(), // what a test asked is in the log when it has the answer
    ];
    arguments.extend(form.more.iter().cloned());
    arguments
}

/// Ports that nobody listens on at the moment, all different.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
