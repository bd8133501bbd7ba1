"""Tests of a whole node: pods run, write logs, find each other by name, and leave no trace. Needs root."""

import os
import re
import signal
import subprocess
import unittest
from pathlib import Path

import control_groups
import ending
import namespaces
import processes
from bed import Bed, Kubectl, cluster, until
from configuration import NODE, POD_IMAGE
from oci import Image
from state import State

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(name, *arguments, image=POD_IMAGE):
    """A pod as the restricted standard wants it."""
    container = {"name": "main", "image": image, "args": list(arguments), "securityContext": RESTRICTED}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]},
    }


def service(name, port):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        # Not the pod's own name, which stands in the pod's /etc/hosts.
        "metadata": {"name": f"to-{name}"},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": port}]},
    }


# How the interface, the control groups and the processes of a cluster can be told from others.
OF_A_CLUSTER = re.compile(r"\b(?:cm|cronmill-)([0-9a-f]{8})\b")
PROGRAMS = ("kube", "containerd", "etcd", "coredns", "runc", "pod")


def machine(state):
    """What a node could leave behind on the machine, as a set of lines. Other clusters may come and go meanwhile."""
    lines = set()
    for command in (("ip", "-oneline", "link"), ("ip", "route"), ("iptables-save",), ("ip", "netns", "list")):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        # Without counters and times.
        lines |= {line.split("[")[0] for line in done.stdout.splitlines() if not line.startswith("#")}
    lines |= set(Path("/proc/self/mountinfo").read_text().splitlines())
    for place in ("/var/lib", "/var/log", "/var/run", "/run", "/etc", "/opt", "/usr/libexec"):
        lines |= {str(path) for path in Path(place).glob("*")}
    for hierarchy in control_groups.hierarchies():
        lines |= {str(path) for path in hierarchy.rglob("*/")}
    lines = {line for line in lines if state.id in line or not OF_A_CLUSTER.search(line)}
    return lines | programs(state)


def programs(state):
    """Processes such as a node has, but for those that other clusters started."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text().strip()
            groups = OF_A_CLUSTER.findall((process / "cgroup").read_text())
            others = f"{processes.MARK}=".encode() in (process / "environ").read_bytes()
        except OSError:
            continue
        is_ours = processes.is_ours(state, int(process.name)) or state.id in groups
        if name.startswith(PROGRAMS) and (is_ours or not (groups or others)):
            found.add(f"{name} {process.name}")
    return found


class Node(Bed):
    """One node for all tests here."""

    @classmethod
    def setUpClass(cls):
        cls.at = cls.place_of_all()
        cls.before = machine(State(cls.at))
        cluster("up", "--state", cls.at)
        cls.kubectl = Kubectl(cls.at)
        cls.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted")

    def phase(self, name):
        found = self.kubectl.get("pod", name)
        return found and found["status"].get("phase")

    def run_pod(self, name, *arguments, image=POD_IMAGE):
        """Runs a pod to its end and returns what it wrote."""
        self.kubectl.apply(pod(name, *arguments, image=image))
        ended = until(f"{name} ended", lambda: self.phase(name) in ("Succeeded", "Failed") and self.phase(name))
        text = self.kubectl("logs", name)
        self.assertEqual(ended, "Succeeded", text)
        return text.strip()

    def serve(self, name):
        """A pod with a web server, and its service."""
        self.kubectl.apply(service(name, 8080), pod(name, "serve", ":8080", f"this is {name}"))
        slices = ("endpointslices", "-l", f"kubernetes.io/service-name=to-{name}")
        ready = lambda: [one for found in self.kubectl.list(*slices) for one in found["endpoints"] or ()]
        until(f"{name} serves", ready)

    def test_a_pod_runs_and_its_log_is_read_from_the_machines_own_shell(self):
        self.serve("logged")
        self.assertIn("listening on :8080", self.kubectl("logs", "logged"))

    def test_a_command_runs_in_a_pod(self):
        self.serve("entered")
        self.assertIn("127.0.0.1", self.kubectl("exec", "entered", "--", "/pod", "resolve", "localhost"))

    def test_names_are_resolved_in_pods(self):
        self.kubectl.apply(service("named", 8080))
        address = self.kubectl.get("service", "to-named")["spec"]["clusterIP"]
        for number, name in enumerate(("to-named", "to-named.default", "to-named.default.svc.cluster.local")):
            self.assertEqual(self.run_pod(f"resolver-{number}", "resolve", name), address)

    def test_a_service_is_reached_from_another_pod_and_from_the_one_behind_it(self):
        self.serve("web")
        self.assertEqual(self.run_pod("asks", "get", "http://to-web"), "this is web")
        self.assertIn("this is web", self.kubectl("exec", "web", "--", "/pod", "get", "http://to-web"))

    def test_pods_reach_the_api_server(self):
        done = self.kubectl.apply(pod("asks-api", "get", "https://kubernetes.default/healthz"))
        self.assertIsNone(done)
        until("asks-api ended", lambda: self.phase("asks-api") == "Failed")
        # It was reached: its certificate is what the pod does not know.
        self.assertIn("certificate", self.kubectl("logs", "asks-api"))

    def test_an_image_of_ones_own_is_loaded_and_runs(self):
        name = "cronmill.dev/test/own:3"
        program = Path(State(self.at).choices()["tools"]["pod"]) / "pod"
        tar = self.at.parent / "own.tar"
        Image(name, {"usr/bin/own": program}, ["/usr/bin/own"]).write(tar)
        for _ in range(2):
            self.assertEqual(cluster("load", "--state", self.at, tar).stdout.split(), [name])
        self.assertIn("127.0.0.1", self.run_pod("own", "resolve", "localhost", image=name))

    def test_an_image_that_is_nowhere_is_said_to_be(self):
        self.kubectl.apply(pod("nowhere", "pause", image="cronmill.dev/test/nowhere:1"))

        def waiting():
            state = self.kubectl.get("pod", "nowhere")["status"].get("containerStatuses", [{"state": {}}])[0]["state"]
            return state.get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff")

        until("the pull failed", waiting)

    def test_pods_outlive_the_api_server(self):
        self.serve("stays")
        started = self.kubectl.get("pod", "stays")["status"]["containerStatuses"][0]["containerID"]
        cluster("restart-apiserver", "--state", self.at)
        until("the node is ready", lambda: "True" in self.ready())
        self.assertEqual(self.kubectl.get("pod", "stays")["status"]["containerStatuses"][0]["containerID"], started)
        self.assertEqual(self.run_pod("asks-later", "get", "http://to-stays"), "this is stays")

    def ready(self):
        conditions = self.kubectl.get("node", NODE)["status"]["conditions"]
        return [one["status"] for one in conditions if one["type"] == "Ready"]

    def test_the_machine_itself_is_as_before_but_for_one_interface(self):
        self.serve("present")
        state = State(self.at)
        new = machine(state) - self.before - programs(state)
        self.assertEqual({line for line in new if state.id not in line}, set())
        self.assertEqual(len({line for line in new if namespaces.interface(state) in line}), 2, new)


class Ending(Bed):
    def test_down_leaves_no_trace_although_pods_run_and_programs_were_killed(self):
        place = self.place()
        before = machine(State(place))
        cluster("up", "--state", place)
        kubectl, state = Kubectl(place), State(place)
        kubectl.apply(pod("runs-on", "pause"))
        until("the pod runs", lambda: (kubectl.get("pod", "runs-on")["status"] or {}).get("phase") == "Running")
        self.assertGreater(len(control_groups.members(state)), 1)
        for name in ("containerd", "kubelet", "namespaces", "kube-apiserver"):
            os.kill(processes.recorded(state, name), signal.SIGKILL)
        for _ in range(2):
            cluster("down", "--state", place)
            self.assert_no_trace(place)
            self.assertEqual(machine(state) - before, set())

    def test_a_node_is_refused_where_it_would_not_find_its_folder(self):
        done = cluster("up", "--state", "/var/tmp/cronmill-check-no-such-folder", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("choose a folder elsewhere", done.stderr)


if __name__ == "__main__":
    unittest.main()
