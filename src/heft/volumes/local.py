"""Volumes that are something else than a directory of the store: options of the driver `local`.

`type`, `device` and `o` are those of mount(8): a directory of the host (`none`, `bind`), a tmpfs, a
disk, a share of the network. Names, rules and wording are Docker's (moby, volume/local). It is
mounted at the volume's directory while any machine that runs has it, or somebody works on the files
of one that does not; so all of them see the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from heft.errors import HostError, InvalidArgument, ToolFailed
from heft.host import mounts
from heft.host.processes import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_KNOWN = ("type", "o", "device", "size")
_NEEDED = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_ADDRESS = "addr="


def check(options: Mapping[str, str]) -> None:
    """Raise `InvalidArgument` for options that no volume can have."""
    for name in options:
        if name not in _KNOWN:
            raise InvalidArgument(f'invalid option: "{name}"')
    for name, others in _NEEDED.items():
        for other in others if options.get(name) else ():
            if not options.get(other):
                raise InvalidArgument(f'missing required option: "{other}"')
    if options.get("size"):
        raise InvalidArgument(
            "quota size requested but no quota support",
            hint="of a tmpfs, it is an option of the mount: --opt o=size=100m",
        )


async def command(options: Mapping[str, str], target: Path) -> tuple[str, ...]:
    """Give the command line that mounts it: without helpers, so that options mean what Docker's do.

    An address is looked up before, as the kernel knows no names. Raises `HostError`.
    """
    words = [word for word in options.get("o", "").split(",") if word]
    if options["type"].startswith(("nfs", "cifs")):
        words = [await _resolved(word) for word in words]
    chosen = ("-o", ",".join(words)) if words else ()
    return ("mount", "-i", "-t", options["type"], *chosen, "--", options["device"], str(target))


async def _resolved(word: str) -> str:
    if not word.startswith(_ADDRESS):
        return word
    name = word.removeprefix(_ADDRESS)
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise HostError(f"error resolving passed in network volume address: {name}") from error
    return f"{_ADDRESS}{found[0][4][0]}"


class Mounted:
    """What is mounted of these volumes, and who has it."""

    def __init__(self, path: Callable[[str], Path]) -> None:
        self._path = path
        self._users: dict[str, set[str]] = {}
        self._lock = asyncio.Lock()

    def start(self, root: Path, users: Mapping[str, set[str]]) -> None:
        """Take over what is mounted for `users` (by volume); unmount whatever else is there."""
        self._users = {name: set(of) for name, of in users.items()}
        kept = [self._path(name) for name in users]
        for mount in mounts.mounted_under(root):
            if not any(mount.is_relative_to(path) for path in kept):
                mounts.unmount(mount)

    async def hold(self, user: str, name: str, options: Mapping[str, str]) -> None:
        """See to it that a volume is mounted, and stays so for this user. Raises `HostError`."""
        async with self._lock:
            target = self._path(name)
            # Not by `ismount`, which does not see that a directory of the same disk is bound there.
            if target not in await asyncio.to_thread(mounts.mounted_under, target):
                try:
                    await run(*await command(options, target))
                except ToolFailed as error:
                    why = error.stderr.strip().removeprefix(f"mount: {target}: ").rstrip(".")
                    raise HostError(
                        f"error while mounting volume '{target}': failed to mount local volume:"
                        f" {why}"
                    ) from error
            self._users.setdefault(name, set()).add(user)

    def users(self, name: str) -> frozenset[str]:
        """Give who holds a volume."""
        return frozenset(self._users.get(name, ()))

    async def release(self, user: str) -> None:
        """Let go of all that a user has; harmless when repeated."""
        async with self._lock:
            for name, users in tuple(self._users.items()):
                users.discard(user)
                if not users:
                    del self._users[name]
                    with contextlib.suppress(FileNotFoundError):
                        await asyncio.to_thread(mounts.unmount, self._path(name))
