"""`make load` in short: everything comes, nothing is left. How fast is not asked here."""

import argparse
import asyncio
from collections.abc import Iterator

import pytest
from benchmarks.load import run
from benchmarks.load.figures import Part

from tests.harness.daemon import Daemon

SHORT = {
    "minutes": 0.07,
    "clients": 40,
    "idle": 40,
    "many": 40,
    "followers": 30,
    "seconds": 4,
    "log": 200 << 20,
    "leavers": 140,
    "runs": 50,
}
TIMES = ("ms", "s", "%")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("load"), "--log-level", "warning").start()
    asyncio.run(run.load(daemon, "the beginning", run.prepare))
    yield daemon
    daemon.clean_up()


def short(**more: float) -> argparse.Namespace:
    return argparse.Namespace(**{**SHORT, **more})


def load(daemon: Daemon, name: str) -> Part:
    title, work = run.parts(short())[name]
    return asyncio.run(run.load(daemon, title, work))


@pytest.mark.parametrize("name", run.parts(short()))
def test_part(daemon: Daemon, name: str) -> None:
    part = load(daemon, name)
    missed = [each for each in part.figures if not each.met and each.unit not in TIMES]
    assert not missed
    assert not part.leaks, part
    assert "Traceback" not in daemon.log.read_text()
