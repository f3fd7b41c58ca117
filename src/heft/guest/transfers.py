"""Files and tars in and out of a guest: operations that have a stream of their own.

An operation that is left before its end is cancelled; what it had landed in the guest is removed
there. All raise what `answers` makes of the guest's words.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from heft.errors import HostError, OutcomeUnknown
from heft.guest.answers import checked
from heft.guest.protocol import Operation, Status, Tag
from heft.guest.records import Fields
from heft.guest.streams import Inflow, Outflow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from heft.guest.link import Link
    from heft.guest.records import Record

OVER_SECONDS = 30.0
"""How long a guest may take between the end of a stream and its verdict."""
QUIET_SECONDS = 120.0
"""How long a guest may give nothing of a stream that is waited for. Who waits holds the machine,
and one that hangs on a damaged disk is to be removed all the same. To take nothing is no better."""
UNDO_SECONDS = 600.0
"""How long a guest may take over its verdict on what was unpacked: it may have many files to remove
again."""


class Transfers:
    """The operations on one guest's files; `over` is to be told what event OVER says."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._going: dict[int, tuple[Inflow, asyncio.Future[Record]]] = {}

    async def status(self, path: str) -> Record:
        """Say what is at a path, as the answer to STATUS."""
        fields = Fields().text(Tag.PATH, path)
        return checked(await self._link.request(Operation.STATUS, fields))

    @contextlib.asynccontextmanager
    async def given(
        self, operation: Operation, fields: Fields
    ) -> AsyncIterator[tuple[Record, AsyncIterator[bytes]]]:
        """Let the guest give a stream: its answer, and the blocks. NUMBER is added to `fields`."""
        inflow = Inflow(self._link.free_channel())
        over: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self._going[inflow.number] = inflow, over
        fields.number(Tag.NUMBER, inflow.number)
        try:
            answer = checked(await self._link.request(operation, fields, streams=(inflow,)))
            yield answer, self._blocks(inflow, over)
        finally:
            self._link.remove(inflow)
            del self._going[inflow.number]
            if not over.done():
                self._cancel(inflow.number)

    async def _blocks(self, inflow: Inflow, over: asyncio.Future[Record]) -> AsyncIterator[bytes]:
        try:
            while data := await self._next(inflow):
                yield bytes(data)
                inflow.take(len(data))
            async with asyncio.timeout(OVER_SECONDS):
                verdict = await asyncio.shield(over)
        except TimeoutError:
            raise HostError("the guest does not say how it went") from None
        except OutcomeUnknown:
            if not over.done():
                raise
            verdict = over.result()
        checked(verdict)

    async def _next(self, inflow: Inflow) -> bytearray:
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                return await inflow.read()
        except TimeoutError:
            raise self._quiet("given nothing", QUIET_SECONDS) from None

    def _quiet(self, what: str, seconds: float) -> HostError:
        return HostError(
            f"the guest of {self._link.name} has {what} for {seconds:g} s",
            hint="its disk may be damaged: stop the container, and try `heft fsck`",
        )

    def over(self, record: Record) -> bool:
        """Take the verdict on an operation; say whether it is known."""
        inflow, verdict = self._going.get(record.number(Tag.NUMBER), (None, None))
        if inflow is None or verdict is None or verdict.done():
            return False
        verdict.set_result(record)
        if record.number(Tag.STATUS) != Status.OK:
            inflow.lose("it went wrong")
        return True

    async def take(self, fields: Fields, source: AsyncIterator[bytes]) -> None:
        """Let the guest UNPACK a stream. NUMBER is added to `fields`."""
        outflow = Outflow(self._link.free_channel())
        fields.number(Tag.NUMBER, outflow.number)
        asking = asyncio.ensure_future(
            self._link.request(Operation.UNPACK, fields, None, streams=(outflow,))
        )
        # Who writes waits for the guest to take it, or to have done with it.
        asking.add_done_callback(lambda _: outflow.lose("it is over"))
        try:
            async for block in source:
                await self._put(outflow, block)
                if asking.done() or outflow.stopped:
                    break
            outflow.end()
            await asyncio.wait({asking}, timeout=UNDO_SECONDS)
            if not asking.done():
                raise self._quiet("not said how it went", UNDO_SECONDS)
            checked(asking.result())
        finally:
            if not asking.done():
                # It is over when what it had landed is gone again.
                self._cancel(outflow.number)
                await asyncio.wait({asking}, timeout=OVER_SECONDS)
                asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            self._link.remove(outflow)

    async def _put(self, outflow: Outflow, block: bytes) -> None:
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await outflow.write(block)
        except TimeoutError:
            raise self._quiet("taken nothing", QUIET_SECONDS) from None

    def _cancel(self, number: int) -> None:
        self._link.post(Operation.CANCEL, Fields().number(Tag.NUMBER, number))
