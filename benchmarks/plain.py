"""How fast the disk and the network of a heavy machine are, beside a QEMU started by hand.

Both have the same kernel, a virtio disk on a sparse file of the same file system, a virtio card on
a tap device of a bridge, and control groups side by side. The machine's disk is below an overlay,
its QEMU in a jail and restored from a template; the other has an ext4 of the image, and whatever
else QEMU does by itself.
"""

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import guests
from benchmarks.bench import Bench
from benchmarks.engines import IMAGE, Command
from benchmarks.guests import Files
from benchmarks.measure import Sample
from benchmarks.rows import Outcome, Row
from benchmarks.shares import give_kit, text
from heft.host import cgroups, grouping
from heft.host.cgroups import Group
from heft.host.grouping import Limits

NAME = "bench-plain"
PAIRS = 5
"""Machines of each kind, one after another: where things lie in memory, one keeps, and that alone
makes a tenth of a difference."""
ROUNDS = 20
READS = 40
"""Rounds of reading: it takes no time, and single ones differ by a third."""
LEAST = 0.95
"""Of what the other has."""
COUNT = 128
"""Blocks of 1 MiB, as many as go through a connection."""
BRIDGE, TAP = "bench0", "bench-tap0"
HERE, THERE, PREFIX = "10.213.0.1", "10.213.0.2", 24
_MODULES = ("virtio_blk", "virtio_net", "ext4", "crc32c_generic", "virtio_pci")
_FURTHER = f"""$b mount -t proc proc /root/proc
$b ip link set lo up
$b ip addr add {THERE}/{PREFIX} dev eth0
$b ip link set eth0 up
$b stty -F /dev/ttyS0 raw -echo"""
_WORKLOAD = "/bin/sh -c 'echo \"<<0>>\"; exec /bin/bash' </dev/ttyS0 >/dev/ttyS0 2>/dev/null"
"""On a terminal for its errors too it would be a shell for a person."""
_ENDED = re.compile(rb"<<(\d+)>>")
_SECONDS = 120.0
_BLOCK = 1 << 20
_COPIED = re.compile(r"copied, ([0-9.e-]+) s")

Run = Callable[[str], str]
"""Runs a line of the shell in a guest; gives what it says."""


Rates = list[float]
"""Bytes a second, in millions."""


@dataclass(frozen=True)
class Guest:
    """One that commands can be given, and that reaches this process at an address."""

    run: Run
    gateway: str


@dataclass(frozen=True)
class Task:
    """One thing that is measured, so many times in all."""

    what: str
    rate: Callable[[Guest], float]
    rounds: int


def measure(bench: Bench) -> Outcome:
    """Measure both in turns, with some of each: where things lie in one's memory it keeps."""
    give_kit(bench)
    place = bench.directory / "plain"
    files = guests.make(bench, place, _MODULES, "rw", _FURTHER, _WORKLOAD)
    tasks = (
        Task("written to its disk", written, ROUNDS),
        Task("read from its disk", read, READS),
        Task("sent by TCP to its host", sent, ROUNDS),
        Task("received by TCP from its host", received, ROUNDS),
    )
    found: list[tuple[Rates, Rates]] = [([], []) for _ in tasks]
    pairs = min(PAIRS, bench.rounds)
    for _ in range(pairs):
        with heavy(bench) as machine, by_hand(bench, place, fresh(place, files)) as other:
            for task, rates in zip(tasks, found, strict=True):
                compare(task, (machine, other), rates, -(-bench.few(task.rounds) // pairs))
    return Outcome(tuple(map(row, tasks, found)), {})


def fresh(place: Path, files: Files) -> Files:
    """Give the files of a guest with a disk that none has had: a machine's is all holes too."""
    disk = place / "fresh.ext4"
    subprocess.run(("cp", "--sparse=always", str(files.disk), str(disk)), check=True)
    os.sync()
    return replace(files, disk=disk)


def compare(task: Task, guests: tuple[Guest, Guest], rates: tuple[Rates, Rates], n: int) -> None:
    """Measure one thing `n` times in turns, each time beginning with the other guest."""
    turns = list(zip(guests, rates, strict=True))
    for number in range(-1, n):
        for guest, found in turns if number % 2 else reversed(turns):
            rate = task.rate(guest)
            if number >= 0:
                found.append(rate)


def row(task: Task, rates: tuple[Rates, Rates]) -> Row:
    """Tell what was found of one thing."""
    heft, plain = (Sample(tuple(each)) for each in rates)
    return Row(
        f"{COUNT} MiB {task.what} by a heavy machine: bytes a second ÷ a QEMU by hand",
        LEAST,
        "÷",
        heft.median / plain.median,
        text(heft),
        text(plain),
        at_least=True,
    )


def written(guest: Guest) -> float:
    """Write a new file, and wait until it is on the disk."""
    guest.run("rm -f /root/file; sync")
    return copied(guest, "if=/dev/zero of=/root/file conv=fsync")


def read(guest: Guest) -> float:
    """Read what was written, past the guest's cache; some times, as it takes no time at all."""
    return copied(guest, "if=/root/file of=/dev/null iflag=direct", times=8)


def copied(guest: Guest, words: str, times: int = 1) -> float:
    """Give the MB/s that dd(1) says, in the guest's own time."""
    line = f"LC_ALL=C dd bs=1M count={COUNT} {words} 2>&1"
    said = guest.run(" && ".join([line] * times))
    found = _COPIED.findall(said)
    if len(found) != times:
        raise RuntimeError(f"{line}: {said}")
    return times * COUNT * (1 << 20) / sum(map(float, found)) / 1e6


def sent(guest: Guest) -> float:
    """Let the guest send to this process."""

    def take(connection: socket.socket) -> int:
        count, block = 0, bytearray(_BLOCK)
        while got := connection.recv_into(block):
            count += got
        return count

    line = f"dd bs=64k count={COUNT << 4} if=/dev/zero status=none >/dev/tcp/{{}}/{{}}"
    return through(guest, line, take)


def received(guest: Guest) -> float:
    """Let the guest receive from this process."""

    def give(connection: socket.socket) -> int:
        block = bytes(_BLOCK)
        for _ in range(COUNT):
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # the guest has come to the end as well
        return COUNT * _BLOCK

    return through(guest, "dd bs=64k of=/dev/null status=none </dev/tcp/{}/{}", give)


def through(guest: Guest, line: str, work: Callable[[socket.socket], int]) -> float:
    """Give the MB/s of one connection that a guest makes, from its beginning to its end."""
    with ThreadPoolExecutor(1) as pool, socket.create_server((guest.gateway, 0)) as server:
        server.settimeout(_SECONDS)
        said = pool.submit(guest.run, line.format(*server.getsockname()))
        connection, _ = server.accept()
        with connection:
            connection.settimeout(_SECONDS)
            begin = time.perf_counter()
            count = work(connection)
            taken = time.perf_counter() - begin
        said.result()
    if count != COUNT * _BLOCK:
        raise RuntimeError(f"{line}: {count} bytes of {COUNT * _BLOCK}")
    return count / taken / 1e6


@contextmanager
def heavy(bench: Bench) -> Iterator[Guest]:
    """Start a machine on the default bridge."""
    heft = bench.heft
    heft.do("run", "--detach", "--name", NAME, "--weight", "heavy", IMAGE, "sleep", "1000000")
    try:
        gateway = heft.do("inspect", "-f", "{{.NetworkSettings.Gateway}}", NAME)
        yield Guest(lambda line: heft.do("exec", NAME, "bash", "-c", line), gateway)
    finally:
        heft.do("rm", "--force", NAME)


@contextmanager
def by_hand(bench: Bench, place: Path, files: Files) -> Iterator[Guest]:
    """Start a QEMU, its card on a bridge of its own."""
    with ExitStack() as stack:
        for line in (
            f"link add {BRIDGE} type bridge",
            f"addr add {HERE}/{PREFIX} dev {BRIDGE}",
            f"link set {BRIDGE} up",
            f"tuntap add {TAP} mode tap",
            f"link set {TAP} up master {BRIDGE}",
        ):
            subprocess.run(("ip", *line.split()), check=True)
        for device in (BRIDGE, TAP):
            stack.callback(subprocess.run, ("ip", "link", "del", device), check=False)
        line = stack.enter_context(socket.socket(socket.AF_UNIX))
        (place / "line.sock").unlink(missing_ok=True)
        line.bind(str(place / "line.sock"))
        line.listen()
        line.settimeout(_SECONDS)
        command = qemu(guests.accelerator(bench), files, place / "line.sock")
        process = stack.enter_context(subprocess.Popen((*_entering(bench), *command)))
        stack.callback(process.kill)
        connection = stack.enter_context(line.accept()[0])
        connection.settimeout(_SECONDS)
        shell = Shell(connection)
        shell.answer("the start")
        yield Guest(shell.run, HERE)


def _entering(bench: Bench) -> Command:
    """Give what runs a command in a control group beside the machine's: as large a part is its."""
    group = Group(cgroups.detect(), f"{bench.group}/plain/{NAME}")
    grouping.make(group, Limits())
    places = " ".join(str(directory / "cgroup.procs") for directory in group.directories())
    return ("sh", "-c", f'for place in {places}; do echo $$ >"$place"; done; exec "$@"', "sh")


def qemu(accelerator: str, files: Files, line: Path) -> Command:
    """Give the command line; what it does not name is as QEMU has it by itself."""
    processor = "host" if accelerator == "kvm" else "max"
    return (
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "microvm,acpi=on,pcie=on,rtc=on", "-accel", accelerator),
        *("-cpu", processor, "-m", f"{guests.MEMORY_MIB}M", "-smp", "1"),
        *("-kernel", str(files.kernel), "-initrd", str(files.initramfs)),
        *("-append", guests.parameters()),
        *("-chardev", f"socket,id=line,path={line}", "-serial", "chardev:line"),
        *("-drive", f"file={files.disk},if=none,id=disk,format=raw"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-netdev", f"tap,id=net,ifname={TAP},script=no,downscript=no"),
        *("-device", "virtio-net-pci,netdev=net"),
    )


@dataclass
class Shell:
    """A shell in a guest, by its serial line."""

    connection: socket.socket

    def run(self, line: str) -> str:
        """Run a line; give what it says. Raises `RuntimeError` where it fails."""
        self.connection.sendall(f'({line}) </dev/null 2>&1; echo "<<$?>>"\n'.encode())
        return self.answer(line)

    def answer(self, line: str) -> str:
        """Give what a line says, when it has ended."""
        seen = b""
        while (found := _ENDED.search(seen)) is None:
            more = self.connection.recv(4096)
            if not more:
                raise RuntimeError(f"the guest ended: {seen.decode(errors='replace')}")
            seen += more
        said = seen[: found.start()].decode(errors="replace")
        if found[1] != b"0":
            raise RuntimeError(f"{line}: {said}")
        return said
