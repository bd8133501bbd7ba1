"""Takes a cluster down: whatever is left of it, however it ended."""

import shutil
from pathlib import Path

import control_groups
import namespaces
import processes
from state import Failed

# The kernel takes a namespace apart some time after its last process.
NETWORK_LIMIT_S = 30


def members(state):
    """Every process of a cluster: those that carry its mark, and those of its pods."""
    return processes.ours(state) | control_groups.members(state)


def end_processes(state):
    """Ends every process of a cluster, and with them what they mounted. Its folder stays, with the logs."""
    processes.kill_all(lambda: members(state))
    control_groups.remove(state)
    # Connections that were cut keep the namespace in the kernel for minutes, and the interface with it.
    namespaces.disconnect(state)
    network = Path("/sys/class/net") / namespaces.interface(state)
    if not processes.gone_within(network.exists, NETWORK_LIMIT_S):
        raise Failed(f"the interface {network.name} does not go; some process still uses the node's network")


def down(state):
    """Leaves no trace of a cluster. Repeating it is fine."""
    end_processes(state)
    if state.exists():
        # The mark goes last: a `down` that is killed here can be repeated.
        for entry in state.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif not entry.name.startswith("cluster.json"):
                entry.unlink()
        for entry in state.folder.iterdir():
            entry.unlink()
        state.folder.rmdir()
    elif state.folder.exists() and any(state.folder.iterdir()):
        raise Failed(f"{state.folder} holds no cluster; nothing was removed")
