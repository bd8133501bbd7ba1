"""Builds sets of Go programs that tests and the cluster use, and keeps them in a cache outside the clone.

    python3 tests/tools/build.py NAME…

prints one line per NAME: the folder that holds its programs. A set is a Go module of its own, `tests/tools/NAME/` or
`tests/NAME/`: the programs of the `tool` lines in its go.mod, and the module's own program when it has a main
package. Beside go.mod may lie a `build.json`:

    tags        list of build tags
    version_of  a module that go.mod requires; its version stands for {version}, {major} and {minor} below
    ldflags     list of arguments for the linker
    disk_gb     free disk that building from nothing takes, in all

What was built stands in `${XDG_CACHE_HOME:-~/.cache}/cronmill/tools/NAME-<hash>/`, complete or not at all; the hash
is that of everything that decides what is built. Folders of the same NAME that nobody asked for in the last day go
when a new one is complete.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "deploy"))

import kept

LINKER = ("-s", "-w")
# What the linker would leave out of the programs is not written either.
COMPILER = "all=-dwarf=false"
DISK_GB = 2.0
SETTINGS = ("tags", "version_of", "ldflags", "disk_gb")
UNUSED_S = 24 * 3600
# How often a build that takes long says how far it is.
SAY_EVERY_S = 15


class Failed(Exception):
    """Why a set could not be built, and what to do next."""


@dataclass(frozen=True)
class Set:
    """A module and what is built of it."""

    name: str
    module: Path
    tags: tuple
    ldflags: tuple
    disk_gb: float

    @classmethod
    def of(cls, name, home=HERE):
        module = modules(home).get(name)
        if module is None:
            raise Failed(f"no set {name}; there are {', '.join(names(home))}")
        settings = module / "build.json"
        said = json.loads(settings.read_text()) if settings.exists() else {}
        if unknown := set(said) - set(SETTINGS):
            raise Failed(f"{settings}: unknown {', '.join(sorted(unknown))}; known are {', '.join(SETTINGS)}")
        version = version_of(said.get("version_of"), module / "go.mod")
        ldflags = tuple(fill_in(flag, version) for flag in said.get("ldflags", ()))
        return cls(name, module, tuple(said.get("tags", ())), ldflags, float(said.get("disk_gb", DISK_GB)))

    def arguments(self):
        """What `go build` gets besides packages and a place."""
        tags = (f"-tags={','.join(self.tags)}",) if self.tags else ()
        return ("-trimpath", *tags, f"-gcflags={COMPILER}", f"-ldflags={' '.join((*LINKER, *self.ldflags))}")

    def packages(self):
        """The import paths of its programs."""
        own = (".",) if any(source.suffix == ".go" for source in self.module.iterdir()) else ()
        return (*tools((self.module / "go.mod").read_text()), *own)

    def programs(self):
        """What `go build` calls them."""
        return tuple(self.name if package == "." else package.rsplit("/", 1)[-1] for package in self.packages())

    def key(self):
        """Changes with everything that goes into the programs."""
        content = hashlib.sha256(repr((self.arguments(), self.packages())).encode())
        for source in sorted(self.module.iterdir()):
            if source.name in ("go.mod", "go.sum") or is_source(source):
                content.update(f"{source.name}\0".encode() + source.read_bytes())
        return content.hexdigest()[:16]


def modules(home=HERE):
    """The folder of each set, by name. Programs that only tests use lie one folder further up."""
    return {path.parent.name: path.parent for place in (home.parent, home) for path in place.glob("*/go.mod")}


def names(home=HERE):
    """The sets there are."""
    return sorted(modules(home))


def is_source(path):
    return path.suffix == ".go" and not path.name.endswith("_test.go")


def version_of(required, path):
    """The version of a module that a go.mod requires; of none, an empty text."""
    if not required:
        return ""
    found = re.search(rf"^(?:require)?\s+{re.escape(required)} (v\S+)", path.read_text(), re.M)
    if not found:
        raise Failed(f"{path}: requires no {required}, which version_of in build.json names")
    return found[1]


def fill_in(flag, version):
    major, minor, *_ = (*version.removeprefix("v").split("."), "", "")
    return flag.replace("{version}", version).replace("{major}", major).replace("{minor}", minor)


def tools(text):
    """The packages of a go.mod's `tool` lines."""
    blocks = re.findall(r"^tool \((.*?)^\)", text, re.M | re.S)
    single = re.findall(r"^tool (\S+/\S+)", text, re.M)
    return tuple(word for block in blocks for word in block.split()) + tuple(single)


def cache():
    return kept.cache("tools")


def folder_of(name, home=HERE):
    """The folder with the programs of a set, built when the cache has none."""
    wanted = Set.of(name, home)
    place = cache() / f"{name}-{wanted.key()}"
    if not kept.used(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with alone(place.parent / f".{name}.lock", name):
            if not kept.used(place):
                build(wanted, place)
                remove_old(name, place)
    return place


@contextlib.contextmanager
def alone(path, name):
    """Keeps a second builder of the same set waiting. The system gives the lock back when its holder dies."""
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process builds it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(wanted, place):
    """Builds into a folder beside `place` and puts it there in one step."""
    clear_unfinished(wanted.name)
    check_go()
    check_disk(wanted)
    start = time.monotonic()
    unfinished = Path(tempfile.mkdtemp(prefix=f".{wanted.name}-", suffix=".unfinished", dir=place.parent))
    try:
        say(f"{wanted.name}: building {', '.join(wanted.programs())}")
        go_build(wanted, unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    size = sum(program.stat().st_size for program in place.iterdir()) / 1e6
    say(f"{wanted.name}: built in {time.monotonic() - start:.0f} s, {size:.0f} MB in {place}")


def go_build(wanted, target):
    # What git says of the clone does not belong into programs that clones share.
    flags = f"{os.environ.get('GOFLAGS', '')} -buildvcs=false"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": flags}
    # -v names each package as it is compiled, which is all the progress Go tells. What fails is printed too.
    command = ("go", "build", "-v", *wanted.arguments(), "-o", f"{target}/", *wanted.packages())
    process = subprocess.Popen(
        command, cwd=wanted.module, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    start = said = time.monotonic()
    compiled, other = 0, []
    try:
        for line in process.stderr:
            if re.fullmatch(r"[\w.~-]+(/[\w.~-]+)*", line.strip()):
                compiled += 1
            elif not line.startswith("go: downloading "):
                other.append(line)
            if time.monotonic() - said > SAY_EVERY_S:
                said = time.monotonic()
                say(f"{wanted.name}: {compiled} packages compiled after {said - start:.0f} s")
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    if code != 0:
        raise Failed(f"{wanted.name}: go build ended with exit code {code}:\n{''.join(other)[-4000:]}")


def check_go():
    if not shutil.which("go"):
        raise Failed("no go on the path; it is needed to build the tools, see https://go.dev/dl")


def check_disk(wanted):
    """Refuses to begin what would end in a full disk."""
    question = ("go", "env", "GOCACHE", "GOMODCACHE")
    answer = subprocess.run(question, capture_output=True, text=True, check=True, cwd=wanted.module)
    for place in (cache(), *map(Path, answer.stdout.split())):
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free / 1e9
        if free < wanted.disk_gb:
            raise Failed(
                f"{wanted.name}: {free:.1f} GB are free at {place}, building may take {wanted.disk_gb:g} GB; "
                "make room, or move the caches with XDG_CACHE_HOME, GOCACHE and GOMODCACHE"
            )


def clear_unfinished(name):
    """Removes what a builder that died left behind. Only the holder of the lock may."""
    for left in cache().glob(f".{name}-*.unfinished"):
        shutil.rmtree(left, ignore_errors=True)


def remove_old(name, place):
    """Removes earlier builds of a set that no other clone has used for a day."""
    for old in cache().glob(f"{name}-*"):
        is_ours = re.fullmatch(re.escape(name) + r"-[0-9a-f]{16}", old.name) and old != place
        if is_ours and time.time() - old.stat().st_mtime > UNUSED_S:
            kept.remove(old)
            say(f"{name}: removed an old build, {old}")


def say(text):
    print(text, file=sys.stderr, flush=True)


def main(wanted):
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not wanted or any(name.startswith("-") for name in wanted):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for name in wanted:
            print(folder_of(name), flush=True)
    except Failed as problem:
        say(f"tools: {problem}")
        return 1
    except KeyboardInterrupt:
        say("tools: stopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
