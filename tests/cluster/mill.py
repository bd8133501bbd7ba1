"""A node with cronmill on it, as `make cluster` puts it there, for all tests of a class."""

import base64
import os
import subprocess

import namespaces
import programs
from bed import Bed, Kubectl, cluster
from state import State
from trial import NAMESPACE

# Built from source when nobody has built it before.
LIMIT_S = 1800
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Mill(Bed):
    @classmethod
    def setUpClass(cls):
        cls.at = cls.place_of_all()
        cluster("trial", "--state", cls.at, limit_s=LIMIT_S)
        cls.kubectl = Kubectl(cls.at)
        cls.secret = cls.kubectl.get("secret", "cronmill-redis", "-n", NAMESPACE)["data"]
        cls.password = base64.b64decode(cls.secret["password"]).decode()
        service = cls.kubectl.get("service", "cronmill-redis", "-n", NAMESPACE)
        cls.redis_host = service["spec"]["clusterIP"]

    def within(self, *words, text=None, **environment):
        """What a program prints that runs in the node's network."""
        command = (*namespaces.enter(State(self.at)), *map(str, words))
        done = subprocess.run(
            command, capture_output=True, text=True, input=text, timeout=60, env={"PATH": PATH, **environment}
        )
        self.assertEqual(done.returncode, 0, f"{words}: {done.stderr}")
        return done.stdout

    def redis(self, *words):
        """What redis-cli answers."""
        return self.within("redis-cli", "-h", self.redis_host, *words, REDISCLI_AUTH=self.password)

    def cronmill(self, *words, text=None):
        """What the command line prints."""
        url = f"redis://:{self.password}@{self.redis_host}:6379"
        home = {"HOME": os.environ.get("HOME", "/")}
        return self.within(programs.built() / "cronmill", *words, text=text, CRONMILL_REDIS_URL=url, **home)

    def completed(self, queue):
        return int(self.redis("ZCARD", f"asynq:{{{queue}}}:completed"))
