"""A real Kubernetes on this machine, for tests and for trying things.

    python3 tests/cluster up --state DIR                   a whole node, in a network of its own; needs root
    python3 tests/cluster up --control-plane --state DIR   etcd, API server and controllers; no node, no root
    python3 tests/cluster down --state DIR                 ends all of it and removes DIR; nothing there is fine
    python3 tests/cluster load --state DIR IMAGE.tar…      makes images known to the node; prints their names
    python3 tests/cluster trial --state DIR                a node with cronmill on it, from this source, left running
    python3 tests/cluster enter --state DIR COMMAND…       runs a command in the node's network
    python3 tests/cluster stop-apiserver --state DIR       as in an outage; the rest goes on
    python3 tests/cluster start-apiserver --state DIR
    python3 tests/cluster restart-apiserver --state DIR

`up` comes back when everything is ready; then DIR/admin.kubeconfig is there. Logs are in DIR/log.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests/tools"), str(ROOT / "deploy/image")]

import build
import ending
import images
import namespaces
import node
import processes
import trial
from control_plane import SERVICES, ControlPlane, free_loopback, need
from state import Failed, State


def up(state, arguments):
    start = time.monotonic()
    # At once, and not after tools were built for a while.
    state.check_is_free()
    (up_control_plane if arguments.control_plane else up_node)(state)
    print(f"ready after {time.monotonic() - start:.1f} s: {state.kubeconfig}", flush=True)


def up_control_plane(state):
    need("etcd", "openssl")
    tools = folders(["kubernetes"])
    address = free_loopback(state)
    state.begin({"kind": "control-plane", "address": address, "private": address, "tools": tools})
    bring_up(state)


def up_node(state):
    check_machine()
    tools = folders(node.TOOLS)
    for place in (state.folder, *map(Path, tools.values())):
        namespaces.check_place(place)
    with namespaces.choosing():
        outer, inner, length = namespaces.free_network(state)
        state.begin({"kind": "node", "address": inner, "private": "127.0.0.1", "tools": tools})
        with ends_if_it_fails(state):
            namespaces.create(state)
            namespaces.connect(state, outer, inner, length, SERVICES)
    bring_up(state)


def check_machine():
    """Fails when a node cannot be on this machine."""
    if os.geteuid() != 0:
        raise Failed("a node needs root; --control-plane does not")
    need(*node.PROGRAMS)
    if not node.PLUGINS.is_dir():
        raise Failed(f"no {node.PLUGINS}; on Debian: apt-get install containernetworking-plugins")


def bring_up(state):
    with ends_if_it_fails(state):
        cluster = plane(state)
        cluster.up()
        state.write("admin.kubeconfig", cluster.keys.kubeconfig("admin", "admin", cluster.server))


@contextlib.contextmanager
def ends_if_it_fails(state):
    """Of a cluster that does not come up nothing goes on running; its logs stay."""
    try:
        yield
    except BaseException:
        ending.end_processes(state)
        raise


def folders(names):
    """Where the programs of each set are, built first when the cache has none."""
    return {name: str(build.folder_of(name)) for name in names}


def plane(state):
    return node.Node(state) if state.choices()["kind"] == "node" else ControlPlane(state)


def load(state, arguments):
    cluster = plane(state)
    if not isinstance(cluster, node.Node):
        raise Failed(f"{state.folder} is a control plane without a node, which takes no image")
    for tar in arguments.images:
        print("\n".join(cluster.load(tar)), flush=True)


def try_out(state, arguments):
    """Brings a node up unless one is up, and puts cronmill on it."""
    start = time.monotonic()
    is_up = state.kubeconfig.exists() and processes.recorded(state, "kubelet")
    if not is_up:
        # What is missing is told now, and not when all is built.
        check_machine()
        images.check_machine()
        ending.down(state)
        state.check_is_free()
    image = trial.prepare()
    if not is_up:
        arguments.control_plane = False
        up(state, arguments)
    print(trial.install(plane(state), image))
    print(f"all of it took {time.monotonic() - start:.0f} s", flush=True)


def enter(state, arguments):
    command = [*namespaces.enter(state), *arguments.words]
    os.execvp(command[0], command)


def down(state, _):
    ending.down(state)


def stop_apiserver(state, _):
    state.choices()
    processes.stop(state, "kube-apiserver")


def start_apiserver(state, _):
    if processes.recorded(state, "kube-apiserver") is None:
        plane(state).start_api_server()


def restart_apiserver(state, arguments):
    stop_apiserver(state, arguments)
    start_apiserver(state, arguments)


COMMANDS = {
    "up": up,
    "down": down,
    "load": load,
    "trial": try_out,
    "enter": enter,
    "stop-apiserver": stop_apiserver,
    "start-apiserver": start_apiserver,
    "restart-apiserver": restart_apiserver,
}


def main():
    parser = argparse.ArgumentParser(
        prog="tests/cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        command = commands.add_parser(name)
        command.add_argument("--state", required=True, metavar="DIR", help="the folder that holds the cluster")
        if name == "up":
            command.add_argument("--control-plane", action="store_true", help="without a node")
        if name == "load":
            command.add_argument("images", nargs="+", metavar="IMAGE.tar")
        if name == "enter":
            command.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        COMMANDS[arguments.command](State(arguments.state), arguments)
    except (Failed, build.Failed) as problem:
        print(f"cluster: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cluster: stopped", file=sys.stderr)
        return 130
    return 0


sys.exit(main())
