"""The control groups of a node's pods: one root of our own in each hierarchy, so that all of them can be found."""

import time
from pathlib import Path

from state import Failed

REMOVE_LIMIT_S = 20


def hierarchies():
    """Where the machine's control groups are mounted: one place, or in version 1 one for each sort."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        if after.split()[0] in ("cgroup", "cgroup2"):
            yield Path(before.split()[4])


def name(state):
    return f"/cronmill-{state.id}"


def roots(state):
    """Those of our roots that there are."""
    places = (hierarchy / name(state)[1:] for hierarchy in hierarchies())
    return [place for place in places if place.is_dir()]


def create(state):
    """Makes the roots, which kubelet wants to find, and returns their name."""
    for hierarchy in hierarchies():
        (hierarchy / name(state)[1:]).mkdir(exist_ok=True)
    return name(state)


def members(state):
    """All processes in our control groups."""
    found = set()
    for root in roots(state):
        for group in [root, *root.rglob("*/")]:
            try:
                found |= set(map(int, (group / "cgroup.procs").read_text().split()))
            except OSError:
                # It has gone meanwhile.
                continue
    return found


def remove(state):
    """Removes our control groups; their processes have ended."""
    end = time.monotonic() + REMOVE_LIMIT_S
    while left := roots(state):
        for root in left:
            groups = [root, *(path for path in root.rglob("*") if path.is_dir())]
            for group in sorted(groups, key=lambda path: len(path.parts), reverse=True):
                try:
                    group.rmdir()
                except OSError:
                    # The kernel still counts a process that has just ended.
                    continue
        if time.monotonic() > end:
            raise Failed(f"control groups do not go: {', '.join(map(str, left))}")
        time.sleep(0.02)
