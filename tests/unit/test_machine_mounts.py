"""Which mounts a machine gets, in the short syntax and the long."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.engine import mounts
from heft.errors import InvalidArgument
from heft.model.config import BindOptions, Config, HostConfig, Mount, TmpfsOptions, VolumeOptions
from heft.model.machine import MountKind, MountPoint


def plan(*, image_volumes: tuple[str, ...] = (), **host: Any) -> tuple[mounts.Wanted, ...]:
    config = Config(volumes={target: {} for target in image_volumes})
    return mounts.plan(config, HostConfig(**host), ())


def test_short_syntax() -> None:
    bind, volume, anonymous = plan(binds=["/src:/bind:ro,rslave", "name:/volume:nocopy", "/anon"])
    assert (bind.kind, bind.source, bind.read_only) == (MountKind.BIND, "/src", True)
    assert bind.propagation == "rslave"
    assert bind.make_source
    assert (volume.kind, volume.volume, volume.copy) == (MountKind.VOLUME, "name", False)
    assert (anonymous.kind, anonymous.volume) == (MountKind.VOLUME, "")


def test_long_syntax() -> None:
    uncopied, small = VolumeOptions(no_copy=True), TmpfsOptions(size_bytes=4096, mode=0o700)
    bind, volume, tmpfs = plan(
        mounts=[
            Mount(type="bind", source="/src", target="/a", bind_options=BindOptions()),
            Mount(type="volume", source="v", target="/b", volume_options=uncopied),
            Mount(type="tmpfs", target="/c", tmpfs_options=small),
        ]
    )
    assert not bind.make_source
    assert not volume.copy
    assert tmpfs.options == ("size=4096", "mode=700")


def test_parents_come_before_children_and_images_give_way() -> None:
    found = plan(image_volumes=("/a/b", "/a"), binds=["/src:/a/b/c", "mine:/a"], tmpfs={"/a/b": ""})
    assert [wanted.target for wanted in found] == ["/a", "/a/b", "/a/b/c"]
    assert found[0].volume == "mine"
    assert found[1].kind is MountKind.TMPFS


def test_inherited_mounts_give_way_to_asked_ones() -> None:
    inherited = [
        MountPoint(kind=MountKind.VOLUME, source="/x", target="/a", volume="old"),
        MountPoint(kind=MountKind.BIND, source="/y", target="/b"),
    ]
    found = mounts.plan(Config(), HostConfig(binds=["new:/a"]), inherited)
    assert [(wanted.target, wanted.volume or wanted.source) for wanted in found] == [
        ("/a", "new"),
        ("/b", "/y"),
    ]


@pytest.mark.parametrize(
    "text", ["", ":", "a:b", "/a:relative", "/a:/", "/a:/b:what", "/a:/b:ro:x", "/a:/b:ro,rw"]
)
def test_bad_short_syntax(text: str) -> None:
    with pytest.raises(InvalidArgument):
        plan(binds=[text])


@pytest.mark.parametrize(
    "mount",
    [
        Mount(type="bind", target="/a"),
        Mount(type="bind", source="a", target="/a"),
        Mount(type="bind", source="/a"),
        Mount(type="tmpfs", source="x", target="/a"),
        Mount(type="npipe", source="x", target="/a"),
        Mount(type="volume", source="x", target="/"),
    ],
)
def test_bad_long_syntax(mount: Mount) -> None:
    with pytest.raises(InvalidArgument):
        plan(mounts=[mount])


def test_one_target_twice() -> None:
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /a"):
        plan(binds=["/x:/a"], tmpfs={"/a/": ""})


@given(st.lists(st.text(max_size=30), max_size=3))
def test_any_text_is_read_or_refused(binds: list[str]) -> None:
    try:
        found = plan(binds=binds)
    except InvalidArgument:
        return
    assert all(wanted.target.startswith("/") for wanted in found)
