"""Which disks are taken, by how their files begin."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.images.disks import formats
from heft.images.disks.formats import Disk, Refused, examine
from tests.harness import disks

GIB = 1 << 30


def test_what_is_taken() -> None:
    assert examine(disks.qcow2(GIB), 1 << 18) == Disk("qcow2", GIB)
    assert examine(disks.qcow2(GIB, version=2), 1 << 18) == Disk("qcow2", GIB)
    assert examine(disks.vmdk(GIB), 1 << 18) == Disk("vmdk", GIB)
    assert examine(bytes(1024), 1024) == Disk("raw", 1024)
    # What is said to be raw is, whatever was written to it.
    assert examine(disks.qcow2(GIB, backing=512), 1 << 18, "raw") == Disk("raw", 1 << 18)


DESCRIBED = disks.vmdk(GIB)
REFUSED = {
    "backing": (disks.qcow2(GIB, backing=512), "has a backing file"),
    "data": (disks.qcow2(GIB, features=4), "data are in another file"),
    "names": (disks.qcow2(GIB, extensions=[(0x44415441, b"/etc/shadow")]), "names a file"),
    "later": (
        disks.qcow2(GIB, extensions=[(0x6803F857, b"x" * 48), (0x44415441, b"/x")]),
        "names a file",
    ),
    "corrupt": (disks.qcow2(GIB, features=2), "marked as corrupt"),
    "future": (disks.qcow2(GIB, features=1 << 40), "features 0x10000000000"),
    "old": (disks.qcow2(GIB, version=1), "of version 1"),
    "clusters": (disks.qcow2(GIB, bits=60), r"clusters of 2\^60"),
    "long": (disks.qcow2(GIB, extensions=[(1, b"")], claims=1 << 31), "too long"),
    "nothing": (disks.qcow2(0), "a disk of 0 bytes"),
    "endless": (disks.qcow2(1 << 63), "a disk of"),
    "short": (disks.qcow2(GIB)[:40], "ends within its header"),
    "text": (b"# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0\n", "only describes"),
    "flat": (DESCRIBED.replace(b"SPARSE", b"FLAT  "), "of other files"),
    "split": (disks.vmdk(GIB, kind="twoGbMaxExtentSparse"), "of other files"),
    "extents": (disks.vmdk(GIB, more='RW 8 SPARSE "/x"\n'), "of other files"),
    "parent": (disks.vmdk(GIB, more='parentFileNameHint="/etc/shadow"\n'), "has a parent"),
    "hidden": (disks.vmdk(GIB, behind=b'\0\nparentFileNameHint="/x"\n'), "has a parent"),
    "empty": (disks.vmdk(0), "a disk of 0 bytes"),
    "elsewhere": (disks.vmdk(GIB, at=9), "does not describe itself"),
    "vhdx": (b"vhdxfile" + bytes(504), "format VHDX"),
    "gzip": (b"\x1f\x8b" + bytes(510), "compressed"),
    "ova": (bytes(257) + b"ustar" + bytes(250), "OVA"),
    "odd": (bytes(1000), "multiple of 512"),
    "none": (b"", "0 bytes are no disk"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    head, says = REFUSED[case]
    with pytest.raises(Refused, match=says):
        examine(head, len(head))


def test_what_it_was_said_to_be() -> None:
    with pytest.raises(Refused, match="it is raw, not qcow2"):
        examine(bytes(512), 512, "qcow2")
    with pytest.raises(Refused, match="unknown format"):
        examine(bytes(512), 512, "iso")


@given(
    st.sampled_from([b"QFI\xfb", b"KDMV", b"# Disk DescriptorFile", b""]), st.binary(max_size=2048)
)
def test_any_bytes_are_a_disk_or_refused(magic: bytes, rest: bytes) -> None:
    head = magic + rest
    try:
        found = examine(head, len(head))
    except Refused:
        return
    assert found.form in formats.FORMATS
    assert found.virtual_size > 0
    if found.form == "qcow2":
        assert struct.unpack_from(">QI", head, 8) == (0, 0)
