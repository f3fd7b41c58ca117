"""Machines made over the API, without the start of a client for each."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from benchmarks.engines import IMAGE, Engine, UnixConnection

IDLE = json.dumps(
    {"Image": IMAGE, "Cmd": ["sleep", "1000000"], "HostConfig": {"NetworkMode": "none"}}
).encode()
"""A machine that does nothing."""


def create_many(engine: Engine, count: int, at_once: int) -> list[str]:
    """Make machines that would idle; give their ids."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda _: create(engine), range(count)))


def create(engine: Engine) -> str:
    """Make a machine that would idle; give its id."""
    with closing(_connect(engine)) as connection:
        return _create(connection)


def start(engine: Engine, machine: str) -> None:
    """Start a machine."""
    with closing(_connect(engine)) as connection:
        _start(connection, machine)


def run_many(engine: Engine, count: int) -> None:
    """Make and start machines, one after the other, over one connection."""
    with closing(_connect(engine)) as connection:
        for _ in range(count):
            _start(connection, _create(connection))


def _connect(engine: Engine) -> UnixConnection:
    assert engine.daemon is not None
    return UnixConnection(engine.daemon.socket)


def _create(connection: UnixConnection) -> str:
    connection.request("POST", "/containers/create", IDLE, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 201:
        raise RuntimeError(f"create: {body!r}")
    return str(json.loads(body)["Id"])


def _start(connection: UnixConnection, machine: str) -> None:
    connection.request("POST", f"/containers/{machine}/start")
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 204:
        raise RuntimeError(f"start: {body!r}")
