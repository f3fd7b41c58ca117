"""What scripts and people do all day with machines that are there: list, start many, exec, copy."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.crowd import clear
from benchmarks.engines import IMAGE, Engine, docker_client, plain, request
from benchmarks.measure import Case, Sample, command, interleaved, seconds

LISTED, RUNNING = 500, 100
AT_ONCE = 8
MANY = 1000
CLIENTS = 4
"""Connections that the one client process of the many machines uses."""
COPY_ROUNDS = 5
FILE_MIB = 200
SMALL_FILES = 20_000
OUTPUT = 1 << 30
"""Bytes that go through an attached client."""


@dataclass(frozen=True)
class Surface:
    """What was measured; times in ms, by name where there are several."""

    listing: dict[str, Sample]
    starting: dict[str, float]
    """Wall time of `RUNNING` machines started `AT_ONCE` at a time."""
    many: float
    """Wall time of `MANY` machines made and started, ms."""
    exec: dict[str, Sample]
    copies: dict[str, dict[str, Sample]]
    output: dict[str, Sample]


def measure(heft: Engine, docker: Engine, directory: Path, rounds: int) -> Surface:
    """Measure both engines in turns, with the same client."""
    assert heft.daemon is not None
    clients = {
        "docker → Heft": docker_client(heft.daemon.socket),
        "docker → dockerd": docker.client,
    }
    engines = dict(zip(clients, (heft, docker), strict=True))
    starting = {}
    for name, engine in engines.items():
        made = create(engine, LISTED)
        starting[name] = start(engine, made[:RUNNING]) * 1000
    listing = in_turns(clients, ("ps", "--all"), rounds)
    for engine in engines.values():
        clear(engine)
    with machine(heft) as ours, machine(docker) as theirs:
        names = dict(zip(clients, (ours, theirs), strict=True))
        execs = interleaved(
            {
                name: Case(command((*client, "exec", names[name], "true"), plain()))
                for name, client in clients.items()
            },
            rounds,
        )
        copied = copies(clients, names, directory, min(rounds, COPY_ROUNDS))
    yes = ("run", "--rm", IMAGE, "sh", "-c", f"yes 0123456789 | head -c {OUTPUT}")
    output = in_turns(clients, yes, min(rounds, COPY_ROUNDS))
    many = seconds(lambda: make_many(heft)) * 1000
    clear(heft)
    return Surface(listing, starting, many, execs, copied, output)


def in_turns(
    clients: dict[str, tuple[str, ...]], arguments: tuple[str, ...], rounds: int
) -> dict[str, Sample]:
    """Time the same command line with each client."""
    cases = {name: Case(command((*it, *arguments), plain())) for name, it in clients.items()}
    return interleaved(cases, rounds, warm_up=1)


def create(engine: Engine, count: int) -> list[str]:
    """Make machines that would sleep, over the API; give their ids."""
    assert engine.daemon is not None
    place = engine.daemon.socket
    wanted = {"Image": IMAGE, "Cmd": ["sleep", "1000000"], "HostConfig": {"NetworkMode": "none"}}
    body = json.dumps(wanted).encode()

    def one(_: int) -> str:
        status, answer = request(place, "POST", "/containers/create", body)
        assert status == 201, answer
        return str(json.loads(answer)["Id"])

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(one, range(count)))


def start(engine: Engine, machines: list[str], at_once: int = AT_ONCE) -> float:
    """Start machines over the API, so many at a time; give the seconds."""
    assert engine.daemon is not None
    place = engine.daemon.socket

    def one(machine_id: str) -> None:
        status, answer = request(place, "POST", f"/containers/{machine_id}/start")
        assert status == 204, answer

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, machines))
    return time.perf_counter() - began


def make_many(engine: Engine) -> None:
    """Make and start many machines, as `run -d --network none` of each would."""
    start(engine, create(engine, MANY), CLIENTS)


@contextmanager
def machine(engine: Engine) -> Iterator[str]:
    """Give a machine that runs."""
    name = engine.say(engine.run("--detach", "--network", "none", IMAGE, "sleep", "1000000"))
    try:
        yield name
    finally:
        engine.do("rm", "--force", name)


def copies(
    clients: dict[str, tuple[str, ...]], names: dict[str, str], directory: Path, rounds: int
) -> dict[str, dict[str, Sample]]:
    """Time `cp` of one large file and of many small ones, each way."""
    large, small = directory / "large", directory / "small"
    large.write_bytes(b"0123456789abcdef" * (FILE_MIB << 16))
    small.mkdir()
    for number in range(SMALL_FILES):
        (small / f"file-{number}").write_text(f"{number}\n")
    found = {}
    for what, place in (("a file of 200 MiB", large), ("20,000 files", small)):
        inward, outward = {}, {}
        for name, client in clients.items():
            inside = f"{names[name]}:/{place.name}"
            away = (*client, "exec", names[name], "rm", "-r", f"/{place.name}")
            inward[name] = Case(
                command((*client, "cp", str(place), inside), plain()), command(away, plain())
            )
            back = directory / "back"
            outward[name] = Case(
                command((*client, "cp", inside, str(back)), plain()),
                command(("rm", "-r", str(back)), plain()),
            )
        found[f"{what}, in"] = interleaved(inward, rounds, warm_up=1)
        for name, client in clients.items():
            command((*client, "cp", str(place), f"{names[name]}:/{place.name}"), plain())()
        found[f"{what}, out"] = interleaved(outward, rounds, warm_up=1)
    return found
