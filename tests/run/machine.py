"""What this machine has: tools, their versions, and on Debian or Ubuntu their installation."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

INSTALL_LIMIT_S = 600


@dataclass(frozen=True)
class Tool:
    """A program that tests use, and how to come by it."""

    name: str
    # Prints the version.
    ask: tuple
    # The lowest version that will do.
    oldest: tuple = ()
    # Debian's packages for it; empty when Debian's would be too old or are not the way to install it.
    packages: tuple = ()
    # Where to get it otherwise.
    advice: str = ""


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("python3", ("python3", "--version"), (3, 9)),
        Tool("cargo", ("cargo", "--version"), (1, 95), advice="see https://rustup.rs"),
        Tool("rustc", ("rustc", "--version"), (1, 95), advice="see https://rustup.rs"),
        Tool("cc", ("cc", "--version"), packages=("gcc", "libc6-dev")),
        Tool("git", ("git", "--version"), packages=("git",)),
        Tool("go", ("go", "version"), (1, 26), advice="see https://go.dev/dl"),
        Tool("redis-server", ("redis-server", "--version"), (6, 2), packages=("redis-server",)),
        Tool("redis-cli", ("redis-cli", "--version"), (6, 2), packages=("redis-tools",)),
        Tool("openssl", ("openssl", "version"), packages=("openssl",)),
        Tool("faketime", ("faketime", "--version"), packages=("faketime",)),
        Tool("ps", ("ps", "--version"), packages=("procps",)),
        Tool("sqlite3", ("sqlite3", "--version"), packages=("sqlite3",)),
        Tool(
            "postgres",
            # Debian keeps it off the path.
            ("sh", "-c", 'PATH="$PATH:$(ls -d /usr/lib/postgresql/*/bin 2>&- | tail -n 1)" postgres --version'),
            (14,),
            packages=("postgresql",),
        ),
        Tool("psql", ("psql", "--version"), (14,), packages=("postgresql-client",)),
        Tool("etcd", ("etcd", "--version"), (3, 4), packages=("etcd-server",)),
        Tool("runc", ("runc", "--version"), (1, 1), packages=("runc",)),
        Tool("cni", ("/usr/lib/cni/ptp", "--version"), packages=("containernetworking-plugins",)),
        Tool("iptables", ("iptables", "--version"), packages=("iptables",)),
        Tool("conntrack", ("conntrack", "--version"), packages=("conntrack",)),
        Tool("ip", ("ip", "-V"), packages=("iproute2",)),
        Tool("nsenter", ("nsenter", "--version"), packages=("util-linux",)),
        Tool("unshare", ("unshare", "--version"), packages=("util-linux",)),
        Tool("mount", ("mount", "--version"), packages=("mount",)),
        Tool("buildah", ("buildah", "--version"), packages=("buildah",)),
        Tool("root", ("sh", "-c", 'test "$(id -u)" = 0'), advice="a node needs its rights"),
    )
}


@dataclass(frozen=True)
class Found:
    """A tool as this machine has it."""

    tool: Tool
    # As the tool prints it; empty when there is none.
    version: str
    usable: bool

    def lacks(self):
        """One line that says why it cannot be used, or None."""
        if self.usable:
            return None
        oldest = ".".join(map(str, self.tool.oldest))
        have = f"{self.tool.name} {self.version} is older than {oldest}" if self.version else f"no {self.tool.name}"
        return have + (f" ({self.tool.advice})" if self.tool.advice else "")


def find(name):
    """Looks a tool up."""
    tool = TOOLS[name]
    if not shutil.which(tool.ask[0]):
        return Found(tool, "", False)
    try:
        answer = subprocess.run(tool.ask, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return Found(tool, "", False)
    if answer.returncode != 0:
        return Found(tool, "", False)
    version = version_in(answer.stdout + answer.stderr)
    return Found(tool, version, reaches(version, tool.oldest))


def version_in(text):
    """The first thing in a text that looks like a version, or `unknown`."""
    number = re.search(r"\d+(\.\d+)+", text)
    return number[0] if number else "unknown"


def reaches(version, oldest):
    """Whether a version is `oldest` or newer; an unknown one reaches only the empty bound."""
    return tuple(int(part) for part in re.findall(r"\d+", version)) >= oldest


def prepare(names):
    """Looks the tools up, installs what is missing where that is possible, and returns them by name."""
    tools = {name: find(name) for name in names}
    missing = [p for found in tools.values() if not found.usable for p in found.tool.packages]
    if missing and can_install():
        install(missing)
        tools = {name: find(name) for name in names}
    return tools


def can_install():
    """True on Debian and its relatives, as root."""
    release = Path("/etc/os-release")
    text = release.read_text() if release.exists() else ""
    debian = re.search(r"^ID(_LIKE)?=.*\b(debian|ubuntu)\b", text, re.M)
    return bool(debian and shutil.which("apt-get") and os.geteuid() == 0)


def install(packages):
    """Installs Debian packages; what still lacks afterwards shows up as a missing tool."""
    print(f"installing {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_services():
        for command in (("update", "-qq"), ("install", "-y", "-qq", "--no-install-recommends", *packages)):
            try:
                done = subprocess.run(
                    ("apt-get", *command),
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    timeout=INSTALL_LIMIT_S,
                )
            except subprocess.TimeoutExpired:
                print(f"apt-get {command[0]} did not end within {INSTALL_LIMIT_S} s", flush=True)
                return
            if done.returncode != 0:
                print(f"apt-get {command[0]} failed with exit code {done.returncode}", flush=True)


class _no_services:
    """Keeps packages from starting their services: tests start servers of their own, on ports of their own."""

    POLICY = Path("/usr/sbin/policy-rc.d")

    def __enter__(self):
        self.ours = not self.POLICY.exists()
        if self.ours:
            self.POLICY.write_text("#!/bin/sh\nexit 101\n")
            self.POLICY.chmod(0o755)

    def __exit__(self, *_):
        if self.ours:
            self.POLICY.unlink(missing_ok=True)
