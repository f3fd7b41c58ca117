"""What a heavy machine is given: hardware, limits, command lines, a jail. Nothing is run."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.errors import Conflict, InvalidArgument
from heft.guest import jail, monitors, shaping, shares
from heft.guest.jail import Jail
from heft.guest.shaping import Shape
from heft.guest.shares import Served
from heft.host.grouping import Limits, settings
from heft.weights.base import Resources
from heft.weights.heavy import qemu
from heft.weights.heavy.qemu import Card, Disks
from heft.weights.heavy.spares import Spares
from tests.unit.test_guest_refusals import PLAIN

if TYPE_CHECKING:
    from heft.host.cgroups import Group
    from heft.weights.heavy.guests import Guests, Plan

SHAPE = Shape(memory=256 << 20, cpus=1, accelerator="tcg")
DISKS = Disks(base=10, upper=11)
CARD = Card(tap=13)


def options(command: list[str], name: str) -> list[str]:
    """Give the values of an option, in order."""
    return [command[at + 1] for at, word in enumerate(command) if word == name]


def devices(command: list[str]) -> list[str]:
    """Give the devices without what differs between a template and its machines."""
    kept = []
    for device in options(command, "-device"):
        words = [w for w in device.split(",") if not w.startswith(("mac=", "netdev="))]
        kept.append(",".join(words))
    return kept


def test_a_machine_has_the_devices_of_its_template_at_the_same_addresses():
    template = qemu.template(SHAPE, "/kernel", "/initramfs", "/run/memory", CARD, 2_000_000)
    plugged = Card(tap=12, mac="02:42:ac:11:00:02")
    for command in (qemu.restored(SHAPE, 9, DISKS, plugged), qemu.restored(SHAPE, 9, DISKS, CARD)):
        assert devices(command) == devices(template)
        for option in ("-machine", "-cpu", "-m", "-smp", "-accel"):
            assert options(command, option) == options(template, option)


def test_what_a_template_has_not_comes_behind_all_that_it_has():
    """QEMU numbers the channels of s390x in the order of the devices that are on them."""
    foreign = replace(SHAPE, architecture="s390x")
    template = devices(qemu.template(foreign, "/kernel", "/initramfs", "/run/memory", CARD, 0))
    restored = devices(qemu.restored(foreign, 9, Disks(10, 11, 12), CARD))
    assert restored[: len(template)] == template
    (modules,) = restored[len(template) :]
    assert "serial=modules" in modules


def test_a_foreign_machine_has_other_hardware_and_the_same_devices():
    foreign = replace(SHAPE, architecture="arm64")
    parts = ("/kernel", "/initramfs", "/run/memory", CARD, 2_000_000)
    command, native = qemu.template(foreign, *parts), qemu.template(SHAPE, *parts)
    assert command[0] == "qemu-system-aarch64"
    assert devices(command) == devices(native)
    (parameters,) = options(command, "-append")
    assert "console=ttyAMA0" in parameters
    assert "tsc" not in parameters
    assert str(foreign) != str(SHAPE)


def test_a_machine_of_s390x_has_channels_in_place_of_pci():
    foreign = replace(SHAPE, architecture="s390x")
    served = [Served("share0", 20)]
    words = [
        *qemu.cold(foreign, "/kernel", "/initramfs", Disks(10, 11, 12), CARD, 0),
        *qemu.shares(foreign, served),
    ]
    assert not any("pci" in word or "romfile" in word for word in words)
    slots = [device.split(",")[1] for device in devices(words) if "devno" in device]
    assert slots == [f"devno=fe.0.{slot:04x}" for slot in (4, 2, 3, 5, 30, 8)]


def test_guests_keep_nothing_of_shares_but_maps():
    """Since Linux 6.4 `cache=mmap` alone holds back what is written until the file is closed."""
    for server in (shares.proxy(Path("/library")), shares.diod(Path("/library"), 7)):
        assert {"cache=mmap", "directio"} <= set(server.options.split(","))


def test_shares_stand_behind_the_devices_of_the_template():
    served = (Served("share0", 20), Served("share1", 21))
    words = qemu.shares(SHAPE, served)
    assert options(words, "-fsdev") == [
        *("proxy,id=share0,sock_fd=20", "proxy,id=share1,sock_fd=21"),
    ]
    template = devices(qemu.template(SHAPE, "/kernel", "/initramfs", "/run/memory", CARD, 0))
    slots = [word for device in template for word in device.split(",") if "addr=" in word]
    for device, each in zip(devices(words), served, strict=True):
        assert f"fsdev={each.tag},mount_tag={each.tag}" in device
        (slot,) = [word for word in device.split(",") if "addr=" in word]
        assert int(slot.removeprefix("addr="), 16) > max(
            int(s.removeprefix("addr="), 16) for s in slots
        )
    most = [Served(f"share{number}", number) for number in range(shares.MOST)]
    assert "addr=17," in devices(qemu.shares(SHAPE, most))[-1], "the number is hexadecimal"
    assert qemu.shares(SHAPE, ()) == []


def test_only_a_template_shares_its_memory_with_the_file():
    template = qemu.template(SHAPE, "/kernel", "/initramfs", "/run/memory", CARD, 0)
    restored = qemu.restored(SHAPE, 9, DISKS, CARD)
    assert "share=on" in options(template, "-object")[0]
    assert "share=off" in options(restored, "-object")[0]
    assert "/proc/self/fd/9" in options(restored, "-object")[0]


def test_what_is_restored_boots_no_kernel_and_waits_for_its_state():
    restored = qemu.restored(SHAPE, 9, DISKS, CARD)
    assert "-kernel" not in restored
    assert options(restored, "-incoming") == ["defer"]
    cold = qemu.cold(SHAPE, "/kernel", "/initramfs", DISKS, CARD, 0)
    assert options(cold, "-kernel") == ["/kernel"]
    assert "-incoming" not in cold


def test_all_disks_but_its_own_can_only_be_read():
    disks = Disks(base=10, upper=11, modules=12)
    base, upper, modules = options(qemu.restored(SHAPE, 9, disks, CARD), "-blockdev")
    assert "read-only=on" in base
    assert "read-only=on" in modules
    assert "read-only=on" not in upper


def test_the_sandbox_is_on_in_every_command():
    for command in (
        qemu.template(SHAPE, "/kernel", "/initramfs", "/run/memory", CARD, 0),
        qemu.cold(SHAPE, "/kernel", "/initramfs", DISKS, CARD, 0),
        qemu.restored(SHAPE, 9, DISKS, CARD),
    ):
        (sandbox,) = options(command, "-sandbox")
        assert sandbox.startswith("on,")
        for denied in ("obsolete", "elevateprivileges", "spawn", "resourcecontrol"):
            assert f"{denied}=deny" in sandbox


def test_the_frequency_of_the_clock_is_told_where_it_is_known():
    assert "tsc_early_khz=2596137" in qemu.kernel_parameters(2_596_137)
    assert "tsc" not in qemu.kernel_parameters(0)


@given(st.integers(128 << 20, 1 << 40), st.integers(0, 64 * 10**9))
def test_a_shape_has_at_least_what_was_asked_for(memory, nano_cpus):
    shape = shaping.shape(Resources(memory=memory, nano_cpus=nano_cpus), "tcg")
    assert memory <= shape.memory < memory + (1 << 20)
    assert shape.memory % (1 << 20) == 0
    assert shape.cpus >= 1
    assert shape.cpus * 10**9 >= nano_cpus - 10**5


@pytest.mark.parametrize(("asked", "given"), [(128, 256), (256, 256), (257, 512), (400, 512)])
def test_memory_comes_in_steps_where_the_hardware_has_them(asked, given):
    """A pseries machine of any other size does not start."""
    shape = shaping.shape(Resources(memory=asked << 20), "tcg", "ppc64le")
    assert shape.memory == given << 20
    more = Resources(memory=(given << 20) + 1)
    with pytest.raises(Conflict, match=rf"started with {given} MiB"):
        shaping.adjusted(more, shape)


def test_an_architecture_may_need_more_memory():
    with pytest.raises(InvalidArgument, match=r"linux/riscv64 .* at least 160 MiB") as refusal:
        shaping.shape(Resources(memory=128 << 20), "tcg", "riscv64")
    assert refusal.value.hint == "--memory 160m"
    assert shaping.shape(Resources(memory=160 << 20), "tcg", "riscv64").memory == 160 << 20


def test_too_little_memory_is_refused_with_what_to_do():
    with pytest.raises(InvalidArgument, match="at least 128 MiB") as refusal:
        shaping.shape(Resources(memory=64 << 20), "tcg")
    assert refusal.value.hint == "--memory 128m"


def test_a_fraction_of_a_processor_is_a_whole_one_that_is_held_to_it():
    resources = Resources(nano_cpus=500_000_000)
    shape = shaping.shape(resources, "tcg")
    assert shape.cpus == 1
    assert shaping.limits(resources, shape).cpu_quota == 50_000


@pytest.mark.parametrize(
    ("accelerator", "mib", "asked", "processes"),
    [("tcg", 256, 0, 0), ("uml", 256, 0, 2048), ("uml", 1 << 14, 0, 8192), ("uml", 256, 20, 20)],
)
def test_processes_of_a_kernel_that_is_one_are_the_hosts(accelerator, mib, asked, processes):
    shape = Shape(mib << 20, 1, accelerator)
    found = shaping.limits(Resources(pids_limit=asked), shape).pids
    assert found == 1 + shaping.THREADS + processes


def test_limits_are_written_as_each_version_of_groups_wants_them():
    limits = Limits(memory=1 << 30, pids=65, cpu_quota=50_000, cpu_shares=1024, cpus="0-1")
    assert settings(limits, 1) == (
        ("memory", "memory.limit_in_bytes", "1073741824"),
        ("pids", "pids.max", "65"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.shares", "1024"),
        ("cpuset", "cpuset.cpus", "0-1"),
    )
    assert settings(limits, 2) == (
        ("memory", "memory.max", "1073741824"),
        ("pids", "pids.max", "65"),
        ("cpu", "cpu.max", "50000 100000"),
        ("cpu", "cpu.weight", "39"),
        ("cpuset", "cpuset.cpus", "0-1"),
    )
    assert settings(Limits(), 1) == settings(Limits(), 2) == ()


def test_every_machine_has_a_user_of_its_own():
    first, last = monitors.user_of("0" * 64), monitors.user_of("f" * 64)
    assert first == 0x70000000
    assert last == 0x7FFFFFFF


def test_a_jail_takes_every_privilege_before_the_program():
    place = Jail(5, 6, Path("/run/heft/machines/x/vm"), ((Path("/kits/vmlinux"), "/kernel"),))
    command = jail.command(place, ("program", "argument"))
    assert command[0] == "bwrap"
    assert command[-2:] == ("program", "argument")
    text = " ".join(command)
    assert "--ro-bind /kits/vmlinux /kernel" in text
    for wanted in (
        "--clearenv --setenv PATH /usr/local/sbin:",
        "--unshare-net",
        "--unshare-pid",
        "--reuid 5 --regid 6 --clear-groups",
        "--bounding-set -all --no-new-privs",
    ):
        assert wanted in text


async def test_a_machine_may_be_gone_when_a_spare_like_it_is_thought_of(tmp_path):
    """Its start is over then: nothing that is asked of its disk may fail it."""
    machine = replace(PLAIN, root=replace(PLAIN.root, upper=tmp_path / "gone"))
    plan = cast("Plan", SimpleNamespace(template=object()))
    spares = Spares(tmp_path, cast("Guests", None), seconds=60)
    spares.used(machine, plan, 1 << 30)
    assert await spares.take(machine, plan, cast("Group", None), 1 << 30) is None
    await spares.close()
