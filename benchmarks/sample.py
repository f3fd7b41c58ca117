"""An image of 400 MB in three layers, whose files are like those that images have.

The lowest layer is the Debian tar as it is. Those above have files of many sizes, most of which are
packed already (random bytes), while some are pieces of Debian's: of the whole, half can be
compressed. All is made of a seed: it is the same every time.
"""

import hashlib
import io
import json
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path

TIME = 1_700_000_000
"""Seconds since 1970, of every file and image."""
PIECES = 8
"""One file in so many is a piece of Debian's."""
LAYERS = ((150_000_000, 3500), (80_000_000, 1500))
"""Bytes and files of the layers above Debian."""
SMALL = ((1_000_000, 40),)
"""Those of the small layer that the second image has more."""


@dataclass(frozen=True)
class Sample:
    """Two archives of `docker save`'s form: an image, and one with a small layer more."""

    whole: Path
    more: Path
    bytes: int
    """Of the first one's layers, as tars."""


def make(directory: Path, debian: Path, whole: str, more: str) -> Sample:
    """Make both, under these names."""
    stuff = debian.read_bytes()
    chance = random.Random(6)
    layers = [debian]
    for number, (size, files) in enumerate((*LAYERS, *SMALL)):
        layers.append(path := directory / f"layer-{number}.tar")
        write_layer(path, size, files, stuff, chance)
    first, second = directory / "whole.tar", directory / "more.tar"
    write_archive(first, whole, layers[:-1])
    write_archive(second, more, layers)
    total = sum(layer.stat().st_size for layer in layers[:-1])
    for path in layers[1:]:
        path.unlink()
    return Sample(first, second, total)


def write_layer(path: Path, size: int, files: int, stuff: bytes, chance: random.Random) -> None:
    """Write a tar of so many files, which have so many bytes in all."""
    wanted = [chance.lognormvariate(0, 2) for _ in range(files)]
    unit = size / sum(wanted)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for number, each in enumerate(wanted):
            length = max(1, int(each * unit))
            if number % PIECES:
                content = chance.randbytes(length)
            else:
                at = chance.randrange(max(1, len(stuff) - length))
                content = stuff[at : at + length]
            info = tarfile.TarInfo(f"opt/{path.stem}/{number // 50}/{number}")
            info.size, info.mode, info.mtime = len(content), 0o644, TIME
            tar.addfile(info, io.BytesIO(content))


def write_archive(path: Path, name: str, layers: list[Path]) -> None:
    """Write an archive of one image (moby's image-spec v1.2)."""
    digests = []
    for layer in layers:
        with layer.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": {"Cmd": ["sleep", "1000000"], "Env": ["PATH=/usr/bin:/usr/sbin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created": "2023-11-14T22:13:20Z", "created_by": "a seed"} for _ in layers],
    }
    encoded = json.dumps(config).encode()
    own = f"{hashlib.sha256(encoded).hexdigest()}.json"
    files = [f"{digest}/layer.tar" for digest in digests]
    manifest = json.dumps([{"Config": own, "RepoTags": [name], "Layers": files}]).encode()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for file, layer in zip(files, layers, strict=True):
            with layer.open("rb") as content:
                info = tarfile.TarInfo(file)
                info.size, info.mtime = layer.stat().st_size, TIME
                tar.addfile(info, content)
        for file, text in ((own, encoded), ("manifest.json", manifest)):
            info = tarfile.TarInfo(file)
            info.size, info.mtime = len(text), TIME
            tar.addfile(info, io.BytesIO(text))
