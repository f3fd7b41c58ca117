"""A client that means harm: whatever it sends, the agent goes on, and so does the next session."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.guest import frames
from heft.guest.protocol import Kind, Operation, Tag
from heft.guest.records import Fields, message
from tests.agent.test_agent_files import bounded, path
from tests.harness.bench import Bench

_HEAD = struct.Struct("<IHBBQ")
_channels = st.integers(0, 6)
_offsets = st.one_of(st.integers(0, 5), st.sampled_from([262_144, 2**63, 2**64 - 1]))
_texts = st.sampled_from(
    [b"", b"/", b"/etc", b"/etc/passwd", b"x", b"root", b"me:", b"\xff", b"/bin/busybox", b"a\0b"]
)
_numbers = st.sampled_from([0, 1, 2, 9, 255, 65_535, 65_536, 2**31, 2**63, 2**64 - 1])
_values = st.one_of(
    _texts,
    _numbers.map(lambda number: number.to_bytes(8, "little")),
    _channels.map(lambda number: number.to_bytes(1, "little")),
    st.binary(max_size=30),
    st.just(b"x" * 5000),
)
_fields = st.lists(st.tuples(st.sampled_from(list(Tag)), _values), max_size=8)
_operations = st.one_of(st.sampled_from(list(Operation)), st.integers(0, 40))


def _request(operation: int, fields: list[tuple[Tag, bytes]]) -> bytes:
    record = Fields()
    for tag, value in fields:
        record.data(tag, value)
    return frames.message_frames(message(operation, 7, record))


def _frame(kind: int, channel: int, flags: int, offset: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), channel, kind, flags, offset) + payload


_moves = st.one_of(
    st.builds(_request, _operations, _fields),
    st.builds(
        _frame,
        st.one_of(st.sampled_from(list(Kind)), st.integers(0, 255)),
        _channels,
        st.integers(0, 3),
        _offsets,
        st.one_of(st.binary(max_size=60), _offsets.map(struct.Struct("<Q").pack)),
    ),
    st.binary(max_size=100),
    st.builds(lambda whole, size: whole[:size], st.builds(_request, _operations, _fields),
              st.integers(0, 60)),
)  # fmt: skip


@bounded
@given(moves=st.lists(st.lists(_moves, max_size=6), min_size=1, max_size=6))
def test_any_client(bench: Bench, moves: list[list[bytes]]) -> None:
    for session in moves:
        bench.ours.sendall(b"".join(session))
        bench.greet()


@pytest.mark.parametrize(
    "broken",
    [
        _HEAD.pack(65_537, 0, Kind.MESSAGE, 0, 0),
        _HEAD.pack(2**32 - 1, 0, Kind.DATA, 0, 0),
        _frame(99, 0, 0, 0, b""),
        _frame(Kind.MESSAGE, 0, 0, 0, b"short"),
        _frame(Kind.MESSAGE, 0, 0, 0, bytes(8) + b"\1\0\0\0\xff\xff\xff\xff"),
        frames.message_frames(bytes(8) + struct.pack("<HHI", 1, 0, 0) * 8_193),
        b"".join(_frame(Kind.MESSAGE, 0, 1, 0, bytes(65_536)) for _ in range(17)),
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_ends_the_session_alone(bench: Bench, broken: bytes) -> None:
    bench.ours.sendall(broken)
    bench.greet()
    assert bench.ask(Operation.STATUS, path("/")).number(Tag.MODE)
