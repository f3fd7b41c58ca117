"""The vsock device of medium machines (agent/vsock/), driven by a guest's kernel that lies.

It speaks vhost-user to the program as User Mode Linux does, with memory of its own. Whatever it
asks for, the program goes on, or ends with the words why; it is never ended by a signal.
"""

import contextlib
import itertools
import mmap
import os
import random
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import agent
from tests.harness.pace import patience

SECONDS = patience(10)
REFUSED = 76
SIZE = 1 << 20
BASE = 0x100000
"""Of its memory, as the guest has it."""
ENTRIES = 16
RECEIVING, SENDING = 0, 1
TABLE, AVAILABLE, USED = 0x0, 0x800, 0x1000
RING_SIZE = 0x2000
BUFFERS = 0x10000
BUFFER = 0x1000
REQUEST, RESPONSE, RESET, SHUTDOWN, DATA, UPDATE, ASK = range(1, 8)
HEAD = struct.Struct("<QQIIIHHIII")
PORT, PEER = 1, 4000


class Guest:
    """A kernel at the other end, and the daemon's pipes."""

    def __init__(self, place: Path) -> None:
        self.memory_file = os.memfd_create("guest")
        os.ftruncate(self.memory_file, SIZE)
        self.memory = mmap.mmap(self.memory_file, SIZE)
        to_guest, of_guest = os.pipe(), os.pipe()
        self.to, self.of = to_guest[1], of_guest[0]
        self.program = subprocess.Popen(
            (
                *(agent.built() / "heft-vsock", place / "vsock"),
                *(f"{PORT}={to_guest[0]},{of_guest[1]}", "--", "sleep", "1000"),
            ),
            pass_fds=(to_guest[0], of_guest[1]),
            stderr=subprocess.PIPE,
        )
        os.close(to_guest[0])
        os.close(of_guest[1])
        self.socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + SECONDS
        while self.socket.connect_ex(str(place / "vsock")):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        self.kicks: list[int] = []
        self.calls: list[socket.socket] = []
        self.given = [0, 0]
        self.seen = [0, 0]

    def send(self, request: int, payload: bytes, *descriptors: int) -> None:
        head = struct.pack("<III", request, 1, len(payload))
        socket.send_fds(self.socket, [head + payload], list(descriptors))

    def set_up(self) -> None:
        """Do what Linux does."""
        region = struct.pack("<QQQQ", BASE, SIZE, BASE, 0)
        self.send(5, struct.pack("<II", 1, 0) + region + bytes(32), self.memory_file)
        for ring in range(2):
            ours, theirs = socket.socketpair()
            kick = os.eventfd(0)
            start = BASE + ring * RING_SIZE
            with theirs:
                self.send(13, struct.pack("<Q", ring), theirs.fileno())
            self.send(8, struct.pack("<II", ring, ENTRIES))
            self.send(10, struct.pack("<II", ring, 0))
            places = (start + TABLE, start + USED, start + AVAILABLE, (1 << 64) - 1)
            self.send(9, struct.pack("<IIQQQQ", ring, 0, *places))
            self.send(12, struct.pack("<Q", ring), kick)
            self.send(18, struct.pack("<II", ring, 1))
            self.kicks.append(kick)
            self.calls.append(ours)
        for _ in range(ENTRIES // 2):
            self.offer()

    def describe(self, ring: int, at: int, address: int, length: int, flags: int, after: int = 0):
        place = ring * RING_SIZE + TABLE + 16 * at
        self.memory[place : place + 16] = struct.pack("<QIHH", address, length, flags, after)

    def put(self, ring: int, head: int, *, index: int | None = None) -> None:
        place = ring * RING_SIZE + AVAILABLE
        slot = place + 4 + 2 * (self.given[ring] % ENTRIES)
        self.memory[slot : slot + 2] = struct.pack("<H", head)
        self.given[ring] += 1
        told = self.given[ring] if index is None else index
        self.memory[place + 2 : place + 4] = struct.pack("<H", told & 0xFFFF)
        os.eventfd_write(self.kicks[ring], 1)

    def offer(self) -> None:
        """Give it a buffer to write a packet to."""
        at = self.given[RECEIVING] % ENTRIES
        self.describe(RECEIVING, at, BASE + BUFFERS + at * BUFFER, BUFFER, 2)
        self.put(RECEIVING, at)

    def say(self, operation: int, content: bytes = b"", **how: int) -> None:
        """Send a packet; `how` are what of its head is another than it should be."""
        at = self.given[SENDING] % ENTRIES
        place = BUFFERS + (ENTRIES + at) * BUFFER
        head = {
            "source": 3,
            "target": 2,
            "peer": PEER,
            "port": PORT,
            "length": len(content),
            "type": 1,
            "operation": operation,
            "flags": 0,
            "room": 1 << 16,
            "taken": 0,
        } | how
        packet = HEAD.pack(*head.values()) + content
        self.memory[place : place + len(packet)] = packet
        self.describe(SENDING, at, BASE + place, len(packet), 0)
        self.put(SENDING, at)

    def hear(self) -> tuple[int, bytes]:
        """Give the operation of the next packet, and what is in it."""
        place = RECEIVING * RING_SIZE + USED
        deadline = time.monotonic() + SECONDS
        while struct.unpack_from("<H", self.memory, place + 2)[0] == self.seen[RECEIVING] & 0xFFFF:
            assert time.monotonic() < deadline
            assert self.program.poll() is None, self.program.stderr.read()
            time.sleep(0.001)
        entry = place + 4 + 8 * (self.seen[RECEIVING] % ENTRIES)
        self.seen[RECEIVING] += 1
        head, size = struct.unpack_from("<II", self.memory, entry)
        buffer = BUFFERS + head * BUFFER
        fields = HEAD.unpack_from(self.memory, buffer)
        assert size == HEAD.size + fields[4]
        self.offer()
        return fields[6], self.memory[buffer + HEAD.size : buffer + size]

    def ended(self) -> tuple[int, str]:
        """Wait for its end; give its status, and its words."""
        status = self.program.wait(SECONDS)
        return status, self.program.stderr.read().decode()

    def close(self) -> None:
        self.program.kill()
        self.program.wait()
        self.program.stderr.close()
        self.socket.close()
        for descriptor in (*self.kicks, self.memory_file, self.to, self.of):
            os.close(descriptor)
        for call in self.calls:
            call.close()


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[Callable[[], Guest]]:
    made: list[Guest] = []
    numbers = itertools.count()

    def make() -> Guest:
        place = tmp_path / str(next(numbers))
        place.mkdir()
        made.append(Guest(place))
        return made[-1]

    yield make
    for guest in made:
        guest.close()


def connected(guests: Callable[[], Guest]) -> Guest:
    guest = guests()
    guest.set_up()
    guest.say(REQUEST)
    assert guest.hear() == (RESPONSE, b"")
    return guest


def test_bytes_go_both_ways_and_wait_for_room(guests):
    guest = connected(guests)
    os.write(guest.to, b"to the guest")
    assert guest.hear() == (DATA, b"to the guest")
    guest.say(DATA, b"of the guest")
    assert os.read(guest.of, 100) == b"of the guest"
    guest.say(ASK, room=5, taken=12)  # as each packet tells; its answer, that this was read
    assert guest.hear() == (UPDATE, b"")
    os.write(guest.to, b"too much")
    assert guest.hear() == (DATA, b"too m")
    guest.say(UPDATE, room=5, taken=17)
    assert guest.hear() == (DATA, b"uch")
    guest.say(ASK)
    assert guest.hear() == (UPDATE, b"")


def test_what_waits_for_a_guest_that_has_not_connected_is_not_lost(guests):
    guest = guests()
    os.write(guest.to, b"before")
    guest.set_up()
    guest.say(REQUEST)
    assert [guest.hear(), guest.hear()] == [(RESPONSE, b""), (DATA, b"before")]


def test_nobody_else_can_connect(guests):
    """A machine's own processes can open sockets to the host, too."""
    guest = connected(guests)
    for how in ({"peer": 5}, {"port": 2}, {"peer": 6, "type": 2}, {"target": 9}):
        guest.say(REQUEST, **how)
        assert guest.hear() == (RESET, b"")
        guest.say(DATA, b"stolen", **how)
        assert guest.hear() == (RESET, b"")
    assert select.select([guest.of], [], [], 0.1)[0] == []
    guest.say(DATA, b"own")
    assert os.read(guest.of, 100) == b"own"


def test_it_ends_as_its_kernel_does(guests):
    guest = connected(guests)
    children = Path(f"/proc/{guest.program.pid}/task/{guest.program.pid}/children")
    os.kill(int(children.read_text()), 15)
    assert guest.ended()[0] == 128 + 15


def _bad_address(guest: Guest) -> None:
    guest.describe(SENDING, 0, BASE + SIZE - 10, 100, 0)
    guest.put(SENDING, 0)


def _wrapping_address(guest: Guest) -> None:
    guest.describe(SENDING, 0, (1 << 64) - 16, 0xFFFFFFFF, 0)
    guest.put(SENDING, 0)


def _loop(guest: Guest) -> None:
    guest.describe(SENDING, 0, BASE, 1, 1, 0)
    guest.put(SENDING, 0)


def _no_descriptor(guest: Guest) -> None:
    guest.put(SENDING, ENTRIES)


def _next_outside(guest: Guest) -> None:
    guest.describe(SENDING, 0, BASE, 1, 1, 0xFFFF)
    guest.put(SENDING, 0)


def _too_many(guest: Guest) -> None:
    guest.put(SENDING, 0, index=9000)


def _indirect(guest: Guest) -> None:
    guest.describe(SENDING, 0, BASE, 64, 4)
    guest.put(SENDING, 0)


def _ring_outside(guest: Guest) -> None:
    guest.send(18, struct.pack("<II", SENDING, 0))
    guest.send(9, struct.pack("<IIQQQQ", SENDING, 0, BASE + SIZE - 16, BASE, BASE, 0))


def _memory_too_large(guest: Guest) -> None:
    region = struct.pack("<QQQQ", BASE, (1 << 64) - 1, BASE, 0)
    guest.send(5, struct.pack("<II", 1, 0) + region, guest.memory_file)


def _no_memory(guest: Guest) -> None:
    guest.send(5, struct.pack("<II", 3, 0) + bytes(96), guest.memory_file)


LIES = {
    "an address outside": (_bad_address, _wrapping_address, _ring_outside),
    "too many pieces": (_loop,),
    "a descriptor that its ring has not": (_no_descriptor, _next_outside),
    "more buffers": (_too_many,),
    "another kind": (_indirect,),
    "memory that cannot be": (_memory_too_large,),
    "memory without descriptors": (_no_memory,),
    "a packet that is none": (
        lambda guest: guest.say(DATA, length=100),
        lambda guest: guest.say(DATA, length=0xFFFFFFFF),
        lambda guest: guest.say(DATA, source=7),
    ),
    "a ring that this device has not": (
        lambda guest: guest.send(18, struct.pack("<II", 3, 1)),
        lambda guest: guest.send(8, struct.pack("<II", 0xFFFFFFFF, 16)),
    ),
    "too long": (lambda guest: guest.send(24, bytes(4000)),),
    "an unknown kind": (lambda guest: guest.send(99, b""),),
}


@pytest.mark.parametrize("words", LIES)
def test_a_lie_ends_the_machine_and_says_so(guests, words):
    for lie in LIES[words]:
        guest = connected(guests)
        lie(guest)
        status, said = guest.ended()
        assert status == REFUSED, said
        assert words in said


def test_more_than_there_is_room_for_ends_it(guests):
    guest = connected(guests)
    for _ in range(100):  # nobody reads
        with contextlib.suppress(OSError):
            guest.say(DATA, bytes(4000))
        time.sleep(0.002)
    status, said = guest.ended()
    assert status == REFUSED, said
    assert "more than there is room for" in said


def test_noise_never_ends_it_by_a_signal(guests):
    for seed in range(40):
        chance = random.Random(seed)
        guest = connected(guests)
        for _ in range(200):
            at = chance.randrange(2 * RING_SIZE + BUFFERS // 4)
            guest.memory[at : at + 4] = chance.randbytes(4)
            with contextlib.suppress(OSError):
                if chance.random() < 0.1:
                    size = chance.randrange(80)
                    guest.send(chance.randrange(30), chance.randbytes(size))
                else:
                    guest.put(SENDING, chance.randrange(ENTRIES))
        guest.socket.close()
        time.sleep(0.02)
        assert guest.program.poll() in (None, REFUSED), seed
