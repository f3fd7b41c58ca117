"""The processes of a guest, as its agent tells of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.guest.protocol import ProtocolError, Tag
from heft.guest.records import Record
from heft.model.process import GuestProcess

if TYPE_CHECKING:
    from collections.abc import Iterable


def read(rows: Iterable[bytes]) -> tuple[GuestProcess, ...]:
    """Read the rows of PROCESSES. Raises `HostError` for what is none."""
    try:
        return tuple(_process(Record(row)) for row in rows)
    except ProtocolError as error:
        raise HostError(f"the guest told of a process that is none: {error}") from error


def _process(row: Record) -> GuestProcess:
    return GuestProcess(
        pid=row.number(Tag.PID),
        ppid=row.number(Tag.PPID),
        uid=row.number(Tag.UID),
        user=_shown(row.text(Tag.USER)),
        state=_shown(row.text(Tag.STATE)),
        tty=_shown(row.text(Tag.TTY)),
        started=row.number(Tag.STARTED),
        cpu=row.number(Tag.CPU),
        vsize=row.number(Tag.VSIZE),
        rss=row.number(Tag.RSS),
        name=_shown(row.text(Tag.NAME)),
        command=_shown(row.text(Tag.COMMAND)),
    )


def _shown(text: str) -> str:
    """Make a text of the guest's fit for somebody's terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)
