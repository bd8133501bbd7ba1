"""Fleets on a whole node: how soon work is begun, and what becomes of it when a worker dies."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from datetime import datetime
from pathlib import Path

import namespaces
from bed import ROOT, cluster, until
from mill import Mill
from oci import Image
from state import State
from trial import NAMESPACE

# What a worker of the second fleet may use; and a payload that does not fit into it.
MEMORY = "40Mi"
LARGE = "x" * (40 << 20)
IMAGE = "cronmill:0.1.0"
GO = "cronmill.dev/test/go-worker:1"


# Tells when it is asked and by whom, and answers late.
PORT = 8099
SLOW = f"""
import http.server, time
class Slow(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(time.time(), self.client_address[0], flush=True)
        time.sleep(8)
        self.send_response(200)
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", {PORT}), Slow).serve_forever()
"""


def queue(name, lease="30s", **workers):
    spec = {"queues": [{"name": "default", "redisName": name}], "lease": lease, "workers": workers}
    return {"apiVersion": "cronmill.dev/v1alpha1", "kind": "TaskQueue", "metadata": {"name": name}, "spec": spec}


def pod(**more):
    """The pod of a worker, with more said of its container."""
    command = ["/usr/local/bin/cronmill-worker"]
    container = {"name": "worker", "image": IMAGE, "command": command, **more}
    return {"spec": {"automountServiceAccountToken": False, "containers": [container]}}


def cut_off(name):
    """Takes its network from a pod, whose worker runs on."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_it = f"HOSTNAME={name}".encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if is_it:
            link = ("ip", "link", "set", "eth0", "down")
            subprocess.run(("nsenter", f"--target={process.name}", "--net", *link), check=True)
            return process
    raise AssertionError(f"no process of pod {name}")


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Fleet(Mill):
    def begin(self, name, least=0, lease="30s", **workers):
        """A TaskQueue that is ready, with as few workers as it may have."""
        scaling = {"stabilization": "5s", "minReplicas": least, "maxReplicas": 4}
        self.kubectl.apply(queue(name, lease=lease, scaling=scaling, **workers))
        self.kubectl("wait", "--for=condition=Ready", f"taskqueue/{name}", "--timeout=60s", limit_s=90)
        until(f"there is a fleet of {least}", lambda: self.replicas(name) == least)

    def replicas(self, name):
        found = self.kubectl.get("deployment", f"{name}-worker")
        return found and found["spec"]["replicas"]

    def enqueue(self, name, *words, text=None, kind="hello"):
        words = ("task", "enqueue", "--type", kind, "-q", name, "--retention", "1h", *words)
        return self.cronmill(*words, text=text).strip()

    def shown(self, name, task):
        return json.loads(self.cronmill("task", "show", "-q", name, task, "-o", "json"))

    def scaled(self, name):
        """When the operator said for the first time that it scales a fleet up from none."""
        log = self.kubectl("logs", "-n", NAMESPACE, "deploy/cronmill", "--all-pods=true", "--tail=-1")
        said = re.search(rf"(\d{{4}}-\S+Z).*scales default/{name} from 0 to \d+", log)
        return said and seconds(said[1])

    def ends(self, name):
        """When containers of its workers ended, as far as their pods tell."""
        pods = self.kubectl.list("pods", "-l", f"cronmill.dev/task-queue={name}")
        statuses = [status for pod in pods for status in pod["status"]["containerStatuses"]]
        states = [status[state] for status in statuses for state in ("state", "lastState")]
        return [seconds(state["terminated"]["finishedAt"]) for state in states if "terminated" in state]

    def test_the_first_task_of_an_idle_queue_is_done_within_eight_seconds(self):
        self.begin("idle")
        begun = time.time()
        self.enqueue("idle", "--id", "first")
        until("it is done", lambda: self.completed("idle") == 1, limit_s=30)
        took, decided = time.time() - begun, self.scaled("idle") - begun
        print(f"first task: scaled after {decided:.2f} s, done after {took:.2f} s", flush=True)
        self.assertLess(took, 8)
        self.assertLess(decided, 1.5, "the command line took some of it")

    def test_a_task_for_later_runs_in_time_on_a_fleet_of_none(self):
        self.begin("later")
        # The first start teaches how long one takes.
        self.enqueue("later")
        until("it is done", lambda: self.completed("later") == 1)
        until("the worker is gone", lambda: self.replicas("later") == 0)
        self.enqueue("later", "--id", "due", "--in", "30s")
        due = float(self.redis("ZSCORE", "asynq:{later}:scheduled", "due"))
        self.assertEqual(self.replicas("later"), 0)
        until("it is done", lambda: self.completed("later") == 2)
        late = seconds(self.shown("later", "due")["completedTime"]) - due
        print(f"due in 30 s on a fleet of none: {late:.1f} s late", flush=True)
        self.assertLessEqual(late, 1)

    def test_what_an_oom_killed_worker_held_is_runnable_at_once_and_what_always_kills_it_is_archived(self):
        self.begin("small", least=1, template=pod(resources={"limits": {"memory": MEMORY}}), concurrency=1)
        # A worker that dies in its first second may be taken for the next one.
        self.enqueue("small")
        until("a worker runs", lambda: self.completed("small") == 1)
        time.sleep(2)
        self.enqueue("small", "--id", "poison", "--max-retry", "0", "--payload", "-", text=json.dumps(LARGE))
        until("a worker was killed over it", lambda: self.shown("small", "poison").get("errors"))
        shown = self.shown("small", "poison")
        error = shown["errors"][-1]
        self.assertRegex(error["error"], f"was OOMKilled at its memory limit of {MEMORY}$")
        self.assertEqual(shown["retried"], 0)
        back, ends = seconds(error["time"]), self.ends("small")
        took = min(back - end for end in ends if end <= back)
        print(f"runnable {took:.1f} s after the container ended", flush=True)
        self.assertLessEqual(took, 5)
        # A neighbour that waits runs once the poison is gone, and never paid for it.
        self.enqueue("small", "--id", "neighbour", "--max-retry", "0")
        until("the poison is archived", lambda: self.redis("ZCARD", "asynq:{small}:archived").strip() == "1", limit_s=240)
        self.assertRegex(self.shown("small", "poison")["lastError"], "3 times: .*OOMKilled")
        until("the neighbour has run", lambda: self.completed("small") == 2, limit_s=240)
        self.assertEqual(self.shown("small", "neighbour")["retried"], 0)
        events = self.kubectl("get", "events", "--field-selector=reason=WorkerDied", "-o", "json")
        self.assertIn("OOMKilled", events)

    def test_no_task_of_a_worker_that_is_cut_off_is_run_by_another_before_its_lease_ends(self):
        address = self.kubectl.list("nodes")[0]["status"]["addresses"][0]["address"]
        command = (*namespaces.enter(State(self.at)), sys.executable, "-c", SLOW)
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for end in (server.stdout.close, server.wait, server.kill):
            self.addCleanup(end)
        environment = [{"name": "CRONMILL_HTTP_TARGETS", "value": f"slow=http://{address}:{PORT}/"}]
        self.begin("cut", least=2, lease="10s", concurrency=1, template=pod(env=environment))
        until("both workers run", lambda: self.kubectl.get("deployment", "cut-worker")["status"].get("readyReplicas") == 2)
        self.enqueue("cut", "--id", "one", kind="http:slow")
        first = server.stdout.readline().split()
        owner = self.shown("cut", "one")["owner"].split(":")[0]
        process = cut_off(owner)
        end = float(self.redis("ZSCORE", "asynq:{cut}:lease", "one"))
        second = server.stdout.readline().split()
        print(f"run again {float(second[0]) - end:.1f} s after the lease ended", flush=True)
        self.assertGreaterEqual(float(second[0]), end)
        self.assertNotEqual(first[1], second[1])
        self.assertTrue(process.exists(), "the one that was cut off lives")
        until("it is done", lambda: self.completed("cut") == 1)
        self.assertEqual(self.shown("cut", "one")["retried"], 0)

    def load_go_worker(self):
        """Puts an image on the node that holds a worker on asynq, and nothing else."""
        with tempfile.TemporaryDirectory() as folder:
            program, tar = Path(folder) / "peers", Path(folder) / "go.tar"
            build = ("go", "build", "-trimpath", "-o", program, ".")
            subprocess.run(build, cwd=ROOT / "tests/peers", check=True, env={**os.environ, "CGO_ENABLED": "0"})
            Image(GO, {"usr/local/bin/peers": program}, ["/usr/local/bin/peers"]).write(tar)
            cluster("load", "--state", self.at, tar)

    def test_workers_on_asynq_that_somebody_deployed_are_scaled_and_serve_and_nothing_else_of_them_is_touched(self):
        self.load_go_worker()
        url = f"redis://:{self.password}@{self.redis_host}:6379/0"
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "go"}, "stringData": {"url": url}}
        reference = {"name": "URL", "valueFrom": {"secretKeyRef": {"name": "go", "key": "url"}}}
        arguments = ["work", "--redis=$(URL)", "--queues=go=1"]
        container = {"name": "main", "image": GO, "args": arguments, "env": [reference]}
        labels = {"app": "go"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
        theirs = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "go"}, "spec": spec}
        ours = queue("go", targetRef={"kind": "Deployment", "name": "go"}, scaling={"stabilization": "5s"})
        self.kubectl.apply(secret, theirs, ours)
        self.kubectl("wait", "--for=condition=Ready", "taskqueue/go", "--timeout=60s", limit_s=90)
        for number in range(5):
            self.enqueue("go", "--id", f"task-{number}")
        until("Go has run them", lambda: self.completed("go") == 5)
        pods = self.kubectl.list("pods", "-l", "app=go")
        self.assertEqual([pod["spec"]["containers"][0]["image"] for pod in pods], [GO])
        until("they go", lambda: self.kubectl.get("deployment", "go")["spec"]["replicas"] == 0)
        fields = self.kubectl.get("deployment", "go", "--show-managed-fields")["metadata"]["managedFields"]
        touched = [entry for entry in fields if entry["manager"].startswith("cronmill")]
        self.assertEqual([(entry["manager"], entry["subresource"]) for entry in touched], [("cronmill-scaler", "scale")])
        self.assertEqual(touched[0]["fieldsV1"], {"f:spec": {"f:replicas": {}}})


if __name__ == "__main__":
    unittest.main()
