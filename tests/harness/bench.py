"""The C agent on the host, in namespaces of its own, driven over a socket: no guest is booted.

It is built with the compiler's sanitizers, and what these say fails the test that sees it end.
"""

import functools
import hashlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

from heft.guest import frames
from heft.guest.protocol import FIN, FIRST_TOKEN, MOST_PAYLOAD, Event, Kind, Operation, Status, Tag
from heft.guest.records import Fields, Message, Record, message
from tests.harness.agent import BUILDS, SOURCES

MAIN = Path(__file__).with_name("agent_bench.c")
FLAGS = (
    *("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", f"-I{SOURCES}"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
    "-Wl,--wrap=reboot,--wrap=clock_settime",
)
ROOM = 1 << 18
SECONDS = 30.0


@functools.cache
def built() -> Path:
    """Give the program."""
    files = [MAIN, *sorted(SOURCES.glob("*.[ch]"))]
    state = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    program = BUILDS / f"agent-bench-{state}"
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        sources = [path for path in files if path.suffix == ".c" and path.name not in _OTHERS]
        made = program.with_suffix(f".{os.getpid()}")
        command = ["gcc", *FLAGS, "-o", made, *sources]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        made.rename(program)
    return program


_OTHERS = {"main.c", "tsc.c", "weigh.c"}


class Failed(Exception):
    """The agent has refused something: status and message."""

    @property
    def status(self) -> Status:
        status: Status = self.args[0]
        return status


class Bench:
    """An agent; `place` is `/place` in its own root."""

    def __init__(self, place: Path) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(SECONDS)
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1"}
        self.log = (place / "agent.log").open("w+b")
        self._process = subprocess.Popen(
            [built(), place], stdin=theirs, stderr=self.log, env=environment
        )
        theirs.close()
        self._token = FIRST_TOKEN
        self._channel = 0
        self.greet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and all that it has started. Raises for what the sanitizers have seen."""
        self.ours.close()
        ended = self._process.poll()
        # What it has started is killed with it; the program itself only waits for it.
        for child in self._children():
            os.kill(child, signal.SIGKILL)
        self._process.wait()
        self.log.seek(0)
        text = self.log.read().decode(errors="replace")
        self.log.close()
        assert ended is None, f"the agent has ended with {ended}: {text}"
        assert "ERROR: AddressSanitizer" not in text, text
        assert "runtime error:" not in text, text

    def machine(self) -> Path:
        """Give the machine's root, as the agent has it."""
        (child,) = self._children()
        return Path(f"/proc/{child}/root/machine")

    def _children(self) -> list[int]:
        pid = self._process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in text.split()]

    # Frames

    def greet(self) -> Record:
        """Open a session, which takes the place of one before; give the state."""
        nonce, following = os.urandom(32), os.urandom(32)
        self._frames = frames.Deframer(nonce)
        self.data: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.stopped: set[int] = set()
        self.windows: dict[int, int] = {}
        self.answers: dict[int, Message] = {}
        self.over: dict[int, Record] = {}
        self.exited: list[str] = []
        self._request = 0
        self.ours.sendall(frames.hello(self._token, nonce, following))
        self._token = following
        while True:
            frame = self.next_frame()
            if frame.kind == Kind.WELCOME:
                return Record(frame.payload)

    def next_frame(self) -> frames.Frame:
        while (frame := self._frames.next()) is None:
            block = self.ours.recv(1 << 18)
            assert block, "the agent has closed the connection"
            self._frames.feed(block)
        return frame

    def step(self) -> None:
        """Take one frame."""
        frame = self.next_frame()
        channel = frame.channel
        if frame.kind == Kind.DATA:
            assert channel not in self.over, "data after the end"
            known = self.data.setdefault(channel, bytearray())
            assert frame.offset == len(known)
            known += frame.payload
            if frame.flags & FIN:
                self.ended.add(channel)
            else:
                self.grant(channel)
        elif frame.kind == Kind.WINDOW:
            self.windows[channel] = frame.offset
        elif frame.kind == Kind.STOP:
            self.stopped.add(channel)
        else:
            assert frame.kind == Kind.MESSAGE, (frame.kind, frame.payload)
            self._take(frame)

    def _take(self, frame: frames.Frame) -> None:
        payload = frame.payload
        while frame.flags:
            frame = self.next_frame()
            assert frame.kind == Kind.MESSAGE
            payload += frame.payload
        told = Message(payload)
        if told.is_answer:
            self.answers[told.request] = told
        else:
            if told.operation == Event.OVER:
                self.over[told.record.number(Tag.NUMBER)] = told.record
            else:
                assert told.operation == Event.EXITED
                self.exited.append(told.record.text(Tag.ID))

    def grant(self, channel: int) -> None:
        """Let the agent send on."""
        taken = len(self.data.get(channel, b""))
        self.ours.sendall(frames.window(channel, taken, taken + ROOM))

    def stop(self, channel: int) -> None:
        """Want no more of a channel."""
        self.ours.sendall(frames.frame(Kind.STOP, channel=channel))

    # Requests

    def channel(self) -> int:
        """Give a number that was not used yet."""
        self._channel += 1
        return self._channel

    def send(self, operation: Operation, fields: Fields) -> int:
        """Ask for something; gives the request's id."""
        self._request += 1
        self.ours.sendall(frames.message_frames(message(operation, self._request, fields)))
        return self._request

    def answer(self, request: int) -> Record:
        """Wait for an answer. Raises `Failed`."""
        while request not in self.answers:
            self.step()
        return _checked(self.answers.pop(request).record)

    def ask(self, operation: Operation, fields: Fields) -> Record:
        """Ask for something, and wait for the answer. Raises `Failed`."""
        return self.answer(self.send(operation, fields))

    def take(self, operation: Operation, fields: Fields) -> tuple[Record, bytes]:
        """Ask for what comes on a channel: the answer and the whole of it. Raises `Failed`."""
        channel = self.channel()
        request = self.send(operation, fields.number(Tag.NUMBER, channel))
        self.grant(channel)
        answer = self.answer(request)
        while channel not in self.over:
            self.step()
        _checked(self.over.pop(channel))
        assert channel in self.ended
        return answer, bytes(self.data[channel])

    def give(self, operation: Operation, fields: Fields, content: bytes) -> Record:
        """Ask for something that takes this on a channel. Raises `Failed`."""
        channel = self.channel()
        request = self.send(operation, fields.number(Tag.NUMBER, channel))
        self.pour(channel, content, request)
        return self.answer(request)

    def pour(self, channel: int, content: bytes, request: int = 0, *, fin: bool = True) -> None:
        """Send on a channel, as its window allows, until it is answered."""
        at = 0
        while at < len(content):
            while self.windows.get(channel, 0) <= at and request not in self.answers:
                self.step()
            if request in self.answers:
                return
            part = content[at : min(self.windows[channel], at + MOST_PAYLOAD)]
            self.ours.sendall(frames.data_head(channel, at, len(part)) + part)
            at += len(part)
        if fin:
            self.ours.sendall(frames.data_head(channel, at, 0, fin=True))


def _checked(record: Record) -> Record:
    status = Status(record.number(Tag.STATUS))
    if status is not Status.OK:
        raise Failed(status, record.text(Tag.MESSAGE))
    return record


def disks(*, base: bool = True) -> Fields:
    """Give SETUP for a machine of the directories `/place/base` and `/place/upper`."""
    fields = Fields()
    for role in ("base", "upper") if base else ("upper",):
        disk = Fields().text(Tag.ROLE, role).text(Tag.SELECTOR, f"/place/{role}")
        fields.record(Tag.DISK, disk.text(Tag.TYPE, "bind"))
    return fields


def set_up(bench: Bench, *, base: bool = True) -> None:
    """Make it a machine of these."""
    bench.ask(Operation.SETUP, disks(base=base))
