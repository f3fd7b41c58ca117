"""Files in and out of machines, running or not, on every weight that can reach them."""

import io
import tarfile
from collections.abc import AsyncIterator
from signal import SIGKILL

import pytest

from heft.errors import InvalidArgument, NotFound
from heft.model.files import Change, ChangeKind, Landing
from heft.weights.abilities import Filing
from heft.weights.base import Launch
from tests.conformance.conftest import Bench


@pytest.fixture(params=["running", "ended"])
async def launch(bench: Bench, request: pytest.FixtureRequest) -> Launch:
    """Give a machine that has changed some of its files."""
    assert isinstance(bench.weight, Filing)
    script = "mkdir /d; echo in > /d/f; rm /etc/data; echo done; sleep 1000"
    launch = await bench.started("sh", "-c", script)
    await bench.until_logged(launch, "done")
    if request.param == "ended":
        await bench.weight.signal(launch.id, SIGKILL)
        await bench.ended(launch)
        await bench.weight.discard(launch)
    return launch


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 1000):
        yield content[at : at + 1000]


def tar_of(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.uid = len(content), 7
        tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


async def names(blocks: AsyncIterator[bytes]) -> list[str]:
    content = b"".join([block async for block in blocks])
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return tar.getnames()


async def test_there_and_back(bench: Bench, launch: Launch) -> None:
    weight = bench.weight
    await weight.unpack(launch, "/d", pieces(tar_of("sub/new", b"x" * 5000)), Landing())
    found = await weight.file_status(launch, "/d/sub/new")
    assert (found.name, found.size) == ("new", 5000)
    async with weight.pack(launch, "/d") as (found, blocks):
        assert found.name == "d"
        assert await names(blocks) == ["d", "d/f", "d/sub", "d/sub/new"]


async def test_what_has_changed(bench: Bench, launch: Launch) -> None:
    changes = await bench.weight.changes(launch)
    assert changes == (
        Change("/d", ChangeKind.ADDED),
        Change("/d/f", ChangeKind.ADDED),
        Change("/etc", ChangeKind.MODIFIED),
        Change("/etc/data", ChangeKind.DELETED),
    )
    async with bench.weight.pack_layer(launch) as blocks:
        assert await names(blocks) == ["d", "d/f", "etc", "etc/.wh.data"]
    async with bench.weight.pack_root(launch) as blocks:
        found = await names(blocks)
    assert {"bin/busybox", "d/f", "etc/passwd"} <= set(found)
    assert "etc/data" not in found


async def test_refusals(bench: Bench, launch: Launch) -> None:
    weight = bench.weight
    with pytest.raises(NotFound, match="Could not find the file /nope"):
        await weight.file_status(launch, "/nope")
    with pytest.raises(NotFound):
        await weight.unpack(launch, "/nope", pieces(tar_of("a", b"")), Landing())
    with pytest.raises(InvalidArgument):
        await weight.unpack(launch, "/d", pieces(tar_of("../a", b"")), Landing())
    with pytest.raises(InvalidArgument):
        await weight.unpack(launch, "/d/f", pieces(tar_of("a", b"")), Landing())


async def test_a_stream_that_is_left_early_ends_the_work(bench: Bench, launch: Launch) -> None:
    async with bench.weight.pack_root(launch) as blocks:
        assert await anext(blocks)
