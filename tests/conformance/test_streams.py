"""Sessions on the workload's streams, and its terminal."""

import asyncio
import signal

from heft.model.machine import Stream
from tests.conformance.conftest import Bench, collected, logged, read_until


async def test_both_streams_are_told_apart(bench: Bench) -> None:
    launch = await bench.prepared("sh", "-c", "echo out; echo err >&2")
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    assert await collected(session) == {Stream.STDOUT: b"out\n", Stream.STDERR: b"err\n"}
    await session.close()
    assert (await bench.ended(launch)).code == 0


async def test_a_user_may_open_its_streams_anew(bench: Bench) -> None:
    script = "echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin"
    launch = await bench.prepared("sh", "-c", script, process={"user": "ann", "stdin": True})
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    await session.write(b"in")
    if b"err\n" not in await read_until(session, b"in"):
        await read_until(session, b"err\n")  # the two streams are read one after the other
    await session.close()
    assert ("stdout", "out\n") in logged(launch)
    assert ("stderr", "err\n") in logged(launch)


async def test_who_attaches_before_the_start_sees_the_first_byte(bench: Bench) -> None:
    for _ in range(10):
        launch = await bench.prepared("echo", "first")
        session = await bench.weight.attach(launch.id)
        await bench.weight.start(launch.id)
        assert (await collected(session))[Stream.STDOUT] == b"first\n"
        await session.close()
        await bench.weight.discard(launch)  # a host may have no memory for ten of them


async def test_all_sessions_see_all(bench: Bench) -> None:
    launch = await bench.prepared("seq", "1", "2000")
    sessions = [await bench.weight.attach(launch.id) for _ in range(3)]
    await bench.weight.start(launch.id)
    results = await asyncio.gather(*map(collected, sessions))
    expected = "".join(f"{n}\n" for n in range(1, 2001)).encode()
    assert [result[Stream.STDOUT] for result in results] == [expected] * 3
    for session in sessions:
        await session.close()


async def test_input_comes_through_and_its_end_too(bench: Bench) -> None:
    options = {"stdin": True, "stdin_once": True}
    launch = await bench.prepared("wc", "-c", process=options)
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    reading = asyncio.ensure_future(collected(session))
    for _ in range(20):
        await session.write(b"x" * 100_000)
    await session.close_stdin()
    assert (await reading)[Stream.STDOUT].strip() == b"2000000"
    await session.close()
    assert (await bench.ended(launch)).code == 0


async def test_input_survives_its_clients_unless_once(bench: Bench) -> None:
    launch = await bench.prepared("cat", process={"stdin": True})
    first = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    await first.write(b"one\n")
    await read_until(first, b"one\n")
    await first.close_stdin()
    await first.close()
    second = await bench.weight.attach(launch.id)
    await second.write(b"two\n")
    await read_until(second, b"two\n")
    await second.close()


async def test_without_input_there_is_none(bench: Bench) -> None:
    launch = await bench.prepared("cat")
    session = await bench.weight.attach(launch.id)
    await session.write(b"dropped")
    await bench.weight.start(launch.id)
    assert await collected(session) == {Stream.STDOUT: b"", Stream.STDERR: b""}
    await session.close()
    assert (await bench.ended(launch)).code == 0


async def test_writing_to_one_that_is_gone_is_harmless(bench: Bench) -> None:
    launch = await bench.prepared("true", process={"stdin": True})
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    await bench.ended(launch)
    await session.write(b"too late")
    await session.close_stdin()
    await session.close()
    await session.close()


async def test_a_slow_reader_loses_nothing_and_blocks_nobody(bench: Bench) -> None:
    launch = await bench.prepared("seq", "1", "200000")
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await asyncio.sleep(0.3)
    assert loop.time() - before < 0.5
    assert await bench.weight.processes(launch.id), "the workload is held up"
    expected = "".join(f"{n}\n" for n in range(1, 200001)).encode()
    assert (await collected(session))[Stream.STDOUT] == expected
    await session.close()
    assert (await bench.ended(launch)).code == 0


async def test_closing_a_session_lets_the_workload_go_on(bench: Bench) -> None:
    launch = await bench.prepared("seq", "1", "200000")
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    await asyncio.sleep(0.1)
    await session.close()
    assert await session.read() is None
    assert (await bench.ended(launch)).code == 0


async def test_closing_ends_a_read_that_waits(bench: Bench) -> None:
    launch = await bench.started("sleep", "1000")
    session = await bench.weight.attach(launch.id)
    reading = asyncio.ensure_future(session.read())
    await asyncio.sleep(0.05)
    await session.close()
    assert await asyncio.wait_for(reading, 5) is None


async def test_a_terminal_has_its_size_from_the_start(bench: Bench) -> None:
    options = {"tty": True, "stdin": True, "console_size": (33, 77)}
    said = await bench.output("sh", "-c", "stty size; tty", process=options)
    assert said.split() == ["33", "77", "/dev/pts/0"]


async def test_a_terminal_can_be_resized(bench: Bench) -> None:
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    launch = await bench.prepared("sh", "-c", script, process={"tty": True, "stdin": True})
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    await read_until(session, b"ready")
    await bench.weight.resize(launch.id, 50, 132)
    await read_until(session, b"50 132\r\n")
    await session.close()


async def test_a_terminal_can_be_resized_before_the_start(bench: Bench) -> None:
    launch = await bench.prepared("sh", "-c", "sleep 0.1; stty size", process={"tty": True})
    session = await bench.weight.attach(launch.id)
    await bench.weight.resize(launch.id, 41, 91)
    await bench.weight.start(launch.id)
    await read_until(session, b"41 91\r\n")
    await session.close()


async def test_a_terminal_takes_input_again_after_a_client_went(bench: Bench) -> None:
    options = {"tty": True, "stdin": True, "stdin_once": True}
    launch = await bench.prepared("sh", process=options)
    for word in (b"one", b"two"):
        session = await bench.weight.attach(launch.id)
        if word == b"one":
            await bench.weight.start(launch.id)
        await session.write(b"echo $((1+1))" + word + b"\n")
        await read_until(session, b"2" + word)
        await session.close()


async def test_keys_of_a_terminal_are_signals(bench: Bench) -> None:
    launch = await bench.prepared(
        "sh",
        "-c",
        "trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done",
        process={"tty": True, "stdin": True},
    )
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    await read_until(session, b"ready")
    await session.write(b"\x03")
    assert (await bench.ended(launch)).code == 5
    await session.close()


async def test_a_client_that_never_reads_does_not_hold_up_a_kill(bench: Bench) -> None:
    launch = await bench.prepared("sh", "-c", "while :; do echo flood; done")
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    await asyncio.sleep(0.2)
    await bench.weight.signal(launch.id, signal.SIGKILL)
    assert (await bench.ended(launch)).code == 137
    await session.close()
