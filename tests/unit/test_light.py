"""What the light weight makes of a machine: users, the runtime's plan, its words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.errors import InvalidArgument, StartFailed
from heft.model.config import Ulimit
from heft.model.machine import MountKind, MountPoint
from heft.weights.base import Launch, Log, Namespaces, Process, Resources, Root, Security
from heft.weights.light import devices, seccomp, spec, users
from heft.weights.light.failures import start_failed
from heft.weights.light.host_facts import HostFacts
from heft.weights.light.measuring import network_totals
from heft.weights.light.users import Identity

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment
ann:x:1000:1000::/home/ann:/bin/sh
odd
7:x:70:71::/seven:
"""
GROUP = "root:x:0:\nann:x:1000:\nwheel:x:10:ann,bob\nfew:x:77:\n"


@pytest.mark.parametrize(
    ("user", "further", "expected"),
    [
        ("", (), Identity(0, 0, (0,), "/root")),
        ("ann", (), Identity(1000, 1000, (1000, 10), "/home/ann")),
        ("1000", (), Identity(1000, 1000, (1000, 10), "/home/ann")),
        ("ann:few", (), Identity(1000, 77, (77,), "/home/ann")),
        ("5:6", (), Identity(5, 6, (6,), "/")),
        ("ann", ("few", "99"), Identity(1000, 1000, (1000, 10, 77, 99), "/home/ann")),
        ("7", (), Identity(70, 71, (71,), "/seven")),
    ],
)
def test_users(user: str, further: tuple[str, ...], expected: Identity) -> None:
    assert users.identify(PASSWD, GROUP, user, further) == expected


@pytest.mark.parametrize("user", ["bob", "ann:none", "5000000000", "0:5000000000"])
def test_users_that_are_not_there(user: str) -> None:
    with pytest.raises(StartFailed):
        users.identify(PASSWD, GROUP, user, ())


@given(st.text(max_size=200), st.text(max_size=200), st.text("an:0123", max_size=8))
def test_any_database_gives_a_user_or_none(passwd: str, group: str, user: str) -> None:
    try:
        found = users.identify(passwd, group, user, ())
    except StartFailed:
        return
    assert found.uid >= 0
    assert found.gid >= 0


FACTS = HostFacts(
    machine="x86_64",
    release="6.1.0",
    capabilities=frozenset({"CAP_CHOWN", "CAP_KILL"}),
    limits={"nofile": 1024, "nproc": -1},
    oom_score_adj=0,
    cgroup_version=2,
    swap_limits=True,
    block_weights=False,
    apparmor=False,
    selinux=False,
)
LAUNCH = Launch(
    id="ab" * 32,
    name="box",
    hostname="box",
    domainname="",
    platform="linux/amd64",
    run=Path("/run/x"),
    root=Root((Path("/low"),), Path("/upper")),
    process=Process(("true",)),
    namespaces=Namespaces(network="none", cgroup=""),
    resources=Resources(),
    security=Security(masked_paths=("/proc/kcore",), readonly_paths=("/proc/sys",)),
    mounts=(),
    endpoint=None,
    log=Log(Path("/log")),
    init=False,
    shm_size=1 << 20,
)


def plan(launch: Launch = LAUNCH, facts: HostFacts = FACTS, **found: Any) -> dict[str, Any]:
    findings = spec.Findings(facts=facts, identity=Identity(), **found)
    decoded: dict[str, Any] = json.loads(spec.config(launch, findings))
    return decoded


def test_only_what_the_daemon_has_is_given() -> None:
    process = Process(
        ("true",),
        capabilities=("CAP_CHOWN", "CAP_SYS_ADMIN"),
        limits=(
            Ulimit(name="nofile", soft=5000, hard=9000),
            Ulimit(name="nproc", soft=-1, hard=-1),
        ),
        oom_score_adj=-500,
    )
    made = plan(replace(LAUNCH, process=process))["process"]
    assert made["capabilities"]["bounding"] == ["CAP_CHOWN"]
    assert made["rlimits"][0] == {"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}
    assert made["rlimits"][1]["hard"] == (1 << 64) - 1
    assert made["oomScoreAdj"] == 0
    bad = replace(LAUNCH, process=Process(("true",), limits=(Ulimit(name="luck"),)))
    with pytest.raises(InvalidArgument, match="invalid ulimit type: luck"):
        plan(bad)


def test_environment() -> None:
    process = Process(("true",), env=("A=1", "PATH=/mine", "A=2", "HOME"), tty=True)
    assert spec.environment(process, "box", "/root") == [
        "PATH=/mine",
        "HOSTNAME=box",
        "TERM=xterm",
        "A=2",
    ]


def test_namespaces_are_the_machines_own() -> None:
    kinds = {each["type"]: each.get("path") for each in plan()["linux"]["namespaces"]}
    assert kinds == dict.fromkeys(["pid", "ipc", "uts", "mount", "network", "cgroup"])
    shared = Namespaces(network="host", pid="/proc/5/ns/pid", ipc="host", uts="host", cgroup="")
    launch = replace(LAUNCH, namespaces=shared)
    v1 = replace(FACTS, cgroup_version=1)
    kinds = {each["type"]: each.get("path") for each in plan(launch, v1)["linux"]["namespaces"]}
    assert kinds == {"pid": "/proc/5/ns/pid", "mount": None}


def test_resources_on_both_versions() -> None:
    asked = Resources(memory=1 << 26, nano_cpus=500_000_000, pids_limit=9, memory_swappiness=5)
    launch = replace(LAUNCH, resources=asked)
    made = plan(launch)["linux"]["resources"]
    assert made["memory"] == {"limit": 1 << 26, "swap": 1 << 27}
    assert made["cpu"] == {"quota": 50_000, "period": 100_000}
    assert made["pids"] == {"limit": 9}
    v1 = plan(launch, replace(FACTS, cgroup_version=1, swap_limits=False))["linux"]["resources"]
    assert v1["memory"] == {"limit": 1 << 26, "swappiness": 5}


def test_devices_are_denied_unless_given() -> None:
    first, second = plan(devices=(devices.Device("/dev/x", "c", 1, 3, 0o666, 0, 0, "r"),))["linux"][
        "resources"
    ]["devices"]
    assert first == {"allow": False, "access": "rwm"}
    assert second == {"allow": True, "type": "c", "access": "r", "major": 1, "minor": 3}
    open_to_all = replace(LAUNCH, security=Security(privileged=True))
    assert plan(open_to_all)["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_a_mount_of_the_users_own_takes_the_place_of_a_standard_one() -> None:
    point = MountPoint(kind=MountKind.TMPFS, source="", target="/dev/shm", options=("exec",))
    found = [
        each
        for each in plan(replace(LAUNCH, mounts=(point,)))["mounts"]
        if each["destination"] == "/dev/shm"
    ]
    assert [each["options"] for each in found] == [["nosuid", "nodev", "exec"]]


def test_rules_for_devices() -> None:
    assert devices.rule("c 42:* rwm") == devices.Rule("c", 42, None, "rwm")
    for text in ("c 42 rwm", "x 1:1 r", "c 1:1 x", ""):
        with pytest.raises(InvalidArgument):
            devices.rule(text)


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "9.0"}},
        {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
    ],
}


def names(*capabilities: str) -> list[str]:
    raw = seccomp.converted(
        json.dumps(PROFILE).encode(), frozenset(capabilities), "x86_64", "6.1.0-18-amd64"
    )
    made = json.loads(bytes(raw))
    assert made["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    return [name for rule in made["syscalls"] for name in rule["names"]]


def test_seccomp_rules_by_capability_kernel_and_architecture() -> None:
    assert names() == ["read", "clone3"]
    assert names("CAP_SYS_ADMIN") == ["read", "mount"]


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"defaultAction": 5}'])
def test_what_is_no_seccomp_profile(text: bytes) -> None:
    with pytest.raises(InvalidArgument, match="seccomp"):
        seccomp.converted(text, frozenset(), "x86_64", "6.1")


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (
            "executable file `x` not found in $PATH: No such file or directory",
            127,
            'exec: "x": executable file not found in $PATH',
        ),
        (
            "executable file `/x` not found in $PATH: No such file or directory",
            127,
            'exec: "/x": stat /x: no such file or directory',
        ),
        ("open executable: Permission denied", 126, "permission denied"),
        ("open executable: Operation not permitted", 126, "is a directory"),
        ("mount `/a`: No such file or directory", 128, "mount `/a`: no such file or directory"),
        ("", 128, "it gave no reason"),
    ],
)
def test_the_runtimes_words_become_dockers(said: str, code: int, words: str) -> None:
    error = start_failed("crun", "create", said)
    assert error.exit_code == code
    assert words in str(error)


def test_network_totals() -> None:
    text = (
        "Inter-|   Receive\n face |bytes\n"
        "    lo:  9 9 0 0 0 0 0 0  9 9 0 0 0 0 0 0\n"
        "  eth0: 10 2 0 0 0 0 0 0 30 4 0 0 0 0 0 0\n"
    )
    assert network_totals(text) == (10, 2, 30, 4)
