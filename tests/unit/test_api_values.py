"""What the API reads from and writes to its clients: filters, times, keys, frames, versions."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.api import detach, filters, times
from heft.api.detach import DetachKeys
from heft.api.frames import frame
from heft.api.versions import NEWEST, split
from heft.errors import HeftError, InvalidArgument
from heft.model.machine import Stream

NOW = 1_800_000_000 * times.SECOND


def test_filters_in_both_forms() -> None:
    known = frozenset({"status", "label"})
    assert filters.parse('{"status": ["exited"]}', known) == {"status": ["exited"]}
    assert filters.parse('{"status": {"exited": true, "dead": false}}', known) == {
        "status": ["exited"]
    }
    assert filters.parse("", known) == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"colour": ["red"]}', '{"status": "exited"}'])
def test_bad_filters(text: str) -> None:
    with pytest.raises(InvalidArgument):
        filters.parse(text, frozenset({"status"}))


def test_labels() -> None:
    labels = {"a": "1", "b": ""}
    assert filters.has_labels(labels, ["a", "a=1", "b="])
    assert not filters.has_labels(labels, ["a=2"])
    assert filters.labels_fit(labels, {"label!": ["c"]})
    assert not filters.labels_fit(labels, {"label!": ["a"]})


def test_expressions_that_never_end_are_refused() -> None:
    assert filters.matches({"name": ["^on"]}, "name", "one")
    assert filters.matches({"name": ["o.e"]}, "name", "one")
    assert not filters.matches({"name": ["two"]}, "name", "one")
    with pytest.raises(InvalidArgument, match="too complicated"):
        filters.matches({"name": ["(a+)+$"]}, "name", "a" * 64)


@given(st.integers(0, 4_000_000_000 * times.SECOND))
def test_a_time_is_read_as_it_was_written(moment: int) -> None:
    assert times.parse(times.fixed(moment), now=NOW) == moment
    seconds, rest = divmod(moment, times.SECOND)
    assert times.parse(f"{seconds}.{rest:09}", now=NOW) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", 0),
        ("10m", NOW - 600 * times.SECOND),
        ("1h30m", NOW - 5400 * times.SECOND),
        ("1.5s", NOW - 1_500_000_000),
        ("2027-01-15", 1_799_971_200 * times.SECOND),
        ("2027-01-15T08:00:00+00:00", NOW),
        ("2027-01-15T09:00:00+01:00", NOW),
    ],
)
def test_times(text: str, moment: int) -> None:
    assert times.parse(text, now=NOW) == moment


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        times.parse(text, now=NOW)


def test_detach_keys() -> None:
    assert detach.parse("") == b"\x10\x11"
    assert detach.parse("ctrl-],a") == b"\x1da"
    with pytest.raises(InvalidArgument, match="Invalid detach keys"):
        detach.parse("ctrl-1")


@given(st.lists(st.binary(max_size=6)), st.lists(st.binary(max_size=6)))
def test_detaching_however_the_bytes_arrive(before: list[bytes], after: list[bytes]) -> None:
    others = [piece.replace(b"\x10", b"") for piece in before]
    typed = b"".join(others)
    pieces = [*others, b"\x10", b"\x11", *after]
    keys, passed, detached = DetachKeys(b"\x10\x11"), b"", False
    for piece in pieces:
        data, detached = keys.feed(piece)
        passed += data
        if detached:
            break
    assert detached
    assert passed == typed


@given(st.sampled_from(Stream), st.binary(max_size=100))
def test_frames(stream: Stream, data: bytes) -> None:
    framed = frame(stream, data)
    number, length = struct.unpack(">BxxxL", framed[:8])
    assert (number, length, framed[8:]) == (stream, len(data), data)


def test_versions() -> None:
    assert split("/v1.43/containers/json") == ((1, 43), "/containers/json")
    assert split("/containers/json") == (NEWEST, "/containers/json")
    assert split("/volumes/v1") == (NEWEST, "/volumes/v1")
    for path in ("/v1.9/info", "/v2.0/info", "/v99999999999999999999/info"):
        with pytest.raises(InvalidArgument):
            split(path)


@given(st.text(max_size=20))
def test_any_path_has_a_version_or_is_refused(path: str) -> None:
    with contextlib.suppress(HeftError):
        split(f"/{path}")
