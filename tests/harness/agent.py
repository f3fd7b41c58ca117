"""The guest agent of these sources, built once a state of theirs."""

import functools
import hashlib
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "agent"
BUILDS = Path(__file__).parents[2] / ".build"
PROGRAMS = (
    *("heft-agent", "heft-agent-arm64", "heft-agent-s390x"),
    *("heft-diod.so", "heft-served.so", "heft-tsc", "heft-uml.so", "heft-vsock", "heft-weigh"),
)


@functools.cache
def built() -> Path:
    """Give the directory with the programs `heft-agent`, also for arm64, and the rest."""
    files = sorted(path for path in SOURCES.rglob("*") if path.is_file())
    state = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    directory = BUILDS / f"agent-{state}"
    if not all((directory / name).exists() for name in PROGRAMS):
        command = ["make", "-s", "-C", SOURCES, f"OUT={directory}", "foreign", "all"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return directory
