"""One session with a guest's agent over one connection: what comes is taken apart and handed on.

Whatever the guest sends, memory stays bounded and the loop gets its turn: a guest that breaks the
protocol, or says nothing of use again and again, loses the session.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from heft.errors import HostError, plain
from heft.guest import frames
from heft.guest.frames import Deframer
from heft.guest.protocol import (
    HEARD_STEP,
    MORE,
    MOST_MESSAGE,
    NONCE_SIZE,
    VERSION,
    Kind,
    ProtocolError,
    Tag,
)
from heft.guest.records import Message, Record
from heft.guest.wire import Wire

if TYPE_CHECKING:
    from heft.guest.frames import Frame
    from heft.guest.wire import Connection

SLICE_SECONDS = 0.002
"""How long the frames of one guest may keep the loop from others."""
MOST_USELESS = 1000
"""How many frames in a row may be of no use."""
_LOOKS = 16
"""Frames between two looks at the clock."""
_LONGEST_WORDS = 300


class Hearer(Protocol):
    """Who is told. What gives a bool says whether it was of use; all may raise `ProtocolError`."""

    def welcome(self, state: Record) -> None:
        """Hear the guest's state: the agent has answered."""

    def stream_frame(self, frame: Frame) -> bool:
        """Hear a frame of a channel."""

    def message(self, message: Message) -> bool:
        """Hear an answer or an event."""

    def drained(self) -> None:
        """Hear that more can be sent, after `Wire.is_full`."""

    def lost(self, why: str) -> None:
        """Hear that it is over; once, and not after `close`."""


class Conversation:
    """One session, from the token on."""

    def __init__(
        self, connection: Connection, opening: bytes, nonce: bytes, hearer: Hearer
    ) -> None:
        self._hearer = hearer
        self._deframer = Deframer(nonce)
        self._partial = bytearray()
        self._useless = 0
        self._welcomed = False
        self._received_size = 0
        self._heard_from = 0
        self._heard = 0
        """Bytes since the nonce began of which a line's other end knows that they were read."""
        self._over = False
        self._loop = asyncio.get_running_loop()
        self.wire = Wire(connection, self._received, hearer.drained, self._lost)
        try:
            self.wire.hold(len(opening))
        except HostError:
            self.wire.close()
            raise
        self.wire.send(opening)

    def close(self) -> None:
        """End it; nobody is told anything any more."""
        self._over = True
        self.wire.close()

    def _lost(self, why: str) -> None:
        if not self._over:
            self._over = True
            self.wire.close()
            self._hearer.lost(why)

    def _received(self, data: bytes) -> None:
        self._deframer.feed(data)
        self._received_size += len(data)
        self._hear()
        if self._welcomed and self.wire.is_line:
            self._tell_heard()

    def _tell_heard(self) -> None:
        heard = self._received_size - self._heard_from
        if heard - self._heard >= HEARD_STEP:
            self._heard = heard
            self.wire.send(frames.frame(Kind.HEARD, offset=heard))

    def _hear(self) -> None:
        """Hand on what is there; a part of it, if that takes long."""
        end = time.monotonic() + SLICE_SECONDS
        count = 0
        try:
            while not self._over:
                frame = self._deframer.next()
                if frame is None:
                    self.wire.resume()
                    return
                self._take(frame)
                count += 1
                if not count % _LOOKS and time.monotonic() > end:
                    self.wire.pause()
                    self._loop.call_soon(self._hear)
                    return
        except ProtocolError as error:
            self.wire.send(frames.frame(Kind.ERROR, str(error).encode()))
            self._lost(f"it broke the protocol: {error}")

    def _take(self, frame: Frame) -> None:
        kind = frame.kind
        if Kind.DATA <= kind <= Kind.STOP:
            useful = self._hearer.stream_frame(frame)
        elif kind == Kind.MESSAGE:
            useful = self._take_message(frame)
        elif kind == Kind.WELCOME:
            greeting = NONCE_SIZE + frames.HEAD_SIZE + len(frame.payload)
            self._take_welcome(Record(frame.payload), greeting)
            useful = True
        elif kind == Kind.HEARD:
            useful = self.wire.heard(frame.offset)
        elif kind == Kind.ERROR:
            said = frame.payload[:_LONGEST_WORDS].decode(errors="replace")
            self._lost(f"it said: {plain(said)}")
            return
        else:
            raise ProtocolError(f"a frame of kind {kind}")
        self._useless = 0 if useful else self._useless + 1
        if self._useless > MOST_USELESS:
            raise ProtocolError("it goes on and on saying nothing of use")

    def _take_message(self, frame: Frame) -> bool:
        if len(self._partial) + len(frame.payload) > MOST_MESSAGE:
            raise ProtocolError("a message that is too long")
        if not self._partial and not frame.flags & MORE:
            return self._hearer.message(Message(frame.payload))
        self._partial += frame.payload
        if frame.flags & MORE:
            return bool(frame.payload)
        whole, self._partial = bytes(self._partial), bytearray()
        return self._hearer.message(Message(whole))

    def _take_welcome(self, state: Record, greeting: int) -> None:
        if self._welcomed:
            raise ProtocolError("a welcome that nobody asked for")
        if (version := state.number(Tag.VERSION)) != VERSION:
            raise ProtocolError(f"it speaks version {version}, not {VERSION}")
        self._welcomed = True
        self._heard_from = self._received_size - self._deframer.waiting - greeting
        self.wire.heard(0)
        self._hearer.welcome(state)
