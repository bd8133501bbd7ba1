"""Configuration files of the node's programs."""

from control_plane import API_PORT, SERVICES

NODE = "cronmill"
PODS = "10.88.0.0/24"
DNS = "10.89.0.10"
DOMAIN = "cluster.local"
DNS_READY_PORT = 8181
PROXY_PORT = 10256
# The image that holds a pod's namespaces; the one that this folder brings along.
POD_IMAGE = "cronmill.dev/test/pod:1"

CONTAINERD = """\
version = 3
root = "{data}/containerd"
state = "{data}/containerd-state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.grpc.v1.restart"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.nri.v1.nri"]
  disable = true

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{snapshotter}"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pod_image}"

[plugins."io.containerd.cri.v1.runtime"]
  # Root of a container or a small virtual machine may lack the right to lower it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{etc}/cni"
"""

# Each pod has a pair of interfaces of its own and no bridge, so that every packet is routed: Services then work between
# any two pods, also without the kernel's br_netfilter.
NETWORK = """\
{{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {{
      "type": "ptp",
      "ipMasq": false,
      "ipam": {{
        "type": "host-local",
        "dataDir": "{data}/cni",
        "ranges": [[{{"subnet": "{pods}"}}]],
        "routes": [{{"dst": "0.0.0.0/0"}}]
      }}
    }},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"""

KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {authority}}}}}
authorization: {{mode: Webhook}}
readOnlyPort: 0
containerRuntimeEndpoint: unix://{socket}
cgroupDriver: cgroupfs
cgroupRoot: {control_group}
failCgroupV1: false
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
localStorageCapacityIsolation: false
evictionHard: {{nodefs.available: "1%", imagefs.available: "1%"}}
imageGCHighThresholdPercent: 100
clusterDomain: {domain}
clusterDNS: ["{dns}"]
resolvConf: {etc}/resolv.conf
podLogsDir: {data}/pod-logs
volumePluginDir: {data}/volume-plugins
"""

PROXY = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {{kubeconfig: {etc}/proxy.kubeconfig}}
hostnameOverride: {node}
healthzBindAddress: {address}:{proxy_port}
clusterCIDR: {pods}
conntrack: {{maxPerCore: 0}}
iptables: {{minSyncPeriod: 100ms}}
oomScoreAdj: 0
"""

NAMES = """\
. {{
    bind {address}
    errors
    ready {address}:{dns_ready_port}
    kubernetes {domain} in-addr.arpa {{
        kubeconfig {etc}/dns.kubeconfig
    }}
}}
"""

FILES = {
    "containerd.toml": CONTAINERD,
    "cni/10-pods.conflist": NETWORK,
    "kubelet.yaml": KUBELET,
    "proxy.yaml": PROXY,
    "Corefile": NAMES,
    "resolv.conf": "nameserver {address}\n",
}


def write(state, **choices):
    """Writes all files, each with what was chosen."""
    values = {
        "data": state / "data",
        "etc": state / "etc",
        "authority": state / "pki/ca.crt",
        "node": NODE,
        "pods": PODS,
        "services": SERVICES,
        "dns": DNS,
        "domain": DOMAIN,
        "dns_ready_port": DNS_READY_PORT,
        "proxy_port": PROXY_PORT,
        "pod_image": POD_IMAGE,
        "api_port": API_PORT,
        **choices,
    }
    (state / "etc/cni").mkdir(exist_ok=True)
    for name, text in FILES.items():
        state.write(f"etc/{name}", text.format(**values))


def dns_objects(address):
    """What names in the cluster take: a Service without selector that points at the node, and CoreDNS's rights."""
    service = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    yield (
        "/api/v1/namespaces/kube-system/services",
        {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": service,
            "spec": {
                "clusterIP": DNS,
                "ports": [{"name": name, "protocol": protocol, "port": 53} for name, protocol in ports],
            },
        },
    )
    yield (
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
        {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {**service, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"name": name, "protocol": protocol, "port": 53} for name, protocol in ports],
        },
    )
    api, role = "rbac.authorization.k8s.io", {"name": "cronmill-test:dns"}
    yield (
        f"/apis/{api}/v1/clusterroles",
        {
            "kind": "ClusterRole",
            "apiVersion": f"{api}/v1",
            "metadata": role,
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        },
    )
    yield (
        f"/apis/{api}/v1/clusterrolebindings",
        {
            "kind": "ClusterRoleBinding",
            "apiVersion": f"{api}/v1",
            "metadata": role,
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", **role},
            "subjects": [{"apiGroup": api, "kind": "User", "name": "coredns"}],
        },
    )
