"""A run from its start to its end."""

import asyncio
import signal
import time

import pytest

from heft.errors import NotFound, StartFailed
from heft.model.machine import Stream
from heft.weights.abilities import Pausable, Rotating
from heft.weights.base import Log
from tests.conformance.conftest import Bench, collected, eventually, logged, read_until


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_the_exit_code_is_the_workloads(bench: Bench, code: int) -> None:
    before = time.time_ns()
    launch = await bench.started("sh", "-c", f"exit {code}")
    ended = await bench.ended(launch)
    assert (ended.code, ended.oom_killed, ended.error) == (code, False, "")
    assert before < ended.finished < time.time_ns()


async def test_a_signal_is_128_and_its_number(bench: Bench) -> None:
    launch = await bench.started("sh", "-c", "echo ready; kill -TERM $$", init=True)
    assert (await bench.ended(launch)).code == 128 + signal.SIGTERM


async def test_kill_ends_what_ignores_every_other_signal(bench: Bench) -> None:
    launch = await bench.started("sh", "-c", "trap '' TERM INT; echo ready; sleep 1000")
    await bench.until_logged(launch, "ready")
    await bench.weight.signal(launch.id, signal.SIGTERM)
    await bench.weight.signal(launch.id, signal.SIGKILL)
    assert (await bench.ended(launch)).code == 137


async def test_a_handled_signal_is_the_workloads_own_matter(bench: Bench) -> None:
    script = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done"
    launch = await bench.started("sh", "-c", script)
    await bench.until_logged(launch, "ready")
    await bench.weight.signal(launch.id, signal.SIGUSR1)
    assert (await bench.ended(launch)).code == 7


async def test_several_may_wait(bench: Bench) -> None:
    launch = await bench.started("sh", "-c", "exit 3")
    first, second = await asyncio.gather(bench.ended(launch), bench.ended(launch))
    assert first == second == await bench.weight.wait(launch.id)


async def test_a_cancelled_wait_disturbs_nobody(bench: Bench) -> None:
    launch = await bench.started("sleep", "1000")
    waiting = asyncio.ensure_future(bench.weight.wait(launch.id))
    await asyncio.sleep(0)
    waiting.cancel()
    await bench.weight.signal(launch.id, signal.SIGKILL)
    assert (await bench.ended(launch)).code == 137


async def test_nothing_of_the_workload_runs_before_its_start(bench: Bench) -> None:
    launch = await bench.prepared("echo", "first")
    await asyncio.sleep(0.2)
    assert logged(launch) == []
    await bench.weight.start(launch.id)
    await bench.ended(launch)
    assert logged(launch) == [("stdout", "first\n")]


async def test_a_prepared_run_can_be_discarded_unstarted(bench: Bench) -> None:
    launch = await bench.prepared("echo", "never")
    await bench.weight.discard(launch)
    assert logged(launch) == []
    with pytest.raises(NotFound):
        await bench.weight.wait(launch.id)


async def test_discarding_ends_what_runs_and_can_be_repeated(bench: Bench) -> None:
    launch = await bench.started("sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000")
    await bench.weight.discard(launch)
    await bench.weight.discard(launch)
    assert not launch.run.exists()


async def test_a_machine_runs_again_with_what_it_wrote(bench: Bench) -> None:
    launch = await bench.started("sh", "-c", "cat /kept || echo one > /kept")
    await bench.ended(launch)
    await bench.weight.discard(launch)
    await bench.weight.provision(launch)
    await bench.weight.prepare(launch)
    await bench.weight.start(launch.id)
    assert (await bench.ended(launch)).code == 0
    assert ("stdout", "one\n") in logged(launch)


async def test_children_of_the_first_process_end_with_it(bench: Bench) -> None:
    launch = await bench.started("sh", "-c", "sleep 1000 & echo gone")
    assert (await bench.ended(launch)).code == 0
    assert await bench.weight.processes(launch.id) == ()


async def test_a_small_init_reaps_and_forwards(bench: Bench) -> None:
    launch = await bench.started("sh", "-c", "echo $$; exec sleep 1000", init=True)
    await bench.until_logged(launch, "")
    assert logged(launch)[0][1].strip() != "1"
    await bench.weight.signal(launch.id, signal.SIGTERM)
    assert (await bench.ended(launch)).code == 128 + signal.SIGTERM


async def test_what_is_not_there_is_127(bench: Bench) -> None:
    launch = bench.launch("nothing-like-that")
    await bench.weight.provision(launch)
    with pytest.raises(StartFailed, match=r"executable file not found in") as caught:
        await bench.weight.prepare(launch)
    assert caught.value.exit_code == 127
    assert not launch.run.exists()


@pytest.mark.parametrize("path", ["/etc/data", "/etc"])
async def test_what_is_no_program_is_126(bench: Bench, path: str) -> None:
    launch = bench.launch(path)
    await bench.weight.provision(launch)
    with pytest.raises(StartFailed, match=r"permission denied|is a directory") as caught:
        await bench.weight.prepare(launch)
    assert caught.value.exit_code == 126
    assert not launch.run.exists()


async def test_a_file_that_turns_out_to_be_no_program_ends_as_one_that_failed(
    bench: Bench,
) -> None:
    launch = await bench.started("/etc/broken")
    assert (await bench.ended(launch)).code == 1
    ((stream, text),) = logged(launch)
    assert stream == "stderr"
    assert "/etc/broken" in text
    assert "exec format error" in text.lower()


async def test_the_last_of_a_name_counts_in_the_environment(bench: Bench) -> None:
    given = ("A=1", "PATH=/bin", "A=2", "B=", "HOSTNAME", "C=3", "C")
    said = await bench.output("env", hostname="box", process={"env": given, "user": "ann"})
    assert said.splitlines() == ["PATH=/bin", "HOME=/home/ann", "A=2", "B="]


async def test_an_unknown_user_is_told(bench: Bench) -> None:
    launch = bench.launch("true", process={"user": "nobody-like-that"})
    await bench.weight.provision(launch)
    with pytest.raises(StartFailed) as caught:
        await bench.weight.prepare(launch)
    assert caught.value.message == (
        "unable to find user nobody-like-that: no matching entries in passwd file"
    )
    assert not launch.run.exists()


async def test_unknown_machines_are_not_found(bench: Bench) -> None:
    for call in (bench.weight.wait, bench.weight.stats, bench.weight.attach, bench.weight.start):
        with pytest.raises(NotFound):
            await call("0" * 64)


async def test_pausing_stops_it_in_its_tracks(bench: Bench) -> None:
    assert isinstance(bench.weight, Pausable)
    launch = await bench.started("sh", "-c", "while :; do echo tick; sleep 0.02; done")
    await bench.until_logged(launch, "tick")
    await bench.weight.pause(launch.id)
    await asyncio.sleep(0.1)
    count = len(logged(launch))
    await asyncio.sleep(0.2)
    assert len(logged(launch)) == count
    await bench.weight.resume(launch.id)
    await eventually(lambda: len(logged(launch)) > count)


async def test_a_paused_machine_can_be_killed(bench: Bench) -> None:
    launch = await bench.started("sleep", "1000")
    await bench.weight.pause(launch.id)
    await bench.weight.signal(launch.id, signal.SIGKILL)
    assert (await bench.ended(launch)).code == 137


async def test_a_paused_machine_can_be_discarded(bench: Bench) -> None:
    launch = await bench.started("sleep", "1000")
    await bench.weight.pause(launch.id)
    await bench.weight.discard(launch)


async def test_the_log_has_streams_and_partial_lines(bench: Bench) -> None:
    launch = await bench.started("sh", "-c", "echo out; echo err >&2; sleep 0.1; printf part")
    await bench.ended(launch)
    assert sorted(logged(launch)) == [("stderr", "err\n"), ("stdout", "out\n"), ("stdout", "part")]


async def test_no_line_of_much_output_is_lost(bench: Bench) -> None:
    launch = await bench.started("seq", "1", "100000")
    await bench.ended(launch)
    said = "".join(text for _, text in logged(launch))
    assert said == "".join(f"{n}\n" for n in range(1, 100001))


async def test_a_log_is_not_kept_where_none_is_wanted(bench: Bench) -> None:
    launch = await bench.prepared("echo", "hello", log=Log(None))
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    assert (await collected(session))[Stream.STDOUT] == b"hello\n"
    await session.close()
    assert (await bench.ended(launch)).code == 0


async def test_a_renamed_log_is_left_and_a_new_one_begun(bench: Bench) -> None:
    assert isinstance(bench.weight, Rotating)
    launch = await bench.prepared("cat", process={"stdin": True})
    session = await bench.weight.attach(launch.id)
    await bench.weight.start(launch.id)
    await session.write(b"one\n")
    await read_until(session, b"one\n")
    assert launch.log.path is not None
    launch.log.path.rename(launch.log.path.with_name("log.1"))
    await bench.weight.reopen_log(launch.id)
    await session.write(b"two\n")
    await read_until(session, b"two\n")
    assert logged(launch) == [("stdout", "two\n")]
    assert "one" in launch.log.path.with_name("log.1").read_text()
    await session.close()
