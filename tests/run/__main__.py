"""The test runner: `python3 tests/run test [TIER,…]`, `python3 tests/run prove [NAME]`, `python3 tests/run features`.

Prints a table of tool versions and free disk, runs the tiers one after another, each bounded in time, and ends
with a table per tier and the line `N passed, N failed, N skipped`. Exit code 0 only when nothing failed; with
CI=true a skipped test is a failure too, because there every tool can be installed.
"""

import os
import signal
import sys
import time

import features
import machine
import proofs
import report
import tiers
from execute import Interrupted

# A run that passes this is stopped: a bounded answer is worth more than a killed job without a summary.
TOTAL_LIMIT_S = 85 * 60


def run_tests(wanted):
    chosen = tiers.choose(wanted)
    tools = machine.prepare(sorted({need for tier in chosen for need in tier.needs}))
    report.print_tools(tools)
    end = time.monotonic() + TOTAL_LIMIT_S
    outcomes = [tiers.run(tier, tools, end) for tier in chosen]
    return report.finish(outcomes, ci=os.environ.get("CI") == "true")


def main():
    os.chdir(tiers.ROOT)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command, arguments = (sys.argv[1:2] or ["test"])[0], sys.argv[2:]
    try:
        if command == "test":
            return run_tests([name for word in arguments for name in word.split(",") if name])
        if command == "prove":
            return proofs.run(arguments)
        if command == "features":
            return features.run()
    except (tiers.UnknownTier, proofs.UnknownProof) as problem:
        print(problem, file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Interrupted):
        print("\nstopped", file=sys.stderr)
        return 130
    print(__doc__, file=sys.stderr)
    return 2


sys.exit(main())
