"""From Heft's errors to the statuses of HTTP, in one place.

The statuses are those dockerd gives to the same situations (moby, api/server/httpstatus).
"""

from __future__ import annotations

from heft.errors import (
    AlreadyInState,
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
    ToolFailed,
    Unauthorized,
    Unavailable,
)

STATUS: dict[type[HeftError], int] = {
    HeftError: 500,
    InvalidArgument: 400,
    NotFound: 404,
    Conflict: 409,
    AlreadyInState: 304,
    Unauthorized: 401,
    Forbidden: 403,
    NotSupported: 501,
    Unavailable: 503,
    StartFailed: 500,
    HostError: 500,
    ToolFailed: 500,
    NoSpace: 500,
    OutcomeUnknown: 500,
}

COMMAND_FAILED = frozenset({126, 127})
"""Exit codes of a start that failed because of what the user wanted to run: the request's fault."""


def status_of(error: HeftError) -> int:
    """Give the status that answers a request which failed with this error."""
    if isinstance(error, StartFailed) and error.exit_code in COMMAND_FAILED:
        return 400
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
