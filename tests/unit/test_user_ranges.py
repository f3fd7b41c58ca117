"""Which ids of the host a machine's users get."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heft.engine import user_ranges
from heft.engine.user_ranges import PIECE, Remap
from heft.errors import Conflict, HeftError, InvalidArgument, NotSupported
from heft.model.config import HostConfig
from heft.model.ids import IdMap, IdRange, outside

Give = Callable[[str, str], None]


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    """Let /etc/subuid and /etc/subgid be these texts."""

    def write(users: str, groups: str) -> None:
        for name, text in (("USERS", users), ("GROUPS", groups)):
            path = tmp_path / f"sub{name}"
            path.write_text(text)
            monkeypatch.setattr(user_ranges, name, path)

    write("", "")
    return write


def piece(start: int) -> IdMap:
    ranges = (IdRange(0, start, PIECE),)
    return IdMap(ranges, ranges)


def config(mode: str = "") -> HostConfig:
    return HostConfig(userns_mode=mode)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Remap()),
        ("default", Remap(by_default=True)),
        ("joe", Remap("joe", "joe", by_default=True)),
        ("1000:staff", Remap("1000", "staff", by_default=True)),
    ],
)
def test_reading_the_option(text: str, expected: Remap) -> None:
    assert Remap.read(text) == expected


@pytest.mark.parametrize("text", [":", ":group", "user:"])
def test_an_option_that_is_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid user and group to remap to"):
        Remap.read(text)


def test_reading_the_files(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    assert user_ranges.read(path) == []
    path.write_text("# a\njoe:1:2\nheft:100000:65536\nno:x:1\nempty:5:0\n  7:8:9  \n")
    assert user_ranges.read(path) == [("joe", 1, 2), ("heft", 100000, 65536), ("7", 8, 9)]


def test_cutting() -> None:
    whole = [(1, 3 * PIECE + 5), (1 << 24, 7), (1 << 25, PIECE)]
    starts = [each[0].outside for each in user_ranges.cut(whole)]
    assert starts == [1, 1 + PIECE, 1 + 2 * PIECE, 1 << 25]
    assert list(user_ranges.cut([(5, 10)])) == [(IdRange(0, 5, 10),)]


def test_the_daemons_default(give: Give) -> None:
    give("heft:200000:131072\n", "heft:300000:131072\n")
    assert user_ranges.choose(config(), Remap(), ()) is None
    assert user_ranges.choose(config("host"), Remap(by_default=True), ()) is None
    found = user_ranges.choose(config(), Remap(by_default=True), [piece(200000)])
    assert found == IdMap((IdRange(0, 200000, PIECE),), (IdRange(0, 300000, PIECE),))
    assert found.root == (200000, 300000)
    assert found.lines == ("0 200000 65536\n", "0 300000 65536\n")


def test_ids_of_a_user_known_by_number(give: Give) -> None:
    give("0:200000:65536\n", "root:200000:65536\n")
    assert user_ranges.choose(config(), Remap.read("root"), ()) == piece(200000)
    assert user_ranges.choose(config(), Remap.read("0:root"), ()) == piece(200000)


def test_users_of_a_machines_own(give: Give) -> None:
    give("heft:200000:196608\n", "heft:200000:196608\n")
    second, third = piece(200000 + PIECE), piece(200000 + 2 * PIECE)
    assert user_ranges.choose(config("auto"), Remap(), ()) == second
    assert user_ranges.choose(config("auto"), Remap(), [second]) == third
    assert user_ranges.choose(config("auto"), Remap(), [third]) == second
    with pytest.raises(Conflict, match="no range of ids is left") as raised:
        user_ranges.choose(config("auto"), Remap(), [second, third])
    assert "heft:458752:4194304" in raised.value.hint


def test_a_host_without_ranges(give: Give) -> None:
    give("joe:100000:65536\n", "heft:100000:65536\n")
    with pytest.raises(NotSupported, match="ranges found for user 'heft'") as raised:
        user_ranges.choose(config("auto"), Remap(), ())
    assert "heft:196608:4194304" in raised.value.hint
    give("", "")
    with pytest.raises(NotSupported) as raised:
        user_ranges.choose(config(), Remap.read("joe"), ())
    assert "joe:100000:4194304" in raised.value.hint


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("privileged mode is incompatible", {"privileged": True}),
        ("share the host's network namespace", {"network_mode": "host"}),
        ("share the host PID namespace", {"pid_mode": "host"}),
    ],
)
def test_what_does_not_go_together(words: str, settings: dict[str, Any]) -> None:
    remaps = Remap(by_default=True)
    for mode, remap in (("", remaps), ("auto", Remap())):
        with pytest.raises(HeftError, match=words):
            user_ranges.check(HostConfig(userns_mode=mode, **settings), remap)
    for mode, remap in (("host", remaps), ("", Remap())):
        user_ranges.check(HostConfig(userns_mode=mode, **settings), remap)


def test_a_mode_that_is_none() -> None:
    with pytest.raises(InvalidArgument, match="invalid USER mode: keep-id"):
        user_ranges.mode(config("keep-id"))


def test_ids_of_the_machine_on_the_host() -> None:
    ranges = (IdRange(0, 1000, 1), IdRange(1, 200000, 10))
    assert [outside(ranges, inside) for inside in (0, 1, 10)] == [1000, 200000, 200009]
    with pytest.raises(KeyError):
        outside(ranges, 11)
