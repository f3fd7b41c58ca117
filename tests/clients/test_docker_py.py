"""docker-py, the library that most Python programs use."""

import io
import tarfile
from collections.abc import Iterator

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.types import Mount

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=f"unix://{daemon.socket}")
    yield client
    client.close()


def test_run(client: docker.DockerClient) -> None:
    assert client.containers.run(BUSYBOX, ["echo", "hello"], remove=True) == b"hello\n"
    with pytest.raises(ContainerError) as caught:
        client.containers.run(BUSYBOX, ["sh", "-c", "echo no >&2; exit 3"], remove=True)
    assert caught.value.exit_status == 3
    assert b"no" in caught.value.stderr


def test_a_machine(client: docker.DockerClient) -> None:
    machine = client.containers.run(
        BUSYBOX,
        ["sleep", "1000"],
        name="box",
        detach=True,
        labels={"a": "b"},
        environment={"A": "1"},
        mem_limit="128m",
        mounts=[Mount("/v", "vol")],
        runtime=client.info()["DefaultRuntime"],
        init=True,
    )
    assert machine.status in ("created", "running")
    machine.reload()
    assert machine.status == "running"
    assert client.containers.list(filters={"label": "a=b"}) == [machine]
    code, output = machine.exec_run(["sh", "-c", "echo $A; echo x >&2; exit 4"], demux=True)
    assert (code, output) == (4, (b"1\n", b"x\n"))
    assert machine.stats(stream=False)["memory_stats"]["limit"] == 128 << 20
    assert machine.top()["Processes"]
    machine.pause()
    machine.unpause()
    machine.rename("crate")
    machine.stop(timeout=1)
    assert machine.wait()["StatusCode"] in (143, 137)
    machine.remove(v=True)
    with pytest.raises(NotFound):
        client.containers.get("crate")


def test_streams(client: docker.DockerClient) -> None:
    script = "read line; echo got $line"
    machine = client.containers.create(BUSYBOX, ["sh", "-c", script], stdin_open=True)
    stream = machine.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    machine.start()
    stream._sock.sendall(b"it\n")
    machine.wait()
    assert machine.logs() == b"got it\n"
    stream.close()
    assert next(iter(machine.logs(stream=True, timestamps=True))).endswith(b"Z got it\n")


def test_events(client: docker.DockerClient) -> None:
    events = client.events(decode=True, filters={"type": "container"})
    client.containers.run(BUSYBOX, "true", remove=True)
    actions = []
    for event in events:
        actions.append(event["Action"])
        if event["Action"] == "destroy":
            break
    events.close()
    assert actions[:1] == ["create"]
    assert actions[-1] == "destroy"


def test_images(client: docker.DockerClient) -> None:
    client.api.import_image_from_data(busybox_tar("py"), repository="py", tag="1")
    image = client.images.get("py:1")
    assert image.tag("py", "2")
    assert sorted(client.images.get("py:2").tags) == ["py:1", "py:2"]
    saved = b"".join(image.save(named=True))
    client.images.remove("py:1")
    client.images.remove("py:2")
    with pytest.raises(ImageNotFound):
        client.images.get("py:1")
    (loaded,) = client.images.load(saved)
    assert loaded.id == image.id


def test_errors(client: docker.DockerClient) -> None:
    with pytest.raises(APIError) as caught:
        client.containers.create(BUSYBOX, "true", runtime="featherweight")
    assert caught.value.status_code == 400
    with pytest.raises(ImageNotFound):
        client.containers.create("nothing:here", "true")


def test_volumes_and_networks(client: docker.DockerClient) -> None:
    volume = client.volumes.create("vol", labels={"a": "b"})
    assert client.volumes.list(filters={"label": "a"}) == [volume]
    volume.remove()
    assert {network.name for network in client.networks.list()} == {"bridge", "host", "none"}
    assert client.ping()
    assert client.info()["DefaultRuntime"] in client.info()["Runtimes"]
    assert client.version()["ApiVersion"]
    assert client.df()["Images"]


def test_files(client: docker.DockerClient) -> None:
    machine = client.containers.run(BUSYBOX, ["sleep", "1000"], name="box", detach=True)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        entry = tarfile.TarInfo("dir/file")
        entry.size, entry.mode = 3, 0o640
        tar.addfile(entry, io.BytesIO(b"in\n"))
    assert machine.put_archive("/tmp", target.getvalue())
    assert machine.exec_run(["cat", "/tmp/dir/file"]).output == b"in\n"
    blocks, status = machine.get_archive("/tmp/dir/file")
    assert (status["name"], status["size"], status["mode"]) == ("file", 3, 0o640)
    with tarfile.open(fileobj=io.BytesIO(b"".join(blocks))) as tar:
        extracted = tar.extractfile("file")
        assert extracted is not None
        assert extracted.read() == b"in\n"
    with pytest.raises(NotFound, match="Could not find the file /nope in container"):
        machine.get_archive("/nope")
    changed = {change["Path"]: change["Kind"] for change in machine.diff()}
    assert changed == {"/tmp": 0, "/tmp/dir": 1, "/tmp/dir/file": 1}
    with tarfile.open(fileobj=io.BytesIO(b"".join(machine.export()))) as tar:
        assert "tmp/dir/file" in tar.getnames()
    image = machine.commit("made", "1", message="m", conf={"Labels": {"a": "b"}})
    assert image.labels == {"a": "b"}
    assert client.containers.run("made:1", ["cat", "/tmp/dir/file"], remove=True) == b"in\n"
