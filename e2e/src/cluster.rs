//! A real Kubernetes API server for tests: etcd and kube-apiserver, built from source by `e2e/tools/install cluster`.
//!
//! There are no controllers here (no node, no garbage collection, namespaces never finish to be deleted): what a test needs
//! of them it does itself. With `KUBECONFIG` set, that cluster is used and stays; give each test a [`Cluster::namespace`] of its own,
//! so that it works there too. Tests that need the audit log, stop the API server or loosen the definitions have an own one all the
//! same.
//!
//! Everything ends with the test process, however that ends. `TOLLGATE_KEEP=1` keeps the folder with the logs.
//!
//! # Layout
//! - `control`: etcd and the API server as processes; `leash`: processes that cannot outlive this one
//! - `identity`: service accounts, their tokens and kubeconfigs
//! - [`audit`]: who asked the API server for what
//! - [`node`]: a cluster that runs pods
//! - `tools`: where the programs are

pub mod audit;
mod control;
mod identity;
mod leash;
pub mod node;
mod tools;

pub use audit::Asked;
pub use node::Node;
pub(crate) use tools::install;

use crate::clients::{Ended, run};
use anyhow::{Context, ensure};
use control::{ControlPlane, Form};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use leash::Folder;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::{io::AsyncWriteExt, process::Command, sync::OnceCell};

/// A cluster's API server and an administrator's access to it.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    // None: the cluster of $KUBECONFIG.
    own: Option<ControlPlane>,
    folder: Folder,
}

/// The most lines of each log that a failing test shows.
const SHOWN: usize = 20;

// === impl Cluster ===

impl Cluster {
    /// Starts etcd and an API server on free ports (about 2 s), or connects to the cluster of `KUBECONFIG`.
    pub async fn start() -> anyhow::Result<Self> {
        match given() {
            Some(kubeconfig) => Self::of(kubeconfig),
            None => Self::start_own().await,
        }
    }

    /// Starts an own one whatever `KUBECONFIG` says: for tests that stop the API server, take the definitions away, or loosen them.
    pub async fn start_own() -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let programs = tools::install("cluster").await?;
        let own = ControlPlane::start(&programs, folder.path(), &Form::bare()).await?;
        let kubectl = tools::on_path("kubectl").unwrap_or_else(|| programs.join("kubectl"));
        Ok(Cluster { kubeconfig: own.kubeconfig(), kubectl, own: Some(own), folder })
    }

    /// A cluster that is there already, and stays.
    fn of(kubeconfig: PathBuf) -> anyhow::Result<Self> {
        let kubectl = tools::on_path("kubectl").context("KUBECONFIG is set, but there is no kubectl")?;
        Ok(Cluster { kubeconfig, kubectl, own: None, folder: Folder::new()? })
    }

    /// The one cluster of this test process, with the CRDs installed. Tests that stop the API server start their own.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_try_init(|| with_crds(Self::start())).await
    }

    /// The same for tests that read the audit log, which only an own one has.
    pub async fn shared_own() -> anyhow::Result<&'static Self> {
        static OWN: OnceCell<Cluster> = OnceCell::const_new();
        match given() {
            Some(_) => OWN.get_or_try_init(|| with_crds(Self::start_own())).await,
            None => Self::shared().await,
        }
    }

    /// Whether it was started here, and ends with this process.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// A client with all rights, of the runtime that calls this.
    pub async fn client(&self) -> anyhow::Result<Client> {
        client(&self.kubeconfig).await
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A folder that lives as long as this.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The program.
    pub fn kubectl_program(&self) -> &Path {
        &self.kubectl
    }

    /// Runs kubectl with all rights and answers what it printed; its error output is the error.
    pub async fn kubectl<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<String> {
        self.kubectl_as(&self.kubeconfig, arguments, "").await
    }

    /// Runs kubectl with another kubeconfig (as [`Self::kubeconfig_for`] writes it) and this on its standard input.
    pub async fn kubectl_as<S: AsRef<OsStr>>(
        &self,
        kubeconfig: &Path,
        arguments: impl IntoIterator<Item = S>,
        input: &str,
    ) -> anyhow::Result<String> {
        let mut command = self.kubectl_command(kubeconfig)?;
        command.args(arguments);
        let Ended { code, stdout, stderr } = with_input(command, input).await?;
        ensure!(code == Some(0), "{}", stderr.trim());
        Ok(stdout)
    }

    /// kubectl with a kubeconfig, and this workspace's plugin where kubectl finds it.
    pub fn kubectl_command(&self, kubeconfig: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.kubectl);
        command.env("KUBECONFIG", kubeconfig).env("HOME", self.folder());
        command.env("PATH", tools::path_with_ours()?);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    /// `kubectl apply` of one or several documents.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        self.kubectl_as(&self.kubeconfig, ["apply", "-f", "-"], yaml).await
    }

    /// Installs `crds/manifests` and waits until the API server serves them.
    pub async fn install_crds(&self) -> anyhow::Result<()> {
        let manifests = tools::repository().join("crds/manifests");
        let files = [OsStr::new("-f"), manifests.as_os_str()];
        self.kubectl(
            ["apply", "--server-side", "--force-conflicts"].map(OsStr::new).into_iter().chain(files),
        )
        .await?;
        let wait = ["wait", "--for=condition=Established", "--timeout=30s"].map(OsStr::new);
        self.kubectl(wait.into_iter().chain(files)).await?;
        Ok(())
    }

    /// A new namespace, whose name begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        let mut namespace = Namespace::default();
        namespace.metadata.generate_name = Some(format!("{prefix}-"));
        let namespaces = Api::<Namespace>::all(self.client().await?);
        let made = namespaces.create(&PostParams::default(), &namespace).await?;
        made.metadata.name.context("the API server named no namespace")
    }

    /// Everything that was asked of the API server so far.
    pub fn audit(&self) -> anyhow::Result<Vec<Asked>> {
        audit::read(&self.own()?.audit_log())
    }

    /// Kills the API server. Its port stays its own: [`Self::start_api_server`] brings it back.
    pub fn stop_api_server(&self) -> anyhow::Result<()> {
        self.own()?.stop_api_server();
        Ok(())
    }

    /// Starts the API server again and waits until it is ready.
    pub async fn start_api_server(&self) -> anyhow::Result<()> {
        self.own()?.start_api_server().await
    }

    /// Kills the API server and starts it again, with the same data and address.
    pub async fn restart_api_server(&self) -> anyhow::Result<()> {
        self.stop_api_server()?;
        self.start_api_server().await
    }

    /// The end of a process's log: `etcd` or `kube-apiserver`.
    pub fn log(&self, process: &str) -> String {
        leash::tail(&self.folder().join(format!("{process}.log")), SHOWN)
    }

    fn own(&self) -> anyhow::Result<&ControlPlane> {
        self.own.as_ref().context("the cluster of KUBECONFIG is not ours to stop or to audit")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.own.is_some() && std::thread::panicking() {
            eprintln!("kube-apiserver.log ends with:\n{}", self.log("kube-apiserver"));
            self.folder.keep();
        }
    }
}

/// The file of `KUBECONFIG`.
fn given() -> Option<PathBuf> {
    std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()).map(Into::into)
}

async fn with_crds(start: impl Future<Output = anyhow::Result<Cluster>>) -> anyhow::Result<Cluster> {
    let cluster = start.await?;
    cluster.install_crds().await?;
    Ok(cluster)
}

/// A client of a kubeconfig's current context.
pub async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn with_input(mut command: Command, input: &str) -> anyhow::Result<Ended> {
    if input.is_empty() {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        return run(command).await;
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("cannot start kubectl")?;
    let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
    let feed = async {
        // A kubectl that refuses its arguments reads nothing: its own words tell more than this broken pipe.
        let _broken = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
    };
    let (output, ()) =
        tokio::join!(tokio::time::timeout(crate::clients::CLIENT, child.wait_with_output()), feed);
    let output = output.context("kubectl took too long")??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}
