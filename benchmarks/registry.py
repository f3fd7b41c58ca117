"""How long images take to come and go: pull, push, save, load, commit; and what memory that takes.

Registries are Debian's, on loopback: one that images are pulled from, and one to push to that is
emptied before every push.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import sample
from benchmarks.bench import DOCKERD, HEFT, Bench, say
from benchmarks.copies import touch
from benchmarks.engines import Command, plain
from benchmarks.measure import Case, Sample, command, interleaved
from benchmarks.memory import Peak
from benchmarks.rows import Outcome, Row, ms, ratio
from tests.harness.registries import Served, registry

ROUNDS = 8
FROM, TO = 5000, 5001
"""Ports of the registry to pull from, and of the one to push to."""
WHOLE = f"127.0.0.1:{FROM}/bench/whole:latest"
MORE = f"127.0.0.1:{FROM}/bench/more:latest"
PUSHED = f"127.0.0.1:{TO}/bench/whole:latest"
NAME = "bench-commit"
COMMITTED = "committed:latest"
OWN, PODMAN = "heft", "podman"
CHANGE = 1_000_000
"""Bytes that the machine to be committed has written."""
SETTLE_SECONDS = 0.02


@dataclass(frozen=True)
class Client:
    """The beginning of a client's command lines, and what it needs for a registry without TLS."""

    line: Command
    environment: Mapping[str, str]
    insecure: Command = ()

    def timed(self, *arguments: str) -> "Case":
        """Give the running of a command."""
        return Case(command((*self.line, *arguments), self.environment))

    def do(self, *arguments: str) -> None:
        """Run a command."""
        command((*self.line, *arguments), self.environment)()


def measure(bench: Bench) -> Outcome:
    """Time all of it, the same image in all engines."""
    place = bench.directory / "registry"
    place.mkdir()
    made = sample.make(place, bench.tar, WHOLE, MORE)
    with registry(place / "from", FROM), registry(place / "to", TO) as target:
        dockerd = Client(bench.docker.client, plain())
        for archive, name in ((made.whole, WHOLE), (made.more, MORE)):
            dockerd.do("load", "--input", str(archive))
            dockerd.do("push", name)
            dockerd.do("rmi", name)
        assert bench.heft.daemon is not None
        with Peak(bench.heft.daemon.pid) as peak:
            rows = []
            for row in _Measured(bench, place, made, target).rows():
                say(f"{row.what}: {row.value:.2f} {row.unit} ({row.heft}; beside it {row.other})")
                rows.append(row)
            memory = peak.row("during all of these pulls, pushes, saves, loads and commits")
    return Outcome((*rows, memory), {})


class _Measured:
    def __init__(self, bench: Bench, place: Path, made: sample.Sample, target: Served) -> None:
        self._bench = bench
        self._place = place
        self._made = made
        self._target = target
        self._own = Client(bench.heft.client, bench.heft.environment)
        self._clients = {
            OWN: self._own,
            HEFT: Client(bench.through, plain()),
            DOCKERD: Client(bench.docker.client, plain()),
            PODMAN: Client(bench.podman.client, plain(), ("--tls-verify=false",)),
        }

    def rows(self) -> Iterator[Row]:
        """Give the page's lines; each leaves the images as the next wants them."""
        size = f"{self._made.bytes / 1e6:.0f} MB"
        yield self._pull(f"pull of an image of three layers, {size},")
        yield self._small_pull()
        yield self._push(f"push of the same image ({size}), as it was pulled,")
        yield self._save()
        yield self._commit()
        yield self._load()
        yield self._push("push of the same, as it was loaded from an archive,")
        self._everywhere("rmi", WHOLE, PUSHED)

    def _pull(self, what: str) -> Row:
        found = self._timed(
            {
                name: replace(
                    client.timed("pull", *client.insecure, WHOLE),
                    after=lambda client=client: client.do("rmi", WHOLE),
                )
                for name, client in self._clients.items()
            }
        )
        return _faster(what, 0.9, found)

    def _small_pull(self) -> Row:
        for client in (self._own, self._clients[DOCKERD], self._clients[PODMAN]):
            client.do("pull", *client.insecure, WHOLE)
        found = self._timed(
            {
                name: replace(
                    client.timed("pull", *client.insecure, MORE),
                    after=lambda client=client: client.do("rmi", MORE),
                )
                for name, client in self._clients.items()
            }
        )
        what = "`heft pull` when all but a layer of 1 MB is there"
        return _absolute(what, found)

    def _push(self, what: str) -> Row:
        self._everywhere("tag", WHOLE, PUSHED)
        found = self._timed(
            {
                name: client.timed("push", *client.insecure, PUSHED)
                for name, client in self._clients.items()
            },
            self._empty,
        )
        return _faster(what, 1.0, found)

    def _empty(self) -> None:
        """Let the registry have nothing."""
        shutil.rmtree(self._target.place / "data", ignore_errors=True)

    def _save(self) -> Row:
        path = self._place / "saved.tar"
        found = self._timed(
            {
                name: replace(client.timed("save", "-o", str(path), WHOLE), after=path.unlink)
                for name, client in self._clients.items()
                if name != PODMAN
            }
        )
        return _against_docker("`heft save` of the same to a file ÷ `docker save`", found)

    def _load(self) -> Row:
        self._everywhere("rmi", WHOLE, PUSHED)
        found = self._timed(
            {
                name: replace(
                    client.timed("load", "-i", str(self._made.whole)),
                    after=lambda client=client: client.do("rmi", WHOLE),
                )
                for name, client in self._clients.items()
                if name != PODMAN
            }
        )
        self._everywhere("load", "-i", str(self._made.whole))
        return _against_docker("`heft load` of the same from a file ÷ `docker load`", found)

    def _commit(self) -> Row:
        change = self._place / "change"
        change.write_bytes(os.urandom(CHANGE // 2) + b"text " * (CHANGE // 10))
        names = (OWN, DOCKERD)
        for engine in (self._bench.heft, self._bench.docker):
            engine.say(engine.run("--detach", "--name", NAME, "--network", "none", WHOLE))
            engine.do("cp", str(change), f"{NAME}:/change")
        clients = {name: self._clients[name] for name in (*names, HEFT)}
        found = self._timed(
            {
                name: replace(
                    client.timed("commit", NAME, COMMITTED),
                    after=lambda client=client: client.do("rmi", COMMITTED),
                )
                for name, client in clients.items()
            }
        )
        for engine in (self._bench.heft, self._bench.docker):
            engine.do("rm", "--force", NAME)
        return _absolute("`heft commit` of a machine that wrote 1 MB, of that image", found)

    def _everywhere(self, *arguments: str) -> None:
        for name, client in self._clients.items():
            if name != HEFT:
                client.do(*arguments)

    def _timed(
        self, cases: Mapping[str, Case], before: Callable[[], None] = lambda: None
    ) -> dict[str, Sample]:
        """Time cases in turns, when what the last one left to be done has been done."""

        def settle() -> None:
            before()
            trash = self._bench.heft.directory / "data/trash"
            while any(trash.iterdir()):
                time.sleep(SETTLE_SECONDS)
            touch(self._place, self._made.bytes * 2)
            os.sync()  # last: of what was touched, a part may have come to the disk

        settled = {name: replace(case, before=settle) for name, case in cases.items()}
        return interleaved(settled, self._bench.few(ROUNDS), warm_up=1)


def _faster(what: str, bound: float, found: Mapping[str, Sample]) -> Row:
    """Compare with whichever of the two others is faster."""
    name = min((DOCKERD, PODMAN), key=lambda each: found[each].median)
    shown = {DOCKERD: "dockerd", PODMAN: "podman"}
    row = ratio(f"{what} `heft` ÷ {shown[name]}", bound, found[OWN], found[name])
    slower = PODMAN if name == DOCKERD else DOCKERD
    other = f"{shown[name]} {row.other}; {shown[slower]} {ms(found[slower])}"
    return replace(row, heft=_both(found), other=other)


def _against_docker(what: str, found: Mapping[str, Sample]) -> Row:
    return replace(ratio(what, 0.7, found[OWN], found[DOCKERD]), heft=_both(found))


def _absolute(what: str, found: Mapping[str, Sample]) -> Row:
    others = {DOCKERD: "dockerd", PODMAN: "podman"}
    beside = "; ".join(f"{others[name]} {ms(found[name])}" for name in others if name in found)
    return Row(what, 150.0, "ms", found[OWN].median, _both(found), beside)


def _both(found: Mapping[str, Sample]) -> str:
    """Tell what Heft took by its own client, and by docker's."""
    return f"{ms(found[OWN])}; by `docker` {ms(found[HEFT])}"
