"""Checks every dependency against deny.toml: its licence, its source, and whether it is banned.

The part of cargo-deny that needs neither a network nor an installation. Prints one line per crate that does
not comply; exit code 1 when there is one.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def rules(text):
    """The allowed licences and the banned crates of a deny.toml."""
    allowed = re.search(r"^\[licenses\].*?^allow = \[(.*?)^\]", text, re.M | re.S)[1]
    banned = re.findall(r'\{ crate = "([^"]+)" \}', text)
    return set(re.findall(r'"([^"]+)"', allowed)), set(banned)


def permitted(expression, allowed):
    """Whether an SPDX expression can be satisfied with the allowed licences alone."""
    # Older manifests write a slash for OR.
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def alternatives():
        result = conjunction()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            # Evaluated first, so that its tokens are taken also when the left side holds.
            right = conjunction()
            result = result or right
        return result

    def conjunction():
        result = licence()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            right = licence()
            result = result and right
        return result

    def licence():
        name = tokens.pop(0)
        if name == "(":
            inner = alternatives()
            tokens.pop(0)
            return inner
        if tokens[:1] == ["WITH"]:
            tokens.pop(0)
            name = f"{name} WITH {tokens.pop(0)}"
        return name in allowed

    return alternatives()


def complaints(packages, allowed, banned):
    """One line per package that does not comply."""
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if package["source"] not in (None, CRATES_IO):
            yield f"{name}: comes from {package['source']}, not from crates.io"
        if package["name"] in banned:
            yield f"{name}: banned by deny.toml"
        licence = package["license"]
        if not licence:
            yield f"{name}: names no licence"
        elif not permitted(licence, allowed):
            yield f"{name}: {licence} is not allowed by deny.toml"


def main():
    allowed, banned = rules(Path("deny.toml").read_text())
    command = ("cargo", "metadata", "--locked", "--format-version", "1", "--all-features")
    packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
    found = list(complaints(packages, allowed, banned))
    print("\n".join(found) or f"{len(packages)} crates comply with deny.toml")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
