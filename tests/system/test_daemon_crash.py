"""The daemon is killed at every step of what it does, and nothing that was acknowledged is lost."""

import json
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from heft.faults import POINTS
from tests.clients.test_run import group_file
from tests.harness.daemon import BasedDaemon, Daemon
from tests.harness.images import BUSYBOX, busybox_tar

pytestmark = pytest.mark.usefixtures("clean_host")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path).start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()


def points(*prefixes: str) -> list[str]:
    return sorted(point for point in POINTS if point.partition(".")[0] in prefixes)


SLEEP = ["sleep", "1000"]


def create(daemon: Daemon, name: str, **host: object) -> int:
    body = {
        "Image": BUSYBOX,
        "Cmd": SLEEP,
        "StopSignal": "SIGKILL",
        "Volumes": {"/data": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8099"}]}, **host},
    }
    return daemon.request("POST", f"/containers/create?name={name}", body).status


def state(daemon: Daemon, name: str) -> str | None:
    answer = daemon.request("GET", f"/containers/{name}/json")
    return answer.json["State"]["Status"] if answer.status == 200 else None


def volumes(daemon: Daemon) -> int:
    return len(daemon.request("GET", "/volumes").json["Volumes"] or [])


def die_at(daemon: Daemon, point: str, method: str, path: str, body: object = None) -> None:
    """Do something to a daemon that kills itself at a point on the way, and start another."""
    daemon.stop()
    daemon.start(HEFT_FAULT=point)
    with pytest.raises((OSError, HTTPException)):
        daemon.request(method, path, body)
    daemon.wait_dead()
    daemon.start()


@pytest.mark.parametrize("point", points("create"))
def test_create(daemon: Daemon, point: str) -> None:
    body = {"Image": BUSYBOX, "Cmd": SLEEP, "Volumes": {"/data": {}}}
    die_at(daemon, point, "POST", "/containers/create?name=box", body)
    made = point == "create.acknowledged"
    assert state(daemon, "box") == ("created" if made else None)
    assert volumes(daemon) == made
    assert [entry.name for entry in (daemon.data / "machines").iterdir()] == (
        [daemon.request("GET", "/containers/box/json").json["Id"]] if made else []
    )
    if not made:
        assert create(daemon, "box") == 201


@pytest.mark.parametrize("point", points("start"))
def test_start(daemon: Daemon, point: str) -> None:
    assert create(daemon, "box") == 201
    die_at(daemon, point, "POST", "/containers/box/start")
    ran = point in ("start.released", "start.recorded")
    assert state(daemon, "box") == ("running" if ran else "created")
    answer = daemon.request("POST", "/containers/box/start")
    assert answer.status == (304 if ran else 204), answer.body
    assert state(daemon, "box") == "running"


@pytest.mark.parametrize("point", points("stop", "exit"))
def test_stop(daemon: Daemon, point: str) -> None:
    assert create(daemon, "box", RestartPolicy={"Name": "unless-stopped"}) == 201
    assert daemon.request("POST", "/containers/box/start").status == 204
    die_at(daemon, point, "POST", "/containers/box/stop")
    assert daemon.request("POST", "/containers/box/wait").json["StatusCode"] == 137
    assert state(daemon, "box") == "exited"
    assert daemon.request("POST", "/containers/box/start").status == 204


@pytest.mark.parametrize("point", points("remove"))
def test_remove(daemon: Daemon, point: str) -> None:
    assert create(daemon, "box") == 201
    assert daemon.request("POST", "/containers/box/start").status == 204
    assert daemon.request("POST", "/containers/box/kill").status == 204
    die_at(daemon, point, "DELETE", "/containers/box?v=1")
    assert state(daemon, "box") is None
    assert volumes(daemon) == 0
    assert list((daemon.data / "machines").iterdir()) == []


@pytest.mark.parametrize("point", points("update"))
def test_update(daemon: Daemon, point: str) -> None:
    """Limits that were recorded hold, whoever gets to it."""
    assert create(daemon, "box", Memory=64 << 20) == 201
    assert daemon.request("POST", "/containers/box/start").status == 204
    asked = {"Memory": 96 << 20, "MemorySwap": 96 << 20}
    die_at(daemon, point, "POST", "/containers/box/update", asked)
    found = daemon.request("GET", "/containers/box/json").json
    assert found["HostConfig"]["Memory"] == 96 << 20
    groups = Path(f"/proc/{found['State']['Pid']}/cgroup").read_text()
    held = group_file(groups, "memory", "memory.limit_in_bytes", "memory.max")
    assert held == str(96 << 20)


@pytest.mark.parametrize("point", points("import"))
def test_import(daemon: Daemon, point: str) -> None:
    die_at(daemon, point, "POST", "/images/create?fromSrc=-&repo=other", busybox_tar("other"))
    names = [
        name for image in daemon.request("GET", "/images/json").json for name in image["RepoTags"]
    ]
    assert f"{BUSYBOX}:latest" in names
    done = point == "import.recorded"
    assert ("other:latest" in names) == done
    answer = daemon.request("POST", "/images/create?fromSrc=-&repo=other", busybox_tar("other"))
    assert answer.status == 200
    assert "error" not in json.loads(answer.body.splitlines()[-1])


@pytest.mark.parametrize("point", points("base"))
def test_base(tmp_path: Path, point: str) -> None:
    daemon = BasedDaemon(tmp_path).start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    die_at(daemon, point, "POST", "/containers/create?name=box", {"Image": BUSYBOX, "Cmd": SLEEP})
    assert state(daemon, "box") is None
    bases = daemon.data / "images" / "bases"
    assert len(list(bases.iterdir())) == (point == "base.recorded")
    assert list((daemon.data / "images" / "tmp").iterdir()) == []
    assert create(daemon, "box") == 201
    assert len(list(bases.iterdir())) == 1
    daemon.clean_up()


def test_every_point_is_on_the_way_of_something() -> None:
    tested = {"create", "start", "stop", "exit", "remove", "import", "update", "base"}
    # Those of fsck: test_fsck.py; of commit: test_files.py; of spare: test_heavy_spares.py;
    # of kit: test_guest_kits.py; of pull, push: test_registries.py; of disk: test_disk_images.py;
    # of weight: test_change_of_weight.py; of emulator: test_foreign_light.py;
    # of medium: test_medium.py; those of heavy, guest and template: test_heavy_crash.py.
    others = {
        "light",
        "emulator",
        "fsck",
        "commit",
        "disk",
        "pull",
        "push",
        "spare",
        "kit",
        "weight",
        "medium",
        "heavy",
        "guest",
        "template",
    }
    assert {point.partition(".")[0] for point in POINTS} <= tested | others
