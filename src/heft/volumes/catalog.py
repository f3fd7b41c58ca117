"""Named volumes: directories that outlive the machines that mount them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import stat
import time
from typing import TYPE_CHECKING

from heft.errors import Conflict, HeftError, InvalidArgument, NotFound
from heft.failures import translated
from heft.host import mounts, space
from heft.host.paths import open_in_root
from heft.host.processes import run
from heft.model.volume import Volume
from heft.store.database import Table
from heft.volumes import local
from heft.volumes.local import Mounted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from heft.host.trash import Trash
    from heft.store.database import Database

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
COPY_SECONDS = 3600.0
FILLING = "_data.new"
"""What is being copied into a volume; it becomes `_data` by rename when it is complete."""


class Volumes:
    """All volumes, by name. The files are in ROOT/NAME/_data."""

    def __init__(
        self,
        root: Path,
        database: Database,
        publish: Callable[[str, str, dict[str, str]], None],
        trash: Trash,
    ) -> None:
        self._root = root
        self._publish = publish
        self._trash = trash
        self._table = Table(database, "volumes", Volume)
        self._volumes = {volume.name: volume for volume in self._table}
        self._mounted = Mounted(self.path)

    async def start(self, users: Mapping[str, set[str]] = {}) -> None:
        """Remove what a killed daemon left half made, and mounts that outlived it.

        `users` are the machines that run, by the volumes that they have.
        """
        with translated(f"make {self._root}"):
            self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
        there = (volume.name for volume in self._volumes.values() if volume.options)
        self._mounted.start(self._root, {name: users[name] for name in there if name in users})
        for entry in self._root.iterdir():
            if entry.name not in self._volumes:
                self._trash.throw(entry)
            else:
                self._trash.throw(entry / FILLING)
        for volume in self._volumes.values():
            self.path(volume.name).mkdir(mode=0o755, parents=True, exist_ok=True)

    def get(self, name: str) -> Volume:
        """Find a volume. Raises `NotFound`."""
        try:
            return self._volumes[name]
        except KeyError:
            raise NotFound(f"get {name}: no such volume") from None

    def list(self) -> tuple[Volume, ...]:
        """Give all volumes, by name."""
        return tuple(sorted(self._volumes.values(), key=lambda volume: volume.name))

    def path(self, name: str) -> Path:
        """Give the directory that machines see."""
        return self._root / name / "_data"

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        labels: Mapping[str, str] = {},
        options: Mapping[str, str] = {},
        anonymous: bool = False,
    ) -> Volume:
        """Make a volume; the one that has the name already, if there is one.

        Raises `InvalidArgument` for a bad name or options, `NotFound` for another driver.
        """
        name = name or secrets.token_hex(32)
        check_name(name)
        if driver not in ("", "local"):
            raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
        local.check(options)
        if (known := self._volumes.get(name)) is not None:
            return known
        volume = Volume(
            name=name,
            created=time.time_ns(),
            driver="local",
            labels=dict(labels),
            options=dict(options),
            anonymous=anonymous,
        )
        try:
            with translated(f"make volume {name}"):
                self.path(name).mkdir(mode=0o755, parents=True)
            self._table.put(name, volume, name=name)
        except HeftError:
            self._trash.throw(self._root / name)
            raise
        self._volumes[name] = volume
        self._publish("create", name, {"driver": "local"})
        return volume

    def remove(self, name: str, *, users: Sequence[str], force: bool = False) -> None:
        """Remove a volume and its files; with `force`, it may be gone already.

        Raises `NotFound`, and `Conflict` where machines (`users`: their ids) mount it, or somebody
        works on its files.
        """
        if name not in self._volumes:
            if force:
                return
            self.get(name)
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        if self._mounted.users(name):
            raise Conflict(f"remove {name}: volume is in use: its files are being copied")
        self._table.delete(name)
        del self._volumes[name]
        self._trash.throw(self._root / name)
        self._publish("destroy", name, {"driver": "local"})

    def is_elsewhere(self, name: str) -> bool:
        """Say whether its files are not in the store (`heft.volumes.local`)."""
        return bool(self.get(name).options)

    async def hold(self, user: str, names: Iterable[str]) -> None:
        """See to it that volumes can be used until `release`. Raises `HostError`."""
        try:
            for name in names:
                if name in self._volumes and (options := self._volumes[name].options):
                    await self._mounted.hold(user, name, options)
        except BaseException:
            await self._mounted.release(user)
            raise

    async def release(self, user: str) -> None:
        """Let go of all that a user holds; harmless when repeated."""
        await self._mounted.release(user)

    @contextlib.asynccontextmanager
    async def held(self, names: Iterable[str]) -> AsyncIterator[None]:
        """Hold volumes for a while."""
        user = secrets.token_hex(8)
        await self.hold(user, names)
        try:
            yield
        finally:
            await self.release(user)

    async def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Give the bytes that are in volumes, as far as these exist and are in the store."""
        there = (name for name in names if name in self._volumes and not self.is_elsewhere(name))
        paths = {name: self.path(name) for name in there}
        return await asyncio.to_thread(
            lambda: {name: space.used(path) for name, path in paths.items()}
        )

    def prune(
        self, *, keep: Callable[[Volume], bool], in_use: frozenset[str], sizes: Mapping[str, int]
    ) -> tuple[tuple[str, ...], int]:
        """Remove what no machine mounts and `keep` does not want; give names and bytes freed.

        `sizes` is what was measured before.
        """
        names = [
            volume.name
            for volume in self.list()
            if not (volume.name in in_use or self._mounted.users(volume.name) or keep(volume))
        ]
        for name in names:
            self.remove(name, users=())
        return tuple(names), sum(sizes.get(name, 0) for name in names)

    async def populate(self, name: str, layers: Sequence[Path], target: str) -> None:
        """Fill an empty volume with what an image has at `target`, its owner and mode included.

        A volume that holds anything, or an image that has no directory there, changes nothing. The
        files are copied beside the volume's own directory and take its place when all are there.
        """
        data = self.path(name)
        async with self.held([name]):
            if await asyncio.to_thread(lambda: any(data.iterdir())):
                return
            with self._merged(name, layers) as root:
                try:
                    source = open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)
                except OSError:
                    return
                try:
                    await self._copy(source, data, in_place=self.is_elsewhere(name))
                finally:
                    os.close(source)

    @contextlib.contextmanager
    def _merged(self, name: str, layers: Sequence[Path]) -> Iterator[Path]:
        """Show the image's layers as one tree, for a while."""
        if len(layers) == 1:
            yield layers[0]
            return
        view = self._root / name / "_image"
        with translated(f"fill volume {name}"):
            view.mkdir(exist_ok=True)
        mounts.overlay(view, layers)
        try:
            yield view
        finally:
            mounts.unmount(view)
            view.rmdir()

    async def _copy(self, source: int, data: Path, *, in_place: bool) -> None:
        filling = data if in_place else data.with_name(FILLING)
        if not in_place:
            self._trash.throw(filling)
            with translated(f"fill volume {data.parent.name}"):
                filling.mkdir()
        status = os.fstat(source)
        await run(
            "cp",
            "-a",
            "--reflink=auto",
            f"/proc/self/fd/{source}/.",
            str(filling),
            pass_fds=(source,),
            seconds=COPY_SECONDS,
        )
        os.chown(filling, status.st_uid, status.st_gid)
        filling.chmod(stat.S_IMODE(status.st_mode))
        if not in_place:
            filling.rename(data)


def check_name(name: str) -> None:
    """Raise `InvalidArgument` for what is no name of a volume, in Docker's words."""
    if len(name) > 255 or not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name,'
            ' only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host'
            " directory, use absolute path"
        )
