"""The control plane: etcd, the API server and the controller manager, as plain processes.

Alone it needs no root. Each cluster then has a loopback address of its own with the usual ports, so any number of
them run side by side.
"""

import hashlib
import shutil
import socket

import processes
from api import Api
from certificates import Keys
from state import Failed

# For machines that build something else at the same time; usually it is some seconds.
READY_LIMIT_S = 300
SERVICES = "10.89.0.0/20"
FIRST_SERVICE = "10.89.0.1"
API_PORT, ETCD_PORT, ETCD_PEER_PORT, CONTROLLER_PORT = 6443, 2379, 2380, 10257


def need(*programs):
    """Fails when programs of the system are missing."""
    packages = {
        "etcd": "etcd-server",
        "openssl": "openssl",
        "runc": "runc",
        "iptables": "iptables",
        "conntrack": "conntrack",
        "ip": "iproute2",
        "nsenter": "util-linux",
        "unshare": "util-linux",
        "mount": "mount",
        "redis-server": "redis-server",
    }
    if missing := [name for name in programs if not shutil.which(name)]:
        wanted = sorted({packages[name] for name in missing})
        raise Failed(f"no {', '.join(missing)} on the path; on Debian: apt-get install {' '.join(wanted)}")


def free_loopback(state):
    """An address of 127.64.0.0/10 on which nobody listens, the same for the same folder while it is free."""
    for attempt in range(100):
        one, two, three = hashlib.sha256(f"{state.folder} {attempt}".encode()).digest()[:3]
        address = f"127.{64 + one % 64}.{two}.{1 + three % 254}"
        if all(is_free(address, port) for port in (API_PORT, ETCD_PORT, ETCD_PEER_PORT, CONTROLLER_PORT)):
            return address
    raise Failed("no loopback address of 127.64.0.0/10 has the ports 2379, 2380, 6443 and 10257 free")


def is_free(address, port):
    with socket.socket() as probe:
        # As servers do: a connection that just ended does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


class ControlPlane:
    """The control plane of one cluster, as `cluster.json` describes it.

    `address` is where the API server is reached, `private` where etcd and the controllers listen.
    """

    def __init__(self, state, enter=(), detached=False, flags=()):
        choices = state.choices()
        self.state = state
        self.keys = Keys(state)
        self.tools = choices["tools"]["kubernetes"]
        self.address = choices["address"]
        self.private = choices["private"]
        self.server = f"https://{self.address}:{API_PORT}"
        self.enter = enter
        self.detached = detached
        self.flags = flags
        self.running = {}

    def api(self):
        return Api(self.server, self.keys)

    def start(self, name, *argv):
        self.running[name] = processes.start(self.state, name, argv, self.enter, self.detached)

    def wait(self, what, condition, limit_s=READY_LIMIT_S):
        return processes.wait(what, limit_s, condition, self.state, self.running)

    def up(self):
        """Starts all of it and waits until it serves and its controllers work."""
        self.start_etcd()
        self.make_keys()
        self.start_api_server()
        self.start_controllers()
        api, account = self.api(), "/api/v1/namespaces/default/serviceaccounts/default"
        self.wait("the controllers work", lambda: api.has(account))

    def make_keys(self):
        keys = self.keys
        keys.make_authorities()
        addresses = [f"IP:{address}" for address in sorted({self.address, self.private, "127.0.0.1", FIRST_SERVICE})]
        names = ["DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc"]
        keys.make("apiserver", "/CN=kube-apiserver", addresses + names)
        keys.make("controllers", "/CN=system:kube-controller-manager", addresses)
        keys.make("admin", "/O=system:masters/CN=admin")
        keys.make("apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet")
        keys.make("front-proxy", "/CN=front-proxy-client", authority="front-proxy-ca")
        self.write_kubeconfig("controllers", "system:kube-controller-manager")

    def write_kubeconfig(self, name, user):
        """A kubeconfig for one of the cluster's own programs; returns its path."""
        text = self.keys.kubeconfig(name, user, self.server)
        return self.state.write(f"etc/{name}.kubeconfig", text)

    def start_etcd(self):
        client = f"http://{self.private}:{ETCD_PORT}"
        peer = f"http://{self.private}:{ETCD_PEER_PORT}"
        self.start(
            "etcd",
            "etcd",
            f"--data-dir={self.state / 'data/etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # Nothing here outlives the machine.
            "--unsafe-no-fsync",
            "--logger=zap",
            "--log-level=warn",
        )

    def start_api_server(self):
        """Starts the API server and waits until it serves."""
        keys = self.keys
        self.start(
            "kube-apiserver",
            f"{self.tools}/kube-apiserver",
            f"--etcd-servers=http://{self.private}:{ETCD_PORT}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={SERVICES}",
            f"--client-ca-file={keys.certificate('ca')}",
            f"--tls-cert-file={keys.certificate('apiserver')}",
            f"--tls-private-key-file={keys.key('apiserver')}",
            f"--service-account-key-file={keys.folder / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={keys.key('service-accounts')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--profiling=false",
            # What aggregated APIs take.
            f"--requestheader-client-ca-file={keys.certificate('front-proxy-ca')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={keys.certificate('front-proxy')}",
            f"--proxy-client-key-file={keys.key('front-proxy')}",
            *(self.flags or (f"--bind-address={self.address}", "--endpoint-reconciler-type=none")),
        )
        self.wait("the API server is ready", self.api().is_ready)

    def start_controllers(self):
        keys = self.keys
        self.start(
            "kube-controller-manager",
            f"{self.tools}/kube-controller-manager",
            f"--kubeconfig={self.state / 'etc/controllers.kubeconfig'}",
            f"--bind-address={self.private}",
            f"--secure-port={CONTROLLER_PORT}",
            f"--tls-cert-file={keys.certificate('controllers')}",
            f"--tls-private-key-file={keys.key('controllers')}",
            f"--root-ca-file={keys.certificate('ca')}",
            f"--service-account-private-key-file={keys.key('service-accounts')}",
            f"--cluster-signing-cert-file={keys.certificate('ca')}",
            f"--cluster-signing-key-file={keys.key('ca')}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            # Tests create and delete thousands of objects; controllers are not to be what they wait for.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )
