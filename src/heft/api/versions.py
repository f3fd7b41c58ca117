"""The versions of the Docker Engine API that Heft speaks, and how clients name one."""

from __future__ import annotations

from heft.errors import InvalidArgument

Version = tuple[int, int]

OLDEST: Version = (1, 24)
NEWEST: Version = (1, 47)


def version_text(version: Version) -> str:
    """Give `1.47`."""
    return f"{version[0]}.{version[1]}"


def split(path: str) -> tuple[Version, str]:
    """Take the version off a path: `/v1.43/info` is 1.43 and `/info`; without one, the newest.

    Raises `InvalidArgument` in Docker's words for a version that is not spoken.
    """
    head, slash, rest = path[1:].partition("/")
    number = head[1:]
    if not (head.startswith("v") and slash and number.replace(".", "").isdecimal()):
        return NEWEST, path
    version = _parse(number)
    if version < OLDEST:
        raise InvalidArgument(
            f"client version {number} is too old. Minimum supported API version is"
            f" {version_text(OLDEST)}, please upgrade your client to a newer version"
        )
    if version > NEWEST:
        raise InvalidArgument(
            f"client version {number} is too new. Maximum supported API version is"
            f" {version_text(NEWEST)}"
        )
    return version, f"/{rest}"


def _parse(number: str) -> Version:
    major, _, minor = number.partition(".")
    try:
        return int(major), int(minor.partition(".")[0] or 0)
    except ValueError:
        raise InvalidArgument(f"invalid API version: {number}") from None
