# The first process of the node's process namespace: when it ends, every container ends with it, and so do all mounts.
# With the arguments of namespace.sh, and then the folders of Kubernetes' programs, of containerd's and of DNS.
set -u
folder=$1 node=$3 pods=$4 kubernetes=$6 containerd=$7 tools=$8
PATH=$containerd:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
cd "$folder"
mount --make-rshared /
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/netns
mkdir -p /var/log/pods && mount -t tmpfs tmpfs /var/log
mkdir -p /var/lib/cni && mount -t tmpfs tmpfs /var/lib/cni

containerd --config containerd.toml > containerd.log 2>&1 &
until ctr --address "$folder/containerd.sock" version > /dev/null 2>&1; do sleep 0.1; done
ctr --address "$folder/containerd.sock" -n k8s.io images import pause.tar > containerd-import.log 2>&1
until [ -e api-server-ready ]; do sleep 0.1; done
"$kubernetes/kubelet" --config=kubelet.yaml --kubeconfig=node.kubeconfig --hostname-override=node1 --node-ip="$node" \
  --root-dir="$folder/kubelet" --cert-dir="$folder/kubelet-certificates" > kubelet.log 2>&1 &
"$kubernetes/kube-proxy" --kubeconfig=proxy.kubeconfig --proxy-mode=nftables --cluster-cidr="$pods" \
  --hostname-override=node1 --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0s \
  --conntrack-tcp-timeout-close-wait=0s > kube-proxy.log 2>&1 &
"$tools/coredns" -conf Corefile > coredns.log 2>&1 &
while :; do wait; sleep 1; done
