"""How long a machine takes from the command to its end, and where the time goes."""

import json
import subprocess
from contextlib import closing
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

from benchmarks.bench import DOCKERD, HEFT, Bench
from benchmarks.engines import IMAGE, Engine, plain, request
from benchmarks.measure import Case, Sample, command, interleaved
from benchmarks.rows import Outcome, Row, ms, ratio

RUN = ("--rm", IMAGE, "true")
RUN_ALONE = ("--rm", "--network", "none", IMAGE, "true")


def measure(bench: Bench) -> Outcome:
    """Time whole commands, the daemon's share of them, and the command's own start."""
    found = whole(bench)
    make_bundle(bench.directory / "bundle", bench.tar, bench.group)
    parts = shares(bench.heft, bench.directory / "bundle", bench.rounds)
    crun, start = parts["crun create"], parts["create and start"]
    first = first_request(bench.heft, bench.directory, bench.rounds)
    rows = (
        ratio(
            "`docker run --rm IMAGE true` on the default bridge, Heft ÷ dockerd",
            0.30,
            found[f"{HEFT}, bridge"],
            found[f"{DOCKERD}, bridge"],
        ),
        ratio(
            "`docker run --rm --network none IMAGE true`, Heft ÷ dockerd",
            0.30,
            found[f"{HEFT}, none"],
            found[f"{DOCKERD}, none"],
        ),
        ratio(
            "`heft run --rm --network none IMAGE true` ÷ the same with podman",
            0.9,
            found["heft, none"],
            found["podman, none"],
        ),
        Row(
            "the daemon's own share of a start: the requests create and start, less `crun create`",
            25,
            "ms",
            start.median - crun.median,
            ms(start),
            f"crun {ms(crun)}",
        ),
        Row(
            "from the start of the command `heft` to its first request",
            45,
            "ms",
            first.median,
            ms(first),
        ),
    )
    return Outcome(rows, found)


def whole(bench: Bench) -> dict[str, Sample]:
    """Time whole commands, client and all; by name, in ms."""
    heft, docker, podman, through = bench.heft, bench.docker, bench.podman, bench.through
    cases = {
        f"{HEFT}, bridge": ((*through, "run", *RUN), plain()),
        f"{DOCKERD}, bridge": (docker.run(*RUN), docker.environment),
        f"{HEFT}, none": ((*through, "run", *RUN_ALONE), plain()),
        f"{DOCKERD}, none": (docker.run(*RUN_ALONE), docker.environment),
        "heft, bridge": (heft.run(*RUN), heft.environment),
        "heft, none": (heft.run(*RUN_ALONE), heft.environment),
        "podman, none": (podman.run(*RUN_ALONE), podman.environment),
    }
    return interleaved({name: Case(command(*case)) for name, case in cases.items()}, bench.rounds)


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
