"""Machines of other architectures at heavy, whose code QEMU translates."""

import json
from collections.abc import Iterator

import pytest

from tests.harness import foreign
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.pace import patience
from tests.harness.serving import emptied, serving
from tests.harness.terminal import Terminal

IMAGE, PLATFORM = "foreign", "linux/arm64"


@pytest.fixture(scope="module")
def foreign_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon that has images of other architectures too."""
    with serving(tmp_path_factory.mktemp("foreign")) as daemon:
        for architecture in foreign.ARCHITECTURES:
            name = IMAGE if architecture == "arm64" else architecture
            path = f"/images/create?fromSrc=-&repo={name}&platform=linux/{architecture}"
            tar = busybox_tar(program=foreign.program(architecture))
            answer = daemon.request("POST", path, tar)
            assert answer.status == 200, answer.body
        yield daemon


@pytest.fixture
def daemon(foreign_daemon: Daemon) -> Iterator[Daemon]:
    with emptied(foreign_daemon):
        yield foreign_daemon


@pytest.fixture(params=["docker", "heft"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Client:
    return Client(request.param, daemon)


@pytest.mark.parametrize(
    ("name", "image", "architecture", "machine"),
    [
        ("docker", IMAGE, "arm64", "aarch64"),
        ("heft", IMAGE, "arm64", "aarch64"),
        ("heft", "s390x", "s390x", "s390x"),
    ],
)
def test_a_machine_of_another_architecture_is_one_like_others(
    daemon, name, image, architecture, machine
):
    client, platform = Client(name, daemon), f"linux/{architecture}"
    volume, run = ("-v", "kept:/kept"), ("run", "-d", "--name", "far", "--platform", platform)
    script = ("sh", "-c", "echo $$; uname -m; sleep 600")
    client(*run, *volume, "--runtime", "heavy", image, *script, timeout=patience(120))
    seen = client("exec", "far", "sh", "-c", "uname -m; echo one >/kept/file; echo two >/own")
    assert seen.stdout == f"{machine}\n"
    mark = ("run", "--rm", *volume, BUSYBOX, "sh", "-c", "cat /kept/file; ping -c1 -W5 far >&2")
    assert client(*mark).stdout == "one\n"
    assert client("logs", "far").stdout == f"1\n{machine}\n"
    found = daemon.request("GET", "/containers/far/json").json["Heft"]
    assert (found["Kit"], found["Accelerator"]) == (f"debian-{architecture}", "tcg")
    assert "architecture" in found["AcceleratorReason"]

    daemon.kill()
    daemon.start()
    assert client("exec", "far", "uname", "-m").stdout == f"{machine}\n"
    client("stop", "-t", "1", "far")
    client("start", "far")
    assert client("exec", "far", "cat", "/own", "/kept/file").stdout == "two\none\n"
    if client.name == "heft":
        client("restart", "-t", "1", "--weight", "light", "far")
        assert client("exec", "far", "cat", "/own", "/kept/file").stdout == "two\none\n"


@pytest.mark.parametrize(("image", "architecture"), [(IMAGE, "arm64"), ("s390x", "s390x")])
def test_a_privileged_one_has_a_further_disk_and_its_network(daemon, image, architecture):
    client = Client("heft", daemon)
    client("run", "-d", "--name", "near", BUSYBOX, "sleep", "600")
    run = ("run", "--rm", "--privileged", "--platform", f"linux/{architecture}")
    script = "ls /lib/modules/$(uname -r); ping -c1 -W5 near >&2"
    words = (*run, "--weight", "heavy", image, "sh", "-c", script)
    assert "modules.alias" in client(*words, timeout=patience(120)).stdout


@pytest.mark.parametrize(("image", "architecture"), [(IMAGE, "arm64"), ("s390x", "s390x")])
def test_its_console_is_heard_and_takes_nothing(daemon, image, architecture):
    client = Client("heft", daemon)
    run = ("run", "-d", "--name", "far", "--privileged", "--platform", f"linux/{architecture}")
    script = "echo first >/dev/console; sleep 600"
    client(*run, "--weight", "heavy", image, "sh", "-c", script, timeout=patience(120))
    with Terminal([*client.program, "console", "far"], client.environment) as seen:
        seen.until("first")
        client("exec", "far", "sh", "-c", "echo '<3>second' >/dev/kmsg")
        seen.until("second")
        seen.write("word")
        seen.until("nothing can be typed")
        assert "is in use" in client("console", "far", check=False).stderr
        said = client("console", "--force", "far").stdout
        assert [said.count(word) for word in ("first", "second", "typed")] == [1, 1, 0]
        assert seen.ended() == 1
    with Terminal([*client.program, "console", "far"], client.environment) as seen:
        seen.until("second")
        client("exec", "-d", "far", "sh", "-c", "echo c >/proc/sysrq-trigger", check=False)
        seen.until("Kernel panic")
        assert seen.ended() == 1


def test_its_image_says_what_it_is_for(client, daemon):
    shown = client("inspect", "-f", "{{.Os}}/{{.Architecture}}", "--type", "image", IMAGE)
    assert shown.stdout.strip() == PLATFORM
    made = client("create", "--runtime", "heavy", IMAGE, "true")
    assert f"platform ({PLATFORM}) does not match the detected host platform" in made.stderr
    body = {"Image": IMAGE, "Cmd": ["true"]}
    other = daemon.request("POST", "/containers/create?platform=linux/ppc64le", body)
    assert other.status == 404
    assert f"wanted linux/ppc64le, actual: {PLATFORM}" in other.message


def test_a_kit_is_of_one_architecture(client):
    words = ("--runtime", "heavy", "--annotation", "heft.kit=debian", "--platform", PLATFORM)
    if client.name == "docker":  # 20.10 has no annotations
        words = (*words[:2], "--label", "heft.kit=debian", *words[4:])
    done = client("run", "--rm", *words, IMAGE, "true", check=False)
    assert done.returncode == 125
    assert "kit debian is for linux/amd64, not linux/arm64" in done.stderr


def test_it_is_weighed(daemon):
    done = Client("heft", daemon)("weigh", "-q", "--json", IMAGE, timeout=patience(120))
    columns = {each["weight"]: each for each in json.loads(done.stdout)["columns"]}
    for weight in ("light", "heavy"):
        assert (columns[weight]["platform"], columns[weight]["why"]) == (PLATFORM, "")
        assert columns[weight]["values"]["cpu"] < columns["native"]["values"]["cpu"] / 2
