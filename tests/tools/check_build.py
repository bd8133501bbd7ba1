"""Tests of the builder of tools, with small modules that need nothing from elsewhere."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import build

SAYS = 'package main\n\nimport "fmt"\n\nvar version = "none"\n\nfunc main() { fmt.Print("%s ", version) }\n'


class Sets(unittest.TestCase):
    """Each test has a folder of sets and a cache of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="cronmill-check-")
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name) / "sets"
        before = dict(os.environ)
        self.addCleanup(os.environ.update, before)
        self.addCleanup(os.environ.clear)
        # Go's own cache stays where it is, or each test would compile Go's library anew.
        asked = subprocess.run(("go", "env", "GOCACHE"), capture_output=True, text=True, check=True)
        os.environ["GOCACHE"] = asked.stdout.strip()
        os.environ["XDG_CACHE_HOME"] = str(Path(folder.name) / "cache")

    def set(self, text="one", settings=None, name="small"):
        """Writes a set whose program prints a text and its version."""
        module = self.home / name
        module.mkdir(parents=True, exist_ok=True)
        (module / "go.mod").write_text(f"module example.org/{name}\n\ngo 1.26\n")
        (module / "main.go").write_text(SAYS % text)
        if settings is not None:
            (module / "build.json").write_text(json.dumps(settings))

    def built(self, name="small"):
        """The set's folder, and what the builder said."""
        with contextlib.redirect_stderr(io.StringIO()) as said:
            folder = build.folder_of(name, self.home)
        return folder, said.getvalue()

    def output(self, folder):
        return subprocess.run((folder / "small",), capture_output=True, text=True, check=True).stdout

    def in_cache(self):
        return sorted(path.name for path in build.cache().iterdir() if not path.name.endswith(".lock"))

    def test_a_set_is_built_once(self):
        self.set()
        first, said = self.built()
        self.assertIn("small: building small", said)
        self.assertEqual(self.output(first), "one none")
        self.assertEqual(self.built(), (first, ""))

    def test_another_source_or_flag_is_another_folder(self):
        self.set()
        folders = {self.built()[0]}
        self.set("two")
        folders.add(self.built()[0])
        self.set("two", {"ldflags": ["-X main.version=7"]})
        third, _ = self.built()
        self.assertEqual(len(folders | {third}), 3)
        self.assertEqual(self.output(third), "two 7")

    def test_builds_that_nobody_used_for_a_day_go(self):
        self.set()
        unused, _ = self.built()
        self.set("two")
        used, _ = self.built()
        os.utime(unused, (time.time() - build.UNUSED_S - 10,) * 2)
        self.set(name="small-er")
        other, _ = self.built("small-er")
        os.utime(other, (time.time() - build.UNUSED_S - 10,) * 2)
        self.set("three")
        newest, _ = self.built()
        self.assertEqual(self.in_cache(), sorted(folder.name for folder in (used, newest, other)))

    def test_asking_for_a_build_keeps_it(self):
        self.set()
        folder, _ = self.built()
        os.utime(folder, (1, 1))
        self.built()
        self.assertLess(time.time() - folder.stat().st_mtime, 60)

    def test_a_build_that_fails_leaves_nothing_and_says_why(self):
        self.set()
        (self.home / "small/main.go").write_text("package main\n\nfunc main() { nothing() }\n")
        with self.assertRaisesRegex(build.Failed, "undefined: nothing"):
            self.built()
        self.assertEqual(self.in_cache(), [])

    def test_a_full_disk_is_refused_before_the_build(self):
        self.set(settings={"disk_gb": 1e9})
        with self.assertRaisesRegex(build.Failed, "GB are free at .* make room"):
            self.built()
        self.assertEqual(self.in_cache(), [])

    def test_builders_at_the_same_time_build_once(self):
        self.set()
        folders = []
        with contextlib.redirect_stderr(io.StringIO()) as said:
            ask = lambda: folders.append(build.folder_of("small", self.home))
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual((len(folders), len(set(folders))), (4, 1))
        self.assertEqual(said.getvalue().count("building"), 1)

    def test_what_a_killed_builder_left_is_cleared(self):
        self.set()
        code = (
            "import build, os, signal, sys\nfrom pathlib import Path\n"
            "build.go_build = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "build.folder_of('small', Path(sys.argv[1]))"
        )
        here = str(Path(build.__file__).parent)
        done = subprocess.run((sys.executable, "-c", code, self.home), cwd=here, stderr=subprocess.DEVNULL)
        self.assertEqual(done.returncode, -signal.SIGKILL)
        self.assertEqual(len(self.in_cache()), 1)
        folder, _ = self.built()
        self.assertEqual(self.in_cache(), [folder.name])

    def test_an_unknown_set_or_setting_is_refused(self):
        self.set(settings={"tag": []})
        with self.assertRaisesRegex(build.Failed, "unknown tag; known are tags"):
            self.built()
        for name in ("other", "../sets/small"):
            with self.assertRaisesRegex(build.Failed, "there are small"):
                self.built(name)

    def test_the_version_is_that_of_the_module(self):
        path = self.home / "go.mod"
        self.home.mkdir()
        path.write_text("module m\n\nrequire (\n\texample.org/a v0.1.0\n\texample.org/a/b v1.37.2 // indirect\n)\n")
        version = build.version_of("example.org/a/b", path)
        self.assertEqual(build.fill_in("{version} {major} {minor}", version), "v1.37.2 1 37")
        with self.assertRaisesRegex(build.Failed, "requires no example.org/c"):
            build.version_of("example.org/c", path)


class Ours(unittest.TestCase):
    """The sets that are here."""

    def test_every_set_has_programs_and_is_formatted(self):
        self.assertGreater(len(build.names()), 3)
        for name in build.names():
            wanted = build.Set.of(name)
            self.assertNotEqual(wanted.programs(), (), name)
            for flag in wanted.ldflags:
                self.assertIsNone(re.search(r"[{}]|=$", flag), f"{name}: {flag}")
            done = subprocess.run(("gofmt", "-l", wanted.module), capture_output=True, text=True)
            self.assertEqual(done.stdout + done.stderr, "", name)

    def test_what_sets_of_the_node_share_is_compiled_once(self):
        """Go compiles a package anew for each version of it, and most of a first `make cluster` is that."""
        versions = {}
        for name in ("kubernetes", "containerd", "coredns", "pod", "helm"):
            asked = ("go", "mod", "edit", "-json")
            said = subprocess.run(asked, cwd=build.modules()[name], capture_output=True, text=True, check=True)
            module = json.loads(said.stdout)
            replaced = {change["Old"]["Path"]: change["New"]["Version"] for change in module["Replace"] or ()}
            for wanted in module["Require"] or ():
                path = wanted["Path"]
                versions.setdefault(path, {}).setdefault(replaced.get(path, wanted["Version"]), []).append(name)
        differ = {path: those for path, those in versions.items() if len(those) > 1}
        self.assertEqual(differ, {}, "`go get` the newest of these in each set")

    def test_tool_lines_are_read(self):
        text = "module m\n\ntool example.org/a/cmd/one\n\ntool (\n\texample.org/b/two\n\texample.org/b/three\n)\n"
        self.assertEqual(build.tools(text), ("example.org/b/two", "example.org/b/three", "example.org/a/cmd/one"))


if __name__ == "__main__":
    unittest.main()
