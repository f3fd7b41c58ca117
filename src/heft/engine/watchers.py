"""Who waits for the end of a machine's run."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heft.model.request import WaitCondition
    from heft.weights.base import Exit


class Watchers:
    """All that wait for one machine."""

    def __init__(self) -> None:
        self._all: list[tuple[WaitCondition, asyncio.Future[Exit]]] = []

    def add(self, condition: WaitCondition) -> asyncio.Future[Exit]:
        """Give a future of how it ends; it is registered when this returns."""
        future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        self._all.append(entry)
        future.add_done_callback(lambda _: self._forget(entry))
        return future

    def _forget(self, entry: tuple[WaitCondition, asyncio.Future[Exit]]) -> None:
        with contextlib.suppress(ValueError):
            self._all.remove(entry)

    def tell(self, how: Exit, *conditions: WaitCondition) -> None:
        """Tell those who wait for one of these."""
        for condition, future in tuple(self._all):
            if condition in conditions and not future.done():
                future.set_result(how)
