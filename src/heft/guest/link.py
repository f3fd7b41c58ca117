"""The connection to a guest's agent: requests with their answers, and streams, over sessions.

When a session is lost, the next one is begun; streams go on in it, and requests that were not
answered fail as `Interrupted`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from typing import TYPE_CHECKING

from heft.errors import HeftError, HostError, OutcomeUnknown
from heft.guest import frames, records
from heft.guest.conversation import Conversation
from heft.guest.protocol import MOST_CHANNEL, Kind, ProtocolError, Tag
from heft.guest.streams import Inflow, Outflow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from heft.guest.frames import Frame
    from heft.guest.protocol import Operation
    from heft.guest.records import Fields, Message, Record
    from heft.guest.tokens import Tokens
    from heft.guest.wire import Connection

    Stream = Inflow | Outflow

log = logging.getLogger(__name__)

REQUEST_SECONDS = 30.0
"""How long an answer may take where nothing else is said."""
GREETING_SECONDS = 30.0
"""How long a guest that was there before may take to answer a new session."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
"""Seconds before the next session is begun, when one was lost; longer each time."""
_GOOD_SECONDS = 10.0
"""How long a session must last to be a good one."""
_FIRST_FREE = 16
"""The lowest channel that `free_channel` gives: those below are their user's own matter."""
_LAST_REQUEST = 1 << 32


class Interrupted(OutcomeUnknown):
    """The session was lost between a request and its answer."""


class Link:
    """One guest's. `on_event` gets what the agent tells, `on_welcome` its state in each session."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], tokens: Tokens, name: str
    ) -> None:
        self.on_event: Callable[[Message], bool] = _nothing
        self.on_welcome: Callable[[Record], None] = _ignore
        self._connect = connect
        self._tokens = tokens
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._conversation: Conversation | None = None
        self._closed = False
        self._greeted: asyncio.Future[Record] | None = None
        self._ready: dict[asyncio.Future[None], None] = {}
        """Who waits for a session, in the order in which they came."""
        self._requests = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Record]] = {}
        self._posted = 0
        """How many answers may come that nobody waits for."""
        self._down = asyncio.Event()
        self._streams: dict[int, Stream] = {}
        self._lasting: set[int] = set()
        self._taken: frozenset[int] = frozenset()
        self._channels = itertools.count(_FIRST_FREE)
        self._since = 0.0
        self._silent = False
        self._pause = _SHORTEST_PAUSE
        self._reopening: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Whose guest it is."""
        return self._name

    @property
    def is_closed(self) -> bool:
        """Say whether there will be no session any more."""
        return self._closed

    # Sessions

    async def open(self, seconds: float) -> Record:
        """Begin a session; give the guest's state. Requests may be made meanwhile.

        Raises `HostError` if nobody answers within a time.
        """
        if self._closed:
            raise HostError(f"the guest of {self._name} is gone")
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connect()
        except TimeoutError:
            raise self._unanswered(seconds) from None
        opening, nonce = self._tokens.opening()
        greeted: asyncio.Future[Record] = self._loop.create_future()
        self._greeted = greeted
        self._conversation = Conversation(connection, opening, nonce, self)
        self._posted = 0
        self._down.clear()
        for future in self._ready:
            if not future.done():
                future.set_result(None)
        try:
            async with asyncio.timeout(seconds):
                return await greeted
        except BaseException as error:
            self._end("it was given up before it had answered")
            if isinstance(error, TimeoutError):
                raise self._unanswered(seconds) from None
            raise
        finally:
            self._greeted = None

    def _unanswered(self, seconds: float) -> HostError:
        return HostError(f"the guest of {self._name} has not answered within {seconds:g} s")

    async def resume(self, seconds: float) -> None:
        """Begin a session with a guest that an earlier daemon left, however long it takes.

        Returns when the guest has answered, or after a time; until it answers then, requests fail.
        """
        self._reopening = asyncio.create_task(self._reopen(0))
        await asyncio.wait({self._reopening}, timeout=seconds)
        self._silent = not self._since

    def welcome(self, state: Record) -> None:
        """Let the streams go on where they are; for the conversation."""
        assert self._conversation is not None
        wire = self._conversation.wire
        bases = {
            channel.number(Tag.NUMBER): channel.number(Tag.BASE)
            for process in state.records(Tag.PROCESS)
            for channel in process.records(Tag.CHANNEL)
        }
        self._taken = frozenset(bases)
        for number, stream in tuple(self._streams.items()):
            if stream.is_of(wire):
                continue  # it was begun after HELLO
            try:
                if number not in bases:
                    raise ProtocolError("the guest knows nothing of it any more")
                stream.connect(wire, bases[number])
            except ProtocolError as error:
                self._lose(stream, str(error))
        self._tokens.settle()
        self._since = time.monotonic()
        self._silent = False
        self.on_welcome(state)
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(state)

    def lost(self, why: str) -> None:
        """End the session, and begin another if it was a whole one; for the conversation."""
        opening = self._greeted is not None
        self._end(why)
        if not opening:
            log.warning("the guest of %s: the connection is lost: %s", self._name, why)
            if time.monotonic() - self._since > _GOOD_SECONDS:
                self._pause = _SHORTEST_PAUSE
            self._reopening = asyncio.create_task(self._reopen(self._pause))

    def _end(self, why: str) -> None:
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None
            self._down.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(
                    Interrupted(f"the guest of {self._name} was lost before it answered: {why}")
                )
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_exception(HostError(f"the guest of {self._name} is lost: {why}"))
        for number, stream in tuple(self._streams.items()):
            stream.disconnect()
            if number not in self._lasting:
                self._lose(stream, why)

    async def _reopen(self, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            pause = self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            try:
                await self.open(GREETING_SECONDS)
            except HeftError as error:
                log.info("the guest of %s: %s", self._name, error)
            else:
                return

    async def ended(self, seconds: float) -> None:
        """Return when there is no session any more, or after a time."""
        if self._conversation is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._down.wait()

    async def close(self, why: str = "it is closed") -> None:
        """End it for good; streams end where they are, requests fail. Harmless when repeated."""
        self._closed = True
        self._end(why)
        for stream in tuple(self._streams.values()):
            self._lose(stream, why)
        for future in self._ready:
            if not future.done():
                future.set_result(None)
        if self._reopening is not None:
            self._reopening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reopening

    # Requests

    async def request(
        self,
        operation: Operation,
        fields: Fields,
        seconds: float | None = REQUEST_SECONDS,
        *,
        streams: Iterable[Stream] = (),
        lasting: bool = False,
    ) -> Record:
        """Ask the agent for something; give its answer, whatever STATUS it has.

        `streams` are those whose channels it names, carried from then on as by `add`. Raises
        `OutcomeUnknown` where it was asked and no answer came (`Interrupted` where the session was
        lost), `HostError` where it could not even be asked within the time.
        """
        if self._silent:
            raise HostError(
                f"the guest of {self._name} has not answered since this daemon started",
                hint="it may be busy or stuck; SIGKILL ends it in any case",
            )
        number = next(self._requests) % _LAST_REQUEST or next(self._requests)
        answer: asyncio.Future[Record] = self._loop.create_future()
        asked = False
        try:
            async with asyncio.timeout(seconds):
                conversation = await self._connected()
                self._answers[number] = answer
                asked = True
                text = records.message(operation, number, fields)
                conversation.wire.send(frames.message_frames(text))
                for stream in streams:
                    self.add(stream, lasting=lasting)
                return await answer
        except TimeoutError:
            said = f"the guest of {self._name} does not answer ({operation.name})"
            raise (OutcomeUnknown if asked else HostError)(said) from None
        finally:
            if self._answers.pop(number, None) is not None and not answer.done():
                self._posted += 1

    def post(self, operation: Operation, fields: Fields) -> None:
        """Ask for something without waiting for the answer; forgotten where nobody is there."""
        if self._conversation is not None:
            self._posted += 1
            text = records.message(operation, next(self._requests) % _LAST_REQUEST, fields)
            self._conversation.wire.send(frames.message_frames(text))

    async def _connected(self) -> Conversation:
        while self._conversation is None:
            if self._closed:
                raise HostError(f"the guest of {self._name} is gone")
            future: asyncio.Future[None] = self._loop.create_future()
            self._ready[future] = None
            try:
                await future
            finally:
                self._ready.pop(future, None)
        return self._conversation

    def message(self, message: Message) -> bool:
        """Hand an answer or an event on; for the conversation."""
        if not message.is_answer:
            return self.on_event(message)
        answer = self._answers.get(message.request)
        if answer is None or answer.done():
            self._posted -= 1
            return self._posted >= 0
        answer.set_result(message.record)
        return True

    # Streams

    def drained(self) -> None:
        """Let the streams send on; for the conversation."""
        for stream in tuple(self._streams.values()):
            if isinstance(stream, Outflow):
                stream.push()

    def free_channel(self) -> int:
        """Give the number of a channel that nobody has."""
        while True:
            number = next(self._channels) % (MOST_CHANNEL + 1)
            if number >= _FIRST_FREE and not (number in self._streams or number in self._taken):
                return number

    def add(self, stream: Stream, base: int = 0, *, lasting: bool = False) -> None:
        """Carry a stream from now on; one that is `lasting` goes on in later sessions.

        `base`: the first byte that the guest still has; or of one to it, how far it got it.
        """
        self._streams[stream.number] = stream
        if lasting:
            self._lasting.add(stream.number)
        if self._conversation is not None:
            with contextlib.suppress(ProtocolError):
                stream.connect(self._conversation.wire, base)
        elif not lasting or self._closed:
            self._lose(stream, "the guest is gone")

    def remove(self, stream: Stream) -> None:
        """Carry a stream no more; harmless when repeated."""
        if self._streams.get(stream.number) is stream:
            del self._streams[stream.number]
            self._lasting.discard(stream.number)
            stream.disconnect()

    def _lose(self, stream: Stream, why: str) -> None:
        self.remove(stream)
        stream.lose(why)

    def stream_frame(self, frame: Frame) -> bool:
        """Hand a frame to its stream; for the conversation."""
        stream = self._streams.get(frame.channel)
        if isinstance(stream, Inflow) and frame.kind == Kind.DATA:
            return stream.take_data(frame)
        if isinstance(stream, Outflow) and frame.kind == Kind.WINDOW:
            return stream.take_window(frame)
        if isinstance(stream, Outflow) and frame.kind == Kind.STOP:
            self._lose(stream, "nobody reads it")
            return True
        return False


def _nothing(_: Message) -> bool:
    """Nobody wants to know."""
    return False


def _ignore(_: Record) -> None:
    """Nobody wants to know."""
