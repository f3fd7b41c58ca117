"""Which users of the host the users of machines are, where those are not the host's own.

The ids come from /etc/subuid and /etc/subgid (subuid(5)), from the lines of one name. They are
taken in pieces of 65,536, as many as a machine has: the first is for the machines that say nothing
about it, where the daemon was told to give them other users (`--userns-remap`, as dockerd's); with
`--userns auto` a machine has, while it runs, one of the others to itself.

What is on the disk has the ids that machines see (`heft.weights.light.roots`), so that it does not
matter which piece a machine got the last time.
"""

from __future__ import annotations

import contextlib
import grp
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import Conflict, InvalidArgument, NotSupported
from heft.model.ids import IdMap, IdRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from heft.model.config import HostConfig

PIECE = 65536
"""Ids of a machine, 0 to 65535: as many as the distribution gives to a user (login.defs(5))."""
DEFAULT_NAME = "heft"
"""The name in /etc/subuid that `--userns-remap default`, and `--userns auto` without it, mean."""
FIRST_FREE = 100000
"""Where distributions begin (login.defs(5), SUB_UID_MIN)."""
USERS, GROUPS = Path("/etc/subuid"), Path("/etc/subgid")


@dataclass(frozen=True, slots=True)
class Remap:
    """Whose ids machines get: the name in /etc/subuid, and that in /etc/subgid."""

    user: str = DEFAULT_NAME
    group: str = DEFAULT_NAME
    by_default: bool = False
    """Whether machines that say nothing about it get other users."""

    @classmethod
    def read(cls, text: str) -> Remap:
        """Read `--userns-remap`: empty, `default`, or `USER[:GROUP]`, names or numbers."""
        if text in ("", "default"):
            return cls(by_default=bool(text))
        user, colon, group = text.partition(":")
        if not user or (colon and not group):
            raise InvalidArgument(f"invalid user and group to remap to: '{text}'")
        return cls(user, group or user, by_default=True)


def mode(host: HostConfig) -> str:
    """Give what is asked for: `host`, `auto`, or empty. Raises `InvalidArgument`."""
    asked = host.userns_mode
    if asked in ("", "host", "auto"):
        return asked
    raise InvalidArgument(
        f"invalid USER mode: {asked}",
        hint="use host, or auto for users of the machine's own; nothing is what the daemon does",
    )


def check(host: HostConfig, remap: Remap) -> None:
    """Raise for what cannot be together with users of its own (moby, daemon_unix.go)."""
    asked = mode(host)
    if asked == "host" or not (asked or remap.by_default):
        return
    if host.privileged:
        raise InvalidArgument(
            "privileged mode is incompatible with user namespaces.  You must run the container in"
            " the host namespace when running privileged mode"
        )
    if host.network_mode == "host":
        raise InvalidArgument(
            "cannot share the host's network namespace when user namespaces are enabled"
        )
    if host.pid_mode == "host":
        raise InvalidArgument(
            "cannot share the host PID namespace when user namespaces are enabled"
        )


def are_possible(host: HostConfig) -> bool:
    """Say whether a machine that did not ask for it can be in a user namespace."""
    shared = "host" in (host.network_mode, host.pid_mode)
    return not (mode(host) or host.privileged or shared)


def choose(host: HostConfig, remap: Remap, taken: Iterable[IdMap]) -> IdMap | None:
    """Give the ids of a machine that is about to start; None: the host's.

    `taken` are those of the machines that run. Raises `NotSupported` where the host has none to
    give, `Conflict` where all are taken.
    """
    asked = mode(host)
    if asked == "host" or not (asked or remap.by_default):
        return None
    pieces = _pieces(remap)
    usual = next(pieces)
    if not asked:
        return usual
    others = (*taken, usual)
    for piece in pieces:
        if not any(piece.overlaps(other) for other in others):
            return piece
    raise Conflict(
        f"no range of ids is left for a machine with --userns=auto: {remap.user} needs another",
        hint=_advice(remap),
    )


def _pieces(remap: Remap) -> Iterator[IdMap]:
    users = _ranges(USERS, remap.user, _names(remap.user, passwd=True), remap)
    groups = _ranges(GROUPS, remap.group, _names(remap.group, passwd=False), remap)
    for user, group in zip(cut(users), cut(groups), strict=False):
        yield IdMap(user, group)


def cut(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[IdRange, ...]]:
    """Cut ranges (first id, number of ids) into pieces for one machine each.

    A range that is smaller than a piece is one, if it is the first; else it is left out.
    """
    first = True
    for start, count in ranges:
        whole = count // PIECE
        if first and not whole:
            yield (IdRange(0, start, count),)
        for number in range(whole):
            yield (IdRange(0, start + number * PIECE, PIECE),)
        first = False


def _ranges(path: Path, name: str, names: frozenset[str], remap: Remap) -> list[tuple[int, int]]:
    found = [(start, count) for owner, start, count in read(path) if owner in names]
    if not found:
        raise NotSupported(f"no {path.name} ranges found for user {name!r}", hint=_advice(remap))
    return found


def read(path: Path) -> list[tuple[str, int, int]]:
    """Read a file of subuid(5): `NAME:FIRST:COUNT`, or a number for the name."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
            found.append((fields[0], int(fields[1]), int(fields[2])))
    return [each for each in found if each[2]]


def _names(name: str, *, passwd: bool) -> frozenset[str]:
    """Give all that a user or a group is called in these files: its name, its number."""
    names = {name}
    with contextlib.suppress(KeyError):
        if passwd:
            user = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
            names |= {user.pw_name, str(user.pw_uid)}
        else:
            group = grp.getgrgid(int(name)) if name.isdecimal() else grp.getgrnam(name)
            names |= {group.gr_name, str(group.gr_gid)}
    return frozenset(names)


def _advice(remap: Remap) -> str:
    """Say what to add: a range after all that are given, with room for many machines."""
    ends = [start + count for path in (USERS, GROUPS) for _, start, count in read(path)]
    free = -(-max([FIRST_FREE, *ends]) // PIECE) * PIECE if ends else FIRST_FREE
    return (
        f"add a line to {USERS}, as {remap.user}:{free}:{64 * PIECE}, and to {GROUPS}, as"
        f" {remap.group}:{free}:{64 * PIECE}"
    )
