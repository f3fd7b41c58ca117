"""Binds of what is on a file system that does not answer: nobody waits for it but who asked."""

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import patience

libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2


@contextlib.contextmanager
def hung(place: Path) -> Iterator[None]:
    """Mount a file system at a place that nobody serves, as one of a server that is gone."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
        assert libc.mount(b"hung", bytes(place), b"fuse", 0, options) == 0, ctypes.get_errno()
    except BaseException:
        os.close(device)
        raise
    try:
        yield
    finally:
        os.close(device)  # who waits is told that it is not connected
        assert libc.umount2(bytes(place), _MNT_DETACH) == 0


@pytest.mark.parametrize("weight", ["light", "medium"])
@pytest.mark.parametrize("way", ["Binds", "Mounts"])
def test_a_create(daemon: Daemon, tmp_path: Path, weight: str, way: str) -> None:
    mount = {"Type": "bind", "Source": str(tmp_path), "Target": "/v"}
    asked = [f"{tmp_path}/new:/v"] if way == "Binds" else [mount]
    body = {"Image": BUSYBOX, "HostConfig": {"Runtime": weight, way: asked}}
    given: list[int] = []

    def create() -> None:
        given.append(daemon.request("POST", "/containers/create", body).status)

    asking = threading.Thread(target=create)
    with hung(tmp_path):
        asking.start()
        time.sleep(1)
        assert daemon.request("GET", "/containers/json", timeout=patience(5)).status == 200
        assert asking.is_alive(), given
    asking.join(patience(20))
    assert given  # one way or the other: it may see what is below by then
