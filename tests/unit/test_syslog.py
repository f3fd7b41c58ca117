"""Syslog's messages, where they go, and a log read from where it was left."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.engine import log_config
from heft.engine.syslog import formats, target
from heft.engine.syslog.formats import Sender
from heft.engine.syslog.position import Position, PositionFile
from heft.engine.syslog.reading import MOST, Reader
from heft.engine.syslog.target import Format, Target, Transport
from heft.errors import InvalidArgument
from heft.model.config import Config, HostConfig, LogConfig
from heft.model.machine import Machine, Stream
from heft.model.request import LogLine

SENDER = Sender("host", "tag", 42)
MOMENT = 1_700_000_000_123_456_789


@pytest.fixture(autouse=True)
def in_kolkata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", Target()),
        ("unix:///run/log", Target(Transport.UNIX, "/run/log")),
        ("unixgram:///dev/log", Target(Transport.UNIXGRAM, "/dev/log")),
        ("udp://localhost", Target(Transport.UDP, "localhost", 514)),
        ("tcp://127.0.0.1:601", Target(Transport.TCP, "127.0.0.1", 601)),
        ("tcp://[::1]:601", Target(Transport.TCP, "::1", 601)),
        ("tcp+tls://log.example.org", Target(Transport.TLS, "log.example.org", 514)),
    ],
)
def test_addresses(address: str, expected: Target) -> None:
    assert target.read({"syslog-address": address} if address else {}) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"syslog-address": "http://x"}, "unsupported scheme: 'http'"),
        ({"syslog-address": "127.0.0.1:514"}, "127.0.0.1:514|unsupported"),
        ({"syslog-address": "tcp://"}, "unsupported scheme|invalid"),
        ({"syslog-address": "tcp://host:port"}, "invalid syslog-address"),
        ({"syslog-facility": "music"}, "invalid syslog facility: music"),
        ({"syslog-facility": "24"}, "invalid syslog facility: 24"),
        ({"syslog-format": "rfc1"}, "Invalid syslog format"),
        ({"syslog-tls-cert": "/c"}, "belong together"),
    ],
)
def test_what_is_no_target(options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        target.read(options)


@pytest.mark.parametrize(("text", "number"), [("kern", 0), ("local7", 23), ("0", 0), ("12", 12)])
def test_facilities(text: str, number: int) -> None:
    assert target.read({"syslog-facility": text}).facility == number


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Format.UNIX, b"<30>Nov 15 03:43:20 tag[42]: text\n"),
        (Format.RFC3164, b"<30>Nov 15 03:43:20 host tag[42]: text\n"),
        (Format.RFC5424, b"<30>1 2023-11-15T03:43:20+05:30 host tag 42 tag - text\n"),
        (Format.RFC5424_MICRO, b"<30>1 2023-11-15T03:43:20.123456+05:30 host tag 42 tag - text\n"),
    ],
)
def test_formats(kind: Format, expected: bytes) -> None:
    line = LogLine(MOMENT, Stream.STDOUT, b"text\n")
    assert formats.message(line, Target(format=kind), SENDER) == expected


def test_severity_facility_and_framing() -> None:
    error = LogLine(MOMENT, Stream.STDERR, b"text")
    assert formats.message(error, Target(facility=16), SENDER).startswith(b"<131>")
    framed = Target(Transport.TLS, "h", format=Format.RFC5424)
    sent = formats.message(error, framed, SENDER)
    length, _, rest = sent.partition(b" ")
    assert int(length) == len(rest)
    assert formats.message(LogLine(MOMENT, Stream.STDOUT, b"\xff\n"), Target(), SENDER)[-2:] == (
        b"\xff\n"
    )


def machine(**options: str) -> Machine:
    return Machine(
        id="0123456789abcdef" * 4,
        name="web",
        created=1,
        weight="light",
        platform="linux/amd64",
        image="sha256:fedcba9876543210",
        layers=(),
        config=Config(image="debian:12"),
        host_config=HostConfig(log_config=LogConfig(type="syslog", config=options)),
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", "0123456789ab"),
        ("mine", "mine"),
        ("{{.Name}}/{{ .ID }}", "web/0123456789ab"),
        ("{{.ImageName}} {{.ImageID}} {{.DaemonName}}", "debian:12 sha256:fedcb heft"),
    ],
)
def test_tags(template: str, expected: str) -> None:
    assert log_config.tag(machine(tag=template)) == expected


def test_what_is_no_tag_or_option() -> None:
    with pytest.raises(InvalidArgument, match="invalid log tag"):
        log_config.check(machine(tag="{{if .ID}}x{{end}}").host_config)
    with pytest.raises(InvalidArgument, match="unknown log opt 'max-size' for syslog log driver"):
        log_config.check(machine(**{"max-size": "1m"}).host_config)
    kept = machine(**{"cache-max-size": "1m", "cache-max-file": "2"}).host_config
    assert log_config.limits(kept) == (1 << 20, 2)
    assert log_config.limits(machine().host_config) == (20 << 20, 5)
    assert not log_config.is_readable(machine(**{"cache-disabled": "true"}).host_config)


# Reading on


def entry(number: int, text: str, stream: str = "stdout", tag: str = "F") -> str:
    return f"2023-11-15T03:43:20.{number:09}+05:30 {stream} {tag} {text}\n"


def texts(found: list[tuple[LogLine, Position]] | None) -> list[str]:
    return [line.data.decode().rstrip("\n") for line, _ in found or []]


def everything(reader: Reader) -> list[tuple[LogLine, Position]]:
    found = []
    while (messages := reader.messages()) is not None:
        found += messages
    return found


def read(log: Path, start: Position | None = None) -> list[tuple[LogLine, Position]]:
    with contextlib.closing(Reader(log, start)) as reader:
        return everything(reader)


def test_reading_on_from_every_position(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.with_name("log.1").write_text("".join(entry(n, str(n)) for n in range(5)))
    log.write_text("".join(entry(n, str(n)) for n in range(5, 10)))
    first = read(log)
    assert texts(first) == [str(n) for n in range(10)]
    for count, (_, position) in enumerate(first, 1):
        assert texts(read(log, position)) == [str(n) for n in range(count, 10)]


def test_what_comes_later_and_rotation(tmp_path: Path) -> None:
    log = tmp_path / "log"
    reader = Reader(log, None)
    assert reader.messages() is None
    log.write_text(entry(1, "one") + entry(2, "two")[:20])
    assert texts(reader.messages()) == ["one"]
    with log.open("a") as file:
        file.write(entry(2, "two")[20:])
    assert texts(reader.messages()) == ["two"]
    with log.open("a") as file:
        file.write(entry(3, "three"))
    log.rename(log.with_name("log.1"))
    log.write_text(entry(4, "four"))
    assert texts(everything(reader)) == ["three", "four"]
    reader.close()


def test_a_log_that_is_gone_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(entry(1, "one"))
    ((_, position),) = read(log)
    log.write_text(entry(2, "other") + entry(3, "more"))  # the same number, other content
    assert texts(read(log, position)) == ["other", "more"]


def test_parts_become_one_message(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        entry(1, "be", tag="P") + entry(2, "err", "stderr") + entry(3, "gin") + entry(4, "end")
    )
    found = read(log)
    assert texts(found) == ["err", "begin", "end"]
    # The first of them was sent while another line was unfinished: better twice than not at all.
    assert texts(read(log, found[0][1])) == ["err", "begin", "end"]
    assert texts(read(log, found[1][1])) == ["end"]


def test_a_line_without_an_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(entry(1, "no end", tag="P"))
    reader = Reader(log, None)
    assert everything(reader) == []
    ((line, position),) = reader.rest()
    assert line.data == b"no end"
    assert texts(read(log, position)) == []
    assert reader.rest() == []
    reader.close()


def test_a_long_line_is_several_messages(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(entry(n, "x" * 8000, tag="P") for n in range(5)) + entry(9, "end"))
    sizes = [len(line.data) for line, _ in read(log)]
    assert sum(sizes) == 5 * 8000 + len("end\n")
    assert all(size < MOST + 8000 for size in sizes)
    assert len(sizes) == 2


def test_positions_are_kept(tmp_path: Path) -> None:
    file = PositionFile(tmp_path / "sent")
    assert file.read() is None
    position = Position(os.stat(tmp_path).st_ino, 1 << 40, 0xFFFFFFFF)
    file.write(Position(1, 2, 3))
    file.write(position)
    file.close()
    with contextlib.closing(PositionFile(tmp_path / "sent")) as again:
        assert again.read() == position
