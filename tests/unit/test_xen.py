"""What Xen's tools are told and say, and the line of a domain."""

import asyncio
import os
import pty

from heft.guest.wire import Wire
from heft.host.grouping import Limits
from heft.weights.medium.xen import toolstack
from heft.weights.medium.xen.configuration import Card, Disk, Domain
from heft.weights.medium.xen.console import READY, Pump, Tail

MACHINE = "0123456789abcdef" * 4
UUID = "01234567-89ab-cdef-0123-456789abcdef"
LISTED = """\
Name                       ID   Mem VCPUs\tState\tTime(s)   UUID     Reason-Code\tSecurity Label
Domain-0                    0  1536     1\tr-----     130.5 00000000-0000-0000-0000-000000000000        -        -
(null)                      2     9     0\t--p--d       7.2 01234567-89ab-cdef-0123-456789abcdef        3        -
"""  # noqa: E501 - as it comes


def test_a_domain_is_told_of_in_the_words_of_xl():
    disks = (Disk("/dev/loop3", "/dev/xvda", read_only=True), Disk("/dev/loop4", "/dev/xvdb"))
    card = Card("02:42:0a:00:00:02", "heft0", "hv0123456789ab")
    limits = Limits(cpu_quota=50_000, cpu_shares=512, cpus="0-1")
    text = Domain(MACHINE, "/k", "/i", 192 << 20, 1, disks, "/s", card, limits).text
    given: dict[str, object] = {}
    exec(text, given)
    assert (given["uuid"], given["memory"], given["vcpus"]) == (UUID, 192, 1)
    assert given["disk"] == [
        "format=raw,vdev=xvda,access=ro,script=/s,target=/dev/loop3",
        "format=raw,vdev=xvdb,access=rw,script=/s,target=/dev/loop4",
    ]
    named = "mac=02:42:0a:00:00:02,bridge=heft0,vifname=hv0123456789ab,script=/s"
    assert given["vif"] == [named]
    assert (given["cap"], given["cpu_weight"], given["cpus"]) == (50, 128, "0-1")
    assert "heft.agent=/dev/hvc0" in str(given["extra"])


def test_domains_are_found_with_and_without_a_name():
    found = toolstack.listed(LISTED)
    assert [(each.number, each.uuid) for each in found][1] == (2, UUID)
    assert found[0].nanoseconds == 130_500_000_000


def test_why_a_domain_is_over():
    assert toolstack.why("Domain 3 has shut down, reason code 3 0x3\n") == (
        "the guest's kernel crashed"
    )
    assert toolstack.why("Domain 3 has shut down, reason code 0 0x0\n") == (
        "the guest went down by itself"
    )
    assert toolstack.why("Domain 3 has been destroyed.\n") == "its domain was destroyed"
    assert toolstack.why("") == "its domain has ended"
    assert toolstack.why(
        "Parsing config from /run/domain.cfg\n"
        "libxl: error: libxl_aoutils.c:539:async_exec_timeout: killing execution of"
        " /etc/xen/scripts/block add because of timeout\n"
        "libxl: error: libxl_create.c:1921:domcreate_launch_dm: Domain 3:unable to add disks\n"
    ) == (
        "Xen could not make its domain:"
        " killing execution of /etc/xen/scripts/block add because of timeout"
    )
    assert toolstack.why(
        "libxl: error: libxl_exec.c:117:libxl_report_child_exitstatus: /var/lib/heft/xen-hotplug"
        " online [2486] exited with error status 1\n"
        "libxl: error: libxl_device.c:1337:device_hotplug_child_death_cb: script: there is no"
        " bridge nobridge\n"
        "libxl: error: libxl_create.c:1921:domcreate_attach_devices: Domain 20:unable to add vif"
        " devices\n"
    ) == ("Xen could not make its domain: script: there is no bridge nobridge")


async def test_a_line_carries_every_byte_and_doubles_what_is_sysrq_to_linux():
    master, slave = pty.openpty()
    sent = bytes(range(256)) * 4
    got, lost = bytearray(), asyncio.Event()
    guest = asyncio.get_running_loop()
    heard = bytearray()
    pump = Pump(os.ttyname(slave), Tail())
    guest.add_reader(master, lambda: heard.extend(os.read(master, 1 << 12)))
    try:
        connecting = asyncio.create_task(pump.connected())
        await asyncio.sleep(0.01)
        os.write(master, b"noise before " + READY[:7])
        await asyncio.sleep(0.01)
        assert not connecting.done()
        os.write(master, READY[7:] + b"first")
        wire = Wire(await connecting, got.extend, lambda: None, lambda _: lost.set())
        wire.hold(len(sent))
        wire.send(sent)
        doubled = sent.replace(b"\x0f", b"\x0f\x0f")
        async with asyncio.timeout(10):
            while len(heard) < len(doubled) or got != b"first":  # noqa: ASYNC110 - of both
                await asyncio.sleep(0.01)
        assert heard == doubled
        wire.close()
    finally:
        guest.remove_reader(master)
        pump.close()
        os.close(master)
        os.close(slave)
