"""The C agent without a guest, in namespaces of this host."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.bench import Bench, set_up
from tests.harness.images import BINARY


@pytest.fixture
def place(tmp_path: Path, clean_host: None) -> Path:
    for name in ("base", "upper"):
        (tmp_path / name).mkdir()
    (tmp_path / "base/etc").mkdir()
    (tmp_path / "base/etc/passwd").write_text("root:x:0:0::/:/bin/sh\nme:x:7:8::/:/bin/sh\n")
    (tmp_path / "base/bin").mkdir()
    shutil.copy(BINARY, tmp_path / "base/bin/busybox")
    return tmp_path


@pytest.fixture
def bench(place: Path) -> Iterator[Bench]:
    """Give a machine of a base and an upper."""
    with Bench(place) as bench:
        set_up(bench)
        yield bench


@pytest.fixture
def plain(place: Path) -> Iterator[tuple[Bench, Path]]:
    """Give a machine whose root is a directory here."""
    with Bench(place) as bench:
        set_up(bench, base=False)
        yield bench, place / "upper"
