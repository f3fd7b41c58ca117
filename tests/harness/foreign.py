"""A static busybox of arm64, from Debian's package, fetched before the tests leave the network."""

import io
import subprocess
import sys
import tarfile

from tests.harness import agent
from tests.harness.whole_system import suite

PROGRAM = agent.BUILDS / "busybox-arm64"


def main() -> None:
    """Fetch it, if it is not there; nothing of the package is run."""
    if PROGRAM.exists():
        return
    sys.stderr.write("==> A busybox for arm64, for the tests\n")
    command = [
        *("mmdebstrap", "--quiet", "--variant=extract", "--format=tar", "--architectures=arm64"),
        *("--include=busybox-static", suite(), "-"),
    ]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        found = tar.extractfile("./bin/busybox")
        assert found is not None
        new = PROGRAM.with_suffix(".new")
        new.write_bytes(found.read())
    new.chmod(0o755)
    new.rename(PROGRAM)


if __name__ == "__main__":
    main()
