"""Pull, push, log in, search and run from a registry, by `docker` and by `heft`."""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import registries
from tests.harness.client import Client
from tests.harness.images import BUSYBOX
from tests.harness.registries import PASSWORD, USER, Served, Trouble, say

PORT = 5011


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with registries.registry(tmp_path_factory.mktemp("r") / "r", PORT, users=True) as found:
        yield found


@pytest.fixture
def config(client: Client) -> Iterator[Path]:
    """Give the client's file, which is gone afterwards."""
    path = client.daemon.directory / "docker-config/config.json"
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)


def test_a_whole_round(client: Client, served: Served, config: Path) -> None:
    name = f"{served.host}/{client.name}/box"
    denied = client("pull", f"{name}:1", check=False)
    assert denied.returncode == 1
    assert f"pull access denied for {name}" in denied.stderr
    wrong = client("login", "-u", USER, "-p", "wrong", served.host, check=False)
    assert wrong.returncode == 1
    assert "incorrect username or password" in wrong.stderr
    done = client("login", "-u", USER, "--password-stdin", served.host, input=PASSWORD)
    assert "Login Succeeded" in done.stdout
    entry = json.loads(config.read_text())["auths"][served.host]
    assert base64.b64decode(entry["auth"]).decode() == f"{USER}:{PASSWORD}"
    for tag in ("1", "2"):
        client("tag", BUSYBOX, f"{name}:{tag}")
    pushed = client("push", "--all-tags", name).stdout
    assert "The push refers to repository" in pushed
    assert "1: digest: sha256:" in pushed
    again = client("push", f"{name}:1").stdout
    assert "Layer already exists" in again
    digest = again.partition("digest: ")[2].split()[0]
    assert "@" not in client("rmi", f"{name}:1").stdout
    gone = client("rmi", f"{name}:2").stdout.splitlines()
    assert gone[:2] == [f"Untagged: {name}:2", f"Untagged: {name}@{digest}"]
    pulled = client("pull", f"{name}:1").stdout
    assert f"Status: Downloaded newer image for {name}:1" in pulled
    assert f"Digest: {digest}" in pulled
    assert pulled.endswith(f"\n{name}:1\n")
    assert client("pull", "-q", f"{name}:1").stdout == f"{name}:1\n"
    assert "Image is up to date" in client("pull", f"{name}@{digest}").stdout
    client("pull", "--all-tags", name)
    shown = client("images", "--format", "{{.Tag}}", name).stdout.split()
    assert {"1", "2"} <= set(shown)
    client("rmi", f"{name}:2")
    ran = client("run", "--rm", f"{name}:2", "echo", "here")
    assert ran.stdout == "here\n"
    assert "Unable to find image" in ran.stderr
    always = client("run", "--rm", "--pull", "always", f"{name}:2", "echo", "again")
    assert "up to date" in always.stderr
    client("rmi", f"{name}:2")
    never = client("run", "--rm", "--pull", "never", f"{name}:2", check=False)
    assert never.returncode == 125
    assert "No such image" in never.stderr
    client("logout", served.host)
    assert served.host not in json.loads(config.read_text()).get("auths", {})


def test_a_push_for_a_platform(client: Client, served: Served, config: Path) -> None:
    client("login", "-u", USER, "--password-stdin", served.host, input=PASSWORD)
    name = f"{served.host}/{client.name}/platform:1"
    client("tag", BUSYBOX, name)
    shown = json.loads(client("inspect", name).stdout)[0]
    other = client("push", "--platform", "linux/s390x", name, check=False)
    assert other.returncode == 1
    here = f"linux/{shown['Architecture']}"
    said = f"{name} was found but its platform ({here}) does not match the specified platform"
    assert f"{said} (linux/s390x)" in other.stdout + other.stderr
    refused = client("push", "--platform", "windows/amd64", name, check=False)
    assert "operating system 'windows' is not supported" in refused.stdout + refused.stderr
    assert "1: digest: sha256:" in client("push", "--platform", here, name).stdout
    client("rmi", name)


def test_a_helper_keeps_the_password(
    client: Client, served: Served, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text(
        '#!/bin/sh\nkept=$(dirname "$0")/kept\ncase $1 in\nstore) cat >"$kept" ;;\n'
        'get) [ -e "$kept" ] || { echo "credentials not found in native keychain"; exit 1; }\n'
        'cat "$kept" ;;\nerase) rm "$kept" ;;\nlist) echo "{}" ;;\nesac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps({"credHelpers": {served.host: "test"}, "detachKeys": "ctrl-a"}))
    client("login", "-u", USER, "--password-stdin", served.host, input=PASSWORD)
    assert json.loads((tmp_path / "kept").read_text())["Secret"] == PASSWORD
    assert PASSWORD not in config.read_text()
    name = f"{served.host}/{client.name}/helped:1"
    client("tag", BUSYBOX, name)
    client("push", "-q", name)
    client("logout", served.host)
    assert not (tmp_path / "kept").exists()
    program.unlink()
    missing = client("push", "-q", name, check=False)
    assert missing.returncode == 1
    if client.name == "heft":
        assert "there is no docker-credential-test in PATH" in missing.stderr
    assert json.loads(config.read_text())["detachKeys"] == "ctrl-a"


def test_search(client: Client) -> None:
    found = [
        {"name": "team/a", "description": "An a", "star_count": 3, "is_official": False},
        {"name": "b", "description": "x" * 60, "star_count": 9, "is_official": True},
    ]
    with registries.proxy("") as index:
        index.troubles.append(
            Trouble("/v1/search", say(json.dumps({"results": found}).encode()), 9)
        )
        index.troubles.append(Trouble("GET /v2/$", say(b"{}"), 9))
        term = f"{index.host}/word"
        shown = client("search", "--format", "{{.Name}} {{.StarCount}} {{.IsOfficial}}", term)
        assert shown.stdout.splitlines()[1].startswith("b 9 [OK]")
        only = client("search", "--filter", "stars=5", "--format", "{{.Name}}", term)
        assert only.stdout == "b\n"


def test_what_a_registry_has(client: Client, served: Served) -> None:
    daemon = client.daemon
    who = base64.urlsafe_b64encode(json.dumps({"username": USER, "password": PASSWORD}).encode())
    name = f"{served.host}/{client.name}/looked:1"
    client("tag", BUSYBOX, name)
    headers = {"X-Registry-Auth": who.decode()}
    path = f"/images/{name.removesuffix(':1')}/push?tag=1"
    assert daemon.request("POST", path, **headers).status == 200
    found = daemon.request("GET", f"/distribution/{name}/json", **headers).json
    assert found["Descriptor"]["digest"].startswith("sha256:")
    assert found["Platforms"][0]["os"] == "linux"
    bad = daemon.request("GET", f"/distribution/{name}/json", **{"X-Registry-Auth": "!"})
    assert bad.status == 400
    assert "X-Registry-Auth" in bad.message
