"""docs/agent-protocol.md, the daemon's words and the agent's: the same numbers in all three."""

import re
from enum import IntEnum
from pathlib import Path

import pytest

from heft.guest import protocol
from heft.guest.protocol import Event, Kind, Operation, Phase, Status, Tag

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/agent-protocol.md").read_text()
HEADER = (ROOT / "agent/protocol.h").read_text()
CELL = re.compile(r"(?<=\| )(\d+) ([A-Z_]+)(?= \|)")
ROW = re.compile(r"^\| (\d+) \| ([A-Z_]+) \|", re.MULTILINE)


def of_page(section: str, head: str, pattern: re.Pattern[str] = ROW) -> dict[str, int]:
    """Give the names and numbers of the table with this head line, in a section."""
    _, _, text = PAGE.partition(f"\n## {section}\n")[2].partition(head)
    table, _, _ = text.partition("\n\n")
    return {name: int(number) for number, name in pattern.findall(table)}


def of_agent(enum: str, prefix: str = "") -> dict[str, int]:
    """Give what an enum of the agent's header says, as a compiler counts it."""
    body, _, _ = HEADER.partition(f"enum {enum} {{")[2].partition("}")
    assert body
    found, number = {}, -1
    for entry in re.findall(r"[A-Z_]+(?: = [0-9]+(?: << [0-9]+)?)?", body):
        name, _, value = entry.partition(" = ")
        base, _, shift = value.partition(" << ")
        number = int(base) << int(shift or 0) if value else number + 1
        if name.startswith(prefix):
            found[name.removeprefix(prefix).rstrip("_")] = number
    return found


def of_daemon(words: type[IntEnum]) -> dict[str, int]:
    return {word.name: word.value for word in words}


@pytest.mark.parametrize(
    ("words", "page", "agent"),
    [
        (Kind, of_page("Frames", "| type | name |"), of_agent("frame_type", "FRAME_")),
        (Status, of_page("Records", "| STATUS |"), of_agent("status")),
        (Operation, of_page("Operations", "| op | name |"), of_agent("operation", "OP_")),
        (Event, of_page("Operations", "| event | name |"), of_agent("operation", "EVENT_")),
        (Tag, of_page("Tags", "| | | | | |", CELL), of_agent("tag")),
    ],
)
def test_numbers(words: type[IntEnum], page: dict[str, int], agent: dict[str, int]) -> None:
    assert len(page) >= 2
    assert page == of_daemon(words) == agent


def test_phases() -> None:
    said = {name: int(number) for number, name in re.findall(r"\b([123]) (held|running)", PAGE)}
    assert said == {"held": Phase.HELD, "running": Phase.RUNNING}
    assert of_agent("phase", "PHASE_") == of_daemon(Phase)


def test_limits() -> None:
    """Each stands on the page in words, and is what both sides go by."""
    agent = dict(re.findall(r"^    ((?:MOST|LINE|HEARD|TOKEN)_[A-Z]+) = ([0-9 <]+),", HEADER, re.M))
    for words, daemon, name in (
        ("length of the payload, at most 65,536", protocol.MOST_PAYLOAD, "MOST_PAYLOAD"),
        ("a record has at most 8,192 fields", protocol.MOST_FIELDS, "MOST_FIELDS"),
        ("An ID has at most 128 bytes", protocol.MOST_ID, "MOST_ID"),
        ("an agent keeps at most 128 processes", None, "MOST_PROCESSES"),
        ("At most 16 go on at a time", None, "MOST_TASKS"),
        ("to the daemon 131,072", None, "LINE_ROOM"),
        ("what it has read for every 1,024", protocol.LINE_ROOM // 2, "HEARD_STEP"),
        ("(which does so for every 32,768)", protocol.HEARD_STEP, None),
        ("of at most 1,792 bytes", protocol.OPENING_ROOM, None),
        ("only while it has room (262,144 bytes a stream)", protocol.STREAM_ROOM, None),
    ):
        (number,) = re.findall(r"\d[\d,]+", words)
        value = int(number.replace(",", ""))
        assert words in PAGE
        assert daemon in (None, value)
        if name is not None:
            base, _, shift = agent[name].partition(" << ")
            assert int(base) << int(shift or 0) == value
    assert "A whole message is at most 1 MiB" in PAGE
    assert protocol.MOST_MESSAGE == 1 << 20
    assert "MOST_MESSAGE = 1 << 20," in HEADER
