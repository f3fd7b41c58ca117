"""Sockets in a directory that somebody else writes."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.host import unix_sockets


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("its.sock")
        server.listen()
        yield tmp_path


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        unix_sockets.connect(client, str(path))


def test_a_long_name_is_no_hindrance(listening: Path) -> None:
    deep = listening / ("d" * 120)
    deep.mkdir()
    (listening / "its.sock").rename(deep / "its.sock")
    connect(deep / "its.sock")


def test_a_link_leads_nowhere(listening: Path) -> None:
    connect(listening / "its.sock")
    (listening / "link.sock").symlink_to("its.sock")
    with pytest.raises(OSError, match="non-socket"):
        connect(listening / "link.sock")


def test_what_is_missing_or_deaf(listening: Path) -> None:
    with pytest.raises(FileNotFoundError):
        connect(listening / "none.sock")
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind("deaf.sock")
    with pytest.raises(ConnectionRefusedError):
        connect(listening / "deaf.sock")
