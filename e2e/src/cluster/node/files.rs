//! The configuration files of a node's programs.

use super::{HOST, NODE, PODS};
use std::path::Path;

/// The image of the process that holds a pod's namespaces.
pub(super) const PAUSE: &str = "localhost/pause:1";

/// containerd with its state in the folder.
pub(super) fn containerd(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"version = 3
root = "{folder}/containerd"
state = "/run/containerd"
[grpc]
  address = "{folder}/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
  # Lowering it is refused in places that are virtual machines themselves.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{folder}/cni.d"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      # Debian's crun is too old for this containerd's OCI version.
      BinaryName = "/usr/sbin/runc"
      SystemdCgroup = false
"#
    )
}

/// Pods are routed, not bridged: then Services need no bridge netfilter.
pub(super) fn network() -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {{"type": "ptp", "mtu": 1500, "ipMasq": false,
    "ipam": {{"type": "host-local", "dataDir": "/run/cni", "routes": [{{"dst": "0.0.0.0/0"}}],
      "ranges": [[{{"subnet": "{PODS}"}}]]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}]}}
"#
    )
}

/// The kubelet.
pub(super) fn kubelet(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {NODE}
# Reached through this machine's end of the cable alone.
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupRoot: /tollgate-e2e
cgroupsPerQOS: true
clusterDNS: [{NODE}]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://{folder}/containerd.sock
# A full disk of the machine is not what these tests are about.
evictionHard: {{memory.available: 1Mi}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
resolvConf: {folder}/resolv.conf
registerNode: true
nodeStatusUpdateFrequency: 2s
syncFrequency: 5s
volumePluginDir: {folder}/volume-plugins
"#
    )
}

/// Cluster names from the API server; nothing else, for there is no network behind it.
pub(super) fn corefile(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        ".:53 {{\n  errors\n  kubernetes cluster.local in-addr.arpa {{\n    \
         kubeconfig {folder}/admin.kubeconfig\n    ttl 5\n  }}\n  cache 5\n}}\n"
    )
}

/// What the node's programs are called by the API server, and the groups that give them their rights.
pub(super) const IDENTITIES: [(&str, &str, &str); 4] = [
    ("node.kubeconfig", "system:node:node1", "system:nodes"),
    ("proxy.kubeconfig", "system:kube-proxy", ""),
    ("controllers.kubeconfig", "system:kube-controller-manager", ""),
    ("scheduler.kubeconfig", "system:kube-scheduler", ""),
];

/// Arguments of the API server that a node needs.
pub(super) fn api_server() -> Vec<String> {
    vec![
        format!("--advertise-address={HOST}"),
        // Without it, logs and exec look the node's name up in DNS.
        "--kubelet-preferred-address-types=InternalIP".into(),
        // A node may read the Secrets of its own pods alone.
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
    ]
}
