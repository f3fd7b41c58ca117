"""Health checks, as clients ask for them and see them."""

import json
import time
from typing import Any

import pytest

from tests.harness.client import Client
from tests.harness.images import BUSYBOX, busybox_tar

FAST = ("--health-interval", "100ms", "--health-timeout", "5s", "--health-retries", "2")
OK = "test -e /ok && echo fine"


def start(client: Client, *flags: str, script: str = "sleep 1000") -> None:
    command = (BUSYBOX, "sh", "-c", script)
    client("run", "-d", "--name", "box", "--network", "none", *flags, *command)


def health(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client("inspect", "box").stdout)[0]["State"]["Health"]
    return found


def becomes(client: Client, status: str, seconds: float = 15) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while (found := health(client))["Status"] != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def status(client: Client) -> str:
    return client("ps", "-a", "--format", "{{.Status}}").stdout.strip()


def test_states_log_and_events(client: Client) -> None:
    since = str(time.time())
    start(client, *FAST, "--health-cmd", OK)
    found = health(client)
    assert (found["Status"], status(client).partition("(")[2]) == ("starting", "health: starting)")
    found = becomes(client, "unhealthy")
    assert found["FailingStreak"] >= 2
    assert {check["ExitCode"] for check in found["Log"]} == {1}
    assert status(client).endswith("(unhealthy)")
    client("exec", "box", "touch", "/ok")
    found = becomes(client, "healthy")
    assert found["FailingStreak"] == 0
    last = found["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (0, "fine\n")
    assert last["Start"] <= last["End"]
    assert status(client).endswith("(healthy)")
    for name, shown in (("healthy", "box\n"), ("unhealthy", ""), ("none", "")):
        listed = client("ps", "--filter", f"health={name}", "--format", "{{.Names}}")
        assert listed.stdout == shown
    form = ("--format", "{{.Status}}", "--filter", "event=health_status")
    done = client("events", "--since", since, "--until", str(time.time()), *form)
    wanted = ["health_status: unhealthy", "health_status: healthy"]
    assert [line for line in done.stdout.splitlines() if line] == wanted
    time.sleep(1)
    assert len(health(client)["Log"]) == 5


def test_a_machine_without_a_check(client: Client) -> None:
    start(client)
    assert "Health" not in json.loads(client("inspect", "box").stdout)[0]["State"]
    assert client("ps", "-q", "--filter", "health=none").stdout != ""
    assert "(" not in status(client)


def test_a_check_that_takes_too_long_is_killed(client: Client) -> None:
    flags = ("--health-interval", "100ms", "--health-timeout", "300ms", "--health-retries", "1")
    start(client, *flags, "--health-cmd", "echo begun; sleep 777; true")
    found = becomes(client, "unhealthy")
    assert found["Log"][0]["ExitCode"] == -1
    assert found["Log"][0]["Output"] == "Health check exceeded timeout (300ms): begun\n"
    time.sleep(0.5)
    seen = client("exec", "box", "ps").stdout
    assert seen.count("sleep 777") <= 2, seen  # of the check that goes on now


def test_long_output_is_cut(client: Client) -> None:
    start(client, *FAST, "--health-cmd", "yes | head -c 100000")
    output = becomes(client, "healthy")["Log"][0]["Output"]
    assert len(output) == 4096
    assert output.endswith("...")


def test_a_command_that_is_not_there(client: Client) -> None:
    start(client, *FAST, "--health-cmd", "/not/there")
    assert {check["ExitCode"] for check in becomes(client, "unhealthy")["Log"]} == {127}


def test_start_period_and_start_interval(client: Client) -> None:
    times = ("--health-start-period", "2s", "--health-start-interval", "100ms")
    flags = (*times, "--health-interval", "400ms", "--health-retries", "1")
    start(client, *flags, "--health-cmd", OK)
    time.sleep(1)
    found = health(client)
    assert (found["Status"], found["FailingStreak"]) == ("starting", 0)
    assert len(found["Log"]) >= 3
    becomes(client, "unhealthy")
    client("restart", "-t", "0", "box")
    assert health(client)["Status"] == "starting"
    client("exec", "box", "touch", "/ok")
    becomes(client, "healthy", 1.5)


def test_pause_stop_and_start(client: Client) -> None:
    start(client, *FAST, "--health-cmd", "true")
    becomes(client, "healthy")
    client("pause", "box")
    assert health(client)["Status"] == "unhealthy"
    client("unpause", "box")
    becomes(client, "healthy")
    client("stop", "-t", "0", "box")
    assert health(client)["Status"] == "unhealthy"
    assert "healthy" not in status(client)
    client("start", "box")
    assert health(client)["Status"] in ("starting", "healthy")
    becomes(client, "healthy")


def test_a_daemon_that_comes_back_goes_on_checking(client: Client) -> None:
    start(client, *FAST, "--health-cmd", OK)
    client("exec", "box", "touch", "/ok")
    before = becomes(client, "healthy")
    client.daemon.kill()
    client.daemon.start()
    assert health(client)["Status"] == "healthy"
    assert health(client)["Log"][0]["Start"] >= before["Log"][0]["Start"]
    client("exec", "box", "rm", "/ok")
    becomes(client, "unhealthy")


def test_an_image_with_a_check(client: Client) -> None:
    change = (
        "HEALTHCHECK --interval=100ms --timeout=1m30s --start-period=1s --start-interval=100ms"
        ' --retries=4 CMD ["test", "-e", "/ok"]'
    )
    asked = "&".join(("fromSrc=-", "repo=checked", f"changes={change.replace(' ', '%20')}"))
    assert client.daemon.request("POST", f"/images/create?{asked}", busybox_tar()).status == 200
    (image,) = json.loads(client("image", "inspect", "checked").stdout)
    assert image["Config"]["Healthcheck"] == {
        "Test": ["CMD", "test", "-e", "/ok"],
        "Interval": 100_000_000,
        "Timeout": 90_000_000_000,
        "StartPeriod": 1_000_000_000,
        "StartInterval": 100_000_000,
        "Retries": 4,
    }
    command = ("checked", "sh", "-c", "touch /ok; sleep 1000")
    client("run", "-d", "--name", "box", "--health-retries", "1", *command)
    becomes(client, "healthy")
    (found,) = json.loads(client("inspect", "box").stdout)
    merged = found["Config"]["Healthcheck"]
    assert (merged["Retries"], merged["Interval"]) == (1, 100_000_000)
    client("rm", "-f", "box")
    client("run", "-d", "--name", "box", "--no-healthcheck", *command)
    assert "Health" not in json.loads(client("inspect", "box").stdout)[0]["State"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--health-interval", "1us"], "Interval in Healthcheck cannot be less than 1ms"),
        (["--health-timeout", "1us"], "Timeout in Healthcheck cannot be less than 1ms"),
        (["--health-retries", "-1"], "cannot be negative"),
        (["--no-healthcheck", "--health-cmd", "true"], "--no-healthcheck conflicts with"),
    ],
)
def test_what_is_refused(client: Client, flags: list[str], words: str) -> None:
    done = client("run", *flags, BUSYBOX, "true", check=False)
    assert done.returncode == 125
    assert words in done.stderr
    assert client("ps", "-aq").stdout == ""
