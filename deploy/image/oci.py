"""Writes container images without a container engine: a tar in OCI's image layout, the same bytes for the same input."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Of nobody: no image needs an account, and the restricted pod security standard wants a number.
USER = "65532:65532"
TYPE = "application/vnd.oci.image."


@dataclass
class Image:
    """What goes into an image from scratch."""

    name: str
    # Where each file lies in the image, and where it is taken from.
    files: dict
    entrypoint: list
    # What the entrypoint gets when whoever starts a container says nothing else.
    arguments: list = field(default_factory=list)
    user: str = USER
    labels: dict = field(default_factory=dict)

    def write(self, path):
        """Writes the tar, whole or not at all, and returns the image's digest."""
        layer, unpacked = self._layer()
        config = encoded(
            {
                "architecture": ARCHITECTURES[os.uname().machine],
                "os": "linux",
                "config": {
                    "Entrypoint": self.entrypoint,
                    "Cmd": self.arguments,
                    "User": self.user,
                    "WorkingDir": "/",
                    "Env": ["PATH=/usr/local/bin"],
                    "Labels": self.labels,
                },
                "rootfs": {"type": "layers", "diff_ids": [digest(unpacked)]},
            }
        )
        manifest = encoded(
            {
                "schemaVersion": 2,
                "mediaType": TYPE + "manifest.v1+json",
                "config": descriptor("config.v1+json", config),
                "layers": [descriptor("layer.v1.tar+gzip", layer)],
            }
        )
        listed = descriptor("manifest.v1+json", manifest)
        listed["annotations"] = {
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name.rsplit(":", 1)[-1],
        }
        index = {"schemaVersion": 2, "mediaType": TYPE + "index.v1+json", "manifests": [listed]}
        blobs = {f"blobs/sha256/{digest(blob)[7:]}": blob for blob in (layer, config, manifest)}
        contents = {"oci-layout": encoded({"imageLayoutVersion": "1.0.0"}), "index.json": encoded(index), **blobs}
        unfinished = Path(path).with_suffix(".unfinished")
        with open(unfinished, "wb") as file:
            file.write(tar({name: (content, 0o644) for name, content in contents.items()}))
        unfinished.rename(path)
        return digest(manifest)

    def _layer(self):
        """The layer as it is stored and as it is unpacked."""
        unpacked = tar({place: (Path(source).read_bytes(), 0o755) for place, source in self.files.items()})
        packed = io.BytesIO()
        # Without name and time, so that the same files are the same layer.
        with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=6, mtime=0) as stream:
            stream.write(unpacked)
        return packed.getvalue(), unpacked


def names(path):
    """The names that an image's tar gives it."""
    with tarfile.open(path) as file:
        index = json.load(file.extractfile("index.json"))
    notes = (manifest.get("annotations", {}) for manifest in index["manifests"])
    return [note["io.containerd.image.name"] for note in notes if "io.containerd.image.name" in note]


def tar(files):
    """An archive of these files and the folders they lie in, all of root and of no time."""
    folders = {str(folder) for name in files for folder in Path(name).parents} - {"."}
    entries = [(folder, None) for folder in folders] + list(files.items())
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as out:
        for name, file in sorted(entries, key=lambda entry: entry[0]):
            entry = tarfile.TarInfo(name)
            if file is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                out.addfile(entry)
            else:
                entry.size, entry.mode = len(file[0]), file[1]
                out.addfile(entry, io.BytesIO(file[0]))
    return archive.getvalue()


def descriptor(kind, blob):
    return {"mediaType": TYPE + kind, "digest": digest(blob), "size": len(blob)}


def digest(blob):
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def encoded(value):
    return json.dumps(value, sort_keys=True).encode()


def full_name(name):
    """An image's name as programs keep it, from the name as people write it: `redis:7` stands for much more."""
    first = name.split("/")[0]
    if "/" in name and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"
