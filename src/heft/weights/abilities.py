"""What only some weights can do: each a small protocol, which the engine looks for in a weight.

Like `heft.weights.base`, methods raise `HeftError`s only, and `NotFound` for a machine that has no
run here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from heft.model.files import Change, FileStatus, Landing
    from heft.model.process import GuestProcess
    from heft.model.upper import Upper
    from heft.weights.base import Accelerator, Launch, Resources, Root, Session


@runtime_checkable
class Pausable(Protocol):
    """A weight whose machines can be stopped in their tracks."""

    async def pause(self, machine_id: str) -> None:
        """Stop every process of it from being scheduled."""

    async def resume(self, machine_id: str) -> None:
        """Let them go on."""


@runtime_checkable
class Adjustable(Protocol):
    """A weight whose machines take other limits while they run."""

    async def adjust(self, launch: Launch) -> None:
        """Hold the machine to `launch.resources` from now on; harmless when repeated.

        Raises `HeftError` where the host refuses a limit; others may hold already then.
        """


@runtime_checkable
class Rotating(Protocol):
    """A weight whose monitor writes the log, and must be told when its file was renamed."""

    async def reopen_log(self, machine_id: str) -> None:
        """Go on in a new file at the log's path."""


@runtime_checkable
class Informed(Protocol):
    """A weight whose machines do not see the files that Heft writes for them: they are told."""

    async def tell_files(self, machine_id: str) -> None:
        """Give a machine its generated files as they are now."""


@runtime_checkable
class Listing(Protocol):
    """A weight whose machines' processes are not the host's."""

    async def list_processes(self, machine_id: str) -> tuple[GuestProcess, ...]:
        """Give what runs in a machine."""


@runtime_checkable
class Consoled(Protocol):
    """A weight whose machines have a console, as hardware has: of their kernel."""

    async def console(self, machine_id: str, *, force: bool) -> tuple[bytes, Session]:
        """Give the last that it has said, and the line; only one client at a time has that.

        Raises `Conflict` where somebody has it, unless `force` takes it from him.
        """


@runtime_checkable
class Warming(Protocol):
    """A weight whose machines start from what can be made ahead."""

    own_kernel: bool

    def kit(self, platform: str) -> str:
        """Give the kit of machines of a platform that ask for none."""

    def takes_kit(self, name: str) -> bool:
        """Say whether its machines can start with a kit of this name."""

    async def warm(
        self, kit: str, resources: Resources, report: Callable[[str], object], *, template: bool
    ) -> str:
        """Make it, for machines with these limits; `report` is told each step.

        Without `template` only what a cold boot needs. Gives why there is no template, where none
        can be made.
        """

    async def collect(self) -> None:
        """Remove what was made for kits that are not there any more."""


@runtime_checkable
class Accelerated(Protocol):
    """A weight whose machines' code is executed in one of several ways."""

    async def accelerator(self, machine_id: str) -> Accelerator:
        """Say which a machine that runs has, and why."""


@runtime_checkable
class Filing(Protocol):
    """A weight whose machines' files can be reached, whether they run or not.

    While a machine runs, paths are as its workload sees them, with volumes and what else is
    mounted; else the upper over the layers, with volumes, and changes go to the upper. Paths are
    absolute; links in them lead nowhere but into the machine. Tars are POSIX (pax), with owners as
    numbers, links, devices, extended attributes and holes. What gives a stream raises its errors
    where it is entered, those that come later from the stream; leaving it early ends the work.

    `NotFound` is for the path too; `InvalidArgument` where a directory was needed, or for a tar.
    """

    async def file_status(self, launch: Launch, path: str) -> FileStatus:
        """Say what is at a path; a link at its end is not followed."""

    def pack(
        self, launch: Launch, path: str
    ) -> AbstractAsyncContextManager[tuple[FileStatus, AsyncIterator[bytes]]]:
        """Give what is at a path as a tar, whose names begin with the path's last part."""

    async def unpack(
        self, launch: Launch, path: str, tar: AsyncIterator[bytes], landing: Landing
    ) -> None:
        """Put a tar, compressed or not, into a directory.

        If that fails, nothing that is new is left of it. Raises `Forbidden` where the machine
        itself could not write, `NoSpace`.
        """

    async def changes(self, launch: Launch) -> tuple[Change, ...]:
        """Give what the machine has changed of its image, parents before what is in them."""

    def pack_layer(self, launch: Launch) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give the same as the tar of a layer over the machine's (OCI image-spec, layer.md)."""

    def pack_root(self, launch: Launch) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give its whole root, without what is mounted in it; names have no leading slash."""


@runtime_checkable
class Exchanging(Protocol):
    """A weight that machines can come to from another, and go from, with what they wrote."""

    async def accept(self, launch: Launch) -> None:
        """Raise `NotSupported` or `InvalidArgument` for what it refuses of a machine."""

    def upper(self, root: Root) -> Upper:
        """Say where it keeps what the machine writes, and how. Pure."""
