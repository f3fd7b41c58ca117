"""dockerode, the library that most Node programs use (dockerode/job.js)."""

import json
import subprocess
from pathlib import Path

from heft.api.versions import NEWEST, version_text
from tests.harness.daemon import Daemon

PROJECT = Path(__file__).with_name("dockerode")


def test_a_job(daemon: Daemon) -> None:
    done = subprocess.run(
        ["node", "job.js", str(daemon.socket)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["version"] == version_text(NEWEST)
    assert found["run"] == [3, "hello"]
    assert found["attach"] == "got it"
    assert found["exec"] == ["out\n", "err\n"]
    assert found["exitCode"] == 4
    assert found["logs"] == "got it"
    assert found["memory"] == 128 << 20
    assert found["listed"] == ["/box"]
    assert found["loaded"]
    assert found["gone"] == [404, "No such container: " + found["gone"][1].rpartition(" ")[2]]
    for action in ("create", "start", "exec_create", "die", "destroy"):
        assert any(each.startswith(action) for each in found["events"]), action
