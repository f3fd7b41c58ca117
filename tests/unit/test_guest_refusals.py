"""What a machine with a kernel of its own cannot have is refused, by the name it was asked by."""

from dataclasses import replace
from pathlib import Path

import pytest

from heft.errors import InvalidArgument
from heft.guest.refusals import refuse
from heft.model.config import DeviceMapping, ThrottleDevice, WeightDevice
from heft.model.ids import IdMap, IdRange
from heft.model.machine import MountKind, MountPoint
from heft.weights.base import Launch, Log, Namespaces, Process, Resources, Root, Security

OWN = Path("/machines/1")
PLAIN = Launch(
    id="1" * 64,
    name="machine",
    hostname="host",
    domainname="",
    platform="linux/amd64",
    run=Path("/run/1"),
    root=Root((), OWN / "upper"),
    process=Process(("sh",)),
    init=False,
    mounts=(),
    namespaces=Namespaces(cgroup=""),
    endpoint=None,
    resources=Resources(),
    security=Security(),
    log=Log(None),
    shm_size=1 << 20,
)

FUSE = DeviceMapping(path_on_host="/dev/fuse", path_in_container="/dev/fuse")
SLOW = ThrottleDevice(path="/dev/vda", rate=1 << 20)


def spreading(how: str) -> MountPoint:
    return MountPoint(kind=MountKind.BIND, source="/srv", target="/x", propagation=how)


USERS = (IdRange(0, 100_000, 65_536),)

REFUSED = {
    "--network host": {"namespaces": Namespaces(network="host")},
    "--network container:": {"namespaces": Namespaces(network="/proc/5/ns/net")},
    "--pid host": {"namespaces": Namespaces(pid="host")},
    "--pid container:": {"namespaces": Namespaces(pid="/proc/5/ns/pid")},
    "--uts host": {"namespaces": Namespaces(uts="host")},
    "--ipc host": {"namespaces": Namespaces(ipc="host")},
    "--ipc container:": {"namespaces": Namespaces(ipc="private", ipc_of="2" * 64)},
    "--cgroupns host": {"namespaces": Namespaces(cgroup="host")},
    "--device": {"security": Security(devices=(FUSE,))},
    "--device-cgroup-rule": {"security": Security(device_rules=("c 10:200 rwm",))},
    "--security-opt seccomp=": {
        "security": Security(seccomp='{"defaultAction": "SCMP_ACT_ALLOW"}')
    },
    "--security-opt apparmor=": {"security": Security(apparmor="docker-default")},
    "--security-opt label=": {"security": Security(selinux=("level:s0:c1,c2",))},
    "bind-propagation shared or slave": {"mounts": (spreading("rslave"),)},
    "bind-propagation": {"mounts": (spreading("shared"),)},
    "--oom-kill-disable": {"resources": Resources(oom_kill_disable=True)},
    "--blkio-weight": {"resources": Resources(blkio_weight=500)},
    "--blkio-weight-device:": {
        "resources": Resources(blkio_weight_device=(WeightDevice(path="/dev/vda", weight=50),))
    },
    "--device-read-bps": {"resources": Resources(blkio_device_read_bps=(SLOW,))},
    "--device-write-iops:": {"resources": Resources(blkio_device_write_iops=(SLOW,))},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_of_the_hosts_kernel_is_refused(what):
    with pytest.raises(InvalidArgument, match="kernel of its own") as refusal:
        refuse(replace(PLAIN, **REFUSED[what]))
    assert refusal.value.message.startswith(what)
    assert "--weight light" in refusal.value.hint


ACCEPTED = {
    "a plain machine": {},
    "no network": {"namespaces": Namespaces(network="none")},
    "shared memory that others could join": {"namespaces": Namespaces(ipc="shareable")},
    "no shared memory": {"namespaces": Namespaces(ipc="none")},
    "users of its own": {
        "namespaces": Namespaces(user="/run/heft/users/1"),
        "ids": IdMap(USERS, USERS),
    },
    "no filter of system calls": {"security": Security(seccomp="unconfined")},
    "privileges": {"security": Security(privileged=True)},
    "binds, volumes and tmpfs": {
        "mounts": (
            spreading("rprivate"),
            MountPoint(kind=MountKind.VOLUME, source="/v", target="/v", volume="v"),
            MountPoint(kind=MountKind.TMPFS, source="", target="/t"),
        )
    },
    "limits that a guest is held to": {
        "resources": Resources(memory=1 << 30, nano_cpus=10**9, pids_limit=50)
    },
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_what_a_guest_has_of_its_own_is_not(what):
    refuse(replace(PLAIN, **ACCEPTED[what]))
