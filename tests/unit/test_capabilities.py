"""Capabilities: Docker's fourteen, added to and dropped from, never more than there are."""

import pytest

from heft.engine import capabilities
from heft.errors import InvalidArgument

EVERY = frozenset(capabilities.ALL)


def settled(add: list[str], drop: list[str], privileged: bool = False) -> set[str]:
    return set(capabilities.settle(add, drop, privileged=privileged, available=EVERY))


def test_defaults() -> None:
    assert settled([], []) == capabilities.DEFAULT
    assert len(capabilities.DEFAULT) == 14


def test_add_and_drop() -> None:
    assert settled(["net_admin"], ["CAP_CHOWN"]) == (
        capabilities.DEFAULT - {"CAP_CHOWN"} | {"CAP_NET_ADMIN"}
    )
    assert settled([], ["ALL"]) == set()
    assert settled(["CHOWN"], ["ALL"]) == {"CAP_CHOWN"}
    assert settled(["ALL"], ["SYS_ADMIN"]) == EVERY - {"CAP_SYS_ADMIN"}
    assert settled([], ["ALL"], privileged=True) == EVERY


def test_only_what_the_daemon_has_itself() -> None:
    few = frozenset({"CAP_CHOWN"})
    assert capabilities.settle(["ALL"], [], privileged=True, available=few) == ("CAP_CHOWN",)
    assert capabilities.bounding_set() <= EVERY


def test_an_unknown_one_is_named() -> None:
    with pytest.raises(InvalidArgument, match='invalid CapAdd: unknown capability: "FLY"'):
        settled(["FLY"], [])
