"""Which users of the host the users of a machine are (user_namespaces(7))."""

from __future__ import annotations

import msgspec


class IdRange(msgspec.Struct, frozen=True):
    """`count` ids that follow each other, from `inside` on in the machine, `outside` there."""

    inside: int
    outside: int
    count: int


class IdMap(msgspec.Struct, frozen=True):
    """The ids of a machine's users and groups; those that are in no range are nobody's."""

    users: tuple[IdRange, ...]
    groups: tuple[IdRange, ...]

    @property
    def root(self) -> tuple[int, int]:
        """Give the user and the group of the host that the machine's root is."""
        return outside(self.users, 0), outside(self.groups, 0)

    @property
    def lines(self) -> tuple[str, str]:
        """Give both as the kernel reads them, in `/proc/PID/uid_map` and `gid_map`."""
        return _lines(self.users), _lines(self.groups)

    def overlaps(self, other: IdMap) -> bool:
        """Say whether there is an id of the host that is in both."""
        return _overlap(self.users, other.users) or _overlap(self.groups, other.groups)


_EVERY = (IdRange(0, 0, (1 << 32) - 1),)
SAME = IdMap(_EVERY, _EVERY)
"""Every id is the host's own: the namespace is there for its rights, not for its users."""


def outside(ranges: tuple[IdRange, ...], inside: int) -> int:
    """Give an id of the machine as the host has it. Raises `KeyError` if it is in no range."""
    for each in ranges:
        if each.inside <= inside < each.inside + each.count:
            return each.outside + inside - each.inside
    raise KeyError(inside)


def _lines(ranges: tuple[IdRange, ...]) -> str:
    return "".join(f"{each.inside} {each.outside} {each.count}\n" for each in ranges)


def _overlap(some: tuple[IdRange, ...], others: tuple[IdRange, ...]) -> bool:
    return any(
        one.outside < other.outside + other.count and other.outside < one.outside + one.count
        for one in some
        for other in others
    )
