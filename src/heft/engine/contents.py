"""What is in machines: files copied in and out, differences, exports, images made of machines."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from heft.engine.creation import merge
from heft.errors import Conflict, InvalidArgument, NotSupported
from heft.images import committing
from heft.model.files import Landing
from heft.model.machine import State
from heft.weights.abilities import Filing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from heft.engine.machines import Machines
    from heft.engine.parts import Parts
    from heft.model.config import Config
    from heft.model.files import Change, FileStatus
    from heft.model.image import Image
    from heft.model.machine import Machine
    from heft.weights.base import Launch

_GOING = frozenset({State.REMOVING, State.DEAD})


class Contents:
    """The files of all machines; every `reference` as in `Machines`."""

    def __init__(self, parts: Parts, machines: Machines) -> None:
        self._parts = parts
        self._machines = machines

    async def status(self, reference: str, path: str) -> FileStatus:
        """Say what is at a path. Raises `NotFound`, `InvalidArgument`."""
        async with self._reached(reference) as (weight, launch):
            return await weight.file_status(launch, _checked(path))

    @contextlib.asynccontextmanager
    async def pack(
        self, reference: str, path: str
    ) -> AsyncIterator[tuple[FileStatus, AsyncIterator[bytes]]]:
        """Give what is at a path, and as a tar. Raises `NotFound`, `InvalidArgument`."""
        async with (
            self._reached(reference) as (weight, launch),
            weight.pack(launch, _checked(path)) as packed,
        ):
            self._parts.tell(self._machines.get(reference), "archive-path")
            yield packed

    async def unpack(
        self,
        reference: str,
        path: str,
        tar: AsyncIterator[bytes],
        *,
        same_kind: bool = False,
        as_user: bool = False,
    ) -> None:
        """Put a tar into a directory.

        `same_kind`: refuse to let anything but a directory take the place of a directory, or the
        other way round. `as_user`: everything is the machine's user's. Raises `Forbidden` where
        the machine could not write either, `NotFound`, `InvalidArgument`, `NoSpace`.
        """
        machine = self._machines.get(reference)
        landing = Landing(same_kind=same_kind, owner=machine.config.user if as_user else "")
        async with self._reached(reference, writing=True) as (weight, launch):
            await weight.unpack(launch, _checked(path), tar, landing)
        self._parts.tell(machine, "extract-to-dir")

    async def changes(self, reference: str) -> tuple[Change, ...]:
        """Give what a machine has changed of its image."""
        async with self._reached(reference) as (weight, launch):
            return await weight.changes(launch)

    @contextlib.asynccontextmanager
    async def export(self, reference: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give its root as a tar, without volumes and what else is mounted in it."""
        async with (
            self._reached(reference) as (weight, launch),
            weight.pack_root(launch) as blocks,
        ):
            self._parts.tell(self._machines.get(reference), "export")
            yield blocks

    async def commit(
        self,
        reference: str,
        name: str,
        *,
        config: Config | None,
        changes: Sequence[str],
        author: str = "",
        comment: str = "",
        pause: bool = True,
    ) -> Image:
        """Make an image of a machine; what `config` does not say is as the machine has it.

        `pause`: its processes are stopped while its files are read. Raises `InvalidArgument`,
        `Conflict`, `NoSpace`.
        """
        life = self._machines.life(reference)
        async with life.held(still=pause) as machine, self._volumes_of(machine):
            weight, launch = self._reach(machine)
            asked = committing.asked(
                machine.image,
                name,
                _image_config(machine, config),
                changes,
                author=author,
                comment=comment,
                created_by=" ".join(machine.argv),
            )
            async with weight.pack_layer(launch) as blocks:
                image = await self._parts.images.commit(blocks, asked)
        self._parts.tell(machine, "commit", comment=comment, imageID=image.id, imageRef=name)
        return image

    @contextlib.asynccontextmanager
    async def _reached(
        self, reference: str, *, writing: bool = False
    ) -> AsyncIterator[tuple[Filing, Launch]]:
        """Give a machine's weight, and see to its volumes while it does not run.

        Nobody starts it meanwhile where its upper is mounted to write, or is a guest's own disk.
        """
        life = self._machines.life(reference)
        machine = life.machine
        async with contextlib.AsyncExitStack() as stack:
            if not machine.is_up and (writing or self._parts.weight(machine).own_kernel):
                machine = await stack.enter_async_context(life.held())
            await stack.enter_async_context(self._volumes_of(machine))
            yield self._reach(machine)

    @contextlib.asynccontextmanager
    async def _volumes_of(self, machine: Machine) -> AsyncIterator[None]:
        """See to it that a machine's volumes are there, also while it does not run."""
        if machine.is_up:
            yield
            return
        async with self._parts.volumes.held(machine.volumes):
            yield

    def _reach(self, machine: Machine) -> tuple[Filing, Launch]:
        if machine.state in _GOING:
            raise Conflict(f"container {machine.id} is marked for removal")
        weight = self._parts.weight(machine)
        if not isinstance(weight, Filing):
            raise NotSupported(f"files of machines of weight {machine.weight} cannot be reached")
        return weight, self._parts.launch(machine)


def _checked(path: str) -> str:
    if not path:
        raise InvalidArgument("bad parameter: 'path' cannot be empty")
    if "\0" in path:
        raise InvalidArgument("bad parameter: 'path' has a null byte in it")
    return path if path.startswith("/") else f"/{path}"


def _image_config(machine: Machine, config: Config | None) -> Config:
    """Give the settings of an image made of a machine; what was this machine's own stays out."""
    own = machine.config if config is None else merge(config, machine.config)
    return msgspec.structs.replace(
        own,
        hostname="",
        domainname="",
        image="",
        attach_stdin=False,
        attach_stdout=False,
        attach_stderr=False,
        tty=False,
        open_stdin=False,
        stdin_once=False,
        network_disabled=False,
    )
