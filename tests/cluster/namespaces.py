"""The node's own network and its own view of the file system.

One process holds both namespaces; the others of the node enter them. Nothing is mounted, routed or filtered in the
machine's own: when the node's processes are gone, the kernel takes back all of it, the pair of interfaces included.
"""

import contextlib
import fcntl
import ipaddress
import json
import os
import subprocess
import tempfile
from pathlib import Path

import processes
from state import Failed

# Where the pair's network is looked for, first to last: private, and seldom used elsewhere.
RANGES = ("10.87.0.0/16", "172.29.0.0/16", "192.168.219.0/24")
HOLDER = "namespaces"
START_LIMIT_S = 30

# Programs of a node have places of their own choice in these folders. What they write there goes to memory and is gone
# with the namespace; what the machine has in /etc and /var can still be read.
OWN = ("/run", "/etc", "/var")
VIEW = """
set -e
mount -t tmpfs -o mode=755 cronmill /run
for place in etc var; do
  mkdir -p /run/over/$place/upper /run/over/$place/work
  over=upperdir=/run/over/$place/upper,workdir=/run/over/$place/work
  mount -t overlay -o lowerdir=/$place,$over cronmill /$place
done
mount --make-rshared /
ip link set lo up
"""
NETWORK = """
set -e
ip addr add {inner}/{length} dev eth0
ip link set eth0 up
ip route add {services} dev eth0
echo 1 > /proc/sys/net/ipv4/ip_forward
"""


def interface(state):
    """The name of the machine's end of the pair."""
    return f"cm{state.id}"


def enter(state):
    """The command that runs another one in the node's namespaces."""
    holder = processes.recorded(state, HOLDER)
    if holder is None:
        raise Failed(f"the node in {state.folder} is not up")
    return ("nsenter", f"--target={holder}", "--net", "--mount", "--")


def check_place(path):
    """Refuses a path that the node does not see as the machine does."""
    for own in OWN:
        if Path(own) in path.resolve().parents:
            raise Failed(f"{path} lies in {own}, which a node has for itself; choose a folder elsewhere")


def create(state):
    """Makes the namespaces."""
    argv = ("unshare", "--net", "--mount", "--propagation=private", "--", "sleep", "infinity")
    holder = processes.start(state, HOLDER, argv, detached=True)

    def are_made():
        return all(
            os.readlink(f"/proc/{holder.pid}/ns/{sort}") != os.readlink(f"/proc/self/ns/{sort}")
            for sort in ("net", "mnt")
        )

    # It has made both once it is what it was to become.
    is_sleeping = lambda: Path(f"/proc/{holder.pid}/comm").read_text() == "sleep\n" and are_made()
    processes.wait("namespaces are made", START_LIMIT_S, is_sleeping, state, {HOLDER: holder})
    inside(state, VIEW)


def connect(state, outer, inner, length, services):
    """Puts a pair of interfaces between the machine and the node."""
    name, holder = interface(state), processes.recorded(state, HOLDER)
    run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", holder)
    run("ip", "addr", "add", f"{outer}/{length}", "dev", name)
    run("ip", "link", "set", name, "up")
    inside(state, NETWORK.format(inner=inner, length=length, services=services))


@contextlib.contextmanager
def choosing():
    """Between looking for a free network and taking it, nobody else does."""
    with open(Path(tempfile.gettempdir()) / "cronmill-cluster.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def free_network(state):
    """Two addresses of a network that the machine does not use: its own and the node's, and the prefix's length."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all"))
    taken = [ipaddress.ip_network(route["dst"]) for route in routes if route["dst"] != "default"]
    for wide in map(ipaddress.ip_network, RANGES):
        networks = list(wide.subnets(new_prefix=30))
        first = int(state.id, 16) % len(networks)
        for network in networks[first:] + networks[:first]:
            if not any(network.overlaps(other) for other in taken if other.prefixlen > 0):
                outer, inner = map(str, network.hosts())
                return outer, inner, network.prefixlen
    raise Failed(f"the machine has routes to all of {', '.join(RANGES)}; the node needs four addresses of its own")


def disconnect(state):
    """Takes the way to the node away, should the kernel not have done so."""
    command = ("ip", "link", "delete", interface(state))
    # It may be gone, or go at this moment; a control plane never had one.
    subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def inside(state, script):
    return run(*enter(state), "sh", "-c", script)


def run(*words):
    """What a command prints; fails when the command does."""
    command = [str(word) for word in words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
