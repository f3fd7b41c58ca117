"""Daemons that the tests of a module share, and what each of these leaves in them: nothing."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.harness import leaks
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar


@contextlib.contextmanager
def serving(place: Path, *options: str) -> Iterator[Daemon]:
    """Give a daemon with one image; in the end the host must be as it was."""
    before = leaks.look()
    daemon = Daemon(place, *options).start()
    path = f"/images/create?fromSrc=-&repo={BUSYBOX}&changes=CMD%20%5B%22sh%22%5D"
    answer = daemon.request("POST", path, busybox_tar())
    assert answer.status == 200, answer.body
    yield daemon
    daemon.clean_up()
    assert not (left := leaks.settle(before)), f"left behind: {left}"


@contextlib.contextmanager
def emptied(daemon: Daemon) -> Iterator[Daemon]:
    """Give the daemon to one test; its machines and volumes go, and nothing of them may be left."""
    before = leaks.look()
    yield daemon
    if daemon.process is not None and daemon.process.poll() is not None:
        daemon.start()
    for machine in daemon.request("GET", "/containers/json?all=1").json:
        daemon.request("DELETE", f"/containers/{machine['Id']}?force=1&v=1")
    for volume in daemon.request("GET", "/volumes").json["Volumes"] or ():
        assert daemon.request("DELETE", f"/volumes/{volume['Name']}").status == 204
    assert not (left := leaks.settle(before)), f"left behind: {left}"
    assert list((daemon.data / "machines").iterdir()) == []
    assert list((daemon.run / "machines").glob("*")) == []
