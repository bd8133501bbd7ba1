"""The tables before and after a run, and the verdict."""

import os
import shutil
from pathlib import Path


def print_tools(tools):
    """Versions of the tools that the chosen tiers use, and free disk."""
    print(f"{'tool':<14}version")
    for name, found in tools.items():
        print(f"{name:<14}{found.version if found.usable else found.lacks()}")
    for what, place in (("free here", Path.cwd()), ("free in cache", cache())):
        print(f"{what:<14}{shutil.disk_usage(nearest(place)).free / 1e9:.1f} GB")
    print(f"{'cores':<14}{os.cpu_count()}", flush=True)


def cache():
    """Where built tools are kept between runs, outside the clone."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cronmill"


def nearest(place):
    """The place itself or its first parent that exists."""
    return place if place.exists() else nearest(place.parent)


def finish(outcomes, ci):
    """Prints the table per tier and the closing line; returns the exit code."""
    failures = [f"{one.name}: {name}" for one in outcomes for name in one.count.failures]
    width = max([len("tier"), *(len(one.name) for one in outcomes)])
    print(f"\n{'tier':<{width}}  passed  failed  skipped  seconds")
    for one in outcomes:
        count = one.count
        row = f"{one.name:<{width}}  {count.passed:6}  {count.failed:6}  {count.skipped:7}  {one.seconds:7.1f}"
        print(row + (f"  {one.why}" if one.why else ""))
    if failures:
        print("\nfailed:")
        print("\n".join(f"  {failure}" for failure in failures))
    passed, failed, skipped = (
        sum(getattr(one.count, field) for one in outcomes) for field in ("passed", "failed", "skipped")
    )
    if ci and skipped:
        print(f"\n{skipped} skipped: with CI=true that is a failure, every tool can be installed there")
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed or (ci and skipped) else 0
