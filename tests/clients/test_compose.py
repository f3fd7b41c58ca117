"""Debian's docker-compose, 1.29: a small web application, from its start to its end.

Its services use the network `bridge` that is there (`network_mode: bridge`) and find each other by
their containers' names. A network of the project's own, which Compose would make otherwise, is not
there yet: for that `GET /networks?filters=name`, `POST /networks/create` (with the labels of the
project), `connect` with aliases, `disconnect` and `DELETE` are what it asks for.
"""

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX

PROJECT = f"""\
version: "2.4"
services:
  web:
    image: {BUSYBOX}
    container_name: shop-web
    command: httpd -f -p 80 -h /srv
    network_mode: bridge
    init: true
    restart: unless-stopped
    ports: ["127.0.0.1::80"]
    volumes: ["pages:/srv:ro"]
    mem_limit: 128m
    labels: {{tier: front}}
    depends_on: [writer]
  writer:
    image: {BUSYBOX}
    init: true
    command: >-
      sh -c 'while :; do echo "$$GREETING at $$(date +%s)" >/srv/new;
      mv /srv/new /srv/index.html; sleep 0.1; done'
    network_mode: bridge
    environment: {{GREETING: hello}}
    env_file: [settings.env]
    volumes: ["pages:/srv"]
  client:
    image: {BUSYBOX}
    command: wget -q -O - http://shop-web/
    network_mode: bridge
    depends_on: [web]
volumes:
  pages:
    labels: {{keep: "no"}}
"""
OWN_NETWORK = f"""\
version: "2.4"
services:
  web:
    image: {BUSYBOX}
    command: "true"
"""


class Compose:
    """docker-compose in a project's directory."""

    def __init__(self, directory: Path, daemon: Daemon) -> None:
        self.directory = directory
        self.environment = {**daemon.environment, "COMPOSE_PROJECT_NAME": "shop"}

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["docker-compose", "--ansi=never", *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done


@pytest.fixture
def compose(daemon: Daemon, tmp_path: Path) -> Iterator[Compose]:
    (tmp_path / "docker-compose.yml").write_text(PROJECT)
    (tmp_path / "settings.env").write_text("OTHER=1\n")
    compose = Compose(tmp_path, daemon)
    yield compose
    compose("down", "--volumes", "--timeout", "1", check=False)


def machines(daemon: Daemon) -> dict[str, Any]:
    found = daemon.request("GET", "/containers/json?all=1").json
    return {each["Labels"]["com.docker.compose.service"]: each for each in found}


def test_a_project(compose: Compose, daemon: Daemon) -> None:
    compose("config", "--quiet")
    compose("up", "--detach", "web")
    assert machines(daemon).keys() == {"web", "writer"}

    address = compose("port", "web", "80").stdout.strip()
    assert address.startswith("127.0.0.1:")
    with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
        assert answer.read().startswith(b"hello at ")

    # One finds another by its name, and its end is the command's.
    found = compose("run", "--rm", "client").stdout
    assert found.startswith("hello at "), found
    assert compose("exec", "-T", "writer", "sh", "-c", "echo $OTHER").stdout == "1\n"
    assert compose("exec", "-T", "web", "sh", "-c", "exit 5", check=False).returncode == 5

    listed = compose("ps", "--services", "--filter", "status=running").stdout.split()
    assert sorted(listed) == ["web", "writer"]
    assert "httpd" in compose("top", "web").stdout
    assert "Up" in compose("ps").stdout

    # What did not change stays; what did is made anew, with its volumes.
    before = machines(daemon)
    compose("up", "--detach", "web")
    assert {name: each["Id"] for name, each in machines(daemon).items()} == {
        name: each["Id"] for name, each in before.items()
    }
    text = (compose.directory / "docker-compose.yml").read_text()
    (compose.directory / "docker-compose.yml").write_text(text.replace("hello", "welcome"))
    compose("up", "--detach", "--timeout", "1", "web")
    after = machines(daemon)
    assert after["writer"]["Id"] != before["writer"]["Id"]
    assert "welcome" in compose("exec", "-T", "writer", "cat", "/srv/index.html").stdout

    compose("pause")
    assert machines(daemon)["web"]["State"] == "paused"
    compose("unpause")
    compose("restart", "--timeout", "1", "web")
    compose("stop", "--timeout", "1")
    assert {each["State"] for each in machines(daemon).values()} == {"exited"}
    compose("start")
    compose("kill")
    compose("rm", "--force")
    assert machines(daemon) == {}
    assert [v["Name"] for v in daemon.request("GET", "/volumes").json["Volumes"]] == ["shop_pages"]
    compose("down", "--volumes")
    assert daemon.request("GET", "/volumes").json["Volumes"] == []


def test_up_in_the_foreground_and_logs(compose: Compose, daemon: Daemon) -> None:
    (compose.directory / "docker-compose.yml").write_text(f"""\
version: "2.4"
services:
  job:
    image: {BUSYBOX}
    network_mode: none
    command: sh -c 'for i in 1 2 3; do echo line $$i; done; exit 4'
""")
    done = compose("up", "--exit-code-from", "job", check=False)
    assert done.returncode == 4
    for number in (1, 2, 3):
        assert f"line {number}" in done.stdout
    assert "line 3" in compose("logs", "--no-color", "job").stdout


def test_a_network_of_the_projects_own_is_refused_in_words(
    compose: Compose, daemon: Daemon
) -> None:
    (compose.directory / "docker-compose.yml").write_text(OWN_NETWORK)
    done = compose("up", "--detach", check=False)
    assert done.returncode != 0
    assert "networks of users' own are not there yet" in done.stderr
    assert machines(daemon) == {}
