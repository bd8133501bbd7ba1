"""Fleets on a whole node: how soon work is begun, and what becomes of it when a worker dies."""

import json
import re
import time
import unittest
from datetime import datetime

from bed import until
from mill import Mill
from trial import NAMESPACE

# What a worker of the second fleet may use; and a payload that does not fit into it.
MEMORY = "40Mi"
LARGE = "x" * (40 << 20)
IMAGE = "cronmill:0.1.0"


def queue(name, **workers):
    return {
        "apiVersion": "cronmill.dev/v1alpha1",
        "kind": "TaskQueue",
        "metadata": {"name": name},
        "spec": {"queues": [{"name": "default", "redisName": name}], "workers": workers},
    }


def limited():
    """The pod of a worker with a limit."""
    command, resources = ["/usr/local/bin/cronmill-worker"], {"limits": {"memory": MEMORY}}
    container = {"name": "worker", "image": IMAGE, "command": command, "resources": resources}
    return {"spec": {"automountServiceAccountToken": False, "containers": [container]}}


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Fleet(Mill):
    def begin(self, name, least=0, **workers):
        """A TaskQueue that is ready, with as few workers as it may have."""
        scaling = {"stabilization": "5s", "minReplicas": least, "maxReplicas": 4}
        self.kubectl.apply(queue(name, scaling=scaling, **workers))
        self.kubectl("wait", "--for=condition=Ready", f"taskqueue/{name}", "--timeout=60s", limit_s=90)
        until(f"there is a fleet of {least}", lambda: self.replicas(name) == least)

    def replicas(self, name):
        found = self.kubectl.get("deployment", f"{name}-worker")
        return found and found["spec"]["replicas"]

    def enqueue(self, name, *words, text=None):
        words = ("task", "enqueue", "--type", "hello", "-q", name, "--retention", "1h", *words)
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
        self.begin("small", least=1, template=limited(), concurrency=1)
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


if __name__ == "__main__":
    unittest.main()
