"""A machine's root directory: the image's layers and the machine's upper, joined by overlayfs.

Both have on the disk the ids that machines see, whoever these are on the host. For a machine whose
users are others there, they are joined through ID-mapped mounts (mount_setattr(2), overlayfs of
Linux 5.19): what is root's on the disk is root's in the machine, and so it is in whatever is made
of it: `cp`, `commit`, another machine.

The upper is a directory of the store, `diff` in `upper`. Of a machine that may write so much and no
more, it is in an ext4 in a sparse file there, that is mounted while somebody uses it; the overlay
holds it, so that it goes with the machine, whoever else is there by then.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from heft.failures import translated
from heft.guest import disks
from heft.host import loops, mounts
from heft.host.credentials import files_owned_by
from heft.model.ids import SAME
from heft.model.upper import Form, Upper

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from heft.weights.base import Launch, Root
    from heft.weights.light.record import RunDirectory
    from heft.weights.light.threads import Threads

OVERLAY_OPTIONS = ("index=off", "redirect_dir=off", "metacopy=off")
"""The upper holds plain files, whiteouts and opaque directories only, whatever the kernel's
defaults: `commit` and `diff` read it, and another kernel may mount it."""
DISK_OPTIONS = ("discard",)
"""What is deleted in a bounded upper is given back to the host."""


async def provision(launch: Launch, threads: Threads) -> None:
    """Make the upper, whose owner and mode are those of the root, where it is not there."""
    root = launch.root
    if (disk := bounded(root)) is None:
        await threads.run(lambda: _make_directory(launch))
        return
    await threads.run(lambda: root.upper.mkdir(parents=True, exist_ok=True))
    owner = disks.Owner.of(root.layers[-1]) if root.layers else disks.ROOT
    await disks.make_upper(disk, root.size, owner, net=True)


def bounded(root: Root) -> Path | None:
    """Give the file that a bounded upper is in; None where it is not bounded.

    No guest has ever had it: the host may mount it.
    """
    return root.upper / "bounded.ext4" if root.size else None


def changed(root: Root) -> str:
    """Give the name of the directory with what the machine wrote, beside which is `work`."""
    return "upper" if root.size else "diff"


def upper(root: Root) -> Upper:
    """Say where what the machine writes is kept, and how."""
    disk = bounded(root)
    form = Form.TREE if disk is None else Form.BOUNDED
    return Upper(form, disk or root.upper, changed(root), root.size)


def exists(root: Root) -> bool:
    """Say whether the machine has its files still."""
    return (bounded(root) or root.upper / changed(root)).exists()


def _make_directory(launch: Launch) -> None:
    upper = launch.root.upper
    upper.mkdir(parents=True, exist_ok=True)
    (upper / "work").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        new = upper / "diff.new"
        new.mkdir(exist_ok=True)
        if launch.root.layers:
            like = launch.root.layers[-1].stat()
            os.chown(new, like.st_uid, like.st_gid)
            new.chmod(stat.S_IMODE(like.st_mode))
        if not (upper / "diff").exists():
            new.rename(upper / "diff")
        else:
            new.rmdir()


def mount(launch: Launch, run: RunDirectory) -> None:
    """Mount the root in the run's directory. Raises `HostError`; what was done stays."""
    root = launch.root
    with (
        _mounted(root, run) as place,
        _seen_by(launch, run, (*root.layers, place)) as (*layers, upper),
        # Overlayfs works in the upper as who mounted it: somebody whom the upper must know.
        its_root(launch),
    ):
        mounts.overlay(
            run.rootfs,
            layers,
            upper=upper / changed(root),
            work=upper / "work",
            options=OVERLAY_OPTIONS,
        )


def its_root(launch: Launch) -> AbstractContextManager[None]:
    """Let this thread make files as the machine's root would, for a while."""
    if launch.ids in (None, SAME):
        return contextlib.nullcontext()
    return files_owned_by(*launch.ids.root)


@contextlib.contextmanager
def user_namespace(launch: Launch) -> Iterator[int | None]:
    """Open the namespace of the machine's users; None where its ids are the host's."""
    if launch.ids in (None, SAME):
        yield None
        return
    with translated(f"open {launch.namespaces.user}"):
        descriptor = os.open(launch.namespaces.user, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _mounted(root: Root, run: RunDirectory) -> Iterator[Path]:
    """Give the upper as a directory, for as long as it is being joined."""
    if (disk := bounded(root)) is None:
        yield root.upper
        return
    place = run.mounts / "upper"
    place.mkdir(parents=True)
    loops.mount(disk, place, "ext4", DISK_OPTIONS)
    yield place
    mounts.unmount(place)
    place.rmdir()


@contextlib.contextmanager
def _seen_by(
    launch: Launch, run: RunDirectory, directories: Sequence[Path]
) -> Iterator[Sequence[Path]]:
    """Show directories with the owners that the machine is to see, for as long as they are joined.

    The overlay keeps a view of each of them for itself. What is mounted here is what a killed
    daemon may leave: it is where `prepared_mounts` clears up.
    """
    with user_namespace(launch) as owners:
        if owners is None:
            yield directories
            return
        shown = [run.mounts / f"root-{number}" for number in range(len(directories))]
        for source, place in zip(directories, shown, strict=True):
            place.mkdir(parents=True)
            mounts.bind(source, place, recursive=False, user_namespace=owners)
        yield shown
        for place in shown:
            mounts.unmount(place)
            place.rmdir()
