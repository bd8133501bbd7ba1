"""The tiers of `make test`.

Each test target of Cargo (`tests/NAME/main.rs` or `tests/NAME.rs`) is a tier by itself, without a line here. A
line in `SETTINGS` says what a target needs beyond the defaults; one in `OWN` adds a tier of another sort.
"""

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import execute
from execute import Cargo, Count, Go, Python, Step

ROOT = Path(__file__).resolve().parents[2]
RUST = ("cargo", "rustc", "cc", "git")
REDIS = ("redis-server", "redis-cli")


class UnknownTier(Exception):
    """Names a tier that does not exist."""


@dataclass(frozen=True)
class Tier:
    """Steps that belong together, what they need, and how long they may take in all."""

    name: str
    steps: object  # A function without arguments that returns the steps.
    needs: tuple = RUST
    limit_s: int = 1500
    # Every step runs the same tests, so each must count as many and skip none.
    alike: bool = False


@dataclass(frozen=True)
class Target:
    """What one of Cargo's test targets needs beyond Rust, and how long it may take, building included."""

    needs: tuple = REDIS
    limit_s: int = 1200


@dataclass
class Outcome:
    """What came of a tier."""

    name: str
    count: Count = field(default_factory=Count)
    seconds: float = 0.0
    why: str = ""


def lint():
    yield Step("format", ("cargo", "fmt", "--check", "--", "--color=never", "-l"))
    yield Step("lock file", ("cargo", "tree", "--locked", "--quiet", "--depth=0"))
    yield Step("warnings", ("cargo", "clippy", "--locked", "--all-targets", "--", "-D", "warnings"))
    yield Step("licences", ("python3", "tests/run/licences.py"))


def features():
    """Features only add: the crate builds with none of them and with each one alone."""
    check = ("cargo", "check", "--locked", "--no-default-features")
    yield Step("no feature", check)
    for name in sorted(package()["features"]):
        if name != "default":
            yield Step(f"feature {name}", (*check, "--features", name))
    generate = ("cargo", "run", "--locked", "--no-default-features", "--features", "codegen", "--bin", "generate")
    yield Step("code of proto", (*generate, "--", "check", "."))


def unit():
    targets = [word for name in IN_UNIT if name in targets_here() for word in ("--test", name)]
    yield Step("unit", ("cargo", "test", "--locked", "--no-fail-fast", "--lib", "--bins", *targets), Cargo)
    yield Step("examples in docs", ("cargo", "test", "--locked", "--doc"), Cargo)


def runner():
    yield Step("runner", ("python3", "-m", "unittest", "discover", "-s", "tests/run", "-p", "check_*.py"), Python)


def peers():
    for module in sorted([*(ROOT / "tests").glob("*/go.mod"), *(ROOT / "examples").glob("*/go.mod")]):
        if module.parent.name not in GO_TIERS:
            yield from go_module(module.parent)


def go_module(folder):
    """A Go module and its tests."""
    name = folder.name
    yield Step(f"{name}: format", ("sh", "-c", 'test -z "$(gofmt -l . | tee /dev/stderr)"'), cwd=folder)
    yield Step(f"{name}: vet", ("go", "vet", "./..."), cwd=folder)
    if list(folder.glob("*_test.go")):
        yield Step(f"{name}: tests", ("go", "test", "-json", "-timeout=30m", "./..."), Go, cwd=folder)


# Go modules in tests/ that are tiers by themselves, with the programs of tests/tools that they use.
GO_TIERS = {"charts": ("helm", "helm-unittest", "promtool"), "delivery": ("helm", "kubernetes"), "stubs": ()}


def go_tier(name):
    # First and apart, so that what building takes is seen.
    yield Step("tools", ("python3", "tests/tools/build.py", *GO_TIERS[name]))
    yield from go_module(ROOT / "tests" / name)


def charts():
    yield from go_tier("charts")
    yield checks("tests/charts")


def stubs():
    folder = ROOT / "tests" / "stubs"
    # The rest of the module is compiled against what this writes.
    yield Step("stubs: generate", ("go", "generate", "./..."), cwd=folder)
    yield from go_module(folder)


def checks(folder, pattern="check_*.py"):
    """Tests in Python that lie in a folder."""
    argv = ("python3", "-m", "unittest", "discover", "-v", "-s", folder, "-p", pattern)
    return Step(f"{folder}: {pattern.removesuffix('_*.py')}", argv, Python)


def cluster():
    yield checks("tests/tools")
    yield checks("tests/cluster")


def e2e():
    yield checks("tests/cluster", "e2e_*.py")


def image():
    yield checks("tests/image")


# Sorts of Redis besides the plain one, and how many tests at once: a cluster or a Sentinel is mostly waited for.
VARIANTS = {"tls": 2, "acl": 2, "valkey": 2, "cluster": 8, "sentinel": 8}


def variants():
    """The tier `redis` again on each other sort of Redis, with the plain one to compare with."""
    yield target_step("redis")
    for name, threads in VARIANTS.items():
        environment = (("CRONMILL_TEST_REDIS", name), ("RUST_TEST_THREADS", str(threads)))
        yield Step(f"redis on {name}", target_step("redis").argv, Cargo, environment=environment)


# Test targets that contact nothing; they run in the tier `unit`.
IN_UNIT = ("architecture", "generated")

# What a control plane takes, and what a whole node takes beside it.
CONTROL_PLANE = ("python3", "go", "etcd", "openssl")
NODE = (*CONTROL_PLANE, "root", "runc", "cni", "iptables", "conntrack", "ip", "nsenter", "unshare", "mount")

OWN = (
    Tier("runner", runner, needs=("python3",), limit_s=120),
    Tier("lint", lint, needs=(*RUST, "python3")),
    Tier("unit", unit),
    Tier("features", features),
    Tier("peers", peers, needs=("go",), limit_s=900),
    Tier("delivery", lambda: go_tier("delivery"), needs=(*RUST, *REDIS, *CONTROL_PLANE), limit_s=2400),
    Tier("charts", charts, needs=(*RUST, *REDIS, "go", "python3"), limit_s=2400),
    Tier("stubs", stubs, needs=(*RUST, *REDIS, "go", "sqlite3")),
    # Building Kubernetes from nothing takes most of it.
    Tier("cluster", cluster, needs=CONTROL_PLANE, limit_s=2400),
    Tier("e2e", e2e, needs=(*NODE, *REDIS, "postgres", "psql"), limit_s=2400),
    Tier("image", image, needs=(*RUST, "python3", "buildah", "root"), limit_s=1800),
    Tier("variants", variants, needs=(*RUST, *REDIS, "openssl", "python3"), limit_s=1800, alike=True),
)

SETTINGS = {
    "apiserver": Target(needs=(*REDIS, *CONTROL_PLANE), limit_s=2400),
    "bench": Target(needs=(*REDIS, "go", "python3")),
    "cli": Target(needs=(*REDIS, "openssl")),
    "dev": Target(needs=(*REDIS, "ps")),
    "docs": Target(needs=(*REDIS, "go", "python3")),
    "figures": Target(needs=(*REDIS, "python3")),
    "firing": Target(needs=(*REDIS, "go", "python3", "faketime")),
    "handlers": Target(needs=(*REDIS, "sqlite3", "python3", "openssl")),
    "interop": Target(needs=(*REDIS, "go", "python3")),
    "links": Target(needs=(*REDIS, "openssl", "faketime", "python3")),
    "proofs": Target(needs=(*REDIS, "go", "python3")),
    "schedule": Target(needs=("go",)),
    "shop": Target(needs=(*REDIS, "postgres", "psql", "sqlite3", "openssl")),
    "support": Target(needs=(*REDIS, "postgres", "psql", "openssl")),
}


def package():
    """The package's manifest as Cargo reads it."""
    metadata = ("cargo", "metadata", "--no-deps", "--format-version", "1")
    return json.loads(subprocess.run(metadata, check=True, capture_output=True).stdout)["packages"][0]


def targets_here():
    """Names of Cargo's test targets, as Cargo finds them."""
    files = {path.stem for path in (ROOT / "tests").glob("*.rs")}
    return sorted(files | {path.parent.name for path in (ROOT / "tests").glob("*/main.rs")})


def all_tiers():
    """Every tier: our own first, then one per test target."""
    tiers = list(OWN)
    for name in targets_here():
        if name not in IN_UNIT:
            target = SETTINGS.get(name, Target())
            tiers.append(Tier(name, lambda name=name: [target_step(name)], (*RUST, *target.needs), target.limit_s))
    return tiers


def target_step(name):
    return Step(name, ("cargo", "test", "--locked", "--test", name), Cargo)


def choose(wanted):
    """The tiers of these names in their usual order; all when none is named."""
    tiers = all_tiers()
    names = [tier.name for tier in tiers]
    if unknown := [name for name in wanted if name not in names]:
        raise UnknownTier(f"no tier {', '.join(unknown)}; there are {', '.join(names)}")
    return [tier for tier in tiers if not wanted or tier.name in wanted]


def run(tier, tools, end):
    """Runs a tier, within its limit and before `end`."""
    print(f"\n═══ {tier.name}", flush=True)
    outcome = Outcome(tier.name)
    if lacking := [lack for need in tier.needs if (lack := tools[need].lacks())]:
        outcome.count.skipped = 1
        outcome.why = f"skipped: {'; '.join(lacking)}"
        print(outcome.why, flush=True)
        return outcome
    counts = {}
    start = time.monotonic()
    limit = min(start + tier.limit_s, end)
    for step in tier.steps():
        if limit <= time.monotonic():
            outcome.count.fail(f"{step.name}: not started, no time left")
            continue
        counts[step.name] = execute.run(step, limit - time.monotonic(), environment())
        outcome.count.add(counts[step.name])
    if tier.alike and len({(count.total(), count.skipped > 0) for count in counts.values()}) > 1:
        outcome.count.fail(f"not the same tests: { {name: count.total() for name, count in counts.items()} }")
    if outcome.count.total() == 0:
        outcome.count.fail("ran no test")
    outcome.seconds = time.monotonic() - start
    return outcome


def environment():
    """What every command gets beyond the caller's environment."""
    # Incremental artefacts help an editor, not a run from a fresh clone, and cost gigabytes.
    incremental = {"CARGO_INCREMENTAL": "0"} if os.environ.get("CI") == "true" else {}
    return {"RUST_BACKTRACE": "1", "CGO_ENABLED": "0", "NO_COLOR": "1", "CARGO_TERM_COLOR": "never", **incremental}
