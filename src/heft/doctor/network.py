"""Links, addresses' translation and forwarding, tried in a network namespace of the probe's own."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import subprocess
from functools import partial

from heft.doctor import calls, links
from heft.doctor.check import (
    LIGHT,
    OWN_KERNEL,
    Check,
    Finding,
    Host,
    Kind,
    lacking,
    there,
    unknown,
    weights,
)
from heft.doctor.child import Refused, attempt

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x2, 0x1000
_VXLAN_ID = links.attribute(1, struct.pack("=I", 42))
_SECONDS = 5.0

_RULES = """\
table ip heft_doctor {
    map any { type inet_service : ipv4_addr . inet_service; elements = { 80 : 192.0.2.2 . 80 }; }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local dnat ip to tcp dport map @any
    }
    chain output { type nat hook output priority -100; policy accept; }
    chain guard { type filter hook prerouting priority raw; policy accept; }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 192.0.2.0/24 ct status dnat masquerade
    }
}
"""
"""One of each feature that Heft's own table uses."""


def link(kind: str, host: Host) -> Finding:
    """Make a link of this kind."""
    del host

    def made() -> str:
        data = _VXLAN_ID if kind == "vxlan" else b""
        on = ""
        if kind == "macvlan":
            links.make(links.new_link("veth", "lower"))
            on = "lower"
        links.make(links.new_link(kind, "doctor", on=on, data=data))
        return "made"

    return attempt(made, unshare=calls.CLONE_NEWNET)


def tap(host: Host) -> Finding:
    """Make a tap device."""

    def made() -> str:
        device = os.open(host.path("/dev/net/tun"), os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"doctor", _IFF_TAP | _IFF_NO_PI))
        return "made"

    return attempt(made, unshare=calls.CLONE_NEWNET)


def translation(host: Host) -> Finding:
    """Load a table with everything that Heft's own uses."""
    del host
    if shutil.which("nft") is None:
        return unknown("nft is not installed")

    def loaded() -> str:
        done = subprocess.run(
            ["nft", "-f", "-"],
            input=_RULES,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stderr.strip().partition("\n")[0] or "nft failed")
        return "maps, fib, dnat, masquerade"

    return attempt(loaded, unshare=calls.CLONE_NEWNET)


def forwarding(host: Host) -> Finding:
    """Say whether packets are forwarded, or heftd can have it so."""
    name = "/proc/sys/net/ipv4/ip_forward"
    if host.text(name).strip() == "1":
        return there("on")
    if os.access(host.path(name), os.W_OK):
        return there("off; heftd switches it on")
    if os.geteuid():
        return unknown("off; only root can tell whether it can be on")
    return lacking("off, and cannot be switched on")


def others_rules(host: Host) -> Finding:
    """Look for rules of others that drop what is forwarded (Docker's default policy does)."""
    del host
    if shutil.which("nft") is None:
        return unknown("nft is not installed")
    if os.geteuid():
        return unknown("only root can tell")
    done = subprocess.run(
        ["nft", "-j", "list", "chains"], capture_output=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        return unknown("nft cannot list the chains")
    dropping = dropping_chains(done.stdout)
    return lacking(f"dropped by {', '.join(dropping)}") if dropping else there("none")


def dropping_chains(listing: bytes) -> list[str]:
    """Find the chains that drop by default what is forwarded, in `nft -j list chains`."""
    chains = [item["chain"] for item in json.loads(listing)["nftables"] if "chain" in item]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and chain["family"] in ("ip", "inet")
    ]


def _link(kind: str, lack: str, *, required: frozenset[str], helps: frozenset[str]) -> Check:
    return Check(
        name=kind,
        kind=Kind.KERNEL,
        probe=partial(link, kind),
        required=required,
        helps=helps,
        lack=lack,
        remedy=f"modprobe {kind}, or use a kernel that has it",
    )


_NOBODY: frozenset[str] = frozenset()
_NETWORKED = weights(LIGHT) | OWN_KERNEL

CHECKS = (
    _link("bridge", "no network but host and none", required=_NETWORKED, helps=_NOBODY),
    _link("veth", "no network but host and none", required=weights(LIGHT), helps=_NOBODY),
    _link("macvlan", "no networks of the driver macvlan", required=_NOBODY, helps=_NETWORKED),
    _link("vxlan", "no networks that span hosts", required=_NOBODY, helps=_NETWORKED),
    Check(
        name="tun/tap",
        kind=Kind.KERNEL,
        probe=tap,
        required=OWN_KERNEL,
        lack="a guest has no network card on a bridge",
        remedy="modprobe tun",
    ),
    Check(
        name="nftables NAT",
        kind=Kind.KERNEL,
        probe=translation,
        required=_NETWORKED,
        lack="machines reach nothing outside, and no port can be published",
        remedy="install nftables; modprobe nf_tables nft_chain_nat nft_fib_ipv4 nft_masq",
    ),
    Check(
        name="ip_forward",
        kind=Kind.LIMIT,
        probe=forwarding,
        required=_NETWORKED,
        lack="machines reach nothing outside",
        remedy="sysctl -w net.ipv4.ip_forward=1",
    ),
    Check(
        name="others' packet filters",
        kind=Kind.LIMIT,
        probe=others_rules,
        helps=_NETWORKED,
        lack="what machines send to the outside, or get at published ports, is dropped",
        remedy="nft add rule ip filter FORWARD iifname heft0 accept, and the same for oifname "
        "(where Docker runs: in its chain DOCKER-USER)",
    ),
)
