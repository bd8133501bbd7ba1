"""Processes of a cluster: started, waited for, found again, ended.

Each carries the path of the cluster's folder in its environment and passes it on to what it starts. So all of them
are found whatever was killed or lost, and a number in a file that meanwhile belongs to another process is told apart.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

from state import Failed

MARK = "CRONMILL_CLUSTER"
GRACE_S = 10
# The most of a log that a failure shows.
TAIL = 3000


def start(state, name, argv, enter=(), detached=False):
    """Starts a process whose output goes to log/NAME.log and whose number stands in pids/NAME.

    `enter` is a command that starts another one in namespaces. A detached process outlives the terminal.
    """
    argv = [str(word) for word in (*enter, *argv)]
    # What a program starts lies beside it, or where only root looks.
    places = (os.path.dirname(argv[len(enter)]), os.environ.get("PATH", os.defpath), "/usr/sbin:/sbin")
    # No more than that: a proxy or a GODEBUG of the person at the keyboard must not reach the cluster.
    environment = {"PATH": ":".join(filter(None, places)), "HOME": str(state / "data"), MARK: str(state.folder)}
    with open(state / "log" / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            argv,
            cwd=state / "data",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=detached,
        )
    state.write(f"pids/{name}", f"{process.pid}\n")
    return process


def recorded(state, name):
    """The number of a process that was started under this name, or None when it has ended."""
    try:
        number = int((state / "pids" / name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return number if is_ours(state, number) else None


def is_ours(state, number):
    """Whether a process carries this cluster's mark. One that has ended, or is of another user, does not."""
    try:
        environment = Path(f"/proc/{number}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={state.folder}".encode() in environment.split(b"\0")


def ours(state):
    """All processes that carry this cluster's mark."""
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {number for number in numbers if is_ours(state, number)}


def stop(state, name):
    """Ends one process, in order if it does so in time."""
    number = recorded(state, name)
    if number is not None:
        send(number, signal.SIGTERM)
        if not gone_within(lambda: is_ours(state, number), GRACE_S):
            send(number, signal.SIGKILL)
            if not gone_within(lambda: is_ours(state, number), GRACE_S):
                raise Failed(f"{name}, process {number}, does not end")
    (state / "pids" / name).unlink(missing_ok=True)


def kill_all(find):
    """Kills what `find` finds until it finds nothing: what is about to start another process may do so meanwhile."""

    def left():
        numbers = find()
        for number in numbers:
            send(number, signal.SIGKILL)
        return numbers

    if not gone_within(left, 3 * GRACE_S):
        raise Failed(f"processes {sorted(find())} do not end")


def send(number, what):
    try:
        os.kill(number, what)
    except ProcessLookupError:
        pass


def gone_within(is_there, limit_s):
    end = time.monotonic() + limit_s
    while is_there():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def wait(what, limit_s, condition, state=None, running=None):
    """Waits for a condition and returns its answer.

    `running` are processes by name. When one of them ends, or time is up, fails with the last lines of its log.
    """
    running = running or {}
    end = time.monotonic() + limit_s
    while not (answer := condition()):
        for name, process in running.items():
            if process.poll() is not None:
                raise Failed(f"{name} ended with {process.returncode} before {what}:\n{tail(state, name)}")
        if time.monotonic() > end:
            logs = "".join(f"\n--- {name}\n{tail(state, name)}" for name in running)
            raise Failed(f"not within {limit_s} s: {what}{logs}")
        time.sleep(0.03)
    return answer


def tail(state, name):
    """The end of a process's log."""
    path = state / "log" / f"{name}.log"
    return path.read_text(errors="replace")[-TAIL:] if path.exists() else f"no {path}"
