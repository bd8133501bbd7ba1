"""Tests of the control plane alone: real etcd, API server and controllers, without root."""

import concurrent.futures
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import unittest

import bed  # which says where build is
import build
import control_plane
import ending
import processes
from bed import HERE, Bed, Kubectl, cluster, until
from state import Failed, State


class Serving(Bed):
    """One control plane for all tests here."""

    @classmethod
    def setUpClass(cls):
        cls.at = cls.place_of_all()
        cluster("up", "--control-plane", "--state", cls.at)
        cls.kubectl = Kubectl(cls.at)

    def test_its_version_is_that_of_the_module(self):
        version = json.loads(self.kubectl("version", "-o", "json"))
        self.assertEqual(version["serverVersion"]["gitVersion"], version["clientVersion"]["gitVersion"])
        self.assertRegex(version["serverVersion"]["gitVersion"], r"^v1\.\d+\.\d+$")
        self.assertRegex(version["serverVersion"]["minor"], r"^\d+$")

    def test_controllers_work(self):
        self.kubectl("create", "deployment", "one", "--image=example.org/one:1", "--replicas=2")
        until("the deployment has two pods", lambda: len(self.kubectl.list("pods", "-l", "app=one")) == 2)
        self.kubectl("delete", "deployment", "one", "--cascade=foreground", "--wait=false")
        until("the garbage is collected", lambda: not self.kubectl.list("replicasets,pods", "-l", "app=one"))

    def test_aggregated_servers_can_tell_who_asks(self):
        found = self.kubectl.get("configmap", "extension-apiserver-authentication", "-n", "kube-system")
        self.assertIn("BEGIN CERTIFICATE", found["data"]["requestheader-client-ca-file"])
        self.assertEqual(json.loads(found["data"]["requestheader-allowed-names"]), ["front-proxy-client"])

    def test_the_api_server_can_be_away_and_come_back(self):
        self.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        cluster("stop-apiserver", "--state", self.at)
        refused = subprocess.run((*self.kubectl.command, "get", "ns"), capture_output=True, text=True)
        self.assertIn("refused", refused.stderr)
        cluster("start-apiserver", "--state", self.at)
        self.assertEqual(self.kubectl.get("configmap", "kept")["data"], {"a": "b"})
        before = processes.recorded(State(self.at), "kube-apiserver")
        cluster("restart-apiserver", "--state", self.at)
        self.assertNotEqual(processes.recorded(State(self.at), "kube-apiserver"), before)
        self.assertEqual(self.kubectl.get("configmap", "kept")["data"], {"a": "b"})

    def test_starting_an_api_server_that_runs_changes_nothing(self):
        before = processes.recorded(State(self.at), "kube-apiserver")
        cluster("start-apiserver", "--state", self.at)
        self.assertEqual(processes.recorded(State(self.at), "kube-apiserver"), before)

    def test_a_second_one_in_the_same_folder_is_refused_and_harms_nothing(self):
        done = cluster("up", "--control-plane", "--state", self.at, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("came up", done.stderr)
        self.assertIn("down --state", done.stderr)
        self.kubectl("get", "namespaces")

    def test_several_run_side_by_side(self):
        places = [self.place(), self.place()]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda place: cluster("up", "--control-plane", "--state", place), places))
        for number, place in enumerate(places):
            Kubectl(place)("create", "namespace", f"only-here-{number}")
        for number, place in enumerate([*places, self.at]):
            names = Kubectl(place)("get", "namespaces", "-o", "name").split()
            ours = [name for name in names if "only-here" in name]
            self.assertEqual(ours, [f"namespace/only-here-{number}"] if number < 2 else [])
        cluster("down", "--state", places[0])
        self.assert_no_trace(places[0])
        Kubectl(places[1])("get", "namespaces")


class Ending(Bed):
    def test_down_leaves_nothing_whatever_was_killed(self):
        place = self.place()
        cluster("up", "--control-plane", "--state", place)
        for name in ("etcd", "kube-controller-manager"):
            os.kill(processes.recorded(State(place), name), signal.SIGKILL)
        shutil.rmtree(place / "pids")
        for _ in range(2):
            cluster("down", "--state", place)
            self.assert_no_trace(place)

    def test_what_a_killed_up_left_is_taken_down(self):
        place = self.place()
        command = (sys.executable, str(HERE), "up", "--control-plane", "--state", str(place))
        # In a session of its own, so that the kill meets only itself.
        up = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        until("the API server was started", lambda: processes.recorded(State(place), "kube-apiserver"))
        up.kill()
        up.wait()
        self.assertGreater(len(processes.ours(State(place))), 1)
        cluster("down", "--state", place)
        self.assert_no_trace(place)

    def test_processes_are_found_although_the_folder_is_gone(self):
        place = self.place()
        cluster("up", "--control-plane", "--state", place)
        shutil.rmtree(place)
        cluster("down", "--state", place)
        self.assert_no_trace(place)

    def test_of_one_that_does_not_come_up_nothing_runs_on_and_the_log_is_shown(self):
        place = self.place()
        # etcd comes up; the API server is a program that says why not.
        cache = place.parent / "cache"
        tools = cache / "cronmill/tools" / f"kubernetes-{build.Set.of('kubernetes').key()}"
        tools.mkdir(parents=True)
        (tools / "kube-apiserver").write_text("#!/bin/sh\necho the reason; exit 3\n")
        (tools / "kube-apiserver").chmod(0o755)
        done = cluster("up", "--control-plane", "--state", place, check=False, XDG_CACHE_HOME=str(cache))
        self.assertEqual(done.returncode, 1)
        self.assertIn("kube-apiserver ended with 3", done.stderr)
        self.assertIn("the reason", done.stderr)
        self.assertEqual(processes.ours(State(place)), set())
        self.assertIn("the reason", (place / "log/kube-apiserver.log").read_text())

    def test_a_folder_that_holds_something_else_is_left_alone(self):
        place = self.place()
        place.mkdir()
        (place / "precious").write_text("work")
        for command in (("up", "--control-plane"), ("down",)):
            done = cluster(*command, "--state", place, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(str(place), done.stderr)
        self.assertEqual((place / "precious").read_text(), "work")
        shutil.rmtree(place)

    def test_another_process_with_a_recorded_number_is_not_ended(self):
        state = State(self.place())
        state.begin({})
        other = subprocess.Popen(("sleep", "60"))
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        state.write("pids/kube-apiserver", f"{other.pid}\n")
        self.assertIsNone(processes.recorded(state, "kube-apiserver"))
        cluster("stop-apiserver", "--state", state.folder)
        ending.down(state)
        self.assertIsNone(other.poll())


class Choosing(unittest.TestCase):
    def test_an_address_in_use_is_not_taken(self):
        state = State("/tmp/cronmill-check-no-such-folder")
        first = control_plane.free_loopback(state)
        self.assertEqual(control_plane.free_loopback(state), first)
        with socket.socket() as other:
            other.bind((first, control_plane.API_PORT))
            other.listen()
            self.assertNotEqual(control_plane.free_loopback(state), first)

    def test_what_is_missing_is_named_with_its_package(self):
        before = os.environ["PATH"]
        os.environ["PATH"] = "/nowhere"
        self.addCleanup(os.environ.__setitem__, "PATH", before)
        with self.assertRaisesRegex(Failed, "no etcd, runc .* apt-get install etcd-server runc"):
            control_plane.need("etcd", "runc")


if __name__ == "__main__":
    unittest.main()
