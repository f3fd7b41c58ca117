"""Who a process runs as: users and groups looked up in the machine's own files.

The rules and the wording are Docker's (moby/sys/user, `GetExecUser`, `GetAdditionalGroups`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from heft.errors import StartFailed
from heft.host import paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LARGEST_ID = (1 << 31) - 1
_FILE_LIMIT = 16 << 20
_REFUSED = 128


class Identity(NamedTuple):
    """User, groups and home directory of a process."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = (0,)
    """All further groups; the first of them is `gid`, as Docker has it."""
    home: str = "/"


class _User(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


class _Group(NamedTuple):
    name: str
    gid: int
    members: tuple[str, ...]


def look_up(root: Path | int, user: str, groups: Sequence[str]) -> Identity:
    """Find `user[:group]` and further groups in the files of the tree `root`.

    Raises `StartFailed` if a name is in none of them.
    """
    return identify(_read(root, "etc/passwd"), _read(root, "etc/group"), user, groups)


def _read(root: Path | int, path: str) -> str:
    """Read a user database; one that is not there, or no file, is an empty one."""
    with contextlib.suppress(OSError):
        return paths.read_in_root(root, path, _FILE_LIMIT).decode(errors="surrogateescape")
    return ""


def identify(passwd: str, group: str, spec: str, further: Sequence[str]) -> Identity:
    """Find `user[:group]` and further groups in the text of passwd(5) and group(5)."""
    user_name, _, group_name = spec.partition(":")
    user = _find_user(passwd, user_name)
    known = tuple(_groups(group))
    gid = user.gid
    supplementary: tuple[int, ...] = ()
    if group_name:
        gid = _find_group(known, group_name, f"unable to find group {group_name}")
    elif user.name:
        supplementary = tuple(entry.gid for entry in known if user.name in entry.members)
    added = tuple(_find_group(known, name, f"Unable to find group {name}") for name in further)
    every = tuple(dict.fromkeys((gid, *supplementary, *added)))
    return Identity(user.uid, gid, every, user.home or "/")


def _find_user(passwd: str, name: str) -> _User:
    number = _number(name)
    for user in _users(passwd):
        if user.uid == 0 if not name else name == user.name or number == user.uid:
            return user
    if not name:
        return _User("", 0, 0, "/")
    if number is None:
        raise _failed(f"unable to find user {name}: no matching entries in passwd file")
    return _User("", _checked(number), 0, "/")


def _find_group(known: Sequence[_Group], name: str, complaint: str) -> int:
    number = _number(name)
    for group in known:
        if name == group.name or number == group.gid:
            return group.gid
    if number is None:
        raise _failed(f"{complaint}: no matching entries in group file")
    return _checked(number)


def _failed(message: str) -> StartFailed:
    return StartFailed(message, exit_code=_REFUSED)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _checked(number: int) -> int:
    if number > _LARGEST_ID:
        raise _failed(f"uids and gids must be in range 0-{_LARGEST_ID}")
    return number


def _users(text: str) -> Iterator[_User]:
    for fields in _entries(text):
        uid = _number(fields[2]) if len(fields) > 2 else None
        if fields[0] and uid is not None:
            gid = _number(fields[3]) if len(fields) > 3 else None
            yield _User(fields[0], uid, gid or 0, fields[5] if len(fields) > 5 else "")


def _groups(text: str) -> Iterator[_Group]:
    for fields in _entries(text):
        gid = _number(fields[2]) if len(fields) > 2 else None
        if fields[0] and gid is not None:
            members = fields[3].split(",") if len(fields) > 3 else []
            yield _Group(fields[0], gid, tuple(filter(None, members)))


def _entries(text: str) -> Iterator[list[str]]:
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield stripped.split(":")
