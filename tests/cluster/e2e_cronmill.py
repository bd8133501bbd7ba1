"""cronmill on a whole node, as `make cluster` puts it there: its samples run, and what it writes holds no secret."""

import base64
import json
import subprocess
import unittest

import bed
import build
from bed import until
from mill import Mill
from state import State
from trial import NAMESPACE

SAMPLES = bed.ROOT / "deploy/samples"
QUICK = ("update-user-earn-quick", "hello")
# What no log, event or status may hold: it stands in a task's payload.
PAYLOAD = "only-the-handler-may-see-this"
# Of each user and currency: what the orders that are paid come to, less what stands in the earnings; where that is not 0.
WRONG = """
    SELECT user_id, currency, SUM(minor) FROM (
        SELECT user_id, currency, amount_minor AS minor FROM orders WHERE status IN ('paid', 'completed')
        UNION ALL SELECT user_id, currency, -amount_minor FROM earnings) AS both_sides
    GROUP BY user_id, currency HAVING SUM(minor) <> 0
"""
UNCOUNTED = """
    SELECT (SELECT COUNT(*) FROM ledger)
        - (SELECT COALESCE(SUM(entries), 0) FROM batches JOIN credited_batches USING (id))
"""


def suspend(value):
    return json.dumps({"spec": {"suspend": value}})


class Cronmill(Mill):
    """One node for all tests here, each of which finds the samples in force."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kubectl("apply", "-R", "-f", str(SAMPLES))
        for kind in ("crontasks", "taskqueues"):
            cls.kubectl("wait", "--for=condition=Ready", kind, "--all", "--timeout=60s", limit_s=90)
        # First its database has to come up, and orders have to be made.
        cls.kubectl("rollout", "status", "deployment/shop", "--timeout=240s", limit_s=300)
        database = cls.kubectl.get("service", "shop-database")["spec"]["clusterIP"]
        password = base64.b64decode(cls.kubectl.get("secret", "shop-database")["data"]["password"]).decode()
        cls.psql = ("psql", "-h", database, "-U", "shop", "-d", "shop", "-At", "-c"), password

    def sql(self, statement):
        """What PostgreSQL itself answers."""
        words, password = self.psql
        return self.within(*words, statement, PGPASSWORD=password).strip()

    def suspended(self, value):
        for name in QUICK:
            self.kubectl("patch", "crontask", name, "--type=merge", "-p", suspend(value))

    def workers(self):
        """The pods of workers that are there, ending ones too."""
        return {pod["metadata"]["name"] for pod in self.kubectl.list("pods", "-l", "cronmill.dev/task-queue")}

    def test_ticks_bring_workers_that_run_them_and_without_ticks_the_workers_go(self):
        self.suspended(False)
        until("update-user-earn has run", lambda: self.completed("shop") >= 2)
        until("hello has run", lambda: self.completed("hello") >= 2)
        until("its status says so", lambda: self.result("update-user-earn-quick") == "Completed")
        self.assertEqual({name.rsplit("-worker-")[0] for name in self.workers()}, {"shop", "hello"})
        self.suspended(True)
        # What was tried before there was a shop is tried again within a minute or two.
        retried = lambda: int(self.redis("ZCARD", "asynq:{shop}:retry"))
        until("the workers are gone", lambda: not self.workers() and not retried(), limit_s=240)
        for queue in ("shop", "hello"):
            replicas = self.kubectl.get("deployment", f"{queue}-worker")["spec"]["replicas"]
            left = [int(self.redis("LLEN", f"asynq:{{{queue}}}:{state}")) for state in ("pending", "active")]
            self.assertEqual((replicas, left), (0, [0, 0]), queue)

    def test_earnings_are_what_postgresql_sums_from_the_orders_and_unpaid_orders_are_closed(self):
        self.suspended(False)
        until("every payment and refund is counted", lambda: self.sql(UNCOUNTED) == "0")
        until("no order is pending", lambda: self.sql("SELECT COUNT(*) FROM orders WHERE status = 'pending'") == "0")
        self.assertEqual(self.sql(WRONG), "")
        self.assertEqual(self.sql("SELECT COUNT(DISTINCT user_id) FROM earnings WHERE amount_minor > 0"), "1000")
        self.assertEqual(self.sql("SELECT COUNT(*) FROM outbox"), "0")

    def result(self, name):
        return self.kubectl.get("crontask", name)["status"].get("lastResult")

    def test_no_log_event_or_status_holds_a_password_a_url_or_a_payload(self):
        task = {
            "apiVersion": "cronmill.dev/v1alpha1",
            "kind": "CronTask",
            "metadata": {"name": "private"},
            "spec": {
                "schedule": "@every 1s",
                "queueRef": {"name": "hello"},
                "task": {"type": "hello", "payload": {"name": PAYLOAD}, "retention": "10m"},
            },
        }
        before = self.completed("hello")
        self.addCleanup(self.kubectl, "delete", "crontask/private", "taskqueue/wrong", "secret/wrong")
        self.kubectl.apply(task)
        until("it has run", lambda: self.completed("hello") >= before + 2)
        until("all workers run", lambda: "Pending" not in self.kubectl("get", "pods"))
        # A queue on a Redis that does not answer, with a password of its own.
        wrong = f"redis://:{self.password}x@cronmill-redis.{NAMESPACE}.svc:6379/0"
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong"}, "stringData": {"url": wrong}}
        queue = {
            "apiVersion": "cronmill.dev/v1alpha1",
            "kind": "TaskQueue",
            "metadata": {"name": "wrong"},
            "spec": {"redis": {"secretRef": {"name": "wrong"}}, "queues": [{"name": "default"}]},
        }
        self.kubectl.apply(secret, queue)
        until("it is refused", lambda: "False" in self.kubectl("get", "taskqueue", "wrong"))
        written = self.written()
        self.assertIn("the schedule is in force", written["events"])
        self.assertTrue(any("hello" in text for name, text in written.items() if name.startswith("hello-worker")))
        for place, text in written.items():
            for secret in (self.password, "redis://"):
                self.assertNotIn(secret, text, place)
            # The handler itself may tell what it was given: hello does.
            if not place.startswith("hello-worker"):
                self.assertNotIn(PAYLOAD, text, place)

    def written(self):
        """Everything that cronmill wrote for people, by where it stands."""
        texts = {"events": self.kubectl("get", "events", "-A", "-o", "json")}
        for pod in self.kubectl.list("pods", "-A", "-l", "app.kubernetes.io/managed-by"):
            name, there = pod["metadata"]["name"], pod["metadata"]["namespace"]
            # Of a container that waits to start there is no log.
            texts[name] = self.kubectl("logs", "-n", there, name, "--all-containers", check=False)
        for kind in ("crontasks", "taskqueues", "deployments", "pods", "leases"):
            found = self.kubectl.list(kind, "-A")
            # A CronTask's spec holds its payload by right.
            texts[kind] = json.dumps([{**one, "spec": None, "metadata": managed(one)} for one in found])
        return texts

    def test_the_table_is_the_one_in_the_docs(self):
        readme = (bed.ROOT / "README.md").read_text()
        for kind in ("crontasks", "taskqueues"):
            header = self.kubectl("get", kind).splitlines()[0].split()
            shown = [line.split() for line in readme.splitlines() if line.startswith("NAME ")]
            self.assertIn(header, shown, kind)

    def test_uninstalled_before_its_objects_it_holds_none_of_them_up(self):
        """The last one, by its name: the others need what it takes away."""
        self.kubectl("create", "namespace", "leaving")
        url = base64.b64decode(self.secret["url"]).decode()
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis"}, "stringData": {"url": url}}
        queue = {
            "apiVersion": "cronmill.dev/v1alpha1",
            "kind": "TaskQueue",
            "metadata": {"name": "leaving"},
            "spec": {
                "redis": {"secretRef": {"name": "redis"}},
                "queues": [{"name": "default", "redisName": "leaving"}],
                "deletionPolicy": "Delete",
            },
        }
        for thing in (secret, queue):
            thing["metadata"]["namespace"] = "leaving"
        self.kubectl.apply(secret, queue)
        there = lambda: self.kubectl.get("taskqueue", "leaving", "-n", "leaving")
        until("it has its finalizer", lambda: there()["metadata"].get("finalizers"))
        helm = (build.folder_of("helm") / "helm", f"--kubeconfig={State(self.at).kubeconfig}", f"--namespace={NAMESPACE}")
        done = subprocess.run((*helm, "uninstall", "cronmill", "--wait"), capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("finalizers", there()["metadata"])
        for kind in ("deployments", "leases", "roles", "rolebindings", "jobs", "serviceaccounts"):
            left = [one["metadata"]["name"] for one in self.kubectl.list(kind, "-n", NAMESPACE)]
            self.assertEqual([name for name in left if "cronmill" in name], [], kind)
        self.kubectl("delete", "namespace", "leaving", "--timeout=30s")


def managed(thing):
    """Metadata without what kubectl itself keeps there of the spec it applied."""
    kept = dict(thing["metadata"])
    notes = dict(kept.get("annotations") or {})
    notes.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return {**kept, "annotations": notes}


if __name__ == "__main__":
    unittest.main()
