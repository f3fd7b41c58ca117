"""Trying something in a child process, so that whatever comes of it ends with the child."""

from __future__ import annotations

import json
import os
import select
import signal
from typing import TYPE_CHECKING

from heft.doctor import calls
from heft.doctor.check import Finding, State, lacking, there, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 10.0
_PIPE = 4096


class Refused(Exception):
    """What was tried does not work; the text says how that showed."""


def attempt(action: Callable[[], str], *, unshare: int = 0, seconds: float = SECONDS) -> Finding:
    """Do it in a child, inside new namespaces (`calls.CLONE_…`), and give what came of it.

    `action` gives the detail of a success, and raises `OSError` or `Refused` otherwise. The child
    is killed if it is not done in time. With a new mount namespace nothing propagates out of it.
    """
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        _in_child(action, unshare, sink)
    os.close(sink)
    try:
        answer = os.read(source, _PIPE) if select.select([source], [], [], seconds)[0] else None
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(source)
    if answer is None:
        return lacking(f"no answer within {seconds:g} s")
    if not answer:
        return lacking("the process that tried it was killed")
    state, detail = json.loads(answer)
    return Finding(State(state), detail)


def _in_child(action: Callable[[], str], unshare: int, sink: int) -> None:
    """Never returns."""
    try:
        finding = direct(lambda: _inside(action, unshare))
        os.write(sink, json.dumps([finding.state.value, finding.detail[: _PIPE // 8]]).encode())
    finally:
        os._exit(0)


def _inside(action: Callable[[], str], unshare: int) -> str:
    if unshare:
        calls.unshare(unshare)
    if unshare & calls.CLONE_NEWNS:
        calls.mount("none", "/", "none", calls.MS_REC | calls.MS_PRIVATE)
    return action()


def direct(action: Callable[[], str]) -> Finding:
    """Do it in this process, where it leaves nothing."""
    try:
        return there(action())
    except Refused as error:
        return lacking(str(error))
    except PermissionError as error:
        if os.geteuid():
            return unknown("only root can tell")
        return lacking((error.strerror or "refused").lower())
    except OSError as error:
        return lacking((error.strerror or str(error)).lower())
