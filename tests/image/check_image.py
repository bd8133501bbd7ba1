"""Tests of the image: what is in it, that it runs with nothing around it, that the Dockerfile's is the same."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "deploy"), str(ROOT / "deploy/image")]

import programs
from oci import Image, full_name

PROGRAMS = {"usr/local/bin/cronmill", "usr/local/bin/cronmill-worker"}


def run(*words, check=True, **more):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, **more)
    if check and done.returncode != 0:
        raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done


class Layout:
    """An image as its tar has it."""

    def __init__(self, path):
        self.tar = tarfile.open(path)
        self.index = self.json("index.json")
        self.manifest = self.json(self.blob(self.index["manifests"][0]))
        self.config = self.json(self.blob(self.manifest["config"]))

    @staticmethod
    def blob(descriptor):
        return "blobs/" + descriptor["digest"].replace(":", "/")

    def json(self, name):
        return json.load(self.tar.extractfile(name))

    def layer(self):
        return tarfile.open(fileobj=self.tar.extractfile(self.blob(self.manifest["layers"][0])), mode="r:gz")


class Built(unittest.TestCase):
    """The image of this source."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="cronmill-check-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.tar = cls.folder / "image.tar"
        # With its output shown: it compiles for some minutes.
        subprocess.run((sys.executable, ROOT / "deploy/image", cls.tar), check=True)
        cls.image = Layout(cls.tar)
        cls.root = cls.folder / "root"
        with cls.image.layer() as layer:
            layer.extractall(cls.root)

    def test_it_holds_both_programs_and_nothing_else(self):
        with self.image.layer() as layer:
            files = {entry.name for entry in layer if not entry.isdir()}
        self.assertEqual(files, PROGRAMS)
        self.assertLess(self.tar.stat().st_size, 60e6)

    def test_it_runs_as_nobody_and_starts_cronmill(self):
        config = self.image.config["config"]
        self.assertRegex(config["User"], r"^[1-9]\d*:[1-9]\d*$")
        self.assertEqual(config["Entrypoint"], ["/usr/local/bin/cronmill"])
        name = self.image.index["manifests"][0]["annotations"]["io.containerd.image.name"]
        self.assertTrue(name.endswith(f"/cronmill:{programs.version()}"), name)

    def test_the_programs_run_with_nothing_around_them(self):
        for name in sorted(PROGRAMS):
            # As another user, in a root that has only them: whatever they load is missing.
            argv = ("chroot", "--userspec=65532:65532", self.root, f"/{name}", "--version")
            self.assertIn(programs.version(), run(*argv).stdout, name)

    def test_a_database_is_written_where_only_its_own_folder_can_be(self):
        place = self.root / "shop"
        place.mkdir()
        os.chown(place, 65532, 65532)
        argv = ("chroot", "--userspec=65532:65532", self.root, "/usr/local/bin/cronmill", "shop", "generate", "--if-empty")
        for said in (r"20000 orders of 10 users", r"is not empty"):
            done = run(*argv, "--database=shop/orders.db", "--orders=20000", "--users=10")
            self.assertRegex(done.stderr, said)
        self.assertEqual([path.name for path in place.iterdir()], ["orders.db"])

    def test_a_zone_is_known_without_files_of_zones(self):
        argv = ("chroot", self.root, "/usr/local/bin/cronmill", "cron", "next", "0 9 * * *", "--tz", "Asia/Shanghai")
        self.assertIn("+08", run(*argv).stdout)

    def test_the_dockerfile_builds_the_same(self):
        storage = self.folder / "storage"
        buildah = ("buildah", "--root", storage, "--runroot", self.folder / "runroot", "--storage-driver", "vfs")
        context = self.root / "usr/local/bin"
        bud = ("bud", "--isolation=chroot", "--format=oci", "-f", ROOT / "deploy/Dockerfile", "-t", "check")
        run(*buildah, *bud, context)
        config = json.loads(run(*buildah, "inspect", "--type=image", "check").stdout)["OCIv1"]["config"]
        ours = self.image.config["config"]
        for field in ("User", "Entrypoint", "Env", "WorkingDir"):
            self.assertEqual(config.get(field), ours[field], field)
        self.assertEqual(config.get("Cmd") or [], ours["Cmd"])
        titles = {key: value for key, value in ours["Labels"].items() if not key.endswith(".version")}
        self.assertEqual({key: value for key, value in config["Labels"].items() if key in titles}, titles)
        archive = self.folder / "check.tar"
        run(*buildah, "push", "check", f"oci-archive:{archive}")
        with Layout(archive).layer() as layer:
            files = {entry.name: layer.extractfile(entry).read() for entry in layer if entry.isfile()}
        self.assertEqual(set(files), PROGRAMS)
        for name, content in files.items():
            self.assertEqual(content, (self.root / name).read_bytes(), name)


class Writing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="cronmill-check-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, text, at):
        source = self.folder / "source"
        source.write_text(text)
        os.utime(source, (at, at))
        image = Image("a.example/b:1", {"bin/b": source}, ["/bin/b"])
        digest = image.write(self.folder / "image.tar")
        return digest, (self.folder / "image.tar").read_bytes()

    def test_the_same_files_are_the_same_image(self):
        self.assertEqual(self.write("one", 1000), self.write("one", 2000))
        self.assertNotEqual(self.write("one", 1000)[0], self.write("two", 1000)[0])

    def test_an_image_that_cannot_be_written_leaves_the_one_before(self):
        self.write("one", 1000)
        before = (self.folder / "image.tar").read_bytes()
        with self.assertRaises(FileNotFoundError):
            Image("a.example/b:1", {"bin/b": self.folder / "none"}, []).write(self.folder / "image.tar")
        self.assertEqual((self.folder / "image.tar").read_bytes(), before)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["image.tar", "source"])

    def test_short_names_are_completed_as_programs_do(self):
        for name, full in {
            "redis:7": "docker.io/library/redis:7",
            "someone/redis": "docker.io/someone/redis",
            "a.example/redis:7": "a.example/redis:7",
            "localhost/redis": "localhost/redis",
            "localhost:5000/redis": "localhost:5000/redis",
        }.items():
            self.assertEqual(full_name(name), full)


if __name__ == "__main__":
    unittest.main()
