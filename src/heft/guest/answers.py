"""What the agent answered, as errors: the boundary at which its STATUS becomes a `HeftError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import (
    Conflict,
    Forbidden,
    HeftError,
    HostError,
    InvalidArgument,
    NoSpace,
    NotFound,
    NotSupported,
    OutcomeUnknown,
    StartFailed,
    plain,
)
from heft.guest.protocol import Status, Tag

if TYPE_CHECKING:
    from heft.guest.records import Record

LONGEST_WORDS = 2000
"""Characters of a guest's message that are passed on."""
NOT_EXECUTABLE, NOT_FOUND, REFUSED = 126, 127, 128
"""Exit codes of what could not be started."""

KINDS: dict[Status, type[HeftError]] = {
    Status.NOT_FOUND: NotFound,
    Status.INVALID: InvalidArgument,
    Status.FORBIDDEN: Forbidden,
    Status.NO_SPACE: NoSpace,
    Status.FAILED: HostError,
    Status.UNSUPPORTED: NotSupported,
    Status.EXISTS: Conflict,
    Status.CANCELLED: OutcomeUnknown,
}
"""All but OK, and START_FAILED, which has an exit code too."""


def checked(answer: Record) -> Record:
    """Give an answer that is OK. Raises what it says else."""
    status = answer.number(Tag.STATUS)
    if status == Status.OK:
        return answer
    said = said_in(answer) or f"the guest answered with status {status}"
    if status == Status.START_FAILED:
        code = answer.number(Tag.EXIT_CODE)
        raise StartFailed(said, exit_code=code if code in (NOT_EXECUTABLE, NOT_FOUND) else REFUSED)
    kinds: dict[int, type[HeftError]] = dict(KINDS.items())
    raise kinds.get(status, HostError)(said)


def said_in(record: Record) -> str:
    """Give the guest's words, made fit to be shown in one line."""
    return plain(record.text(Tag.MESSAGE), LONGEST_WORDS)
