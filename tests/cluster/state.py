"""Where a cluster keeps what it is: one folder, and names that follow from its path.

    cluster.json      what was chosen when it came up: its kind, its address, the folder of its programs
    admin.kubeconfig  written last, so who finds it finds a cluster that is ready
    pids/ log/        one file per process
    pki/ etc/ data/   keys, configuration, what processes store

Everything outside the folder (processes, control groups, network interfaces) is found by the folder's path, so
`down` needs nothing inside of it.
"""

import hashlib
import json
import os
from pathlib import Path


class Failed(Exception):
    """What went wrong, to what, and what to do next."""


class State:
    """The folder of one cluster."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.id = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self._choices = self.folder / "cluster.json"

    def __truediv__(self, name):
        return self.folder / name

    def exists(self):
        """Whether a cluster came up here, or began to."""
        return self._choices.exists() or self._choices.with_name("cluster.json.unfinished").exists()

    def check_is_free(self):
        """Refuses a folder that holds anything."""
        if self.exists():
            raise Failed(f"a cluster came up in {self.folder} before; `down --state {self.folder}` takes it down")
        if self.folder.exists() and any(self.folder.iterdir()):
            raise Failed(f"{self.folder} is not empty; name a folder that is, or that does not exist")

    def begin(self, choices):
        """Takes the folder for a new cluster."""
        self.check_is_free()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write("cluster.json", json.dumps(choices, indent=2) + "\n")
        for name in ("pids", "log", "pki", "etc", "data"):
            (self / name).mkdir(mode=0o700)

    def choices(self):
        """What was chosen when it came up."""
        try:
            return json.loads(self._choices.read_text())
        except FileNotFoundError:
            raise Failed(f"no cluster in {self.folder}; `up --state {self.folder}` brings one up") from None

    def write(self, name, text):
        """Writes a file whole or not at all, readable by its owner only."""
        path = self / name
        unfinished = path.with_name(path.name + ".unfinished")
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        unfinished.rename(path)
        return path
