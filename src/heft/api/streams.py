"""A client and a process, joined by their streams until one of them, or the user, has enough."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from heft.api.detach import DetachKeys
from heft.api.frames import frame
from heft.model.machine import Stream

if TYPE_CHECKING:
    from heft.weights.base import Session

DELIVER_SECONDS = 5.0
"""How long the input of a client that has gone may take to reach the process."""


class Client(Protocol):
    """A client's connection, whatever it speaks."""

    async def read(self) -> bytes:
        """Give what the client sent; empty when it sends no more."""

    async def write(self, data: bytes) -> None:
        """Send to the client. Raises `ConnectionError` if it has gone."""

    def ignore_input(self) -> None:
        """Drop all that the client sends."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams a client asked for, and how."""

    stdin: bool
    stdout: bool
    stderr: bool
    framed: bool
    """Whether output goes out in frames; else it is one raw stream (a terminal's)."""
    keys: bytes = b""
    """What, typed, detaches; empty: nothing does."""
    closes_stdin: bool = True
    """Whether the process's input ends with the client's; else the client is let go then."""

    def shows(self, stream: Stream) -> bool:
        """Say whether output of this stream is wanted."""
        return self.stderr if stream is Stream.STDERR else self.stdout


class Ending(enum.Enum):
    """Why a client and a process are no longer joined."""

    PROCESS = "the process's output has ended"
    CLIENT = "the client has sent all, or gone"
    DETACHED = "the user typed the detach keys"


async def join(client: Client, session: Session, wanted: Wanted) -> Ending:
    """Carry data both ways until it ends; the session is the caller's to close."""
    if not wanted.stdin:
        client.ignore_input()
        return await _output(client, session, wanted)
    output = asyncio.create_task(_output(client, session, wanted))
    feeding = asyncio.create_task(_input(client, session, wanted))
    try:
        await asyncio.wait({output, feeding}, return_when=asyncio.FIRST_COMPLETED)
        if not output.done():
            return feeding.result() or await output
        if output.result() is Ending.CLIENT and not feeding.done():
            # What it sent before it went still goes to the process.
            await asyncio.wait({feeding}, timeout=DELIVER_SECONDS)
        return output.result()
    finally:
        for task in (output, feeding):
            task.cancel()
        await asyncio.gather(output, feeding, return_exceptions=True)


async def _output(client: Client, session: Session, wanted: Wanted) -> Ending:
    try:
        while (piece := await session.read()) is not None:
            stream, data = piece
            if wanted.shows(stream):
                await client.write(frame(stream, data) if wanted.framed else data)
    except ConnectionError:
        return Ending.CLIENT
    return Ending.PROCESS


async def _input(client: Client, session: Session, wanted: Wanted) -> Ending | None:
    """Give why to part, or None where the output's end is what counts from now on."""
    keys = DetachKeys(wanted.keys) if wanted.keys else None
    while data := await client.read():
        if keys is not None:
            data, detached = keys.feed(data)
            if detached:
                await session.write(data)
                return Ending.DETACHED
        if data:
            await session.write(data)
    if not wanted.closes_stdin:
        return Ending.CLIENT
    await session.close_stdin()
    return None
