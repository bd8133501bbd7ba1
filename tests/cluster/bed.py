"""What the tests of the cluster have in common."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path += [str(ROOT / "tests/tools"), str(ROOT / "deploy"), str(ROOT / "deploy/image")]

import ending
import processes
from state import State

# Bringing one up, on a machine that builds something else beside it.
LIMIT_S = 600


def cluster(*words, check=True, limit_s=LIMIT_S, **environment):
    """Runs `tests/cluster`; the finished process, with its output."""
    command = (sys.executable, str(HERE), *map(str, words))
    variables = {**os.environ, **environment}
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=limit_s, env=variables
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done


def folder():
    """A folder for a cluster, and what removes it."""
    parent = tempfile.TemporaryDirectory(prefix="cronmill-check-", dir="/tmp")
    return Path(parent.name) / "state", parent.cleanup


class Bed(unittest.TestCase):
    """Clusters that are gone when a test is."""

    def place(self):
        """The folder of a cluster that is to come up."""
        place, remove = folder()
        self.addCleanup(remove)
        self.addCleanup(ending.down, State(place))
        return place

    @classmethod
    def place_of_all(cls):
        """The folder of a cluster that all tests of the class share."""
        place, remove = folder()
        cls.addClassCleanup(remove)
        cls.addClassCleanup(ending.down, State(place))
        return place

    def assert_no_trace(self, place):
        self.assertEqual(ending.members(State(place)), set())
        self.assertFalse(place.exists(), place)


class Kubectl:
    """kubectl as a person uses it, from the machine's own shell."""

    def __init__(self, place):
        state = State(place)
        program = Path(state.choices()["tools"]["kubernetes"]) / "kubectl"
        self.command = (str(program), f"--kubeconfig={state.kubeconfig}")

    def __call__(self, *words, check=True, text=None, limit_s=60):
        """What it prints."""
        done = subprocess.run((*self.command, *words), capture_output=True, text=True, input=text, timeout=limit_s)
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def apply(self, *objects):
        self("apply", "-f", "-", text=json.dumps({"kind": "List", "apiVersion": "v1", "items": objects}))

    def get(self, *words):
        """An object, or None."""
        text = self("get", *words, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def list(self, *words):
        """Objects, such as those with a label."""
        return (self.get(*words) or {"items": []})["items"]


def until(what, condition, limit_s=120):
    return processes.wait(what, limit_s, condition)
