"""A static busybox of other architectures, from Debian's packages.

They are fetched before the tests leave the network.
"""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.harness import agent
from tests.harness.whole_system import suite

ARCHITECTURES = ("arm64", "s390x")
"""One as common as any, and one with the other order of bytes; Debian has the same words."""


def program(architecture: str) -> Path:
    """Give where it is, or is to be."""
    return agent.BUILDS / f"busybox-{architecture}"


def fetch(architecture: str) -> None:
    """Fetch one, if it is not there; nothing of the package is run."""
    place = program(architecture)
    if place.exists():
        return
    sys.stderr.write(f"==> A busybox for {architecture}, for the tests\n")
    command = [
        *("mmdebstrap", "--quiet", "--variant=extract", "--format=tar"),
        *(f"--architectures={architecture}", "--include=busybox-static", suite(), "-"),
    ]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        found = tar.extractfile("./bin/busybox")
        assert found is not None
        new = place.with_suffix(".new")
        new.write_bytes(found.read())
    new.chmod(0o755)
    new.rename(place)


if __name__ == "__main__":
    for each in ARCHITECTURES:
        fetch(each)
