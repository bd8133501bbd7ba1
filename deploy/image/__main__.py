"""Writes cronmill's container image, without a container engine: `make image`.

    python3 deploy/image [FILE]

builds both programs and puts them, and nothing else, into an image in FILE, or target/cronmill-image.tar. What
deploy/Dockerfile builds is the same.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import programs
from oci import Image, full_name

MOST_MB = 60
PLACE = "usr/local/bin"


def image(folder, version):
    """The image with the programs in a folder."""
    return Image(
        name=full_name(f"cronmill:{version}"),
        files={f"{PLACE}/{name}": folder / name for name in programs.NAMES},
        entrypoint=[f"/{PLACE}/cronmill"],
        labels={
            "org.opencontainers.image.title": "cronmill",
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    )


def main(words):
    if len(words) > 1 or any(word.startswith("-") for word in words):
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(words[0]) if words else programs.ROOT / "target/cronmill-image.tar"
    try:
        folder = programs.built()
    except programs.NotBuilt as problem:
        print(f"image: {problem}", file=sys.stderr)
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    made = image(folder, programs.version())
    digest = made.write(path)
    size = path.stat().st_size / 1e6
    print(f"{path}: {made.name}, {digest}, {size:.1f} MB")
    if size > MOST_MB:
        print(f"image: {size:.1f} MB are more than {MOST_MB}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
