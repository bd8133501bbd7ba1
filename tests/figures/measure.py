"""Runs a command several times and prints, as JSON, each run's seconds and the most memory any of them held.

The kernel counts that memory, and only the parent that waits for a process is told.
"""

import json
import os
import sys
import time


def run(argv):
    """One run: its seconds, and the bytes it held at most."""
    start = time.monotonic()
    # Nothing of ours is shared with the child, or our own memory would count as the child's.
    pid = os.posix_spawnp(argv[0], argv, os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        sys.exit(f"{argv} ended with status {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_maxrss * 1024


def main(count, argv):
    sys.stdout.flush()
    shown = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    runs = [run(argv) for _ in range(count)]
    os.dup2(shown, 1)
    print(json.dumps({"seconds": [seconds for seconds, _ in runs], "bytes": max(held for _, held in runs)}))


main(int(sys.argv[1]), sys.argv[2:])
