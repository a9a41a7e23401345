//! A real node: pods run, Services answer, names resolve. Needs root on Linux, and nothing of it stays on the machine.
//!
//! The node's programs live in a network, process and mount namespace of their own behind one virtual cable, so their
//! firewall rules, bridges, mounts and containers go when the first process of the namespace does. The API server,
//! controllers and the test stay outside; this machine's routes lead pod and service addresses into the cable, so a test
//! reaches a Service by its address.
//!
//! # Layout
//! - `files`: the programs' configuration; `namespace.sh`, `node.sh`: what runs inside

mod files;

use super::{Cluster, control, leash::Folder, leash::Leashed, tools};
use crate::{client::eventually, clients::hermetic, clients::run};
use anyhow::{Context, bail, ensure};
use control::{ControlPlane, Form};
use k8s_openapi::api::core::v1::{Node as Object, ServiceAccount};
use kube::Api;
use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The address of this machine as pods reach it: the end of the cable.
pub const HOST: &str = "10.243.0.1";
/// The node's end: its address.
const NODE: &str = "10.243.0.2";
const PODS: &str = "10.244.0.0/16";
const SERVICES: &str = "10.96.0.0/16";

/// The longest that something takes that starts containers.
pub const SLOW: Duration = Duration::from_secs(180);

/// A cluster with one node. Dropping it ends every pod and process of it.
#[derive(Debug)]
pub struct Node {
    _controllers: Vec<Leashed>,
    _namespace: Leashed,
    cluster: Cluster,
    ctr: PathBuf,
    // One a machine: addresses and routes are fixed.
    _only: File,
}

/// That nobody means another cluster: what runs here loads images into the node, stops its programs and reads their logs.
fn of_its_own(kubeconfig: Option<&OsStr>) -> anyhow::Result<()> {
    let Some(path) = kubeconfig.filter(|path| !path.is_empty()) else { return Ok(()) };
    bail!(
        "KUBECONFIG={} is set, but real pods are tested in a cluster that is made for it and removed afterwards: unset \
         KUBECONFIG. Tests without pods (`make test`) do use the cluster that it names",
        path.display()
    )
}

// === impl Node ===

impl Node {
    /// Starts control plane and node, and waits until the node is Ready (about 15 s, on a quiet machine).
    pub async fn start() -> anyhow::Result<Self> {
        of_its_own(std::env::var_os("KUBECONFIG").as_deref())?;
        let only = File::create(std::env::temp_dir().join("tollgate-node.lock"))?;
        only.try_lock().context("another test cluster with a node runs on this machine")?;
        let (cluster_programs, node) = (tools::install("cluster").await?, tools::install_all("node").await?);
        let [kubernetes, containerd, dns] = node.as_slice() else {
            anyhow::bail!("e2e/tools/install node named {} folders", node.len());
        };
        let folder = Folder::new()?;
        write_files(folder.path())?;
        let (pause, archive) = (dns.join("pause"), folder.path().join("pause.tar"));
        pack(&archive, files::PAUSE, &[(&pause, "pause")], "/pause").await?;
        let namespace = namespace(folder.path(), &[kubernetes, containerd, dns])?;
        let namespace = wait_for_namespace(namespace, folder.path()).await?;
        let form = Form { address: HOST, users: &files::IDENTITIES, more: files::api_server() };
        let own = ControlPlane::start(&cluster_programs, folder.path(), &form).await?;
        write_authority(folder.path())?;
        let controllers = controllers(kubernetes, folder.path())?;
        let kubectl = tools::on_path("kubectl").unwrap_or_else(|| cluster_programs.join("kubectl"));
        let cluster = Cluster { kubeconfig: own.kubeconfig(), kubectl, own: Some(own), folder };
        fs::write(cluster.folder().join("api-server-ready"), "")?;
        let ctr = containerd.join("ctr");
        let node = Node { _controllers: controllers, _namespace: namespace, cluster, ctr, _only: only };
        node.until_ready().await.with_context(|| node.logs())?;
        Ok(node)
    }

    /// The API server and what goes with it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Loads an image from a docker-archive file. Pods must not pull it: `imagePullPolicy: Never`.
    pub async fn load(&self, archive: &Path) -> anyhow::Result<()> {
        let socket = self.cluster.folder().join("containerd.sock");
        let mut command = hermetic(self.ctr.clone(), self.cluster.folder());
        command.arg("--address").arg(socket).args(["-n", "k8s.io", "images", "import"]).arg(archive);
        let ended = run(command).await?;
        ensure!(ended.code == Some(0), "ctr images import {}: {}", archive.display(), ended.stderr);
        Ok(())
    }

    /// Packs files (from, name in the image's root) as an image and loads it.
    pub async fn load_files(&self, name: &str, files: &[(&Path, &str)], entry: &str) -> anyhow::Result<()> {
        let archive = self.cluster.folder().join("image.tar");
        pack(&archive, name, files, entry).await?;
        self.load(&archive).await
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        let names = [
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "containerd",
            "kubelet",
            "kube-proxy",
        ];
        let all = names.iter().chain(&["coredns", "node"]);
        all.map(|name| format!("--- {name}\n{}\n", self.cluster.log(name))).collect()
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let client = self.cluster.client().await?;
        let (nodes, accounts) =
            (Api::<Object>::all(client.clone()), Api::<ServiceAccount>::namespaced(client, "default"));
        within(SLOW, "the node is Ready", || async {
            let node = nodes.get_opt("node1").await?;
            let conditions = node.and_then(|node| node.status?.conditions).unwrap_or_default();
            let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            // Pods are refused until the controllers have made it.
            Ok((ready && accounts.get_opt("default").await?.is_some()).then_some(()))
        })
        .await
    }
}

/// [`eventually`], for as long as it takes.
pub async fn within<T, F, Fut>(most: Duration, what: &str, mut check: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = tokio::time::Instant::now() + most;
    loop {
        if let Some(found) = check().await? {
            return Ok(found);
        }
        ensure!(tokio::time::Instant::now() < deadline, "waited {most:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn write_files(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir(folder.join("cni.d"))?;
    fs::write(folder.join("cni.d/pods.conflist"), files::network())?;
    fs::write(folder.join("containerd.toml"), files::containerd(folder))?;
    fs::write(folder.join("kubelet.yaml"), files::kubelet(folder))?;
    fs::write(folder.join("Corefile"), files::corefile(folder))?;
    fs::write(folder.join("resolv.conf"), "")?;
    fs::write(folder.join("namespace.sh"), include_str!("node/namespace.sh"))?;
    fs::write(folder.join("node.sh"), include_str!("node/node.sh"))?;
    Ok(())
}

/// The API server's file has its own certificate first; pods are told of the authority alone.
fn write_authority(folder: &Path) -> anyhow::Result<()> {
    let chain = fs::read_to_string(folder.join("certificates/apiserver.crt"))?;
    let last = chain
        .rfind("-----BEGIN")
        .and_then(|at| chain.get(at..))
        .context("the API server has no certificate")?;
    Ok(fs::write(folder.join("pods-authority.crt"), last)?)
}

fn namespace(folder: &Path, programs: &[&PathBuf]) -> anyhow::Result<Leashed> {
    let script = folder.join("namespace.sh").display().to_string();
    let mut arguments = vec!["--net".to_owned(), "sh".to_owned(), script, folder.display().to_string()];
    arguments.extend([HOST, NODE, PODS, SERVICES].map(str::to_owned));
    arguments.extend(programs.iter().map(|path| path.display().to_string()));
    Leashed::start(Path::new("unshare"), "node", arguments, folder)
}

async fn wait_for_namespace(mut namespace: Leashed, folder: &Path) -> anyhow::Result<Leashed> {
    let made = folder.join("namespace");
    eventually("the node's namespaces are made", || {
        let ended = namespace.check();
        let made = made.exists();
        async move { ended.map(|()| made.then_some(())) }
    })
    .await?;
    Ok(namespace)
}

fn controllers(programs: &Path, folder: &Path) -> anyhow::Result<Vec<Leashed>> {
    let file = |name: &str| folder.join(name).display().to_string();
    let manager = vec![
        format!("--kubeconfig={}", file("controllers.kubeconfig")),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--service-account-private-key-file={}", file("service-account.key")),
        format!("--root-ca-file={}", file("pods-authority.crt")),
        format!("--cert-dir={}", file("controllers-certificates")),
        "--node-monitor-grace-period=30s".into(),
        "--use-service-account-credentials=true".into(), // each controller has its own role
    ];
    let scheduler = vec![
        format!("--kubeconfig={}", file("scheduler.kubeconfig")),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--cert-dir={}", file("scheduler-certificates")),
    ];
    let start = |name: &str, arguments| Leashed::start(&programs.join(name), name, arguments, folder);
    Ok(vec![start("kube-controller-manager", manager)?, start("kube-scheduler", scheduler)?])
}

async fn pack(archive: &Path, name: &str, files: &[(&Path, &str)], entry: &str) -> anyhow::Result<()> {
    let root = tempfile::tempdir()?;
    let tmp = root.path().join("tmp");
    fs::create_dir(&tmp)?;
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777))?;
    for (from, to) in files {
        let to = root.path().join(to);
        fs::create_dir_all(to.parent().context("a file in the image's root")?)?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let mut command = hermetic(tools::repository().join("e2e/tools/pack-image"), root.path());
    command.env_remove("TMPDIR").current_dir("/").arg(archive).arg(name).arg(root.path()).arg(entry);
    let ended = run(command).await?;
    ensure!(ended.code == Some(0), "cannot pack {name}: {}", ended.stderr);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_cluster_is_left_alone() {
        let said = of_its_own(Some(OsStr::new("/home/me/.kube/config"))).unwrap_err().to_string();
        assert!(
            said.contains("KUBECONFIG=/home/me/.kube/config") && said.contains("unset KUBECONFIG"),
            "{said}"
        );
        assert!(of_its_own(None).is_ok() && of_its_own(Some(OsStr::new(""))).is_ok());
    }
}
