"""Named network namespaces that belong to a user namespace, where ip-netns(8) keeps its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from heft.host import links, mounts, user_namespaces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

IDS = "0 100000 65536\n"
NAMES = ("heft-one", "heft-two", "heft-three")

pytestmark = pytest.mark.usefixtures("clean_host")


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Path]:
    pin = tmp_path / "owner"
    await user_namespaces.make(pin, IDS, IDS)
    yield pin
    user_namespaces.remove(pin)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place such as /run/netns is before anybody made a namespace: a directory, no mount."""
    place = tmp_path / "netns"
    monkeypatch.setattr(links, "NAMESPACES", place)
    yield place
    for mounted in mounts.mounted_under(place):
        mounts.unmount(mounted)


async def test_the_place_is_mounted_once_however_many_are_made(
    owner: Path, directory: Path
) -> None:
    """Each mount of it once more doubles all mounts there: after sixteen the host stands still."""
    for name in NAMES:
        await links.make_namespace(name, owner)
    assert sorted(mounts.mounted_under(directory)) == [directory, *sorted(directory.iterdir())]
    assert len({(directory / name).stat().st_ino for name in NAMES}) == len(NAMES)
    for name in NAMES:
        links.delete_namespace(name)
    assert mounts.mounted_under(directory) == (directory,)
