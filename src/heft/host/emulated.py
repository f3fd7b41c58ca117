"""Run a program in namespaces where programs of another architecture are executed too.

A process of its own (`python -m heft.host.emulated ARCHITECTURE EMULATOR COMMAND...`), as it leaves
its user namespace for one whose ids are the same: such a one can have a registry of emulators to
itself (`heft.host.emulators`). What runs there is root in all files, sees the processes that it has
started and no others, and the host sees none of its mounts. All of it ends with this process, and
this process with the daemon.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from heft.host import emulators, mounts, syscalls, tied
from heft.host.processes import own_program
from heft.host.syscalls import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, MS_REC, MS_SLAVE

_EVERY_ID = f"0 0 {(1 << 32) - 1}\n"


def command(architecture: str, emulator: Path) -> tuple[str, ...]:
    """Give the beginning of a command that the program to run is the rest of."""
    return own_program("heft.host.emulated", architecture, str(emulator))


def main() -> int:
    """Do it; the status is the program's, as a shell has it."""
    architecture, emulator, *program = sys.argv[1:]
    tied.end_with_daemon(signal.SIGTERM)
    _leave()
    tied.end_with_daemon(signal.SIGTERM)  # forgotten with the old credentials
    # What the host unmounts from now on goes here too, and nothing that is mounted here goes there.
    syscalls.mount(b"none", b"/", b"", MS_SLAVE | MS_REC, b"")
    mounts.mount(emulators.KIND, emulators.REGISTRY)
    emulators.register("emulated", architecture, Path(emulator), emulators.REGISTRY)
    child = os.fork()
    if child == 0:
        tied.end_with_parent()
        os.execvp(program[0], program)  # noqa: S606 - it is the caller's program
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _leave() -> None:
    """Go to namespaces of users, mounts and (for children) processes, with all ids as here.

    Only who is still here may say that all of them are the same.
    """
    here, gone = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.close(gone)
        os.read(here, 1)
        process = Path(f"/proc/{os.getppid()}")
        for name in ("uid_map", "gid_map"):
            (process / name).write_text(_EVERY_ID)
        os._exit(0)
    syscalls.checked(syscalls.libc.unshare(CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID))
    os.close(gone)
    if os.waitpid(mapper, 0)[1]:
        sys.exit("E: cannot map the ids of a user namespace")


if __name__ == "__main__":
    sys.exit(main())
