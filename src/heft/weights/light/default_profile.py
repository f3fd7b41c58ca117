"""The seccomp profile of machines that ask for none: the distribution's, as strict as Docker's.

containers-common writes its profile for engines without root, whose machines may make namespaces
of their own: it allows mount(2), unshare(2), keyctl(2) and others to processes without any
capability. Docker's default profile does not (docs.docker.com/engine/security/seccomp, "Significant
syscalls blocked by the default profile"; moby, profiles/seccomp), and so every machine would have
far more of the kernel to attack. Where the two differ, Docker's word holds here.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
from pathlib import Path
from typing import Any

import msgspec

from heft.errors import InvalidArgument, NotSupported

PROFILES = (
    Path("/etc/containers/seccomp.json"),
    Path("/usr/share/containers/seccomp.json"),
)

_WITH = {
    ("SYS_ADMIN",): (
        "clone clone3 fanotify_init fsconfig fsmount fsopen fspick mount mount_setattr move_mount"
        " open_tree quotactl_fd setns umount umount2 unshare"
    ),
    ("SYS_ADMIN", "BPF"): "bpf",
    ("SYS_ADMIN", "PERFMON"): "perf_event_open",
    ("SYS_ADMIN", "SYSLOG"): "syslog",
    ("SYS_BOOT",): "reboot",
    ("SYS_NICE",): "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ("SYS_PTRACE",): "pidfd_getfd process_madvise",
}
"""Calls that take one of these capabilities: without it they are refused at the door."""
_NEVER = "add_key keyctl pivot_root request_key"
"""Kernel keyrings are not namespaced: a machine's keys would be those of others."""
_ALWAYS = "futex_waitv io_pgetevents io_pgetevents_time64 vmsplice"
"""What Docker allows and containers-common does not."""
_PARTLY = frozenset({"clone", "clone3"})
_NAMESPACES = 0x7E020000
"""All of clone(2)'s CLONE_NEW… flags but CLONE_NEWTIME, which is clone3's."""
_S390 = ["s390", "s390x"]


def default_profile() -> bytes:
    """Give the profile. Raises `NotSupported` if the host has none."""
    for path in PROFILES:
        with contextlib.suppress(FileNotFoundError):
            return tightened(path.read_bytes())
    raise NotSupported(
        "there is no seccomp profile on this host",
        hint="install golang-github-containers-common, or use --security-opt seccomp=unconfined",
    )


@functools.lru_cache(maxsize=4)
def tightened(profile: bytes) -> bytes:
    """Give a profile of containers-common's with Docker's rules where the two differ.

    Raises `InvalidArgument` if it is no profile.
    """
    rules = _rules()
    settled = {name for rule in rules for name in rule["names"]}
    try:
        parsed = msgspec.json.decode(profile, type=dict[str, Any])
        kept = [
            {**rule, "names": names}
            for rule in parsed["syscalls"]
            if (names := [name for name in rule["names"] if name not in settled])
        ]
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise InvalidArgument(f"the host's seccomp profile is none: {error!r}") from error
    return msgspec.json.encode({**parsed, "syscalls": kept + rules})


def _rules() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [_allow(_ALWAYS.split()), _refuse(_NEVER.split())]
    for capabilities, names in _WITH.items():
        caps = [f"CAP_{name}" for name in capabilities]
        rules += [_allow(names.split(), includes={"caps": [cap]}) for cap in caps]
        plainly = [name for name in names.split() if name not in _PARTLY]
        rules.append(_refuse(plainly, excludes={"caps": caps}))
    return rules + _clones() + _sockets()


def _clones() -> list[dict[str, Any]]:
    """Let processes and threads be made, and no namespaces, without CAP_SYS_ADMIN.

    A filter cannot see the flags of clone3, so that looks as if the kernel did not have it, upon
    which C libraries use clone. On s390 the flags are clone's second argument.
    """
    admin = ["CAP_SYS_ADMIN"]
    plain = {"value": _NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    return [
        _allow(["clone"], args=[{"index": 0, **plain}], excludes={"caps": admin, "arches": _S390}),
        *(
            _allow(
                ["clone"],
                args=[{"index": 1, **plain}],
                includes={"arches": [arch]},
                excludes={"caps": admin},
            )
            for arch in _S390
        ),
        _refuse(["clone3"], errno.ENOSYS, excludes={"caps": admin}),
    ]


def _sockets() -> list[dict[str, Any]]:
    """Refuse sockets to a hypervisor (vsock(7)): their addresses are not namespaced."""
    family = {"index": 0, "value": socket.AF_VSOCK}
    return [
        _allow(["socket"], args=[{**family, "op": "SCMP_CMP_NE"}]),
        _refuse(["socket"], args=[{**family, "op": "SCMP_CMP_EQ"}]),
    ]


def _allow(names: list[str], **conditions: Any) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ALLOW", **conditions}


def _refuse(names: list[str], number: int = errno.EPERM, **conditions: Any) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number, **conditions}
