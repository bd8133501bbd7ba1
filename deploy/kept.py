"""Where what is built stands outside the clone, so that every clone has it: each folder there is complete, or absent."""

import contextlib
import os
import shutil
from pathlib import Path


def cache(kind):
    """The folder for one kind of things that are built."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cronmill" / kind


def used(place):
    """Whether the folder is there; if so, notes that somebody asked for it."""
    try:
        os.utime(place)
    except FileNotFoundError:
        return False
    return True


def remove(place):
    """Removes a folder: out of sight first, since what is half removed must not look complete."""
    gone = place.with_name(f".{place.name}.unfinished")
    # Another may remove it at the same time.
    with contextlib.suppress(OSError):
        place.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
