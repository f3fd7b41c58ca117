"""One daemon a module; what a test makes in it is removed, and looked for, after the test."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import leaks
from tests.harness.client import PROGRAMS, Client
from tests.harness.daemon import Daemon
from tests.harness.serving import serving

NODE_PACKAGES = Path(__file__).with_name("dockerode") / "node_modules/dockerode"
# Where there is no npm, its test is no part of the suite (packaging/test-environment.sh says why).
collect_ignore = [] if NODE_PACKAGES.is_dir() else ["test_dockerode.py"]


WITH_GUESTS = (
    "test_run",
    "test_run_flags",
    "test_machines",
    "test_files",
    "test_streams",
    "test_health",
    "test_update",
    "test_docker_py",
    "test_docker_py_more",
    "test_compose",
    "test_dockerode",
    "test_websocket",
)
"""Modules whose tests run at weights with a kernel of their own too, but for those marked `light`.
"""
EVERY_TIME = ("test_run", "test_streams", "test_update", "test_docker_py", "test_every_flag")
"""Of these, those that run at medium each time; the others do there with what is `long`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let a test have a daemon for every weight that it is about."""
    name = metafunc.module.__name__.rpartition(".")[2]
    if "module_daemon" in metafunc.fixturenames and name in WITH_GUESTS:
        weights = ("light", "heavy", "medium")
        metafunc.parametrize("module_daemon", weights, indirect=True, scope="module")


@pytest.hookimpl(tryfirst=True)  # before `-m` is looked at
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run one of the clients at weights with guests: both say the same, and a machine boots there.

    And let client libraries leave sockets to the garbage collector, as docker-py does. They are
    found in whichever test the collector runs in; the daemon is in a process of its own, which
    these filters do not reach.
    """
    left_out = [item for item in items if _is_not_for_its_weight(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    for item in items:
        if "medium" in _ids(item) and item.path.stem not in EVERY_TIME:
            item.add_marker(pytest.mark.long)
        if "/clients/" in str(item.path):
            for kind in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{kind}"))


def _is_not_for_its_weight(item: pytest.Item) -> bool:
    if "/clients/" not in str(item.path) or not _ids(item) & {"heavy", "medium"}:
        return False
    return bool({"heft"} & _ids(item) or item.get_closest_marker("light"))


def _ids(item: pytest.Item) -> set[str]:
    return set(item.name.partition("[")[2].rstrip("]").split("-"))


@pytest.fixture(scope="module")
def module_daemon(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """Give a daemon with one image; its machines are of the weight that is asked for."""
    weight = ("--default-weight", getattr(request, "param", "light"))
    with serving(tmp_path_factory.mktemp("daemon"), *weight) as daemon:
        yield daemon
        gc.collect()  # sockets of this module's clients are not the next one's matter


@pytest.fixture
def daemon(module_daemon: Daemon) -> Iterator[Daemon]:
    """Give the daemon; afterwards it must be as it was."""
    images = _names(module_daemon)
    before = leaks.look()
    yield module_daemon
    for machine in module_daemon.request("GET", "/containers/json?all=1").json:
        module_daemon.request("DELETE", f"/containers/{machine['Id']}?force=1&v=1")
    for volume in module_daemon.request("GET", "/volumes").json["Volumes"] or ():
        module_daemon.request("DELETE", f"/volumes/{volume['Name']}")
    for name in _names(module_daemon) - images:
        module_daemon.request("DELETE", f"/images/{name}?force=1")
    assert not (left := leaks.settle(before)), f"left behind: {left}"
    assert list((module_daemon.data / "machines").iterdir()) == []
    assert list((module_daemon.run / "machines").glob("*")) == []
    assert leaks.loops(module_daemon.data) == []


@pytest.fixture(params=PROGRAMS)
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Client:
    """Give each program that speaks to the daemon."""
    return Client(request.param, daemon)


def _names(daemon: Daemon) -> set[str]:
    images = daemon.request("GET", "/images/json").json
    return {name for image in images for name in (image["RepoTags"] or [image["Id"]])}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a directory that users other than root may enter."""
    for directory in (tmp_path, *tmp_path.parents[:3]):
        if directory != Path("/tmp"):
            directory.chmod(0o755)
    return tmp_path
