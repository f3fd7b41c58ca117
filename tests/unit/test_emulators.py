"""What is registered with binfmt_misc: read from a real one, of a user namespace of the test's."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from heft.host import elf, emulators

HEADER = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00"
SCRIPT = """
import pathlib, subprocess, sys
from heft.host import emulators
place = pathlib.Path(sys.argv[1])
made = subprocess.run(["mount", "-t", "binfmt_misc", "none", place], capture_output=True)
if made.returncode:
    sys.exit(77)
seen = [emulators.executes("arm64", place)]
for name, flags in (("root", ""), ("any", "F")):
    entry = f":{name}:M::" + "".join(f"\\\\x{byte:02x}" for byte in bytes.fromhex(sys.argv[2]))
    (place / "register").write_text(f"{entry}::/bin/true:{flags}")
    seen.append(emulators.executes("arm64", place))
seen.append(emulators.executes("riscv64", place))
(place / "any").write_text("0")
seen.append(emulators.executes("arm64", place))
print(seen)
"""


def test_an_emulator_counts_where_it_works_in_any_root(tmp_path):
    words = ("unshare", "-Urm", sys.executable, "-c", SCRIPT, tmp_path, HEADER.hex())
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this kernel has no binfmt_misc for user namespaces (Linux 6.7)")
    assert done.stdout == "[False, False, True, False, False]\n", done.stderr


def test_where_none_can_be(tmp_path):
    assert not emulators.executes("arm64", tmp_path / "nothing")
    (tmp_path / "status").write_text("disabled\n")
    assert not emulators.executes("arm64", tmp_path)


def test_what_a_header_is_for():
    big = b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x16"
    found = [elf.architecture(each) for each in (HEADER, big, HEADER[:19], bytes(20))]
    assert found == ["arm64", "s390x", "", ""]


def test_what_is_registered_is_what_debian_registers():
    for architecture in ("arm", "arm64", "ppc64le", "riscv64", "s390x"):
        found = emulators.find(architecture)
        assert found is not None
        theirs = Path(f"/usr/lib/binfmt.d/{found.name.removesuffix('-static')}.conf").read_text()
        ours = emulators.entry("heft-1", architecture, found).decode()
        *_, magic, mask, interpreter, flags = ours.split(":")
        *_, their_magic, their_mask, _, their_flags = theirs.strip().split(":")
        assert (interpreter, set(flags)) == (str(found), set(their_flags))
        masked = [_masked(magic, each) for each in (mask, their_mask)]
        assert masked[0] == masked[1] == _masked(their_magic, mask)


def _masked(magic: str, mask: str) -> bytes:
    """Give what the first 20 bytes of a program must be, but for its ABI and its kind's version."""
    both = zip(_bytes(magic)[:20], _bytes(mask)[:20], strict=True)
    masked = bytearray(one & other for one, other in both)
    masked[7] = 0
    return bytes(masked)


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def test_what_needs_no_emulator():
    here = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    assert emulators.is_native(here)
    assert emulators.can_execute(here)
    assert not emulators.is_native("s390x")
    assert emulators.needed(here) is None
    assert not emulators.can_execute("vax")
    assert emulators.architecture("linux/arm/v7") == "arm"
