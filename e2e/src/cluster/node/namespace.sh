# Makes the node's network namespace its own and becomes its first process. Run by `unshare --net` with the folder, the
# address of this machine's end of the cable, the node's, pod network and service network.
# Nothing of it stays: the cable goes with the namespace, and the namespace with the process.
set -eu
folder=$1 host=$2 node=$3 pods=$4 services=$5
ip link set lo up
ip link add eth0 type veth peer name tollgate0 netns $PPID
nsenter --net --target $PPID sh -c "
  ip address add $host/30 dev tollgate0
  ip link set tollgate0 up
  ip route add $pods via $node
  ip route add $services via $node"
ip address add $node/30 dev eth0
ip link set eth0 up
ip route add default via $host
echo 1 > /proc/sys/net/ipv4/ip_forward
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ ! -e "$hierarchy/cgroup.procs" ] || mkdir -p "$hierarchy/tollgate-e2e"
done
# cpuset of cgroup v1 starts empty, and then nothing may run there.
for file in cpuset.cpus cpuset.mems; do
  [ ! -e "/sys/fs/cgroup/cpuset/$file" ] || cat "/sys/fs/cgroup/cpuset/$file" > "/sys/fs/cgroup/cpuset/tollgate-e2e/$file"
done
# Pods do not compete with compilers beside them: a node's processors are its own. (cgroup v1, v2)
for weight in /sys/fs/cgroup/cpu/tollgate-e2e/cpu.shares:8192 /sys/fs/cgroup/tollgate-e2e/cpu.weight:800; do
  [ ! -e "${weight%:*}" ] || echo "${weight##*:}" > "${weight%:*}"
done
touch "$folder/namespace"
exec unshare --pid --mount --fork --kill-child --mount-proc sh "$folder/node.sh" "$@"
