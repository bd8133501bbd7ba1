"""Runs one command bounded in time, with its output passed on, and counts its test cases.

Each command gets a process group of its own. At the limit the whole group is killed, and what a finished
command leaves behind is killed too, so no server of one tier lives on into the next.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field

# What a group that was asked to end may still take before it is killed.
GRACE_S = 5


class Interrupted(Exception):
    """The person at the keyboard, or the machine, asked to stop."""


@dataclass
class Count:
    """Test cases by result, and the names of those that failed; of those that passed, where a tool tells them."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list = field(default_factory=list)
    passes: list = field(default_factory=list, compare=False)

    def total(self):
        return self.passed + self.failed + self.skipped

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures

    def fail(self, what):
        self.failed += 1
        self.failures.append(what)


class Cargo:
    """Reads `cargo test`: one result line per test binary."""

    RESULT = re.compile(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;")
    FAILED = re.compile(r"test (\S+)(?: - .*)? \.\.\. FAILED")
    PASSED = re.compile(r"test (\S+)(?: - .*)? \.\.\. ok$")

    def __init__(self):
        self.count = Count()

    def line(self, text):
        if found := self.RESULT.match(text):
            passed, failed, ignored = (int(number) for number in found.groups())
            self.count.passed += passed
            self.count.failed += failed
            self.count.skipped += ignored
        elif found := self.FAILED.match(text):
            self.count.failures.append(found[1])
        elif found := self.PASSED.match(text):
            self.count.passes.append(found[1])
        return text


class Go:
    """Reads `go test -json` and passes on what `go test` would have printed."""

    def __init__(self):
        self.count = Count()

    def line(self, text):
        try:
            event = json.loads(text)
        except ValueError:
            return text
        if event.get("Test"):
            if event["Action"] == "pass":
                self.count.passed += 1
            elif event["Action"] == "skip":
                self.count.skipped += 1
            elif event["Action"] == "fail":
                self.count.fail(event["Test"])
        return event.get("Output", "").rstrip("\n") or None


class Python:
    """Reads the last lines of `python3 -m unittest`."""

    def __init__(self):
        self.count = Count()
        self.ran = 0

    def line(self, text):
        if found := re.match(r"Ran (\d+) tests? in", text):
            self.ran = int(found[1])
        elif found := re.match(r"(?:FAIL|ERROR): (\S+)", text):
            self.count.fail(found[1])
        elif re.match(r"OK|FAILED", text):
            skipped = re.search(r"skipped=(\d+)", text)
            self.count.skipped = int(skipped[1]) if skipped else 0
            self.count.passed = self.ran - self.count.failed - self.count.skipped
        return text


class Check:
    """A command that is one test case by itself: it passes when it exits with 0."""

    def __init__(self):
        self.count = Count()

    def line(self, text):
        return text


@dataclass(frozen=True)
class Step:
    """One command of a tier."""

    name: str
    argv: tuple
    reader: type = Check
    cwd: str = "."
    # Pairs of name and value, beyond what every command gets.
    environment: tuple = ()


def run(step, limit_s, environment=None):
    """Runs a step and returns its `Count`; a command that fails without a failed test counts as one."""
    print(f"\n── {step.name}: {' '.join(step.argv)}", flush=True)
    reader = step.reader()
    start = time.monotonic()
    try:
        code = _stream(step, limit_s, reader, {**(environment or {}), **dict(step.environment)})
    except FileNotFoundError as problem:
        reader.count.fail(f"{step.name}: {problem}")
        return reader.count
    count = reader.count
    if code is None:
        count.fail(f"{step.name}: killed at its limit of {limit_s:.0f} s")
        print(f"── {step.name}: KILLED after {time.monotonic() - start:.0f} s, its limit", flush=True)
    elif code != 0 and count.failed == 0:
        count.fail(f"{step.name}: exit code {code}")
    elif code == 0 and step.reader is Check:
        count.passed += 1
    return count


def _stream(step, limit_s, reader, environment):
    """The exit code, or None when the limit was reached."""
    process = subprocess.Popen(
        step.argv,
        cwd=step.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, **environment},
    )
    end = time.monotonic() + limit_s
    try:
        in_time = _read_lines(process, end, reader)
        if not in_time:
            _kill(process, signal.SIGTERM)
        return process.wait(timeout=GRACE_S) if in_time else None
    except subprocess.TimeoutExpired:
        # Output ended but the process did not: as good as at its limit.
        return None
    except KeyboardInterrupt:
        _kill(process, signal.SIGTERM)
        raise Interrupted from None
    finally:
        _kill(process, signal.SIGKILL)
        process.stdout.close()
        process.wait()


def _read_lines(process, end, reader):
    """Passes output on until the command has ended; False when `end` came first."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() <= end:
            ended = process.poll() is not None
            # Output still to come from an ended command is there at once; waiting longer would only be for
            # something it left behind that holds the pipe.
            if selector.select(timeout=0 if ended else 0.5):
                piece = os.read(process.stdout.fileno(), 1 << 16)
                *lines, rest = (rest + piece).split(b"\n")
                _pass_on(lines if piece else [rest], reader)
                if not piece:
                    return True
            elif ended:
                _pass_on([rest], reader)
                return True
    return False


def _pass_on(lines, reader):
    for line in lines:
        shown = reader.line(line.decode(errors="replace"))
        if shown is not None and (shown or line):
            print(shown)
    print(end="", flush=True)


def _kill(process, number):
    """Signals the whole group; a group that is gone is fine."""
    try:
        os.killpg(process.pid, number)
        if number == signal.SIGTERM:
            process.wait(timeout=GRACE_S)
    except (ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
        pass
