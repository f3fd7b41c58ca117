"""Machines that want a base: when it is made, when it goes, and what happens meanwhile.

The daemon's light machines want one here (`tests.harness.based`).
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import PROGRAMS, Client
from tests.harness.daemon import Answer, BasedDaemon, Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.layers import entry, pack
from tests.harness.pace import eventually
from tests.harness.terminal import Terminal

pytestmark = pytest.mark.usefixtures("clean_host")

SECONDS = 20.0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = BasedDaemon(tmp_path).start()
    bring(daemon, BUSYBOX)
    yield daemon
    daemon.clean_up()


def bring(daemon: Daemon, name: str, mark: str = "") -> str:
    answer = daemon.request("POST", f"/images/create?fromSrc=-&repo={name}", busybox_tar(mark))
    assert answer.status == 200, answer.body
    return str(daemon.request("GET", f"/images/{name}/json").json["Id"])


def create(daemon: Daemon, name: str, image: str = BUSYBOX) -> Answer:
    body = {"Image": image, "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL"}
    body["HostConfig"] = {"NetworkMode": "none"}
    return daemon.request("POST", f"/containers/create?name={name}", body)


def do(daemon: Daemon, name: str, what: str) -> int:
    return daemon.request("POST", f"/containers/{name}/{what}").status


def bases(daemon: Daemon) -> set[Path]:
    return set((daemon.data / "images" / "bases").iterdir())


def test_one_for_all_machines_of_an_image(daemon: Daemon) -> None:
    assert bases(daemon) == set()
    assert create(daemon, "one").status == 201
    (base,) = bases(daemon)
    before = base.stat()
    assert create(daemon, "two").status == 201
    assert do(daemon, "one", "start") == 204
    assert bases(daemon) == {base}
    assert (base.stat().st_ino, base.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    bring(daemon, "other", "other")
    assert create(daemon, "three", "other").status == 201
    assert len(bases(daemon)) == 2


def test_a_damaged_one_is_made_again_at_the_start(daemon: Daemon) -> None:
    assert create(daemon, "box").status == 201
    (base,) = bases(daemon)
    content = base.read_bytes()
    os.truncate(base, 5000)
    assert do(daemon, "box", "start") == 204
    assert base.read_bytes() == content
    assert do(daemon, "box", "kill") == 204
    eventually(lambda: state(daemon, "box") == "exited")
    base.unlink()
    assert do(daemon, "box", "start") == 204
    assert base.read_bytes() == content


def state(daemon: Daemon, name: str) -> str:
    return str(daemon.request("GET", f"/containers/{name}/json").json["State"]["Status"])


def test_a_new_daemon_makes_none(daemon: Daemon) -> None:
    for name in ("up", "down"):
        assert create(daemon, name).status == 201
    assert do(daemon, "up", "start") == 204
    (base,) = bases(daemon)
    daemon.kill()
    base.unlink()
    daemon.start()
    assert state(daemon, "up") == "running"
    assert bases(daemon) == set()
    assert do(daemon, "up", "kill") == 204
    assert daemon.request("DELETE", "/containers/down").status == 204
    assert bases(daemon) == set()


def test_it_goes_with_the_last_image_or_machine(daemon: Daemon) -> None:
    assert create(daemon, "box").status == 201
    assert daemon.request("DELETE", f"/images/{BUSYBOX}?force=1").status == 200
    assert len(bases(daemon)) == 1
    assert do(daemon, "box", "start") == 204
    assert daemon.request("DELETE", "/containers/box?force=1").status == 204
    pruned = daemon.request("POST", "/images/prune").json
    assert bases(daemon) == set()
    assert pruned["SpaceReclaimed"] >= 0
    bring(daemon, BUSYBOX)
    assert create(daemon, "box").status == 201
    (base,) = bases(daemon)
    taken = base.stat().st_blocks * 512
    assert daemon.request("DELETE", "/containers/box").status == 204
    assert bases(daemon) == {base}
    every = json.dumps({"dangling": ["false"]})
    pruned = daemon.request("POST", f"/images/prune?filters={every.replace(' ', '')}").json
    assert pruned["SpaceReclaimed"] > taken
    assert bases(daemon) == set()


def test_images_that_go_while_machines_are_made(daemon: Daemon) -> None:
    """Whoever comes first: the machine has its base, or there is no such image."""
    answers: list[int] = []
    stop = threading.Event()

    def make(number: int) -> None:
        while not stop.is_set():
            name = f"box-{number}"
            answer = create(daemon, name, "moving")
            answers.append(answer.status)
            assert answer.status in (201, 404), answer.message
            if answer.status == 201:
                assert do(daemon, name, "start") == 204
                assert daemon.request("DELETE", f"/containers/{name}?force=1").status == 204

    threads = [threading.Thread(target=make, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(12):
            bring(daemon, "moving", f"{number % 2}")
            time.sleep(0.05)
            # Refused where a machine of it runs, as Docker does: then the name is all that goes.
            assert daemon.request("DELETE", "/images/moving?force=1").status in (200, 409)
            daemon.request("POST", "/images/prune")
    finally:
        stop.set()
        for thread in threads:
            thread.join(SECONDS)
    assert 201 in answers
    daemon.request("DELETE", "/images/moving?force=1")
    daemon.request("POST", "/images/prune")
    assert bases(daemon) == set()
    assert daemon.request("GET", "/containers/json?all=1").json == []
    assert list((daemon.data / "images" / "tmp").iterdir()) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_takes_up_space(daemon: Daemon, program: str) -> None:
    client = Client(program, daemon)
    before = usage(daemon)
    assert create(daemon, "box").status == 201
    (base,) = bases(daemon)
    taken = base.stat().st_blocks * 512
    after = usage(daemon)
    assert after["LayersSize"] == before["LayersSize"] + taken
    (image,), (then,) = after["Images"], before["Images"]
    assert image["Size"] == then["Size"] + taken
    assert (image["SharedSize"], image["BaseSize"]) == (0, taken)
    shown = client("system", "df", "-v").stdout
    assert "SHARED SIZE" in shown
    line = next(line for line in shown.splitlines() if line.startswith(BUSYBOX))
    sizes = human(image["Size"]), human(taken)
    expected = ["0B", sizes[0], "1"] if program == "docker" else ["0B", *sizes, "1"]
    assert line.split()[-len(expected) :] == expected


def human(amount: int) -> str:
    """Write a size as Docker does (go-units, `HumanSize`); here it is megabytes."""
    return f"{amount / 1e6:.4g}MB"


def usage(daemon: Daemon) -> dict[str, Any]:
    answer: dict[str, Any] = daemon.request("GET", "/system/df").json
    return answer


def test_whoever_looks_on_is_told_how_far_it_is(daemon: Daemon) -> None:
    noise = os.urandom(96 << 20)
    answer = daemon.request("POST", "/images/create?fromSrc=-&repo=large", tar_of("noise", noise))
    assert answer.status == 200
    lines = told(daemon, image="large")
    assert lines[-1] == {"status": "made"}
    sizes = [line["progressDetail"]["current"] for line in lines[:-1]]
    assert sizes == sorted(sizes)
    assert {line["progressDetail"]["total"] for line in lines[:-1]} <= {len(noise)}
    assert told(daemon, image="large") == [{"status": "made"}]
    (base,) = bases(daemon)
    base.unlink()
    flags = ("--rm", "--network", "none", "--runtime", "crun")
    command = [*PROGRAMS["heft"], "run", *flags, "large", "nothing"]
    with Terminal(command, daemon.environment) as terminal:
        terminal.until("Making the base [=")
        assert terminal.ended() == 127
    assert daemon.request("POST", "/heft/v1/bases", {"image": "none"}).status == 404
    assert daemon.request("POST", "/heft/v1/bases", {"image": ""}).status == 400
    wrong = daemon.request("POST", "/heft/v1/bases", {"image": "large", "weight": "huge"})
    assert wrong.status == 400


def told(daemon: Daemon, **body: str) -> list[dict[str, Any]]:
    answer = daemon.request("POST", "/heft/v1/bases", body)
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


def tar_of(name: str, content: bytes) -> bytes:
    return pack(entry(name, content))
