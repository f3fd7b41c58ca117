"""Frames and records, there and back, and whatever else comes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.guest import frames
from heft.guest.frames import Deframer
from heft.guest.protocol import (
    FIRST_TOKEN,
    MOST_FIELDS,
    MOST_MESSAGE,
    MOST_PAYLOAD,
    Kind,
    ProtocolError,
    Tag,
)
from heft.guest.records import Fields, Message, Record, message

TAGS = st.sampled_from(Tag)


@given(st.lists(st.tuples(TAGS, st.binary(max_size=200)), max_size=50))
def test_records_there_and_back(entries):
    fields = Fields()
    for tag, value in entries:
        fields.data(tag, value)
    record = Record(fields.encode())
    for tag in Tag:
        assert record.every(tag) == tuple(value for other, value in entries if other is tag)


@given(TAGS, st.integers(0, 2**64 - 1), st.text(), st.integers(-(2**31), 2**31 - 1))
def test_values_there_and_back(tag, number, text, signed):
    assert Record(Fields().number(tag, number).encode()).number(tag) == number
    shown = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if shown == text:
        assert Record(Fields().text(tag, text).encode()).text(tag) == text
    raw = Record(Fields().signed(tag, signed).encode()).data(tag)
    assert int.from_bytes(raw, "little", signed=True) == signed


def test_what_is_missing_is_zero_and_empty():
    record = Record(b"")
    assert (record.number(Tag.PID), record.text(Tag.ID), record.flag(Tag.OOM)) == (0, "", False)
    assert record.every(Tag.ROW) == record.records(Tag.ROW) == ()
    assert Tag.PID not in record


def test_empty_texts_of_a_list_count():
    record = Record(Fields().texts(Tag.ARGV, ("", "a", "")).encode())
    assert record.every(Tag.ARGV) == (b"", b"a", b"")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_refused(data):
    try:
        record = Record(data)
        for tag in Tag:
            record.text(tag)
            record.number(tag)
            record.records(tag)
    except ProtocolError:
        pass
    with contextlib.suppress(ProtocolError):
        Message(data)


def test_a_record_has_a_bounded_number_of_fields():
    field = Fields().data(Tag.ROW, b"").encode()
    assert len(Record(field * MOST_FIELDS).every(Tag.ROW)) == MOST_FIELDS
    with pytest.raises(ProtocolError):
        Record(field * (MOST_FIELDS + 1))


PAYLOADS = st.lists(st.binary(max_size=400), max_size=12)


@given(PAYLOADS, st.data())
def test_frames_come_out_however_they_are_cut(payloads, data):
    stream = b"".join(frames.frame(Kind.MESSAGE, payload, channel=7) for payload in payloads)
    deframer, found = Deframer(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        deframer.feed(stream[:size])
        stream = stream[size:]
        while (frame := deframer.next()) is not None:
            assert (frame.kind, frame.channel) == (Kind.MESSAGE, 7)
            found.append(frame.payload)
    assert found == payloads


@given(st.binary(max_size=500), st.integers(1, 64))
def test_all_before_the_nonce_is_thrown_away(junk, size):
    nonce = b"n" * 31 + b"!"
    stream = junk + nonce + frames.frame(Kind.WELCOME, b"here")
    deframer = Deframer(nonce)
    for at in range(0, len(stream), size):
        deframer.feed(stream[at : at + size])
        frame = deframer.next()
        assert frame is None or (at + size >= len(stream) and frame.payload == b"here")
    assert frame is not None


@given(st.binary(max_size=2000))
def test_any_bytes_are_frames_or_refused(data):
    deframer = Deframer()
    deframer.feed(data)
    try:
        while deframer.next() is not None:
            pass
    except ProtocolError:
        pass


def test_a_frame_is_bounded():
    deframer = Deframer()
    deframer.feed((MOST_PAYLOAD + 1).to_bytes(4, "little") + bytes(12))
    with pytest.raises(ProtocolError):
        deframer.next()


@given(st.integers(0, MOST_MESSAGE - 8))
def test_a_message_is_cut_into_frames(size):
    text = (
        message(5, 9, Fields().data(Tag.CONTENT, bytes(size))) if size else message(5, 9, Fields())
    )
    if len(text) > MOST_MESSAGE:
        with pytest.raises(ValueError, match="bytes"):
            frames.message_frames(text)
        return
    deframer = Deframer()
    deframer.feed(frames.message_frames(text))
    parts = []
    while (frame := deframer.next()) is not None:
        parts.append(frame)
    assert [part.flags for part in parts] == [1] * (len(parts) - 1) + [0]
    whole = Message(b"".join(part.payload for part in parts))
    assert (whole.operation, whole.request) == (5, 9)
    assert len(whole.record.data(Tag.CONTENT)) == size


def test_the_first_token_is_what_the_contract_says():
    assert FIRST_TOKEN == b"heft-agent-protocol-first-sessio"
    assert len(FIRST_TOKEN) == 32


def test_the_token_is_the_last_field_of_hello():
    opening = frames.hello(b"t" * 32, b"n" * 32, b"f" * 32)
    assert opening.startswith(b"t" * 32)
    assert opening.endswith(b"f" * 32)
