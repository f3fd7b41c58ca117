"""Fixtures of several of these modules."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.layers import Bench


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
