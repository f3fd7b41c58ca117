"""Files that a command writes: there whole or not at all, however the command ends."""

from __future__ import annotations

import errno
import os
import stat

from heft.cli.failures import Failure
from heft.tars import holes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MODE = 0o600
_WITHOUT_NAMES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
"""What open(2) says to O_TMPFILE where the file system, or the kernel, has it not."""


def write_file(target: str, blocks: Iterable[bytes], what: str) -> None:
    """Write a file, with holes for zeros, in place of the one that is there. Raises `Failure`.

    Until it is whole it has no name, so that it is gone with the command, even if that is
    killed; on file systems that have no such files it is called `TARGET.PID.partial`.
    """
    try:
        directory = os.open(os.path.dirname(target) or ".", os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise Failure(f"failed to {what}: {target}: {error.strerror}") from None
    try:
        _check(target, what)
        _write(directory, os.path.basename(target), blocks)
    except OSError as error:
        raise Failure(f"failed to {what}: {target}: {error.strerror}") from None
    finally:
        os.close(directory)


def _check(target: str, what: str) -> None:
    """Refuse what a file would be put in place of, and is none: a device, a pipe, a directory."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise Failure(f"failed to {what}: {target}: not a regular file: redirect output to it")


def _write(directory: int, name: str, blocks: Iterable[bytes]) -> None:
    """Write the file `name` of a directory. Raises `OSError`."""
    partial = f"{name}.{os.getpid()}.partial"
    descriptor, named = _open(directory, partial)
    try:
        written = holes.Sparse(descriptor)
        for block in blocks:
            written.write(block)
        written.finish()
        if not named:
            # With a directory given it is linkat(2), which follows the link in /proc; and as that
            # replaces nothing, what is there is replaced by rename(2).
            source = f"/proc/self/fd/{descriptor}"
            os.link(source, partial, src_dir_fd=directory, dst_dir_fd=directory)
            named = True
        os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        if named:
            os.unlink(partial, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)


def _open(directory: int, partial: str) -> tuple[int, bool]:
    """Open a file to write to, and say whether it has a name, `partial`. Raises `OSError`."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    if os.path.exists("/proc/self/fd"):
        try:
            return os.open(".", flags | os.O_TMPFILE, MODE, dir_fd=directory), False
        except OSError as error:
            if error.errno not in _WITHOUT_NAMES:
                raise
    return os.open(partial, flags | os.O_CREAT | os.O_EXCL, MODE, dir_fd=directory), True
