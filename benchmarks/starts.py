"""How long a machine takes from the command to its end, and where the time goes."""

import json
import subprocess
import time
from contextlib import closing
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

from benchmarks.engines import IMAGE, Engine, docker_client, plain, request
from benchmarks.measure import Case, Sample, command, interleaved, seconds

RUN = ("--rm", IMAGE, "true")
RUN_ALONE = ("--rm", "--network", "none", IMAGE, "true")


def whole(heft: Engine, docker: Engine, podman: Engine, rounds: int) -> dict[str, Sample]:
    """Time whole commands, client and all; by name, in ms."""
    assert heft.daemon is not None
    through = docker_client(heft.daemon.socket)
    cases = {
        "docker → Heft, bridge": ((*through, "run", *RUN), plain()),
        "docker → dockerd, bridge": (docker.run(*RUN), docker.environment),
        "docker → Heft, none": ((*through, "run", *RUN_ALONE), plain()),
        "docker → dockerd, none": (docker.run(*RUN_ALONE), docker.environment),
        "heft, bridge": (heft.run(*RUN), heft.environment),
        "heft, none": (heft.run(*RUN_ALONE), heft.environment),
        "podman, none": (podman.run(*RUN_ALONE), podman.environment),
    }
    return interleaved({name: Case(command(*case)) for name, case in cases.items()}, rounds)


def shares(heft: Engine, bundle: Path, rounds: int) -> dict[str, Sample]:
    """Time a start at the API, and crun's part of it on a bundle of its own; by name, in ms."""
    assert heft.daemon is not None
    place = heft.daemon.socket
    wanted = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    made: list[str] = []

    def start() -> None:
        status, body = request(place, "POST", "/containers/create", json.dumps(wanted).encode())
        assert status == 201, body
        made.append(json.loads(body)["Id"])
        status, body = request(place, "POST", f"/containers/{made[-1]}/start")
        assert status == 204, body

    def remove() -> None:
        request(place, "POST", f"/containers/{made[-1]}/wait")
        request(place, "DELETE", f"/containers/{made[-1]}?force=1")

    state = ("crun", "--root", str(bundle / "state"), "--cgroup-manager", "cgroupfs")
    create = command((*state, "create", "--bundle", str(bundle), "bench"), plain())
    delete = command((*state, "delete", "--force", "bench"), plain())
    cases = {"create and start": Case(start, remove), "crun create": Case(create, delete)}
    return interleaved(cases, rounds)


def make_bundle(bundle: Path, tar: Path, cgroup: str) -> None:
    """Make what crun needs to run `true` from the image's tar."""
    (bundle / "rootfs").mkdir(parents=True)
    subprocess.run(("tar", "-xf", str(tar), "-C", str(bundle / "rootfs")), check=True)
    subprocess.run(("crun", "spec"), cwd=bundle, check=True)
    path = bundle / "config.json"
    plan = json.loads(path.read_text())
    plan["process"]["terminal"] = False
    plan["process"]["args"] = ["true"]
    plan["linux"]["cgroupsPath"] = f"{cgroup}/crun"
    # It wants a limit that not every host can raise.
    plan["process"].pop("rlimits", None)
    path.write_text(json.dumps(plan))


def first_request(heft: Engine, directory: Path, rounds: int) -> Sample:
    """Time the command from its process's start to the first byte of its first request, in ms."""
    place = directory / "listen.sock"
    environment = {**heft.environment, "HEFT_HOST": f"unix://{place}"}
    with closing(socket(AF_UNIX, SOCK_STREAM)) as listening:
        listening.bind(str(place))
        listening.listen()

        def once() -> None:
            process = subprocess.Popen(
                heft.command("ps"),
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            connection = listening.accept()[0]
            connection.recv(1)
            began.append(process)
            connections.append(connection)

        def after() -> None:
            connections.pop().close()
            began.pop().wait()

        began: list[subprocess.Popen[bytes]] = []
        connections: list[socket] = []
        return interleaved({"": Case(once, after)}, rounds)[""]


def answer_after_kill(heft: Engine, machines: int, rounds: int) -> Sample:
    """Time a killed daemon's next one from its start until it lists all machines, in ms."""
    daemon = heft.daemon
    assert daemon is not None

    def come_back() -> None:
        daemon.start()
        status, body = request(daemon.socket, "GET", "/containers/json")
        assert status == 200, body
        assert len(json.loads(body)) == machines, f"{len(json.loads(body))} of {machines} run"

    times = []
    for _ in range(rounds):
        daemon.kill()
        times.append(seconds(come_back) * 1000)
        time.sleep(1)
    return Sample(tuple(times))
