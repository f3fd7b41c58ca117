"""Sessions with a guest's agent: a peer that keeps to the protocol, and ones that mean harm."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from heft.errors import HostError, OutcomeUnknown
from heft.guest import frames
from heft.guest.link import Interrupted, Link
from heft.guest.protocol import STREAM_ROOM, Event, Kind, Operation, Status, Tag
from heft.guest.records import Fields, message
from heft.guest.streams import Inflow, Outflow
from heft.guest.tokens import Tokens
from heft.guest.wire import unix_connector
from tests.harness.guest import Peer, pipes, sockets

SECONDS = 20.0


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    peer = Peer(tmp_path / "agent")
    await peer.start()
    yield peer
    await peer.close()


@pytest.fixture
async def connect(peer: Peer, tmp_path: Path) -> AsyncIterator[Callable[[], Link]]:
    """Give daemons that are started one after another: their links."""
    links = []

    def connect() -> Link:
        tokens = Tokens(tmp_path / "tokens")
        links.append(Link(unix_connector(str(peer.path)), tokens, "machine"))
        return links[-1]

    yield connect
    for link in links:
        await link.close()


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)


def start(identity: str, **channels: int) -> Fields:
    fields = Fields().text(Tag.ID, identity)
    for name, number in channels.items():
        fields.number(Tag[name], number)
    return fields


async def test_a_session_and_a_request(peer, connect):
    link = connect()
    state = await link.open(SECONDS)
    assert state.text(Tag.AGENT) == "peer"
    answer = await link.request(Operation.SYNC, Fields())
    assert answer.number(Tag.STATUS) == Status.OK
    assert peer.sessions == 1


async def test_requests_may_be_made_before_the_answer_to_hello(peer, connect):
    link = connect()
    opening = asyncio.ensure_future(link.open(SECONDS))
    setup = link.request(Operation.SETUP, Fields())
    begun = link.request(Operation.START, start("a"))
    await asyncio.gather(opening, setup, begun)
    assert [operation for operation, _ in peer.asked] == [Operation.SETUP, Operation.START]


async def test_requests_that_wait_for_a_guest_go_out_in_their_order(peer, tmp_path):
    there = asyncio.Event()
    at_once = unix_connector(str(peer.path))

    async def later():
        await there.wait()
        return await at_once()

    link = Link(later, Tokens(tmp_path / "tokens"), "machine")
    opening = asyncio.ensure_future(link.open(SECONDS))
    names = [f"machine-{number}" for number in range(8)]
    asking = [asyncio.ensure_future(link.request(Operation.START, start(name))) for name in names]
    await asyncio.sleep(0)
    there.set()
    await asyncio.gather(opening, *asking)
    assert [fields.text(Tag.ID) for _, fields in peer.asked] == names
    await link.close()


async def test_a_message_of_many_frames(peer, connect):
    link = connect()
    await link.open(SECONDS)
    peer.replies[Operation.PROCESSES] = lambda _: (
        Status.OK,
        Fields().data(Tag.ROW, b"r" * 500_000),
    )
    answer = await link.request(Operation.PROCESSES, Fields().data(Tag.CONTENT, b"c" * 900_000))
    assert answer.data(Tag.ROW) == b"r" * 500_000
    assert peer.asked[-1][1].data(Tag.CONTENT) == b"c" * 900_000


async def test_each_session_needs_the_token_that_the_one_before_named(peer, connect):
    for number in range(1, 4):
        link = connect()
        await link.open(SECONDS)
        assert peer.sessions == number
        await link.close()


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_daemon_that_was_killed_while_opening_is_followed_by_one_that_opens(
    peer, connect, tmp_path, arrived
):
    first = connect()
    await first.open(SECONDS)
    await first.close()
    # What a daemon does that dies before it has read the answer.
    opening, _ = Tokens(tmp_path / "tokens").opening()
    if arrived:
        _reader, writer = await asyncio.open_unix_connection(peer.path)
        writer.write(opening)
        await eventually(lambda: peer.sessions == 2)
        writer.close()
    before = peer.sessions
    second = connect()
    await second.open(SECONDS)
    assert peer.sessions > before
    assert (await second.request(Operation.SYNC, Fields())).number(Tag.STATUS) == Status.OK


async def test_a_killed_daemon_leaves_half_a_frame_behind(peer, connect):
    first = connect()
    await first.open(SECONDS)
    half = frames.message_frames(message(Operation.SYNC, 1, Fields().data(Tag.CONTENT, b"x" * 999)))
    first._conversation.wire.send(half[:500])
    await asyncio.sleep(0.01)
    await first.close()
    second = connect()
    await second.open(SECONDS)
    assert (await second.request(Operation.SYNC, Fields())).number(Tag.STATUS) == Status.OK


async def test_a_request_without_an_answer(peer, connect):
    link = connect()
    await link.open(SECONDS)
    peer.replies[Operation.STATS] = lambda _: None
    with pytest.raises(OutcomeUnknown, match="does not answer"):
        await link.request(Operation.STATS, Fields(), 0.05)
    assert (await link.request(Operation.SYNC, Fields())).number(Tag.STATUS) == Status.OK


async def test_a_lost_session_is_followed_by_another(peer, connect):
    link = connect()
    await link.open(SECONDS)
    peer.replies[Operation.STATS] = lambda _: None
    asking = asyncio.ensure_future(link.request(Operation.STATS, Fields()))
    await eventually(lambda: len(peer.asked) == 1)
    await peer.drop()
    with pytest.raises(Interrupted, match="lost before it answered"):
        await asking
    answer = await link.request(Operation.SYNC, Fields())
    assert answer.number(Tag.STATUS) == Status.OK
    assert peer.sessions == 2


async def test_a_guest_that_is_silent(peer, connect):
    peer.listening = False
    link = connect()
    with pytest.raises(HostError, match="has not answered within"):
        await link.open(0.05)


async def test_nobody_listens(tmp_path):
    link = Link(unix_connector(str(tmp_path / "nothing")), Tokens(tmp_path / "tokens"), "machine")
    with pytest.raises(HostError, match="cannot reach the guest"):
        await link.open(SECONDS)
    await link.close()


# Streams


async def test_much_output_comes_whole_and_in_order(peer, connect):
    link = connect()
    await link.open(SECONDS)
    inflow = Inflow(2)
    await link.request(Operation.START, start("a", STDOUT=2), streams=(inflow,), lasting=True)
    content = os.urandom(3 << 20)
    peer.put("a", content)
    peer.exit("a")
    got = b""
    while data := await inflow.read():
        assert len(data) <= STREAM_ROOM
        got += data
        inflow.take(len(data))
    assert got == content


async def test_what_is_not_taken_is_not_sent_on(peer, connect):
    link = connect()
    await link.open(SECONDS)
    inflow = Inflow(2)
    await link.request(Operation.START, start("a", STDOUT=2), streams=(inflow,), lasting=True)
    peer.put("a", bytes(STREAM_ROOM * 2))
    await eventually(lambda: inflow.received == STREAM_ROOM)
    await asyncio.sleep(0.02)
    assert inflow.received == STREAM_ROOM
    data = await inflow.read()
    inflow.take(len(data))
    await eventually(lambda: inflow.received == STREAM_ROOM * 2)


async def test_a_stream_goes_on_in_the_next_session(peer, connect):
    link = connect()
    await link.open(SECONDS)
    inflow = Inflow(2)
    await link.request(Operation.START, start("a", STDOUT=2), streams=(inflow,), lasting=True)
    content = os.urandom(2 << 20)
    peer.put("a", content)
    got = b""
    while len(got) < len(content):
        data = await inflow.read()
        got += data
        inflow.take(len(data))
        if peer.sessions < 3 and len(got) > peer.sessions * (len(content) // 3):
            await peer.drop()
    assert got == content
    assert peer.sessions == 3


async def test_another_daemon_goes_on_where_the_first_has_taken(peer, connect):
    first = connect()
    await first.open(SECONDS)
    inflow = Inflow(2)
    await first.request(Operation.START, start("a", STDOUT=2), streams=(inflow,), lasting=True)
    content = os.urandom(1 << 20)
    peer.put("a", content)
    got = b""
    while len(got) < len(content) // 2:
        data = await inflow.read()
        got += data
        inflow.take(len(data))
    await first.close()
    second = connect()
    await second.open(SECONDS)
    inflow = Inflow(2, len(got))
    second.add(inflow, lasting=True)
    peer.exit("a")
    while data := await inflow.read():
        got += data
        inflow.take(len(data))
    assert got == content


async def test_input_goes_there_over_sessions(peer, connect):
    link = connect()
    await link.open(SECONDS)
    outflow = Outflow(1)
    await link.request(Operation.START, start("a", STDIN=1), streams=(outflow,), lasting=True)
    content = os.urandom(2 << 20)

    async def write() -> None:
        for at in range(0, len(content), 50_000):
            await outflow.write(content[at : at + 50_000])
        outflow.end()

    writing = asyncio.ensure_future(write())
    inlet = peer.processes["a"].stdin
    assert inlet is not None
    for part in (1, 2):
        await eventually(lambda part=part: len(inlet.data) > part * len(content) // 3)
        await peer.drop()
        await eventually(lambda part=part: peer.sessions == part + 1)
    await writing
    await eventually(lambda: inlet.ended)
    assert bytes(inlet.data) == content


async def test_input_that_nobody_reads_is_dropped(peer, connect):
    link = connect()
    await link.open(SECONDS)
    outflow = Outflow(1)
    await link.request(Operation.START, start("a", STDIN=1), streams=(outflow,), lasting=True)
    peer.send(frames.frame(Kind.STOP, channel=1))
    await eventually(lambda: outflow.stopped)
    await outflow.write(bytes(10 * STREAM_ROOM))


async def test_streams_end_when_the_link_is_closed(peer, connect):
    link = connect()
    await link.open(SECONDS)
    inflow = Inflow(2)
    await link.request(Operation.START, start("a", STDOUT=2), streams=(inflow,), lasting=True)
    reading = asyncio.ensure_future(inflow.read())
    await asyncio.sleep(0)
    await link.close()
    with pytest.raises(OutcomeUnknown):
        await reading
    with pytest.raises(HostError, match="is gone"):
        await link.request(Operation.SYNC, Fields())


async def test_free_channels_are_nobodys(peer, connect):
    link = connect()
    await link.open(SECONDS)
    numbers = [link.free_channel() for _ in range(1000)]
    assert len(set(numbers)) == 1000
    assert min(numbers) >= 16


async def test_a_connection_of_two_pipes(tmp_path):
    ours, theirs = pipes()

    async def connection() -> tuple[int, int]:
        return ours

    link = Link(connection, Tokens(tmp_path / "tokens"), "machine")
    opening = asyncio.ensure_future(link.open(SECONDS))
    got = b""
    while len(got) < 32 + 16:
        with contextlib.suppress(BlockingIOError):
            os.set_blocking(theirs[0], False)
            got += os.read(theirs[0], 4096)
        await asyncio.sleep(0.001)
    nonce = got.partition(b"\x06\0\0\0\x20\0\0\0")[2][:32]
    os.write(theirs[1], b"junk" + nonce)
    os.write(theirs[1], frames.frame(Kind.WELCOME, Fields().number(Tag.VERSION, 1).encode()))
    await opening
    await link.close()
    for descriptor in theirs:
        os.close(descriptor)


# Guests that mean harm


class Hostile:
    """A guest that answers HELLO, and then says what the test wants."""

    def __init__(self, tmp_path: Path) -> None:
        self.connections = 0
        self.nonce = b""
        self.link = Link(self._connect, Tokens(tmp_path / "tokens"), "machine")
        self.theirs = None
        self.sockets = []
        self.welcome = Fields().number(Tag.VERSION, 1)

    async def _connect(self):
        self.connections += 1
        ours, self.theirs = sockets()
        self.sockets.append(self.theirs)
        self.theirs.setblocking(False)
        return ours

    async def open(self) -> None:
        opening = asyncio.ensure_future(self.link.open(SECONDS))
        await eventually(lambda: self.theirs is not None)
        loop = asyncio.get_running_loop()
        got = await loop.sock_recv(self.theirs, 4096)
        nonce = got.rpartition(b"\x06\0\0\0\x20\0\0\0")[2][:32]
        await self.say(nonce + frames.frame(Kind.WELCOME, self.welcome.encode()))
        await opening

    async def say(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await asyncio.get_running_loop().sock_sendall(self.theirs, data)


@pytest.fixture
async def hostile(tmp_path: Path) -> AsyncIterator[Hostile]:
    hostile = Hostile(tmp_path)
    await hostile.open()
    yield hostile
    await hostile.link.close()
    for each in hostile.sockets:
        each.close()


def data(channel: int, offset: int, payload: bytes, *, fin: bool = False) -> bytes:
    return frames.data_head(channel, offset, len(payload), fin=fin) + payload


BROKEN = {
    "a giant frame": b"\xff\xff\xff\xff" + bytes(12),
    "an unknown kind": frames.frame(Kind.DATA).replace(b"\1\0", b"\x63\0", 1),
    "a second welcome": frames.frame(Kind.WELCOME),
    "a hello": frames.frame(Kind.HELLO),
    "a gap": data(2, 5, b"x"),
    "more than its window": b"".join(data(2, at << 16, bytes(1 << 16)) for at in range(5)),
    "an offset near the end of all numbers": data(2, 2**64 - 1, b"xx"),
    "a window of a wrong length": frames.frame(Kind.WINDOW, b"x", channel=1),
    "more taken than sent": frames.window(1, 99, 100),
    "a message without a head": frames.frame(Kind.MESSAGE, b"x"),
    "a record that is none": frames.frame(Kind.MESSAGE, bytes(8) + b"xyz"),
    "a message without end": frames.frame(Kind.MESSAGE, bytes(1 << 16)).replace(
        b"\x12\0", b"\x12\1", 1
    )
    * 17,
    "nothing of use": frames.message_frames(message(77, 0, Fields())) * 2000,
    "empty data": data(2, 0, b"") * 2000,
    "data for nobody": data(99, 0, b"x") * 2000,
    "answers that nobody waits for": frames.message_frames(message(0x8005, 77, Fields())) * 2000,
    "an error": frames.frame(Kind.ERROR, b"\xff" * 60000),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_breaks_the_protocol_ends_the_session(hostile, what, caplog):
    inflow, outflow = Inflow(2), Outflow(1)
    hostile.link.add(inflow, lasting=True)
    hostile.link.add(outflow, lasting=True)
    saying = asyncio.ensure_future(hostile.say(BROKEN[what]))
    await eventually(lambda: hostile.connections == 2)
    assert "the connection is lost" in caplog.text
    saying.cancel()


async def test_what_a_guest_says_is_no_line_of_its_own_in_the_log(hostile, caplog):
    said = b"\x1b[31mgone\nINFO heft: forged\r"
    saying = asyncio.ensure_future(hostile.say(frames.frame(Kind.ERROR, said)))
    await eventually(lambda: hostile.connections == 2)
    (line,) = (record.getMessage() for record in caplog.records if "is lost" in record.message)
    assert line.endswith("it said: [31mgone INFO heft: forged")
    saying.cancel()


async def test_only_root_reads_a_token(peer, connect, tmp_path):
    await connect().open(SECONDS)
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o600


async def test_a_flood_leaves_the_loop_to_others(hostile):
    """Tiny pieces of output, as many as there may be, all in one go.

    Judged by the thread's own time: what else the host does meanwhile is not the link's doing.
    """
    inflow = Inflow(2)
    hostile.link.add(inflow, lasting=True)
    flood = b"".join(data(2, at, b"x") for at in range(STREAM_ROOM))
    saying = asyncio.ensure_future(hostile.say(flood))
    longest, last = 0.0, time.thread_time()
    while inflow.received < STREAM_ROOM:
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    await saying
    assert hostile.connections == 1
    assert longest < 0.1, "a turn of the loop takes 3 ms"


async def test_a_guest_that_reads_nothing_is_given_up(hostile):
    """What is queued for it stays bounded, and nobody waits for ever."""
    outflow = Outflow(1)
    hostile.link.add(outflow, lasting=True)
    await hostile.say(frames.window(1, 0, 1 << 40))
    writing = asyncio.ensure_future(outflow.write(bytes(4 * STREAM_ROOM)))
    await asyncio.sleep(0.05)
    assert not writing.done()
    asks = [
        asyncio.ensure_future(
            hostile.link.request(Operation.FILES, Fields().data(Tag.CONTENT, bytes(1 << 19)), 0.5)
        )
        for _ in range(20)
    ]
    results = await asyncio.gather(*asks, return_exceptions=True)
    assert all(isinstance(result, HostError) for result in results)
    writing.cancel()


async def test_a_guest_that_loses_what_was_not_taken(hostile):
    inflow = Inflow(2)
    hostile.link.add(inflow, lasting=True)
    await hostile.say(data(2, 0, b"abc"))
    await eventually(lambda: inflow.received == 3)
    channel = Fields().number(Tag.NUMBER, 2).number(Tag.BASE, 1000).number(Tag.END, 2000)
    hostile.welcome.record(Tag.PROCESS, Fields().text(Tag.ID, "a").record(Tag.CHANNEL, channel))
    first = hostile.theirs
    first.close()
    await eventually(lambda: hostile.theirs is not first)
    got = await asyncio.get_running_loop().sock_recv(hostile.theirs, 4096)
    nonce = got.rpartition(b"\x06\0\0\0\x20\0\0\0")[2][:32]
    await hostile.say(nonce + frames.frame(Kind.WELCOME, hostile.welcome.encode()))
    assert bytes(await inflow.read()) == b"abc"
    with pytest.raises(OutcomeUnknown, match="was dropped up to 1000"):
        await inflow.read()


async def test_events_reach_who_listens(peer, connect):
    link = connect()
    await link.open(SECONDS)
    heard = []
    link.on_event = lambda event: heard.append(event.record.text(Tag.ID)) or True
    peer.tell(Event.EXITED, Fields().text(Tag.ID, "a"))
    await eventually(lambda: heard == ["a"])
