"""Whom a device of KVM has to be open to. Nothing is booted."""

import os
import stat

import msgspec
import pytest

from heft.weights.heavy import accelerators
from heft.weights.heavy.accelerators import Accelerators, Choice, group_of, unusable


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


async def test_what_was_tried_is_kept_by_kit_and_forgotten_with_it(tmp_path, monkeypatch):
    device, record = tmp_path / "kvm", tmp_path / "kvm.json"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    device.chmod(0o666)
    monkeypatch.setattr(accelerators, "DEVICE", device)
    one, two = Choice("tcg", "it did not boot", "k"), Choice("kvm", "it booted", "k")
    record.write_bytes(msgspec.json.encode({"one": one, "two": two}))
    found = Accelerators(record, "any")
    assert (found.known(), found.known("one"), found.known("three")) == (two, one, None)
    await found.collect({"one"})
    assert found.known() == Accelerators(record, "any").known() == one
    record.write_bytes(msgspec.json.encode(one))
    assert Accelerators(record, "any").known() is None, "as an earlier Heft wrote it"
    record.unlink()
    os.mkfifo(record)
    assert Accelerators(record, "any").known() is None, "a pipe is not waited for"
