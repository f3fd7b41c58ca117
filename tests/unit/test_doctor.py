"""The doctor: real probes on this host, and made-up roots for what only reads files."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from heft.doctor import (
    calls,
    child,
    files,
    filesystems,
    groups,
    kvm,
    limits,
    links,
    main,
    network,
    tools,
)
from heft.doctor.catalog import CHECKS, examine
from heft.doctor.check import (
    FOREIGN,
    HEAVY,
    LIGHT,
    MEDIUM,
    WEIGHTS,
    Check,
    Host,
    Kind,
    Result,
    State,
    lacking,
    there,
    unknown,
)
from heft.doctor.report import document, table, verdict
from heft.guest import architectures, kits

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces")


def put(root: Path, name: str, content: str | bytes) -> Path:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# What is tried


@needs_root
def test_this_host_can_run_light_machines(capsys):
    assert main([LIGHT]) == 0, capsys.readouterr().out


@needs_root
def test_no_probe_changes_the_host():
    def look():
        mounts = Path("/proc/self/mountinfo").read_text()
        conf = sorted(os.listdir("/proc/sys/net/ipv4/conf"))
        rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True).stdout
        namespaces = [os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")]
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return mounts, conf, rules, namespaces, children, os.getcwd()

    before = look()
    examine(Host(), tuple(WEIGHTS))
    assert look() == before


def test_a_probe_that_dies_hangs_or_refuses_is_a_finding():
    def hang() -> str:
        while True:
            os.sched_yield()

    def refuse() -> str:
        raise child.Refused("not like this")

    def die() -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    assert child.attempt(die) == lacking("the process that tried it was killed")
    assert child.attempt(hang, seconds=0.2).detail == "no answer within 0.2 s"
    assert child.attempt(refuse) == lacking("not like this")
    assert child.attempt(lambda: os.listdir("/nowhere")[0]) == lacking("no such file or directory")
    assert child.attempt(lambda: "fine") == there("fine")


@needs_root
def test_a_network_link_that_no_kernel_has():
    found = child.attempt(
        lambda: links.make(links.new_link("nosuchlink", "x")) or "", unshare=calls.CLONE_NEWNET
    )
    assert found == lacking("operation not supported")


# What is read


def test_file_systems_in_the_kernel_as_a_module_or_not(tmp_path):
    put(tmp_path, "/proc/filesystems", "nodev\tsysfs\n\text4\n")
    put(
        tmp_path, "/lib/modules/6.1/modules.dep", "kernel/fs/erofs/erofs.ko.xz: kernel/lib/crc.ko\n"
    )
    host = Host(root=tmp_path, release="6.1")
    assert filesystems.registered("ext4", host).detail == "in the kernel"
    assert filesystems.registered("erofs", host).detail == "as a module"
    assert filesystems.registered("crc", host).state is State.LACKING


HYBRID = """\
30 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:21 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:22 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 30 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
UNIFIED = "30 1 0:20 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hybrid_cgroups(tmp_path):
    put(tmp_path, "/proc/self/mountinfo", HYBRID)
    put(tmp_path, "/sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n")
    (tmp_path / "sys/fs/cgroup/pids").mkdir()
    host = Host(root=tmp_path)
    assert groups.hierarchy(host) == there("hybrid, hugetlb in v2")
    assert groups.controller("cpu", "cpu", host).state is State.THERE
    assert groups.controller("memory", "memory", host) == lacking("not in hybrid")
    assert groups.devices(host) == lacking("not in hybrid")


def test_unified_cgroups(tmp_path):
    put(tmp_path, "/proc/self/mountinfo", UNIFIED)
    put(tmp_path, "/sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n")
    put(tmp_path, "/sys/fs/cgroup/system.slice/memory.swap.max", "max\n")
    host = Host(root=tmp_path)
    assert groups.hierarchy(host) == there("v2")
    assert groups.controller("io", "blkio", host).state is State.THERE
    assert groups.controller("cpuset", "cpuset", host).state is State.LACKING
    assert groups.devices(host) == there("by BPF")
    assert groups.swap(host).state is State.THERE


def test_no_cgroups(tmp_path):
    host = Host(root=tmp_path)
    assert groups.hierarchy(host).state is State.LACKING
    assert groups.swap(host).state is State.LACKING


def test_chains_of_others_that_drop():
    chains = [
        {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"},
        {
            "family": "ip6",
            "table": "filter",
            "name": "FORWARD",
            "hook": "forward",
            "policy": "drop",
        },
        {"family": "inet", "table": "f", "name": "forward", "hook": "forward", "policy": "accept"},
        {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "drop"},
        {"family": "ip", "table": "filter", "name": "DOCKER"},
    ]
    listing = json.dumps({"nftables": [{"metainfo": {}}, *({"chain": one} for one in chains)]})
    assert network.dropping_chains(listing.encode()) == ["ip filter FORWARD"]


def test_the_profile_must_be_one(tmp_path):
    host = Host(root=tmp_path)
    assert files.seccomp_profile(host).state is State.LACKING
    path = put(tmp_path, files.PROFILES[0], "{}")
    assert files.seccomp_profile(host).detail == "/etc/containers/seccomp.json is no profile"
    path.write_text('{"syscalls": [{}, {}]}')
    assert files.seccomp_profile(host).detail == "/etc/containers/seccomp.json, 2 rules"


@pytest.mark.parametrize(("weight", "its"), [(HEAVY, "own"), (MEDIUM, "uml")])
def test_a_kernel_for_guests_is_a_kit_or_can_be_fetched(tmp_path, monkeypatch, weight, its):
    host = Host(root=tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert files.kernels(host, weight) == there("fetched on first need")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    none = lacking("no guest kit, and no apt-get, dpkg-deb to fetch one")
    assert files.kernels(host, weight) == none
    for kit in {"own", "uml", "debian-arm64"} - {its}:
        put(tmp_path, f"/var/lib/heft/kits/{kit}/kit.json", "{}")
    assert files.kernels(host, weight) == none, "another's"
    put(tmp_path, f"/var/lib/heft/kits/{its}/kit.json", "{}")
    assert files.kernels(host, weight) == there(f"kits: {its}")


def test_the_kits_that_are_not_of_heavy_machines_here_are_all_known():
    others = {each.kit for each in architectures.ALL.values()} - {kits.DEFAULT}
    assert set(files.KITS) == {kits.PROCESS, kits.XEN, *others}


def test_registered_emulators(tmp_path):
    host = Host(root=tmp_path)
    assert files.handlers(host).state is State.LACKING
    put(tmp_path, "/proc/sys/fs/binfmt_misc/qemu-arm", "enabled\ninterpreter /x\nflags: OC\n")
    assert files.handlers(host).detail == "arm lacks the flag F"
    put(tmp_path, "/proc/sys/fs/binfmt_misc/qemu-riscv64", "disabled\nflags: OCF\n")
    assert files.handlers(host).state is State.LACKING
    put(tmp_path, "/proc/sys/fs/binfmt_misc/qemu-aarch64", "enabled\nflags: OCF\n")
    assert files.handlers(host) == there("aarch64")


def test_subordinate_ids(tmp_path):
    host = Host(root=tmp_path)
    put(tmp_path, "/etc/subuid", "joe:1:65536\nheft:100000:65536\nbroken\n")
    put(tmp_path, "/etc/subgid", "heft:100000:1000\n")
    assert files.subordinate_ids(host).detail.endswith("/etc/subgid")
    put(tmp_path, "/etc/subgid", "heft:100000:1000\nroot:200000:65536\n")
    assert files.subordinate_ids(host) == there("65536 ids")


def test_capabilities_and_parameters(tmp_path):
    put(tmp_path, "/proc/self/status", "CapEff:\t000001fffeffffff\nCapBnd:\t0000000000000001\n")
    put(tmp_path, "/proc/sys/kernel/pid_max", "32768\n")
    host = Host(root=tmp_path)
    assert limits.capabilities(host).state is State.THERE
    assert limits.raising(host) == lacking("no CAP_SYS_RESOURCE")
    assert limits.granted(host) == lacking("13 of 14 cannot be given")
    assert limits.parameter("kernel.pid_max", 65536, host) == lacking("32768; 65536 would do")
    assert limits.parameter("kernel.pid_max", 32768, host) == there("32768")
    assert limits.parameter("kernel.other", 1, host).state is State.THERE
    assert limits.capabilities(Host(root=tmp_path / "none")).state is State.UNKNOWN


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("crun version 1.8.1\ncommit: f8a096be", "1.8.1"),
        ("nftables v1.0.6 (Lester Gooch #5)", "1.0.6"),
        ("tini 0.1.7_catatonit", "0.1.7"),
        ("mkfs.erofs 1.5", "1.5"),
        ("QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u13)", "7.2.17"),
        ("nothing to see", ""),
    ],
)
def test_versions(said, number):
    assert tools.version(said) == number


def test_static_programs_are_known_by_their_header(tmp_path):
    assert not tools.is_static(Path(sys.executable).resolve())
    assert tools.is_static(Path("/bin/busybox"))
    assert not tools.is_static(put(tmp_path, "script", "#!/bin/sh\n"))


# What is made of it


def result(name: str, finding, *, required=(), helps=()) -> Result:
    check = Check(
        name=name,
        kind=Kind.TOOL,
        probe=lambda host: finding,
        required=frozenset(required),
        helps=frozenset(helps),
        lack="a lot",
        remedy="get one",
    )
    return Result(check, finding)


def test_a_weight_runs_with_all_that_is_required():
    fine = result("a", there("1.0"), required=[LIGHT])
    missing = result("b", lacking("no b"), helps=[LIGHT])
    assert verdict(LIGHT, (fine, missing)).runs
    broken = verdict(LIGHT, (fine, result("c", lacking(), required=[LIGHT])))
    assert broken.sentence == "this host lacks c"
    unsure = verdict(LIGHT, (result("d", unknown("why"), required=[LIGHT]),))
    assert not unsure.runs
    assert unsure.sentence == "cannot be told without root: d"


def test_a_weight_needs_what_it_builds_on():
    own = result("a", there(), required=[FOREIGN])
    base = result("b", lacking(), required=[LIGHT])
    found = verdict(FOREIGN, (own, base))
    assert not found.runs
    assert found.results == (own,)


def test_the_table_says_what_a_lack_costs_and_what_to_do():
    shown = verdict(
        LIGHT,
        (result("a", there("1.0"), helps=[LIGHT]), result("b", lacking("no b"), required=[LIGHT])),
    )
    lines = list(table((shown,), quiet=False))
    assert [line.split()[:2] for line in lines[1:]] == [
        ["ok", "tool"],
        ["LACKS", "tool"],
        ["costs:", "a"],
        ["to", "do:"],
    ]
    assert len(list(table((shown,), quiet=True))) == len(lines) - 1
    (item,) = [
        one
        for one in json.loads(document((shown,)))["weights"][LIGHT]["checks"]
        if one["name"] == "b"
    ]
    assert item["state"] == "lacking"
    assert item["required"] is True
    assert item["remedy"] == "get one"


def test_nothing_is_said_quietly_of_what_is_all_there():
    shown = verdict(LIGHT, (result("a", there(), required=[LIGHT]),))
    assert list(table((shown,), quiet=True)) == []


def test_every_check_concerns_a_weight_and_says_what_to_do():
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    for check in CHECKS:
        assert check.required | check.helps <= frozenset(WEIGHTS)
        assert check.required or check.helps, check.name
        assert not check.required & check.helps, check.name
        assert check.lack, check.name
        assert check.remedy, check.name
    assert not [name for name in names if "vhost" in name], "nothing of Heft's uses it"


def test_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["weightless"])
    assert "no such weight: weightless" in capsys.readouterr().err
    assert main(["light", "--json"]) in (0, 1)
    assert list(json.loads(capsys.readouterr().out)["weights"]) == ["light"]


def test_the_doctor_needs_nothing_but_python():
    code = "import sys, heft.doctor as d; d.main(['-q']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stderr.split()
    assert not {"msgspec", "aiohttp", "uvloop", "asyncio", "rich"} & set(loaded)
    assert all(name.startswith("heft.doctor") for name in loaded if name.startswith("heft."))


def test_what_heavy_machines_run_on_is_told(tmp_path):
    device = put(tmp_path, "/dev/kvm", "")
    host, found = Host(tmp_path, release="6.1"), there("ran three instructions")
    device.chmod(0o600)
    assert "(tcg): /dev/kvm is root's alone" in kvm.chosen(host, found).detail
    device.chmod(0o666)
    assert kvm.chosen(host, found).detail.endswith("the first machine tries it")
    failed = {"accelerator": "tcg", "why": "a guest did not boot on KVM: so", "release": "6.1"}
    record = "/var/lib/heft/templates/kvm.json"
    put(tmp_path, record, json.dumps({"one": failed}))
    assert kvm.chosen(host, found) == lacking(
        "machines are translated (tcg): a guest did not boot on KVM: so"
    )
    assert kvm.chosen(Host(tmp_path, release="6.2"), found).state is State.THERE
    booted = {"accelerator": "kvm", "why": "", "release": "6.1"}
    put(tmp_path, record, json.dumps({"one": failed, "two": booted}))
    assert "machines run on it (kvm)" in kvm.chosen(host, found).detail
