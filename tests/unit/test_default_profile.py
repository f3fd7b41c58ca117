"""The default seccomp profile refuses what Docker's refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from heft.errors import InvalidArgument
from heft.weights.light.default_profile import PROFILES, tightened
from heft.weights.light.seccomp import converted

LOOSE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "syscalls": [
        {"names": ["read", "mount", "clone", "clone3", "keyctl"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["setns"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        {"names": ["vmsplice", "kexec_load"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    ],
}


def rules(*capabilities: str, profile: bytes = b"") -> dict[str, list[dict[str, Any]]]:
    text = tightened(profile or json.dumps(LOOSE).encode())
    made = json.loads(bytes(converted(text, frozenset(capabilities), "x86_64", "6.1.0")))
    by_name: dict[str, list[dict[str, Any]]] = {}
    for rule in made["syscalls"]:
        for name in rule["names"]:
            by_name.setdefault(name, []).append(rule)
    return by_name


def verdict(rule: dict[str, Any]) -> tuple[str, int]:
    return rule["action"].removeprefix("SCMP_ACT_"), rule.get("errnoRet", 0)


def test_without_capabilities() -> None:
    found = rules()
    single = {name: verdict(each[0]) for name, each in found.items() if len(each) == 1}
    assert single["read"] == single["vmsplice"] == ("ALLOW", 0)
    for name in ("mount", "setns", "unshare", "keyctl", "kexec_load", "syslog", "pidfd_getfd"):
        assert single[name] == ("ERRNO", 1), name
    assert single["clone3"] == ("ERRNO", 38)
    (clone,) = found["clone"]
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "op": "SCMP_CMP_MASKED_EQ"}]


def test_with_a_capability() -> None:
    found = rules("CAP_SYS_ADMIN")
    for name in ("mount", "setns", "clone", "clone3"):
        assert [verdict(rule) for rule in found[name]] == [("ALLOW", 0)], name
        assert "args" not in found[name][0]
    assert verdict(found["pidfd_getfd"][0]) == ("ERRNO", 1)
    assert verdict(rules("CAP_BPF")["bpf"][0]) == ("ALLOW", 0)


def test_sockets_of_a_hypervisor() -> None:
    allowed, refused = rules()["socket"]
    assert (verdict(allowed), allowed["args"][0]["op"]) == (("ALLOW", 0), "SCMP_CMP_NE")
    assert (verdict(refused), refused["args"][0]["op"]) == (("ERRNO", 1), "SCMP_CMP_EQ")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"syscalls": 5}'])
def test_what_is_no_profile(text: bytes) -> None:
    with pytest.raises(InvalidArgument, match="seccomp"):
        tightened(text)


@pytest.mark.skipif(not Path(PROFILES[-1]).exists(), reason="containers-common is not installed")
def test_no_call_of_the_hosts_profile_has_two_unconditional_rules() -> None:
    for capabilities in ((), ("CAP_SYS_ADMIN",)):
        found = rules(*capabilities, profile=PROFILES[-1].read_bytes())
        plain = {
            name: [rule for rule in each if not rule.get("args")] for name, each in found.items()
        }
        assert {n: r for n, r in plain.items() if len({verdict(x) for x in r}) > 1} == {}
