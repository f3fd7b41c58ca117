"""The registers of a medium machine's processes: its kernel sets them by ptrace(2).

Where the host's processor has more of them than that kernel knows (AMX), no machine would start
without agent/uml; so this is a test of that too, on such a host.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.harness.images import BUSYBOX
from tests.harness.serving import serving

SOURCE = Path(__file__).with_name("registers.c")


@pytest.fixture
def heft(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path / "daemon") as daemon:
        yield Client("heft", daemon)


def test_wide_registers_are_each_thread_s_own(heft: Client, tmp_path: Path) -> None:
    program = tmp_path / "registers"
    subprocess.run(("musl-gcc", "-static", "-O1", "-o", program, SOURCE), check=True)
    heft("create", "--name", "box", "--weight", "medium", BUSYBOX, "/registers")
    heft("cp", str(program), "box:/registers")
    assert set(heft("start", "-a", "box").stdout.split()) == {"kept"}
