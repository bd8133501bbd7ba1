"""Builds cronmill and cronmill-worker for release, each one static file, and prints the folder they are in."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))

import kept

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("cronmill", "cronmill-worker")
# What a command of Cargo takes to share this build.
RELEASE = ("--locked", "--release", "--config", str(ROOT / "deploy/release.toml"))
# How many builds the cache keeps, 60 MB each.
KEPT = 4


class NotBuilt(Exception):
    """The build failed; Cargo has said why."""


def built():
    """The folder of the programs, which are built when the cache has none from these very files."""
    place = kept.cache("programs") / key()
    if not kept.used(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        target = compiled()
        # Another build may put the same programs there at the same time: either's are right.
        unfinished = Path(tempfile.mkdtemp(suffix=".unfinished", dir=place.parent))
        try:
            for name in NAMES:
                shutil.copy2(target / name, unfinished)
            unfinished.chmod(0o755)
            with contextlib.suppress(OSError):
                unfinished.rename(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        remove_old(place.parent)
        if not kept.used(place):
            raise NotBuilt(f"cannot put the programs into {place}: is there room, may it be written?")
    return place


def key():
    """Changes with everything that goes into the programs: their sources, and the compiler."""
    digest = hashlib.sha256()
    version = subprocess.run(("rustc", "-vV"), cwd=ROOT, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    digest.update(version.stdout)
    digest.update(os.environ.get("RUSTFLAGS", "").encode())
    sources = sorted(path for path in (ROOT / "src").rglob("*") if path.is_file())
    for path in (ROOT / "Cargo.toml", ROOT / "Cargo.lock", ROOT / "deploy/release.toml", *sources):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def remove_old(folder):
    """Leaves the programs that were asked for last."""
    for place in sorted(folder.iterdir(), key=lambda place: place.stat().st_mtime, reverse=True)[KEPT:]:
        kept.remove(place)


def compiled():
    """The folder that Cargo has put the programs into."""
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
