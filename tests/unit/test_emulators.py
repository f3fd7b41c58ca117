"""What is registered with binfmt_misc: read from a real one, of a user namespace of the test's."""

import subprocess
import sys

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
