"""A whole node: control plane, containerd, kubelet, kube-proxy, scheduler and DNS in namespaces of their own."""

import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import configuration
import control_groups
import namespaces
import oci
import processes
from configuration import DNS_READY_PORT, NODE, POD_IMAGE, PROXY_PORT
from control_plane import ControlPlane
from oci import Image
from state import Failed

# Debian's place for them.
PLUGINS = Path("/usr/lib/cni")
PROGRAMS = ("etcd", "openssl", "runc", "iptables", "conntrack", "ip", "nsenter", "unshare", "mount")
TOOLS = ("kubernetes", "containerd", "coredns", "pod")


class Node(ControlPlane):
    """The node of one cluster."""

    def __init__(self, state):
        outer_flags = (
            "--bind-address=0.0.0.0",
            f"--advertise-address={state.choices()['address']}",
            f"--kubelet-client-certificate={state / 'pki/apiserver-kubelet.crt'}",
            f"--kubelet-client-key={state / 'pki/apiserver-kubelet.key'}",
            "--kubelet-preferred-address-types=InternalIP",
        )
        super().__init__(state, namespaces.enter(state), detached=True, flags=outer_flags)
        self.containerd = Path(state.choices()["tools"]["containerd"])
        self.socket = state / "data/containerd.sock"

    def up(self):
        """Brings all of it up and waits until pods can run, and reach each other by name."""
        configuration.write(
            self.state,
            address=self.address,
            socket=self.socket,
            plugins=PLUGINS,
            snapshotter=snapshotter(self.state.folder),
            control_group=control_groups.create(self.state),
        )
        self.start("containerd", self.containerd / "containerd", f"--config={self.state / 'etc/containerd.toml'}")
        super().up()
        for path, body in configuration.dns_objects(self.address):
            self.api().create(path, body)
        self.load(self.pod_image())
        self.start_node()
        self.wait("the node is ready", self.is_ready)
        self.wait("services are routed", lambda: answers(f"http://{self.address}:{PROXY_PORT}/healthz"))
        self.wait("names are resolved", lambda: answers(f"http://{self.address}:{DNS_READY_PORT}/ready"))

    def make_keys(self):
        super().make_keys()
        for name, user, group in (
            ("scheduler", "system:kube-scheduler", ""),
            ("proxy", "system:kube-proxy", ""),
            ("dns", "coredns", ""),
            ("kubelet", f"system:node:{NODE}", "/O=system:nodes"),
        ):
            names = (f"IP:{self.address}", f"DNS:{NODE}") if name == "kubelet" else ()
            self.keys.make(name, f"{group}/CN={user}", names)
            self.write_kubeconfig(name, user)

    def start_node(self):
        etc, keys, kubernetes = self.state / "etc", self.keys, Path(self.tools)
        self.start(
            "kubelet",
            kubernetes / "kubelet",
            f"--config={etc / 'kubelet.yaml'}",
            f"--kubeconfig={etc / 'kubelet.kubeconfig'}",
            f"--hostname-override={NODE}",
            f"--node-ip={self.address}",
            f"--root-dir={self.state / 'data/kubelet'}",
            f"--cert-dir={self.state / 'data/kubelet-pki'}",
            f"--tls-cert-file={keys.certificate('kubelet')}",
            f"--tls-private-key-file={keys.key('kubelet')}",
        )
        self.start("kube-proxy", kubernetes / "kube-proxy", f"--config={etc / 'proxy.yaml'}")
        self.start(
            "kube-scheduler",
            kubernetes / "kube-scheduler",
            f"--kubeconfig={etc / 'scheduler.kubeconfig'}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )
        coredns = Path(self.state.choices()["tools"]["coredns"]) / "coredns"
        self.start("coredns", coredns, "-conf", etc / "Corefile")

    def is_ready(self):
        """Whether pods are scheduled here."""
        node = self.api().get(f"/api/v1/nodes/{NODE}")
        if not node or node["spec"].get("taints"):
            return False
        conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", ())}
        return conditions.get("Ready") == "True"

    def pod_image(self):
        """The image of pause containers and of tests, as a tar."""
        program = Path(self.state.choices()["tools"]["pod"]) / "pod"
        path = self.state / "data/pod.tar"
        Image(POD_IMAGE, {"pod": program}, ["/pod"], ["pause"]).write(path)
        return path

    def load(self, tar):
        """Makes the images of a tar known to the node; returns their names."""
        if not Path(tar).is_file():
            raise Failed(f"no file {tar} with an image; `make image` writes one")
        names = oci.names(tar)
        if not names:
            raise Failed(f"{tar} says no name for its image")
        done = self.ctr("images", "import", "--local", Path(tar).resolve())
        if done.returncode != 0:
            raise Failed(f"containerd does not take {tar}: {done.stderr.strip()}")
        # Kubelet's side of containerd hears of an image a moment later.
        self.wait(f"{', '.join(names)} can be used", lambda: set(names) <= self.images())
        return names

    def images(self):
        """The names of all images that pods may use."""
        return set(self.ctr("images", "list", "--quiet", 'labels."io.cri-containerd.image"==managed').stdout.split())

    def ctr(self, *words):
        command = (self.containerd / "ctr", f"--address={self.socket}", "--namespace=k8s.io", *words)
        return subprocess.run(
            [*self.enter, *map(str, command)], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )


def snapshotter(folder):
    """How containerd stores layers: one overlay cannot lie on another, as where this machine is a container."""
    sort = subprocess.run(("stat", "-f", "-c", "%T", folder), capture_output=True, text=True).stdout.strip()
    return "native" if sort == "overlayfs" else "overlayfs"


def answers(url):
    """Whether a web server says that all is well."""
    try:
        # Without the proxy that the environment may name.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False

