"""Builds cronmill and cronmill-worker for release, each one static file, and prints the folder they are in."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("cronmill", "cronmill-worker")
# What a command of Cargo takes to share this build.
RELEASE = ("--locked", "--release", "--config", str(ROOT / "deploy/release.toml"))


class NotBuilt(Exception):
    """The build failed; Cargo has said why."""


def built():
    """The folder of the programs, after they were built."""
    bins = [word for name in NAMES for word in ("--bin", name)]
    command = ("cargo", "build", *RELEASE, *bins, "--message-format=json-render-diagnostics")
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise NotBuilt(f"cargo build ended with exit code {done.returncode}")
    messages = map(json.loads, done.stdout.splitlines())
    programs = {Path(path) for message in messages if (path := message.get("executable"))}
    if {program.name for program in programs} != set(NAMES):
        raise NotBuilt(f"cargo built {sorted(map(str, programs))}, wanted are {', '.join(NAMES)}")
    return programs.pop().parent


def version():
    """The package's version."""
    command = ("cargo", "metadata", "--locked", "--no-deps", "--format-version=1")
    done = subprocess.run(command, cwd=ROOT, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["packages"][0]["version"]


if __name__ == "__main__":
    try:
        print(built())
    except NotBuilt as problem:
        sys.exit(f"programs: {problem}")
