"""`--storage-opt size=…`: a writable layer that holds so much and no more."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.clients.test_run import sh
from tests.clients.test_run_flags import inspected, refused, start
from tests.harness.client import Client

SIZE = ("--storage-opt", "size=24m")
MIB = 1 << 20
FILL = "dd if=/dev/zero of=/big bs=64k 2>&1"


def packed(client: Client, *arguments: str) -> dict[str, int]:
    """Give names and sizes in a tar that a command gives."""
    done = subprocess.run(
        [*client.program, *arguments],
        capture_output=True,
        check=True,
        env=client.environment,
        timeout=60,
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        return {entry.name: entry.size for entry in tar}


@pytest.mark.parametrize("mib", [10, 24, 600])
def test_no_more_than_it_says(client: Client, mib: int) -> None:
    script = f"{FILL} | grep -o 'No space left on device'; stat -c %s /big"
    words, size = sh(client, script, "--storage-opt", f"size={mib}m").splitlines()
    assert words == "No space left on device"
    assert mib * MIB * 0.97 <= int(size) <= mib * MIB


def test_what_was_deleted_makes_room(client: Client) -> None:
    again = f"({FILL}; rm /big; {FILL}) >/dev/null; stat -c %s /big"
    assert int(sh(client, again, *SIZE)) >= 23 * MIB
    assert sh(client, "df -m / | tail -1", *SIZE).split()[3] in ("23", "24")


def test_only_what_the_machine_writes_is_counted(client: Client) -> None:
    """Its image, volumes, memory file systems and binds have their own room."""
    elsewhere = "for f in /v/big /t/big; do dd if=/dev/zero of=$f bs=1M count=30 2>/dev/null; done"
    mounts = ("-v", "/v", "--tmpfs", "/t:size=40m")
    assert sh(client, f"{elsewhere} && echo ok", *SIZE, *mounts) == "ok"
    assert "Read-only" in sh(client, "touch /x 2>&1 || true", "--read-only", *SIZE)


def test_its_files(client: Client, tmp_path: Path) -> None:
    """Copied, compared, exported, committed: while it runs, and while it does not."""
    start(client, "box", *SIZE)
    assert inspected(client, "box")["HostConfig"]["StorageOpt"] == {"size": "24m"}
    client("exec", "box", "sh", "-c", "mkdir /d; echo x > /d/f; rm -r /home; mkdir /home")
    new = tmp_path / "new"
    new.write_bytes(os.urandom(5 * MIB))
    client("cp", new, "box:/d/running")
    names = {"d": 0, "d/f": 2, "d/running": 5 * MIB}
    for state in ("running", "stopped"):
        assert packed(client, "cp", "box:/d", "-") == names
        assert client("diff", "box").stdout.splitlines() == [
            "A /d",
            *(f"A /{name}" for name in names if "/" in name),
            "C /home",
            "D /home/user",
        ]
        exported = packed(client, "export", "box")
        assert names.items() <= exported.items()
        assert "home/user" not in exported
        client("commit", "box", f"made:{state}")
        shown = client(
            "run", "--rm", f"made:{state}", "sh", "-c", "ls -A /home; wc -c < /d/running"
        )
        assert shown.stdout == f"{5 * MIB}\n"
        if state == "running":
            client("kill", "box")
            client("cp", new, "box:/d/stopped")
            names["d/stopped"] = 5 * MIB
    client("start", "box")
    assert client("exec", "box", "cmp", "/d/running", "/d/stopped").returncode == 0


def test_a_copy_that_does_not_fit(client: Client, tmp_path: Path) -> None:
    start(client, "box", *SIZE)
    big = tmp_path / "big"
    big.write_bytes(bytes(30 * MIB))
    for _ in ("running", "stopped"):
        done = client("cp", big, "box:/big", check=False)
        assert done.returncode == 1
        assert "no space left on device" in done.stderr.lower()
        assert "/big" not in client("diff", "box").stdout
        client("kill", "box", check=False)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("size=x", "invalid size"),
        ("size=1m", "from 9 MiB"),
        ("sise=20m", "unknown option in --storage-opt: sise"),
    ],
)
def test_what_is_refused(client: Client, option: str, words: str) -> None:
    refused(client, words, "--storage-opt", option)
