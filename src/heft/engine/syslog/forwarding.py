"""Sends on what machines with the log driver `syslog` write.

The monitor writes the log, whether there is a daemon or not; here its lines are read from where the
last was sent, and sent. So a daemon that was killed loses none, and sends at most that one twice
which it was just about to note. A receiver that cannot be reached is waited for; meanwhile lines
stay in the log, as long as that is kept.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from typing import TYPE_CHECKING

from heft.engine import log_config
from heft.engine.syslog import channel, formats, target
from heft.engine.syslog.position import PositionFile
from heft.engine.syslog.reading import Reader
from heft.errors import HeftError, HostError, StartFailed
from heft.model.machine import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heft.engine.records import Records
    from heft.engine.syslog.channel import Channel
    from heft.engine.syslog.position import Position
    from heft.layout import Layout
    from heft.model.machine import Machine
    from heft.model.request import LogLine

log = logging.getLogger(__name__)

QUICKEST_LOOK, SLOWEST_LOOK = 0.02, 0.5
"""Seconds between two looks at a log: quick after output, slower in silence."""
QUICKEST_TRY, SLOWEST_TRY = 0.1, 5.0
"""Seconds between two attempts to reach a receiver."""
END_SECONDS = 5.0
"""How long a machine that is removed may still send what it wrote."""
REFUSED = 128


class Forwarding:
    """All machines whose lines are sent on."""

    def __init__(self, layout: Layout, records: Records) -> None:
        self._layout = layout
        self._records = records
        self._forwards: dict[str, _Forward] = {}

    async def begin(self, machine: Machine) -> None:
        """See to it that what the machine writes from now on is sent.

        Raises `StartFailed`, in Docker's words, where the receiver cannot be reached.
        """
        known = self._forwards.get(machine.id)
        if not _is_wanted(machine) or (known is not None and not known.has_ended):
            return
        try:
            opened = await channel.connect(_target(machine))
        except HostError as error:
            raise StartFailed(
                "failed to create task for container: failed to initialize logging driver:"
                f" {error.message}",
                exit_code=REFUSED,
                hint=error.hint,
            ) from error
        self._forward(machine, opened)

    def resume(self) -> None:
        """Go on with what an earlier daemon has not sent."""
        for machine in self._records:
            directory = self._layout.machine(machine.id)
            if _is_wanted(machine) and (directory / "log").exists():
                self._forward(machine, None)

    def _forward(self, machine: Machine, opened: Channel | None) -> None:
        try:
            self._forwards[machine.id] = _Forward(
                machine,
                self._layout.machine(machine.id),
                lambda: self._is_up(machine.id),
                opened,
            )
        except HeftError as error:
            log.warning("container %s: its lines are not sent to syslog: %s", machine.id, error)

    def _is_up(self, machine_id: str) -> bool:
        machine = self._records.get(machine_id)
        return machine is not None and (machine.is_up or machine.state is State.STARTING)

    async def end(self, machine_id: str) -> None:
        """Send what a machine that is about to be removed has written, if that can be done soon."""
        if (forward := self._forwards.pop(machine_id, None)) is not None:
            await forward.finish(END_SECONDS)

    async def close(self) -> None:
        """Stop, as the daemon ends; the next one goes on."""
        await asyncio.gather(*(forward.stop() for forward in self._forwards.values()))
        self._forwards.clear()


def _is_wanted(machine: Machine) -> bool:
    return machine.host_config.log_config.type == log_config.SYSLOG


def _target(machine: Machine) -> target.Target:
    return target.read(machine.host_config.log_config.config)


class _Forward:
    """One machine's log on its way. It ends when the machine has, and all of it is sent."""

    def __init__(
        self, machine: Machine, directory: Path, is_up: Callable[[], bool], opened: Channel | None
    ) -> None:
        self._id = machine.id
        self._target = _target(machine)
        self._sender = formats.Sender(platform.node(), log_config.tag(machine), os.getpid())
        self._is_up = is_up
        self._channel = opened
        self._lost = False
        """Whether the receiver cannot be reached."""
        self._position = PositionFile(directory / "log.sent")
        self._reader = Reader(directory / "log", self._position.read())
        self.has_ended = False
        self._task = asyncio.create_task(self._run())

    async def finish(self, seconds: float) -> None:
        """Wait until all is sent; give up at once where the receiver cannot be reached."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self._task.done() and not self._lost and loop.time() < end:
            await asyncio.wait({self._task}, timeout=QUICKEST_LOOK)
        if not self._task.done():
            log.warning("container %s: its last lines could not be sent to syslog", self._id)
        await self.stop()

    async def stop(self) -> None:
        """Stop where it is."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            await self._forward()
        except HeftError:
            log.exception("container %s: its lines are not sent to syslog any more", self._id)
        finally:
            self.has_ended = True
            self._reader.close()
            self._position.close()
            self._hang_up()

    async def _forward(self) -> None:
        pause = QUICKEST_LOOK
        while True:
            # Asked before reading: what was written before the run ended is read after it.
            goes_on = self._is_up()
            messages = self._reader.messages()
            if messages is not None:
                await self._send(messages)
                pause = QUICKEST_LOOK
                await asyncio.sleep(0)
            elif goes_on:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, SLOWEST_LOOK)
            else:
                await self._send(self._reader.rest())
                if not self._is_up():  # it may have been started again meanwhile
                    return

    async def _send(self, messages: list[tuple[LogLine, Position]]) -> None:
        for line, after in messages:
            await self._hand_over(formats.message(line, self._target, self._sender))
            self._position.write(after)

    async def _hand_over(self, message: bytes) -> None:
        """Send one message, however long that takes."""
        pause = 0.0
        while True:
            try:
                if self._channel is None:
                    self._channel = await channel.connect(self._target)
                await self._channel.send(message)
            except HostError as error:
                self._hang_up()
                if pause and not self._lost:
                    log.warning("container %s: syslog: %s", self._id, error)
                self._lost = bool(pause)
                await asyncio.sleep(pause)
                pause = min(max(2 * pause, QUICKEST_TRY), SLOWEST_TRY)
            else:
                self._lost = False
                return

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
