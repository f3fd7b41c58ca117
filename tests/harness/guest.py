"""A guest's agent for tests of the daemon's side, and guests that mean harm.

`Peer` keeps strictly to docs/agent-protocol.md and fails the test where the daemon does not. Its
processes are played by the test: `put` their output, `exit` them. It outlives connections as a
guest does.
"""

import asyncio
import contextlib
import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from heft.guest import frames
from heft.guest.protocol import (
    ANSWER,
    FIN,
    FIRST_TOKEN,
    MORE,
    MOST_PAYLOAD,
    STREAM_ROOM,
    VERSION,
    Event,
    Kind,
    Operation,
    Phase,
    Status,
    Tag,
)
from heft.guest.records import Fields, Message, Record, message

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = struct.Struct("<IHBBQ")


@dataclass
class Outlet:
    """A stream to the daemon: what was put and not taken."""

    number: int
    base: int = 0
    kept: bytearray = field(default_factory=bytearray)
    ended: bool = False
    sent: int = 0
    limit: int = 0
    end_sent: bool = False
    stopped: bool = False

    @property
    def end(self) -> int:
        return self.base + len(self.kept)


@dataclass
class Inlet:
    """A stream from the daemon."""

    number: int
    data: bytearray = field(default_factory=bytearray)
    limit: int = 0
    ended: bool = False


@dataclass
class PeerProcess:
    """A process that the test plays."""

    id: str
    start: Record
    phase: Phase = Phase.RUNNING
    code: int = 0
    stdin: Inlet | None = None
    outlets: dict[int, Outlet] = field(default_factory=dict)


class Peer:
    """An agent that listens on a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = FIRST_TOKEN
        self.asked: list[tuple[Operation, Record]] = []
        self.processes: dict[str, PeerProcess] = {}
        self.loose: dict[int, Outlet | Inlet] = {}
        self.replies: dict[Operation, Callable[[Record], tuple[Status, Fields] | None]] = {}
        self.sessions = 0
        self.errors: list[str] = []
        self.is_set_up = False
        self.frozen = False
        self.listening = True
        self._buffer = b""
        self._greeting = False
        self._in_session = False
        self._partial = b""
        self._server: asyncio.Server | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def close(self) -> None:
        await self.drop()
        if self._server is not None:
            self._server.close()
        assert not self.errors

    async def drop(self) -> None:
        """Cut the connection."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        try:
            while data := await reader.read(1 << 16):
                if self.listening:
                    self._take(data)
        except ConnectionError:
            pass
        except Exception as error:  # told when the test ends
            self.errors.append(f"{type(error).__name__}: {error}")
            writer.close()
        if self.writer is writer:
            self.writer = None
            self._in_session = False
        writer.close()

    # What comes

    def _take(self, data: bytes) -> None:
        self._buffer += data
        while True:
            found = self._buffer.find(self.token)
            if found >= 0:
                self._buffer = self._buffer[found + len(self.token) :]
                self._greeting, self._in_session, self._partial = True, False, b""
                continue
            if not (self._greeting or self._in_session):
                self._buffer = self._buffer[-len(self.token) :]
                return
            frame = self._frame()
            if frame is None:
                return
            if self._greeting and frame.kind != Kind.HELLO:
                self._greeting = False
            elif self._greeting:
                self._hello(Record(frame.payload))
            else:
                self._take_frame(frame)

    def _frame(self) -> frames.Frame | None:
        if len(self._buffer) < _HEAD.size:
            return None
        length, channel, kind, flags, offset = _HEAD.unpack_from(self._buffer)
        if self._greeting and (kind != Kind.HELLO or length > 1000):
            self._greeting = False  # what stands between a token and a HELLO is skipped
            return frames.Frame(Kind.ERROR, 0, 0, 0, b"")
        assert length <= MOST_PAYLOAD, f"a frame of {length} bytes"
        if len(self._buffer) < _HEAD.size + length:
            return None
        payload = self._buffer[_HEAD.size : _HEAD.size + length]
        self._buffer = self._buffer[_HEAD.size + length :]
        return frames.Frame(kind, channel, flags, offset, payload)

    def _hello(self, record: Record) -> None:
        assert record.number(Tag.VERSION) == VERSION
        self.token = record.data(Tag.TOKEN)
        assert len(self.token) == 32
        self._greeting, self._in_session = False, True
        self.sessions += 1
        self.loose.clear()
        for process in self.processes.values():
            for outlet in process.outlets.values():
                outlet.limit, outlet.end_sent = 0, False
        self.send(record.data(Tag.NONCE), frames.frame(Kind.WELCOME, self.state().encode()))
        for process in self.processes.values():
            if process.stdin is not None:
                self._grant(process.stdin)

    def state(self) -> Fields:
        fields = Fields().number(Tag.VERSION, VERSION).text(Tag.AGENT, "peer")
        fields.flag(Tag.READY, self.is_set_up).flag(Tag.FROZEN, self.frozen)
        for process in self.processes.values():
            one = Fields().text(Tag.ID, process.id).number(Tag.PHASE, process.phase)
            one.number(Tag.EXIT_CODE, process.code)
            for stream, outlet in process.outlets.items():
                channel = Fields().number(Tag.NUMBER, outlet.number).number(Tag.STREAM, stream)
                channel.number(Tag.BASE, outlet.base).number(Tag.END, outlet.end)
                one.record(Tag.CHANNEL, channel.flag(Tag.ENDED, outlet.ended))
            if process.stdin is not None:
                channel = Fields().number(Tag.NUMBER, process.stdin.number)
                channel.number(Tag.BASE, len(process.stdin.data))
                one.record(Tag.CHANNEL, channel)
            fields.record(Tag.PROCESS, one)
        return fields

    def _take_frame(self, frame: frames.Frame) -> None:
        if frame.kind == Kind.MESSAGE:
            self._partial += frame.payload
            assert len(self._partial) <= 1 << 20
            if not frame.flags & MORE:
                whole, self._partial = self._partial, b""
                self._answer(Message(whole))
            return
        if frame.kind == Kind.ERROR:
            self._in_session = False
            return
        stream = self._streams().get(frame.channel)
        if stream is None:
            return
        if frame.kind == Kind.WINDOW:
            assert isinstance(stream, Outlet)
            taken = frames.taken(frame.payload)
            assert stream.base <= taken <= stream.end
            assert frame.offset >= stream.limit
            del stream.kept[: taken - stream.base]
            stream.base = taken
            if not stream.limit:  # the first one of a session says where to go on
                stream.sent = taken
            stream.limit = frame.offset
            self.flush()
        elif frame.kind == Kind.STOP:
            assert isinstance(stream, Outlet)
            stream.stopped = True
        else:
            assert frame.kind == Kind.DATA
            assert isinstance(stream, Inlet)
            self._take_data(stream, frame)

    def _take_data(self, inlet: Inlet, frame: frames.Frame) -> None:
        assert frame.offset <= len(inlet.data), "a gap"
        assert frame.offset + len(frame.payload) <= inlet.limit, "beyond the window"
        inlet.data += frame.payload[len(inlet.data) - frame.offset :]
        inlet.ended = inlet.ended or bool(frame.flags & FIN)
        self._grant(inlet)

    def _grant(self, inlet: Inlet) -> None:
        inlet.limit = len(inlet.data) + STREAM_ROOM
        self.send(frames.window(inlet.number, len(inlet.data), inlet.limit))

    def open_inlet(self, number: int, *, grants: bool) -> None:
        """Take a stream to which no process belongs; or, without `grants`, take none of it."""
        inlet = self.loose[number] = Inlet(number)
        if grants:
            self._grant(inlet)

    def _streams(self) -> dict[int, Outlet | Inlet]:
        found = dict(self.loose)
        for process in self.processes.values():
            found.update((outlet.number, outlet) for outlet in process.outlets.values())
            if process.stdin is not None:
                found[process.stdin.number] = process.stdin
        return found

    # Requests

    def _answer(self, request: Message) -> None:
        operation = Operation(request.operation)
        self.asked.append((operation, request.record))
        reply = self.replies.get(operation, lambda _: (Status.OK, Fields()))
        answer = reply(request.record)
        if answer is None:
            return
        status, fields = answer
        if status is Status.OK:
            self._obey(operation, request.record, fields)
        fields.number(Tag.STATUS, status)
        self.send(
            frames.message_frames(message(operation | ANSWER, request.request, fields)),
        )

    def _obey(self, operation: Operation, record: Record, fields: Fields) -> None:
        identity = record.text(Tag.ID)
        if operation is Operation.SETUP:
            self.is_set_up = True
        elif operation is Operation.START:
            if identity not in self.processes:
                self.processes[identity] = self._started(identity, record)
            fields.number(Tag.PID, 100 + len(self.processes))
        elif operation is Operation.GO:
            self.processes[identity].phase = Phase.RUNNING
        elif operation is Operation.FORGET:
            assert self.processes[identity].phase is Phase.EXITED
            del self.processes[identity]
        elif operation is Operation.DISOWN:
            del self.processes[identity]
        elif operation is Operation.FREEZE:
            self.frozen = record.flag(Tag.FROZEN)

    def _started(self, identity: str, record: Record) -> PeerProcess:
        process = PeerProcess(identity, record)
        if record.flag(Tag.HOLD):
            process.phase = Phase.HELD
        for stream, tag in ((1, Tag.STDOUT), (2, Tag.STDERR)):
            if number := record.number(tag):
                process.outlets[stream] = Outlet(number)
        if number := record.number(Tag.STDIN):
            process.stdin = Inlet(number)
            self._grant(process.stdin)
        return process

    # What the test plays

    def put(self, identity: str, data: bytes, stream: int = 1) -> None:
        outlet = self.processes[identity].outlets[stream]
        outlet.kept += data
        self.flush()

    def exit(self, identity: str, code: int = 0, *, finished: int = 0) -> None:
        process = self.processes[identity]
        process.phase, process.code = Phase.EXITED, code
        for outlet in process.outlets.values():
            outlet.ended = True
        fields = Fields().text(Tag.ID, identity).number(Tag.EXIT_CODE, code)
        self.tell(Event.EXITED, fields.number(Tag.FINISHED, finished))
        self.flush()

    def tell(self, event: Event, fields: Fields) -> None:
        self.send(frames.message_frames(message(event, 0, fields)))

    def flush(self) -> None:
        """Send of all streams what their windows allow."""
        for outlet in self._streams().values():
            if not isinstance(outlet, Outlet) or not outlet.limit:
                continue
            while outlet.sent < min(outlet.end, outlet.limit):
                at = outlet.sent - outlet.base
                size = min(outlet.limit - outlet.sent, MOST_PAYLOAD)
                part = bytes(outlet.kept[at : at + size])
                self.send(frames.data_head(outlet.number, outlet.sent, len(part)), part)
                outlet.sent += len(part)
            if outlet.ended and outlet.sent == outlet.end and not outlet.end_sent:
                outlet.end_sent = True
                self.send(frames.data_head(outlet.number, outlet.end, 0, fin=True))

    def send(self, *parts: bytes) -> None:
        if self._in_session and self.writer is not None:
            with contextlib.suppress(ConnectionError):
                self.writer.writelines(parts)


def pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    """Give two ends of a connection made of pipes, each a descriptor to read and one to write."""
    there, back = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    return (back[0], there[1]), (there[0], back[1])


def sockets() -> tuple[socket.socket, socket.socket]:
    """Give two ends of a connection."""
    return socket.socketpair()
