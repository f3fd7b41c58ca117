"""A disk that is full, or read-only, at every step: said clearly, nothing half made, then it works.

The daemon's data is on a small ext4 of the test's own, on a loop device.
"""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.daemon import BasedDaemon, Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.isolation import CGROUP_PARENT
from tests.harness.pace import eventually

pytestmark = pytest.mark.usefixtures("clean_host")

SIZE = 48 << 20
FULL = "no space left on device"
SECONDS = 20.0


class Disk:
    """A small file system that can be filled, and made read-only as by a fault of the disk."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "data"
        self.path.mkdir()
        self.image = directory / "disk"
        with self.image.open("wb") as file:
            file.truncate(SIZE)
        _do("mkfs.ext4", "-q", "-m", "0", "-N", "6000", "-F", str(self.image))
        self.mount()

    def mount(self, *options: str) -> None:
        with_options = ",".join(("loop", "errors=remount-ro", *options))
        _do("mount", "-o", with_options, str(self.image), str(self.path))

    def unmount(self) -> None:
        _do("umount", str(self.path))

    @contextlib.contextmanager
    def full(self, left: int = 0) -> Iterator[None]:
        """Leave so many bytes, for a while."""
        filler = self.path / "filler"
        with filler.open("wb") as file:
            space = os.statvfs(self.path)
            wanted = space.f_bavail * space.f_frsize - left
            while wanted >= 4096:  # the file system needs blocks to say where the blocks are
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), wanted)
                except OSError:
                    wanted //= 2
        yield
        filler.unlink()

    def fail(self) -> None:
        """Let ext4 believe that it found an error, as it does when a disk dies.

        What was not on the disk by then is lost, as when the power is.
        """
        _do("sync", "--file-system", str(self.path))
        device = Path(_do("findmnt", "-no", "SOURCE", str(self.path)).strip()).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("test")

    def files(self) -> set[str]:
        """All paths but those of the trash, which empties itself, and of the store's own."""
        found = (str(path.relative_to(self.path)) for path in self.path.rglob("*"))
        return {path for path in found if not path.startswith(("trash/", "filler", "heft.db"))}


def _do(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.unmount()


@pytest.fixture
def daemon(disk: Disk, tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path).start()
    answer = bring(daemon, BUSYBOX, busybox_tar())
    assert "error" not in answer, answer
    yield daemon
    daemon.clean_up()
    assert sound(daemon)


def bring(daemon: Daemon, name: str, tar: bytes) -> dict[str, Any]:
    """Import an image; give the last line of the answer."""
    answer = daemon.request("POST", f"/images/create?fromSrc=-&repo={name}", tar)
    last: dict[str, Any] = json.loads(answer.body.splitlines()[-1])
    return {"error": last["message"]} if "message" in last else last


def sound(daemon: Daemon) -> bool:
    """Say whether SQLite finds the store intact."""
    store = sqlite3.connect(daemon.data / "heft.db")
    try:
        return bool(store.execute("PRAGMA integrity_check").fetchone() == ("ok",))
    finally:
        store.close()


def create(daemon: Daemon, name: str, *command: str, **more: Any) -> tuple[int, str]:
    body = {"Image": BUSYBOX, "Cmd": command or ("sleep", "1000"), "StopSignal": "SIGKILL"}
    host = {"NetworkMode": "none", **more.pop("HostConfig", {})}
    answer = daemon.request(
        "POST", f"/containers/create?name={name}", {**body, **more, "HostConfig": host}
    )
    return answer.status, "" if answer.status == 201 else answer.message


def do(daemon: Daemon, name: str, what: str) -> int:
    return daemon.request("POST", f"/containers/{name}/{what}").status


def state(daemon: Daemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.request("GET", f"/containers/{name}/json").json["State"]
    return found


def names(daemon: Daemon) -> set[str]:
    rows = daemon.request("GET", "/containers/json?all=1").json
    return {row["Names"][0][1:] for row in rows}


@pytest.mark.parametrize("left", [0, 1 << 20])
def test_import(daemon: Daemon, disk: Disk, left: int) -> None:
    before = disk.files()
    with disk.full(left):
        answer = bring(daemon, "other", busybox_tar("other"))
        assert FULL in answer["error"], answer
        assert len(daemon.request("GET", "/images/json").json) == 1
        eventually(lambda: disk.files() == before)
    assert "error" not in bring(daemon, "other", busybox_tar("other"))


def test_load(daemon: Daemon, disk: Disk) -> None:
    saved = daemon.request("GET", f"/images/{BUSYBOX}/get").body
    assert daemon.request("DELETE", f"/images/{BUSYBOX}").status == 200
    eventually(lambda: not list((disk.path / "trash").iterdir()))
    before = disk.files()
    with disk.full(1 << 20):
        said = daemon.request("POST", "/images/load", saved).body.decode()
        assert FULL in said, said
        assert daemon.request("GET", "/images/json").json == []
        eventually(lambda: disk.files() == before)
    assert FULL not in daemon.request("POST", "/images/load", saved).body.decode()
    assert create(daemon, "box")[0] == 201


def test_create(daemon: Daemon, disk: Disk) -> None:
    before = disk.files()
    with disk.full():
        for body in ({}, {"Volumes": {"/data": {}}}, {"Volumes": {"/etc": {}}}):
            status, message = create(daemon, "box", **body)
            assert status == 500, message
            assert FULL in message.lower(), message
        made = daemon.request("POST", "/volumes/create", {"Name": "kept"})
        assert made.status == 500
        assert FULL in made.message
        assert names(daemon) == set()
        assert daemon.request("GET", "/volumes").json["Volumes"] in ([], None)
        eventually(lambda: disk.files() == before)
    assert create(daemon, "box", Volumes={"/etc": {}})[0] == 201


@pytest.mark.parametrize("left", [0, 1 << 20])
def test_base(disk: Disk, tmp_path: Path, left: int) -> None:
    daemon = BasedDaemon(tmp_path).start()
    assert "error" not in bring(daemon, BUSYBOX, busybox_tar())
    before = disk.files()
    with disk.full(left):
        status, message = create(daemon, "box")
        assert (status, FULL in message.lower()) == (500, True), message
        assert names(daemon) == set()
        eventually(lambda: disk.files() == before)
    assert create(daemon, "box")[0] == 201
    (base,) = (disk.path / "images/bases").iterdir()
    content = base.read_bytes()
    base.unlink()
    with disk.full(left):
        answer = daemon.request("POST", "/containers/box/start")
        assert (answer.status, FULL in answer.message.lower()) == (500, True), answer.message
        assert state(daemon, "box")["Status"] == "created"
    assert do(daemon, "box", "start") == 204
    assert base.read_bytes() == content
    daemon.clean_up()
    assert sound(daemon)


def test_no_inodes(daemon: Daemon, disk: Disk) -> None:
    many = disk.path / "filler.d"
    many.mkdir()
    with contextlib.suppress(OSError):
        for number in range(10_000):
            (many / str(number)).touch()
    status, message = create(daemon, "box")
    assert (status, FULL in message) == (500, True), message
    assert names(daemon) == set()
    for entry in many.iterdir():
        entry.unlink()
    many.rmdir()
    assert create(daemon, "box")[0] == 201


def test_start(daemon: Daemon, disk: Disk) -> None:
    assert create(daemon, "box", "true")[0] == 201
    with disk.full():
        answer = daemon.request("POST", "/containers/box/start")
        assert answer.status == 500
        assert FULL in answer.message
        assert state(daemon, "box")["Status"] == "created"
    assert do(daemon, "box", "start") == 204
    assert daemon.request("POST", "/containers/box/wait").json == {"StatusCode": 0}


def test_what_runs_goes_on_and_can_be_stopped_and_removed(daemon: Daemon, disk: Disk) -> None:
    writer = "i=0; while true; do i=$((i+1)); echo line-$i; echo x >> /data/f; sleep 0.02; done"
    volume = {"HostConfig": {"Binds": ["vol:/data"]}}
    assert create(daemon, "writer", "sh", "-c", writer, **volume)[0] == 201
    for name in ("idle", "gone", "other"):
        assert create(daemon, name)[0] == 201
        assert do(daemon, name, "start") == 204
    assert do(daemon, "writer", "start") == 204
    log = "/containers/writer/logs?stdout=1"
    eventually(lambda: b"line-1\n" in daemon.request("GET", log).body)
    with disk.full():
        fill = "dd if=/dev/zero of=/data/big bs=1M count=64; echo status $?"
        said = execute(daemon, "writer", fill)
        assert "No space left on device" in said
        assert "status 1" in said
        assert state(daemon, "writer")["Status"] == "running"
        assert b"line-1\n" in daemon.request("GET", log).body
        assert do(daemon, "idle", "stop") == 204
        assert do(daemon, "other", "pause") == 204
        os.kill(state(daemon, "gone")["Pid"], 9)
        eventually(lambda: state(daemon, "gone")["Status"] == "exited")
        assert daemon.request("DELETE", "/containers/gone").status == 204
        daemon.restart()
        assert names(daemon) == {"writer", "idle", "other"}
        assert state(daemon, "other")["Status"] == "paused"
        assert do(daemon, "other", "unpause") == 204
        assert daemon.request("DELETE", "/containers/other?force=1").status == 204
        execute(daemon, "writer", "rm /data/big")
    seen = daemon.request("GET", f"{log}&tail=1").body
    eventually(lambda: daemon.request("GET", f"{log}&tail=1").body != seen)
    assert do(daemon, "idle", "start") == 204


def execute(daemon: Daemon, name: str, script: str) -> str:
    asked = {"Cmd": ["sh", "-c", script], "AttachStdout": True, "AttachStderr": True, "Tty": True}
    made = daemon.request("POST", f"/containers/{name}/exec", asked).json["Id"]
    answer = daemon.request("POST", f"/exec/{made}/start", {"Detach": False, "Tty": True})
    return answer.body.decode(errors="replace")


def test_the_store_itself(daemon: Daemon, disk: Disk) -> None:
    """Beyond what is reserved for it: names so many and long that its file must grow."""
    assert create(daemon, "box")[0] == 201
    assert do(daemon, "box", "start") == 204
    labels = {str(number): "x" * 1000 for number in range(800)}
    with disk.full():
        for number in range(100):
            body = {"Name": f"v{number}", "Labels": labels}
            answer = daemon.request("POST", "/volumes/create", body)
            if answer.status != 201:
                break
        assert answer.status == 500
        assert FULL in answer.message.lower(), answer.message
        pid = state(daemon, "box")["Pid"]
        os.kill(pid, 9)
        time.sleep(0.3)
    eventually(lambda: state(daemon, "box")["Status"] == "exited")
    assert state(daemon, "box")["ExitCode"] == 137
    kept = daemon.request("GET", "/volumes").json["Volumes"] or []
    on_disk = {entry.name for entry in (disk.path / "volumes").iterdir()}
    assert on_disk == {volume["Name"] for volume in kept}
    assert do(daemon, "box", "start") == 204


def test_read_only(disk: Disk, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path).start()
    bring(daemon, BUSYBOX, busybox_tar())
    assert create(daemon, "box")[0] == 201
    assert create(daemon, "idle")[0] == 201
    assert do(daemon, "box", "start") == 204
    disk.fail()
    for path, body in (
        ("/containers/create?name=new", {"Image": BUSYBOX, "Cmd": ["true"]}),
        ("/containers/idle/start", None),
        ("/containers/idle/rename?name=other", None),
        ("/volumes/create", {"Name": "vol"}),
    ):
        answer = daemon.request("POST", path, body)
        assert answer.status == 500, answer.body
        assert "read-only file system" in answer.message, answer.message
    assert "read-only file system" in bring(daemon, "other", busybox_tar("other"))["error"]
    assert names(daemon) == {"box", "idle"}
    os.kill(state(daemon, "box")["Pid"], 9)
    time.sleep(0.2)
    daemon.kill()
    command = [sys.executable, "-m", "heft.daemon", "--data", daemon.data, "--run", daemon.run]
    refused = subprocess.run(
        [*command, "--cgroup-parent", CGROUP_PARENT],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert refused.returncode == 1
    assert "read-only file system" in refused.stderr
    assert "Traceback" not in refused.stderr
    for mount in reversed(_do("findmnt", "-rno", "TARGET").split()):
        if mount.startswith(str(daemon.run)):
            _do("umount", mount)  # machines' roots are on it
    disk.unmount()
    subprocess.run(["fsck.ext4", "-fy", disk.image], capture_output=True, check=False)
    disk.mount()
    daemon.start()
    assert state(daemon, "box")["ExitCode"] == 137
    assert do(daemon, "idle", "start") == 204
    assert do(daemon, "box", "start") == 204
    daemon.clean_up()
    assert sound(daemon)
