"""What cronmill serves at /metrics passes the checks of Prometheus's own tool."""

import json
import re
import socket
import subprocess
import sys
import time
import unittest
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/tools"))

import build

LIMIT_S = 120
# Names that asynq's exporter gave to gauges; dashboards look for them, so they are kept.
OF_ASYNQ = ("asynq_tasks_enqueued_total", "asynq_queue_paused_total")


def program():
    """The built cronmill, with cronmill-worker beside it."""
    command = ("cargo", "build", "--locked", "--bins", "--message-format=json-render-diagnostics")
    built = subprocess.run(command, cwd=ROOT, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    paths = [path for line in built.stdout.splitlines() if (path := json.loads(line).get("executable"))]
    return next(path for path in paths if Path(path).name == "cronmill")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scrape(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return answer.read().decode()


def until(what, ask):
    """The first answer that is not None."""
    end, last = time.monotonic() + LIMIT_S, None
    while time.monotonic() < end:
        try:
            if (answer := ask()) is not None:
                return answer
        except OSError as problem:
            last = problem
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {LIMIT_S} s; {last}")


def complaints(text):
    """What promtool says of metrics, a list of lines."""
    tool = build.folder_of("promtool") / "promtool"
    said = subprocess.run((tool, "check", "metrics"), input=text, capture_output=True, text=True, timeout=60)
    lines = (said.stdout + said.stderr).splitlines()
    if said.returncode not in (0, 3):
        raise AssertionError(f"promtool ended with {said.returncode}: {lines}")
    return [line for line in lines if line]


class Metrics(unittest.TestCase):
    def serve(self, *command):
        """Starts a program that serves metrics; returns where."""
        address = f"127.0.0.1:{free_port()}"
        process = subprocess.Popen(
            (*command, "--listen", address), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        return address

    def assert_silent(self, text):
        ours = [line for line in complaints(text) if not line.startswith(OF_ASYNQ)]
        self.assertEqual(ours, [])

    def test_promtool_is_silent_about_what_is_served(self):
        cronmill = program()
        dev = self.serve(cronmill, "dev", "-f", str(ROOT / "deploy/samples/hello.yaml"))

        def ran():
            text = scrape(dev)
            return text if re.search(r'^cronmill_ticks_total\{outcome="enqueued"\} [1-9]', text, re.M) else None

        text = until("a tick", ran)
        for name in ("cronmill_tick_lateness_seconds_bucket", "cronmill_fleet_workers", *OF_ASYNQ):
            self.assertIn(name, text)
        self.assert_silent(text)

    def test_promtool_is_heard(self):
        wrong = "# HELP a_total Help\n# TYPE a_total gauge\na_total 1\n"
        self.assertTrue(complaints(wrong))
        self.assertTrue(complaints(wrong.replace("# HELP a_total Help\n", "")))


if __name__ == "__main__":
    unittest.main()
