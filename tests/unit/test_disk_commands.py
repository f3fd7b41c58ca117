"""The command that makes an upper."""

from pathlib import Path

import pytest

from heft.guest import disks, fsck


def test_what_it_is_made_with() -> None:
    line = " ".join(disks.command(Path("/m/disk.ext4.new"), Path("/m/disk.ext4.tree"), 64))
    assert line.endswith("-d /m/disk.ext4.tree /m/disk.ext4.new")
    assert "-O none,has_journal," in line, "whatever mke2fs.conf says"
    assert "metadata_csum" in line
    assert "assume_storage_prezeroed=1" in line, "guests need not zero inode tables"
    assert "-m 0" in line, "nothing is kept for root: everybody in a guest may be"
    assert "-J size=64" in line


@pytest.mark.parametrize(
    ("size", "mib"), [(32 << 20, 8), (1 << 30, 8), (4 << 30, 32), (10 << 30, 64), (1 << 40, 64)]
)
def test_the_journal_is_as_large_as_the_disk_bears(size: int, mib: int) -> None:
    assert disks.journal_mib(size) == mib


def test_it_is_looked_at_without_privileges() -> None:
    line = fsck.command(("-f", "-n"), 12, 34)
    assert line[-4:] == ("e2fsck", "-f", "-n", "/disk")
    assert {"--reuid=12", "--regid=34", "--no-new-privs", "--bounding-set=-all"} <= set(line)
