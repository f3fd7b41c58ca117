"""What is read of a conmon's socket when conmon is gone."""

import socket

import pytest

from heft.model.machine import Stream
from heft.weights.light.session import AttachSession


@pytest.fixture
async def pair() -> tuple[AttachSession, socket.socket]:
    ours, conmon = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return AttachSession(ours, stdin=True, closed=lambda _: None), conmon


async def test_what_was_written_before_the_end_is_read_though_input_was_not(
    pair: tuple[AttachSession, socket.socket],
) -> None:
    session, conmon = pair
    await session.write(b"more than it reads\n")
    conmon.send(b"\2first\n")
    conmon.send(b"\3second\n")
    conmon.close()
    assert await session.read() == (Stream.STDOUT, b"first\n")
    assert await session.read() == (Stream.STDERR, b"second\n")
    assert await session.read() is None
    await session.close()
