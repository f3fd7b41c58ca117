"""A run of a guest, as daemons that come and go watch it; the guest is a `Peer` of the harness."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heft.errors import HostError, NotFound, StartFailed
from heft.guest import frames, transfers
from heft.guest import run as guest_run
from heft.guest.protocol import Kind, Operation, Phase, Status, Tag
from heft.guest.records import Fields
from heft.guest.run import GuestRun
from heft.guest.setup import WORKLOAD, Surroundings
from heft.guest.wire import unix_connector
from heft.model.machine import Stream
from heft.weights.base import (
    ExecRequest,
    Exit,
    Launch,
    Log,
    Namespaces,
    Process,
    Resources,
    Root,
    Security,
    Started,
)
from tests.harness.guest import Peer

SECONDS = 20.0
GIVEN = Surroundings(disks=(), clock=1, entropy=bytes(32))


class Bench:
    """A guest, and the daemons that watch it one after another."""

    def __init__(self, place: Path, peer: Peer) -> None:
        self.place = place
        self.peer = peer
        self.runs: list[GuestRun] = []
        (place / "run").mkdir()

    def launch(self, **process: object) -> Launch:
        return Launch(
            id="1" * 64,
            name="machine",
            hostname="host",
            domainname="",
            platform="linux/amd64",
            run=self.place / "run",
            root=Root((), self.place / "own" / "upper"),
            process=Process(("sh",), **process),
            init=False,
            mounts=(),
            namespaces=Namespaces(network="none"),
            endpoint=None,
            resources=Resources(),
            security=Security(),
            log=Log(self.place / "log"),
            shm_size=1 << 20,
        )

    def daemon(self, launch: Launch) -> GuestRun:
        run = GuestRun(launch, unix_connector(str(self.peer.path)), 4711)
        self.runs.append(run)
        return run

    async def started(self, **process: object) -> GuestRun:
        run = self.daemon(self.launch(**process))
        await run.begin(GIVEN)
        await run.go()
        return run

    async def followed(self, run: GuestRun) -> GuestRun:
        """Let another daemon take over."""
        await run.close()
        following = self.daemon(run.launch)
        assert await following.adopt() == Started(4711)
        return following

    @property
    def log(self) -> list[tuple[str, str]]:
        lines = []
        for line in (self.place / "log").read_text().splitlines():
            _, stream, tag, text = line.split(" ", 3)
            lines.append((stream, text + ("\n" if tag == "F" else "")))
        return lines

    @property
    def said(self) -> str:
        return "".join(text for _, text in self.log)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    peer = Peer(tmp_path / "agent")
    await peer.start()
    bench = Bench(tmp_path, peer)
    yield bench
    for run in bench.runs:
        await run.close()
    await peer.close()


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)


async def ended(run: GuestRun) -> Exit:
    async with asyncio.timeout(SECONDS):
        return await run.wait()


async def collected(session) -> dict[Stream, bytes]:
    pieces = {Stream.STDOUT: b"", Stream.STDERR: b""}
    async with asyncio.timeout(SECONDS):
        while (piece := await session.read()) is not None:
            pieces[piece[0]] += piece[1]
    return pieces


# Beginning and end


async def test_nothing_runs_before_it_is_let_go(bench):
    run = bench.daemon(bench.launch())
    await run.begin(GIVEN)
    assert [operation for operation, _ in bench.peer.asked] == [Operation.SETUP, Operation.START]
    assert bench.peer.processes[WORKLOAD].phase is Phase.HELD
    assert await run.go() == Started(4711)
    assert bench.peer.processes[WORKLOAD].phase is Phase.RUNNING


async def test_its_end(bench):
    run = await bench.started()
    before = time.time_ns()
    bench.peer.put(WORKLOAD, b"out\n")
    bench.peer.put(WORKLOAD, b"part", 2)
    bench.peer.exit(WORKLOAD, 42)
    exit_ = await ended(run)
    assert (exit_.code, exit_.oom_killed, exit_.error) == (42, False, "")
    assert before <= exit_.finished <= time.time_ns()
    assert sorted(bench.log) == [("stderr", "part"), ("stdout", "out\n")]
    assert run.has_ended


@pytest.mark.parametrize(("told", "believed"), [(0, False), (2**63, False), (None, True)])
async def test_a_guests_clock_is_believed_within_reason(bench, told, believed):
    run = await bench.started()
    told = time.time_ns() if told is None else told
    bench.peer.exit(WORKLOAD, 2**40, finished=told)
    exit_ = await ended(run)
    assert exit_.code == 255
    assert (exit_.finished == told) is believed


@pytest.mark.parametrize(("code", "exit_code"), [(127, 127), (126, 126), (125, 128), (0, 128)])
async def test_what_cannot_be_started(bench, code, exit_code):
    words = 'exec: "nope": executable file not found in $PATH'
    bench.peer.replies[Operation.START] = lambda _: (
        Status.START_FAILED,
        Fields().number(Tag.EXIT_CODE, code).text(Tag.MESSAGE, words),
    )
    run = bench.daemon(bench.launch())
    with pytest.raises(StartFailed, match="executable file not found") as caught:
        await run.begin(GIVEN)
    assert caught.value.exit_code == exit_code


async def test_a_setup_that_fails_is_what_is_told(bench):
    refusal = Fields().text(Tag.MESSAGE, "no disk")
    bench.peer.replies[Operation.SETUP] = lambda _: (Status.FAILED, refusal)
    bench.peer.replies[Operation.START] = lambda _: (Status.INVALID, Fields())
    run = bench.daemon(bench.launch())
    with pytest.raises(HostError, match="no disk"):
        await run.begin(GIVEN)


async def test_a_monitor_that_ends(bench):
    run = await bench.started()
    bench.peer.put(WORKLOAD, b"last words\n")
    await bench.peer.close()
    run.monitor_ended("kernel panic")
    exit_ = await ended(run)
    assert (exit_.code, exit_.error) == (137, "kernel panic")
    assert bench.said == "last words\n"


async def test_what_the_guest_said_before_its_monitor_ended_counts(bench):
    run = await bench.started()
    bench.peer.put(WORKLOAD, b"x" * (1 << 18))
    bench.peer.exit(WORKLOAD, 3)
    await bench.peer.writer.drain()
    await bench.peer.drop()
    run.monitor_ended("its monitor was killed")
    exit_ = await ended(run)
    assert (exit_.code, exit_.error) == (3, "")


# Daemons that come and go


async def test_no_byte_is_lost_or_logged_twice(bench):
    """Daemons are closed at random times, with output on its way at every step."""
    choice = random.Random(4)
    run = await bench.started()
    content = "".join(f"{number}\n" for number in range(60_000)).encode()
    at = 0
    while at < len(content):
        size = choice.randrange(1, 60_000)
        bench.peer.put(WORKLOAD, content[at : at + size])
        at += size
        for _ in range(choice.randrange(12)):
            await asyncio.sleep(0)
        if choice.random() < 0.3:
            run = await bench.followed(run)
        elif choice.random() < 0.2:
            await bench.peer.drop()
    bench.peer.exit(WORKLOAD, 5)
    assert (await ended(run)).code == 5
    assert bench.said.encode() == content


async def test_what_was_logged_and_not_marked_is_logged_once(bench):
    run = await bench.started()
    bench.peer.put(WORKLOAD, b"one\n")
    await eventually(lambda: bench.log)
    marks = (bench.place / "run" / "marks").read_bytes()
    bench.peer.put(WORKLOAD, b"two\n")
    await eventually(lambda: len(bench.log) == 2)
    await run.close()
    # As if the daemon had died right after the second line was in the log.
    (bench.place / "run" / "marks").write_bytes(marks)
    following = bench.daemon(run.launch)
    await following.adopt()
    bench.peer.put(WORKLOAD, b"three\n")
    bench.peer.exit(WORKLOAD)
    await ended(following)
    assert bench.said == "one\ntwo\nthree\n"


async def test_an_end_that_nobody_saw(bench):
    run = await bench.started()
    await run.close()
    bench.peer.put(WORKLOAD, b"meanwhile\n")
    bench.peer.exit(WORKLOAD, 9)
    following = bench.daemon(run.launch)
    exit_ = await following.adopt()
    assert isinstance(exit_, Exit)
    assert exit_.code == 9
    assert bench.said == "meanwhile\n"


@pytest.mark.parametrize("reached", ["nothing", "held"])
async def test_a_workload_that_never_ran_is_not_taken_over(bench, reached):
    run = bench.daemon(bench.launch())
    if reached == "held":
        await run.begin(GIVEN)
    await run.close()
    assert await bench.daemon(run.launch).adopt() is None


async def test_a_workload_that_was_just_about_to_run_is_let_go(bench):
    run = bench.daemon(bench.launch())
    await run.begin(GIVEN)
    run._recorder.note_released()
    await run.close()
    following = bench.daemon(run.launch)
    assert await following.adopt() == Started(4711)
    await eventually(lambda: bench.peer.processes[WORKLOAD].phase is Phase.RUNNING)


async def test_one_that_was_just_about_to_run_and_cannot(bench):
    run = bench.daemon(bench.launch())
    await run.begin(GIVEN)
    run._recorder.note_released()
    await run.close()
    refusal = Fields().text(Tag.MESSAGE, "no such file").number(Tag.EXIT_CODE, 127)
    bench.peer.replies[Operation.GO] = lambda _: (Status.START_FAILED, refusal)
    following = bench.daemon(run.launch)
    await following.adopt()
    bench.peer.exit(WORKLOAD, 127)
    assert (await ended(following)).code == 127


async def test_a_silent_guest_is_taken_to_run_and_asked_on(bench):
    run = await bench.started(stdin=True)
    bench.peer.put(WORKLOAD, b"before\n")
    await eventually(lambda: bench.log)
    await run.close()
    bench.peer.listening = False
    following = bench.daemon(run.launch)
    assert await following.adopt(0.05) == Started(4711)
    for asked in (
        following.exec(request()),
        following.signal(signal.SIGTERM),
        following.stats(),
        following.freeze(frozen=True),
    ):
        with pytest.raises(HostError, match="has not answered since this daemon started"):
            await asked
    session = await following.attach()
    await session.write(b"input")
    bench.peer.listening = True
    await bench.peer.drop()  # what a stopped guest finds in its port when it goes on
    await eventually(lambda: bench.peer.processes[WORKLOAD].stdin.data == b"input")
    bench.peer.put(WORKLOAD, b"after\n")
    assert await session.read() == (Stream.STDOUT, b"after\n")
    bench.peer.exit(WORKLOAD, 3)
    assert (await ended(following)).code == 3
    assert bench.said == "before\nafter\n"


async def test_a_guest_that_lost_its_workload(bench):
    run = await bench.started()
    await run.close()
    del bench.peer.processes[WORKLOAD]
    exit_ = await bench.daemon(run.launch).adopt()
    assert isinstance(exit_, Exit)
    assert exit_.error == "its guest knows nothing of its workload"


async def test_an_end_while_the_connection_is_lost(bench):
    run = await bench.started()
    await bench.peer.drop()
    bench.peer.put(WORKLOAD, b"meanwhile\n")
    bench.peer.exit(WORKLOAD, 6)
    assert (await ended(run)).code == 6
    assert bench.said == "meanwhile\n"


async def test_earlier_runs_stay_in_the_log(bench):
    (bench.place / "log").write_text("2016-10-06T00:17:09.669794202Z stdout F before\n")
    run = await bench.started()
    run = await bench.followed(run)
    bench.peer.put(WORKLOAD, b"after\n")
    bench.peer.exit(WORKLOAD)
    await ended(run)
    assert bench.said == "before\nafter\n"


async def test_a_log_that_is_rotated(bench):
    run = await bench.started()
    log = bench.place / "log"
    bench.peer.put(WORKLOAD, b"one\n")
    await eventually(lambda: bench.log)
    log.rename(bench.place / "log.1")
    await run.reopen_log()
    assert log.exists()
    bench.peer.put(WORKLOAD, b"two\n")
    await eventually(lambda: bench.log)
    run = await bench.followed(run)
    log.rename(bench.place / "log.1")
    bench.peer.put(WORKLOAD, b"three\n")  # before the daemon, which is killed, could be told
    await eventually(lambda: b"three" in (bench.place / "log.1").read_bytes())
    run = await bench.followed(run)
    bench.peer.put(WORKLOAD, b"four\n")
    bench.peer.exit(WORKLOAD)
    await ended(run)
    assert bench.said == "four\n"


async def test_without_a_log(bench):
    launch = replace(bench.launch(), log=Log(None))
    run = bench.daemon(launch)
    await run.begin(GIVEN)
    session = await run.attach()
    await run.go()
    bench.peer.put(WORKLOAD, b"hello\n")
    await eventually(lambda: session._pieces)
    await run.close()
    following = bench.daemon(launch)
    assert await following.adopt() == Started(4711)
    session = await following.attach()
    bench.peer.put(WORKLOAD, b"again\n")
    bench.peer.exit(WORKLOAD)
    assert (await collected(session))[Stream.STDOUT] == b"again\n"
    await ended(following)


async def test_a_log_that_cannot_be_written(bench):
    run = bench.daemon(replace(bench.launch(), log=Log(Path("/dev/full"))))
    await run.begin(GIVEN)
    session = await run.attach()
    await run.go()
    bench.peer.put(WORKLOAD, b"dropped\n")
    bench.peer.exit(WORKLOAD)
    assert (await collected(session))[Stream.STDOUT] == b"dropped\n"
    assert (await ended(run)).code == 0


# Sessions


async def test_sessions_see_all_from_when_they_were_opened(bench):
    run = await bench.started()
    first = await run.attach()
    bench.peer.put(WORKLOAD, b"one\n")
    await eventually(lambda: bench.log)
    second = await run.attach()
    bench.peer.put(WORKLOAD, b"two\n", 2)
    bench.peer.exit(WORKLOAD)
    assert await collected(first) == {Stream.STDOUT: b"one\n", Stream.STDERR: b"two\n"}
    assert await collected(second) == {Stream.STDOUT: b"", Stream.STDERR: b"two\n"}
    late = await run.attach()
    assert await late.read() is None


async def test_a_session_that_is_not_read_holds_the_workload_up(bench):
    run = await bench.started()
    session = await run.attach()
    content = os.urandom(4 << 20)
    bench.peer.put(WORKLOAD, content)
    outlet = bench.peer.processes[WORKLOAD].outlets[1]
    await eventually(lambda: outlet.sent > 0)
    await asyncio.sleep(0.05)
    assert outlet.sent < 2 << 20
    bench.peer.exit(WORKLOAD)
    assert (await collected(session))[Stream.STDOUT] == content
    await ended(run)


async def test_a_session_that_nobody_reads_does_not_hold_up_the_end(bench, monkeypatch):
    monkeypatch.setattr(guest_run, "STALL_SECONDS", 0.05)
    run = await bench.started()
    session = await run.attach()
    bench.peer.put(WORKLOAD, bytes(4 << 20))
    bench.peer.exit(WORKLOAD, 1)
    assert (await ended(run)).code == 1
    assert await session.read() is None


async def test_a_session_that_is_closed_lets_the_workload_go_on(bench):
    run = await bench.started()
    session = await run.attach()
    reading = asyncio.ensure_future(session.read())
    bench.peer.put(WORKLOAD, bytes(4 << 20))
    await reading
    waiting = asyncio.ensure_future(session.read())
    await session.close()
    await waiting
    assert await session.read() is None
    bench.peer.exit(WORKLOAD)
    await ended(run)


async def test_what_is_left_of_a_session_can_be_read_when_all_is_over(bench):
    run = await bench.started()
    session = await run.attach()
    bench.peer.put(WORKLOAD, b"left")
    bench.peer.exit(WORKLOAD)
    await ended(run)
    await run.close()
    assert await session.read() == (Stream.STDOUT, b"left")
    assert await session.read() is None


async def test_input_and_its_end(bench):
    run = await bench.started(stdin=True, stdin_once=True)
    session = await run.attach()
    await session.write(bytes(1 << 20))
    await session.close_stdin()
    stdin = bench.peer.processes[WORKLOAD].stdin
    await eventually(lambda: stdin.ended)
    assert len(stdin.data) == 1 << 20
    await session.write(b"dropped")


@pytest.mark.parametrize("options", [{}, {"stdin_once": True, "tty": True}])
async def test_input_that_outlives_its_clients(bench, options):
    run = await bench.started(stdin=True, **options)
    for word in (b"one", b"two"):
        session = await run.attach()
        await session.write(word)
        await session.close_stdin()
        await session.close()
    run = await bench.followed(run)
    await (await run.attach()).write(b"three")
    stdin = bench.peer.processes[WORKLOAD].stdin
    await eventually(lambda: bytes(stdin.data) == b"onetwothree")
    assert not stdin.ended


async def test_input_that_ends_with_its_client_ends_with_the_daemon_too(bench):
    run = await bench.started(stdin=True, stdin_once=True)
    run = await bench.followed(run)
    stdin = bench.peer.processes[WORKLOAD].stdin
    await asyncio.sleep(0.02)
    assert not stdin.ended, "nobody was attached yet"
    await (await run.attach()).write(b"one")
    await eventually(lambda: stdin.data)

    await run.link.close()  # as a kill would, without a word
    following = bench.daemon(run.launch)
    await following.adopt()
    await eventually(lambda: stdin.ended)


async def test_without_input_what_is_written_is_dropped(bench):
    run = await bench.started()
    session = await run.attach()
    await session.write(b"dropped")
    await session.close_stdin()


# Further processes


def request(**options: object) -> ExecRequest:
    process = Process(
        ("ls",), stdin=bool(options.pop("stdin", False)), tty=bool(options.pop("tty", 0))
    )
    return ExecRequest("e" * 64, process, **{"attach": True, **options})


async def test_a_further_process(bench):
    run = await bench.started()
    execution = await run.exec(request(stdin=True))
    assert execution.pid == 102
    bench.peer.put(execution.id, b"out")
    bench.peer.put(execution.id, b"err", 2)
    await execution.session.write(b"in")
    await execution.session.close_stdin()
    stdin = bench.peer.processes[execution.id].stdin
    await eventually(lambda: stdin.ended)
    assert bytes(stdin.data) == b"in"
    await execution.resize(3, 4)
    bench.peer.exit(execution.id, 4)
    assert await execution.wait() == 4
    assert await collected(execution.session) == {Stream.STDOUT: b"out", Stream.STDERR: b"err"}
    await eventually(lambda: execution.id not in bench.peer.processes)  # it was forgotten
    assert not run.executions


async def test_an_exec_that_is_over_before_its_start_is_answered(bench):
    run = await bench.started()

    def over(record):
        asyncio.get_running_loop().call_soon(bench.peer.exit, record.text(Tag.ID), 3)
        return Status.OK, Fields()

    bench.peer.replies[Operation.START] = over
    execution = await run.exec(request())
    assert await execution.wait() == 3


async def test_an_exec_that_cannot_be_started(bench):
    run = await bench.started()
    refusal = Fields().number(Tag.EXIT_CODE, 126).text(Tag.MESSAGE, "permission denied")
    bench.peer.replies[Operation.START] = lambda _: (Status.START_FAILED, refusal)
    with pytest.raises(StartFailed, match="permission denied"):
        await run.exec(request())
    assert not run.executions


async def test_a_detached_exec(bench):
    run = await bench.started()
    execution = await run.exec(request(attach=False))
    assert execution.session is None
    bench.peer.exit(execution.id)
    assert await execution.wait() == 0


async def test_a_kill_of_an_exec_is_of_its_group(bench):
    run = await bench.started()
    execution = await run.exec(request())
    execution.kill()
    await eventually(lambda: bench.peer.asked[-1][0] is Operation.SIGNAL)
    asked = bench.peer.asked[-1][1]
    assert (asked.number(Tag.NUMBER), asked.flag(Tag.GROUP)) == (signal.SIGKILL, True)


async def test_execs_of_a_daemon_that_went_are_let_go(bench):
    run = await bench.started()
    running = await run.exec(request())
    over = await run.exec(replace(request(), id="f" * 64))
    await run.link.close()
    bench.peer.exit(over.id)
    following = bench.daemon(run.launch)
    await following.adopt()
    await eventually(lambda: set(bench.peer.processes) == {WORKLOAD})
    assert Operation.DISOWN in [operation for operation, _ in bench.peer.asked]
    await running.close()
    await over.close()


async def test_execs_end_with_the_run(bench):
    run = await bench.started()
    execution = await run.exec(request())
    bench.peer.exit(WORKLOAD)
    assert await execution.wait() == 137
    with pytest.raises(NotFound):
        await run.exec(replace(request(), id="f" * 64))


# The rest


async def test_a_frozen_machine_can_be_killed(bench):
    run = await bench.started()
    await run.freeze(frozen=True)
    await run.signal(signal.SIGTERM)
    assert bench.peer.frozen
    run = await bench.followed(run)
    assert run.is_frozen
    await run.signal(signal.SIGKILL)
    assert not bench.peer.frozen


@pytest.mark.parametrize("lost", [Operation.SIGNAL, Operation.FREEZE])
async def test_a_guest_that_goes_as_its_workload_is_killed_takes_no_answer_along(bench, lost):
    """A workload that is killed ends at once, frozen or not, and so does its guest."""
    run = await bench.started()
    await run.freeze(frozen=True)
    closing = []

    def end(_: object) -> None:
        bench.peer.exit(WORKLOAD, 137)
        closing.append(asyncio.ensure_future(goes(run)))

    bench.peer.replies[lost] = end
    await run.signal(signal.SIGKILL)
    with pytest.raises(NotFound, match="is not running"):
        await run.freeze(frozen=False)
    assert (await ended(run)).code == 137
    await asyncio.gather(*closing)


async def goes(run: GuestRun) -> None:
    await run.wait()
    await run.close()


async def test_a_guest_that_gives_nothing_any_more_is_not_waited_for(bench, monkeypatch):
    monkeypatch.setattr(transfers, "QUIET_SECONDS", 0.1)
    run = await bench.started()
    async with run.transfers.given(Operation.PACK_LAYER, Fields()) as (_, blocks):
        with pytest.raises(HostError, match=f"guest of {'1' * 64} has given nothing for 0.1 s"):
            await anext(blocks)
    await eventually(lambda: bench.peer.asked[-1][0] is Operation.CANCEL)


@pytest.mark.parametrize(("grants", "said"), [(0, "taken nothing"), (1, "not said how it went")])
async def test_a_guest_that_takes_nothing_is_not_waited_for(bench, monkeypatch, grants, said):
    """Who waits holds the machine: it could not even be removed."""
    for name in ("QUIET_SECONDS", "UNDO_SECONDS", "OVER_SECONDS"):
        monkeypatch.setattr(transfers, name, 0.1)
    bench.peer.replies[Operation.UNPACK] = lambda record: bench.peer.open_inlet(
        record.number(Tag.NUMBER), grants=bool(grants)
    )

    async def tar() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(1 << 16)

    run = await bench.started()
    with pytest.raises(HostError, match=f"guest of {'1' * 64} has {said} for 0.1 s"):
        await run.transfers.take(Fields(), tar())
    await eventually(lambda: bench.peer.asked[-1][0] is Operation.CANCEL)


async def test_a_guest_that_wants_no_more_is_sent_no_more(bench, monkeypatch):
    monkeypatch.setattr(transfers, "UNDO_SECONDS", 0.1)
    monkeypatch.setattr(transfers, "OVER_SECONDS", 0.1)

    def refuse(record):
        bench.peer.send(frames.frame(Kind.STOP, channel=record.number(Tag.NUMBER)))

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)
            await asyncio.sleep(0)

    bench.peer.replies[Operation.UNPACK] = refuse
    run = await bench.started()
    async with asyncio.timeout(10):
        with pytest.raises(HostError, match="not said how it went"):
            await run.transfers.take(Fields(), endless())


async def test_signals_to_what_has_ended_are_harmless(bench):
    run = await bench.started()
    bench.peer.replies[Operation.SIGNAL] = lambda _: (Status.NOT_FOUND, Fields())
    await run.signal(signal.SIGTERM)
    bench.peer.exit(WORKLOAD)
    await ended(run)
    await run.signal(signal.SIGTERM)


async def test_what_it_uses(bench):
    run = await bench.started()
    bench.peer.replies[Operation.STATS] = lambda _: (
        Status.OK,
        Fields().number(Tag.CPU, 7).number(Tag.DISK_WRITTEN, 2**50),
    )
    stats = await run.stats()
    assert (stats.cpu, stats.cpu_user, stats.disk_written) == (7, 0, 2**50)
