"""Addresses: each is one machine's, and comes back last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.errors import Conflict, HostError, InvalidArgument
from heft.networks.addresses import AddressPool


def test_first_is_the_gateways() -> None:
    pool = AddressPool("10.0.0.0/24")
    assert (pool.gateway, pool.prefix) == ("10.0.0.1", 24)
    assert pool.allocate() == "10.0.0.2"


def test_given_back_is_handed_out_last() -> None:
    pool = AddressPool("10.0.0.0/29")
    first = pool.allocate()
    pool.release(first)
    assert [pool.allocate() for _ in range(5)][-1] == first
    with pytest.raises(HostError, match="no available IPv4 addresses"):
        pool.allocate()


def test_reserve() -> None:
    pool = AddressPool("10.0.0.0/24")
    pool.reserve("10.0.0.2")
    assert pool.allocate() == "10.0.0.3"
    with pytest.raises(Conflict, match="Address already in use"):
        pool.reserve("10.0.0.3")
    for wrong in ("10.0.0.1", "10.0.0.255", "10.0.1.2", "x"):
        with pytest.raises(InvalidArgument):
            pool.reserve(wrong)


@pytest.mark.parametrize("subnet", ["10.0.0.0/30", "10.0.0.1/24", "x", "::/64"])
def test_bad_subnets(subnet: str) -> None:
    with pytest.raises(InvalidArgument):
        AddressPool(subnet)


@given(st.lists(st.booleans(), max_size=60))
def test_no_address_is_two_machines(steps: list[bool]) -> None:
    pool = AddressPool("10.0.0.0/27")
    held: list[str] = []
    for take in steps:
        if take and len(held) < 29:
            held.append(pool.allocate())
        elif held:
            pool.release(held.pop(0))
    assert len(set(held)) == len(held)
    assert pool.gateway not in held
