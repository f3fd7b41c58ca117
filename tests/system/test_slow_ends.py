"""A run that is over at once, and takes long to clear up: that is no process that does not go."""

import os
import shutil
import time
from pathlib import Path

import pytest

from heft.engine.life import KILL_SECONDS
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar

pytestmark = pytest.mark.usefixtures("clean_host")


def test_a_kill_is_no_failure_because_the_clearing_up_is_slow(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    tool = tmp_path / "bin" / "nft"
    tool.parent.mkdir()
    seconds = KILL_SECONDS + 1
    tool.write_text(
        f'#!/bin/sh\n[ ! -e {slow} ] || sleep {seconds}\nexec {shutil.which("nft")} "$@"\n'
    )
    tool.chmod(0o755)
    daemon = Daemon(tmp_path).start(PATH=f"{tool.parent}:{os.environ['PATH']}")
    try:
        daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
        ports = {"PortBindings": {"80/tcp": [{"HostPort": "8099"}]}}
        body = {"Image": BUSYBOX, "Cmd": ["sleep", "1000"], "HostConfig": ports}
        assert daemon.request("POST", "/containers/create?name=box", body).status == 201
        assert daemon.request("POST", "/containers/box/start").status == 204
        slow.touch()
        begun = time.monotonic()
        answer = daemon.request("POST", "/containers/box/kill")
        assert answer.status == 204, answer.body
        assert time.monotonic() - begun > KILL_SECONDS, "it was to be slow"
        slow.unlink()
        state = daemon.request("GET", "/containers/box/json").json["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 137)
    finally:
        slow.unlink(missing_ok=True)
        daemon.clean_up()
