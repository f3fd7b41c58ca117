"""Whom a device of KVM has to be open to. Nothing is booted."""

import os
import stat

import pytest

from heft.weights.heavy.accelerators import group_of, unusable


@pytest.mark.parametrize(
    ("mode", "group", "said"),
    [(0o666, 0, ""), (0o660, 108, ""), (0o660, 0, "root's alone"), (0o600, 108, "root's alone")],
)
def test_qemu_may_open_what_all_or_a_group_may(tmp_path, mode, group, said):
    device = tmp_path / "kvm"
    os.mknod(device, stat.S_IFCHR, os.makedev(1, 3))
    os.chown(device, 0, group)
    device.chmod(mode)
    assert said in unusable(device) if said else not unusable(device)
    assert group_of(device) == (group if mode & 0o060 == 0o060 else 0)


def test_what_is_not_there_or_no_device_is_named(tmp_path):
    assert "no such file" in unusable(tmp_path / "kvm")
    (tmp_path / "kvm").touch()
    assert "is no device" in unusable(tmp_path / "kvm")
