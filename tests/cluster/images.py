"""Images of programs of this machine: their files, and the libraries that they load."""

import re
import shutil
import subprocess
from pathlib import Path

from control_plane import need
from oci import Image, full_name
from state import Failed

HERE = Path(__file__).resolve().parent
# Where Debian has each version of PostgreSQL.
POSTGRES = Path("/usr/lib/postgresql")
# The user of the official image.
POSTGRES_USER = 999


def check_machine():
    """Fails when this machine lacks what they are made of."""
    need("redis-server")
    if newest(POSTGRES) is None:
        raise Failed(f"no PostgreSQL in {POSTGRES}; on Debian: apt-get install postgresql")


def redis(path):
    """An image of redis-server, for the chart; it is written to `path`."""
    # Not what a link leads to: it goes by the name that it is called by.
    program = Path(shutil.which("redis-server"))
    version = re.search(r"v=(\S+)", output(program, "--version"))[1]
    # Where the chart's command looks for it.
    files = {**loaded(program), "usr/local/bin/redis-server": program}
    image = Image(f"cronmill.dev/test/redis:{version}", files, [], ["redis-server"])
    image.write(path)
    return image


def postgres(path, name):
    """An image of PostgreSQL that is used as the official one is, by this name; it is written to `path`."""
    version = newest(POSTGRES)
    programs = [version / "bin/postgres", version / "bin/initdb", *map(Path, ("/bin/sh", "/bin/mv", "/bin/rm"))]
    # What initdb loads; the folder has much else.
    modules = [version / "lib/plpgsql.so", version / "lib/dict_snowball.so"]
    share = Path("/usr/share/postgresql") / version.name
    shared = (file for file in share.rglob("*") if file.is_file() and "man" not in file.parts)
    # The one zone that clients ask for.
    files = [*programs, *modules, *shared, Path("/usr/share/zoneinfo/UTC")]
    files = {str(file).lstrip("/"): file for file in files}
    for program in (*programs, *modules):
        files.update(loaded(program))
    start = HERE / "postgres.sh"
    # It asks who it is.
    users = Path(path).with_name("postgres.passwd")
    users.write_text(f"postgres:x:{POSTGRES_USER}:{POSTGRES_USER}::/:/bin/sh\n")
    files |= {start.name: start, "etc/passwd": users}
    user = f"{POSTGRES_USER}:{POSTGRES_USER}"
    image = Image(full_name(name), files, ["/bin/sh", f"/{start.name}", str(version / "bin")], user=user)
    image.write(path)
    return image


def newest(folder):
    """The folder of the highest version in a folder of versions that has a server."""
    versions = [server.parents[1] for server in folder.glob("*/bin/postgres") if server.parents[1].name.isdigit()]
    return max(versions, key=lambda version: int(version.name), default=None)


def loaded(program):
    """The libraries that a program loads, by where they go in an image: where they are here."""
    return {library.lstrip("/"): library for library in re.findall(r"(/\S+) \(0x", output("ldd", program))}


def output(*words):
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed(f"{words[0]} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout
