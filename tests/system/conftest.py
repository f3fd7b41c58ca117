"""Fixtures of several of these modules."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.layers import Bench
from tests.harness.serving import emptied, serving


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Give an empty store of images, in which no half-made thing may stay."""
    bench = Bench(tmp_path)
    bench.trash.start()
    await bench.images.start()
    yield bench
    await bench.stack.aclose()
    assert not list((tmp_path / "images/tmp").iterdir())
    await bench.trash.close()


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon with one image; a module's first heavy machine makes the template for all."""
    with serving(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture
def daemon(shared_daemon: Daemon) -> Iterator[Daemon]:
    """Give the daemon; afterwards no machine and nothing of one is left."""
    with emptied(shared_daemon):
        yield shared_daemon


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a directory of the host to be shared with machines."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"
