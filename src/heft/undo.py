"""The undo stack: how a change of several steps is taken back when one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

from heft.errors import HostError

if TYPE_CHECKING:
    from types import TracebackType

Step = Callable[[], Awaitable[None]]

UNDO_SECONDS = 30.0


class Undo:
    """Steps that take back what was done so far, last first, unless `commit` is reached.

    Push the undo right after its step::

        async with Undo() as undo:
            await make_link(link)
            undo.push(f"delete link {link}", lambda: delete_link(link))
            ...
            undo.commit()

    Leaving the block by an exception (cancellation too) runs the steps, shielded from further
    cancellation and each bounded by `UNDO_SECONDS`, then lets the exception go on unchanged. A step
    that fails does not keep the others from running; what it left behind is added to the exception
    as a note, so that it is reported with the original error.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[str, Step]] = []

    def push(self, what: str, step: Step) -> None:
        """Remember how to take back what was just done; `what` names it for the report."""
        self._steps.append((what, step))

    def commit(self) -> None:
        """Forget every step: what was done stays."""
        self._steps.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._steps:
            return
        task = asyncio.ensure_future(self._run())
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                continue
        left = task.result()
        if not left:
            return
        report = "left behind: " + "; ".join(left)
        if error is None:
            raise HostError(report)
        error.add_note(report)

    async def _run(self) -> list[str]:
        left = []
        while self._steps:
            what, step = self._steps.pop()
            try:
                async with asyncio.timeout(UNDO_SECONDS):
                    await step()
            except Exception as error:
                left.append(f"{what}: {error or type(error).__name__}")
        return left
