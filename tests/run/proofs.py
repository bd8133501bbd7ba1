"""Long proofs: the tests of `make test` at their full size, built for release.

A test that has a long form asks `support::full_size(short, long)`. `make prove NAME=test` runs it with
CRONMILL_PROVE=1, alone, with its output shown.
"""

import re
import sys

import execute
import report
import tiers
from execute import Cargo, Step

sys.path.append(str(tiers.ROOT / "deploy"))

import programs

LIMIT_S = 3600
MARK = "full_size("


class UnknownProof(Exception):
    """Names a proof that does not exist."""


def proofs():
    """Names of tests with a long form, each with its test target."""
    found = {}
    for path in sorted((tiers.ROOT / "tests").rglob("*.rs")):
        target = path.relative_to(tiers.ROOT / "tests").parts[0].removesuffix(".rs")
        if target in tiers.targets_here():
            found.update((name, target) for name in long_tests(path.read_text()))
    return found


def long_tests(text):
    """Names of the tests in a source file that ask for their full size, themselves or in what they call there."""
    functions = re.findall(
        r"((?:^#\[[^\n]*\]\n)*)^(?:pub[^\n]*? )?(?:async )?fn (\w+)([^\n]*\}$|.*?^\})", text, re.M | re.S
    )
    bodies = {name: body for _, name, body in functions}
    long = {name for name, body in bodies.items() if MARK in body}
    while more := {name for name, body in bodies.items() if any(f"{one}(" in body for one in long)} - long:
        long |= more
    return [name for attributes, name, _ in functions if name in long and re.search(r"\btest\b", attributes)]


def run(names):
    """Runs the proofs of these names; without a name lists all."""
    known = proofs()
    # A test target's name stands for all of its proofs.
    names = [proof for name in names for proof in ([p for p in known if known[p] == name] or [name])]
    if unknown := [name for name in names if name not in known]:
        raise UnknownProof(f"no proof {', '.join(unknown)}; there are: {', '.join(known) or 'none'}")
    if not names:
        print("\n".join(f"make prove NAME={name}" for name in known) or "no test has a long form")
        return 0
    outcomes = []
    for name in names:
        argv = ("cargo", "test", *programs.RELEASE, "--test", known[name], "--", "--nocapture", name)
        outcome = tiers.Outcome(name)
        step = Step(name, (*argv, "--test-threads=1"), Cargo)
        outcome.count.add(execute.run(step, LIMIT_S, {**tiers.environment(), "CRONMILL_PROVE": "1"}))
        outcomes.append(outcome)
    return report.finish(outcomes, ci=False)
