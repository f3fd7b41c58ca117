"""Reading mountinfo, and what the runtime is told to mount."""

from pathlib import Path

from heft.host.mounts import under
from heft.model.machine import MountKind, MountPoint
from heft.weights.light import spec_mounts

MOUNTINFO = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:25 / /run rw - tmpfs tmpfs rw
31 30 0:26 / /run/heft/a rw - overlay overlay rw
32 31 0:27 / /run/heft/a/proc rw - proc proc rw
33 30 0:28 / /run/heft/a\040b\134c rw - tmpfs tmpfs rw
34 30 0:29 / /run/hefty rw - tmpfs tmpfs rw
35 31 0:30 / /run/heft/a rw - overlay overlay rw
"""


def test_the_deepest_come_first_and_names_are_unescaped() -> None:
    found = under(MOUNTINFO, Path("/run/heft"))
    assert found[0] == Path("/run/heft/a/proc")
    assert sorted(found[1:]) == [
        Path("/run/heft/a"),
        Path("/run/heft/a"),
        Path("/run/heft/a b\\c"),
    ]


def test_a_neighbour_with_the_same_beginning_is_not_under_it() -> None:
    assert Path("/run/hefty") not in under(MOUNTINFO, Path("/run/heft"))


def test_the_directory_itself_counts() -> None:
    assert under(MOUNTINFO, Path("/run/hefty")) == (Path("/run/hefty"),)


def test_what_is_below_a_read_only_directory_is_read_only_and_a_file_has_nothing_below(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    file.touch()
    for source, recursive in ((tmp_path, True), (file, False), (tmp_path / "later", True)):
        point = MountPoint(kind=MountKind.BIND, source=str(source), target="/there", read_only=True)
        options = spec_mounts.mount_point(point)["options"]
        assert "ro" in options
        assert ("rro" in options) is recursive
