"""Layouts of control groups, from what mountinfo says, and what their files say of usage."""

from pathlib import Path

import pytest

from heft.host.cgroups import Group, Hierarchy, Layout, layout_of, pairs, stray
from heft.host.grouping import move
from heft.host.usage import measure

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = """\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd"""
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
OTHERS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
50 23 0:40 / /elsewhere rw - cgroup2 cgroup2 rw"""


def read(*texts: str, controllers: str = "") -> Layout:
    return layout_of("\n".join((OTHERS, *texts)), lambda _: frozenset(controllers.split()))


def test_v2() -> None:
    layout = read(V2, controllers="cpu memory pids")
    assert (layout.version, layout.hybrid) == (2, False)
    holding = layout.holding("memory")
    assert holding is not None
    assert holding.mount == Path("/sys/fs/cgroup")
    assert stray(layout) == ()


def test_v1() -> None:
    layout = read(V1)
    assert (layout.version, layout.hybrid) == (1, False)
    holding = layout.holding("cpuacct")
    assert holding is not None
    assert holding.mount == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert layout.holding("pids") is None


def test_hybrid() -> None:
    layout = read(V1, UNIFIED, controllers="hugetlb")
    assert (layout.version, layout.hybrid) == (1, True)
    assert stray(layout) == ("hugetlb",)


@pytest.fixture
def group(tmp_path: Path) -> Group:
    names = frozenset({"cpu", "memory", "pids", "io"})
    (tmp_path / "heft/one").mkdir(parents=True)
    return Group(Layout((Hierarchy(tmp_path, names, unified=True),)), "/heft/one")


def test_who_is_in_a_group_already_is_not_moved(group: Group, tmp_path: Path) -> None:
    below = tmp_path / "heft/one/below"
    below.mkdir()
    (below / "cgroup.procs").write_text("13\n")
    procs = tmp_path / "heft/one/cgroup.procs"
    procs.write_text("12\n")
    move((pid for pid in (12, 13)), group)
    assert procs.read_text() == "12\n"
    move((12, 13, 14), group)
    assert procs.read_text() == "14"


def test_what_a_group_of_v2_uses(group: Group, tmp_path: Path) -> None:
    files = {
        "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_throttled 4\n",
        "memory.current": "1048576\n",
        "memory.max": "max\n",
        "memory.stat": "anon 5\nfile 6\n",
        "memory.events": "low 0\noom_kill 2\n",
        "pids.current": "3\n",
        "pids.max": "20\n",
        "io.stat": "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n",
        "cgroup.procs": "",
    }
    for name, text in files.items():
        (tmp_path / "heft/one" / name).write_text(text)
    usage = measure(group)
    assert (usage.cpu_total, usage.cpu_user, usage.cpu_system) == (5_000_000, 3_000_000, 2_000_000)
    assert (usage.memory_used, usage.memory_limit) == (1 << 20, 0)
    assert usage.memory_details == {"anon": 5, "file": 6}
    assert (usage.pids, usage.pids_limit) == (3, 20)
    assert (usage.block_read, usage.block_written) == (11, 22)
    assert group.oom_kills() == 2
    assert group.processes() == ()


def test_pairs() -> None:
    assert dict(pairs("a 1\nb x\n\nc 3")) == {"a": 1, "c": 3}
