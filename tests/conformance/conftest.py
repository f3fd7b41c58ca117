"""Weights to try, and machines for them."""

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from heft.guest.kits import Kits
from heft.images.bases import write_base
from heft.model.machine import Stream
from heft.weights.base import (
    Exit,
    Launch,
    Log,
    Namespaces,
    Process,
    Resources,
    Root,
    Security,
    Session,
)
from heft.weights.heavy.weight import HeavySettings, HeavyWeight
from heft.weights.light.weight import LightSettings, LightWeight
from heft.weights.medium.weight import MediumSettings, MediumWeight
from heft.weights.medium.xen.domains import Xen
from tests.harness import agent, kit
from tests.harness.isolation import CGROUP_PARENT
from tests.harness.pace import patience

APPLETS = (
    "sh cat echo printf id sleep stty true false kill mount umount ls head tail dd wc pwd hostname "
    "env touch mkdir rm mkfifo mknod grep seq date ps stat tty readlink ulimit nproc test cut"
).split()
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
        "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
)
WEIGHTS = ("light", "medium", "heavy")
XEN = pytest.param("medium:xen", marks=pytest.mark.xen)
"""In a dom0; it has no volumes and binds."""
CGROUP = {"light": "host", "medium": "private", "medium:xen": "private", "heavy": "private"}
"""The control groups that are seen: a guest has no others than its own."""
SECONDS = patience(20)
"""No step of any test takes longer, on any weight."""


@pytest.fixture(scope="session")
def layers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two layers from the distribution's static busybox; the upper one has the user database."""
    low = tmp_path_factory.mktemp("low") / "diff"
    (low / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", low / "bin/busybox")
    for applet in APPLETS:
        (low / "bin" / applet).symlink_to("busybox")
    for name in ("proc", "sys", "dev", "etc", "tmp", "root"):
        (low / name).mkdir()
    (low / "tmp").chmod(0o1777)
    (low / "etc/passwd").write_text("hidden:x:1:1::/:/bin/sh\n")
    (low / "etc/data").write_text("data\n")
    high = tmp_path_factory.mktemp("high") / "diff"
    (high / "etc").mkdir(parents=True)
    (high / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"
    )
    (high / "etc/broken").write_text("no program\n")
    (high / "etc/broken").chmod(0o755)
    (high / "etc/group").write_text("root:x:0:\nann:x:1000:\nwheel:x:10:ann\nfew:x:77:\n")
    (high / "home/ann").mkdir(parents=True)
    return low, high


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, layers: tuple[Path, ...]) -> Path:
    """Give the same layers as one file."""
    place = tmp_path_factory.mktemp("base")
    (place / "view").mkdir()
    chain = "sha256:" + "0" * 64
    asyncio.run(write_base(place / "base", place / "view", chain, layers, lambda _: None))
    return place / "base"


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give where the templates of all tests are: one is made, by the first."""
    return tmp_path_factory.mktemp("templates")


@dataclass
class Bench:
    """A weight under test, and the machines that were made with it."""

    name: str
    place: Path
    layers: tuple[Path, ...]
    base: Path
    templates: Path
    weight: Any = None
    made: list[Launch] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)

    def another(self) -> Any:
        """Give a weight as a daemon that was started anew would have it."""
        runs = self.place / "run"
        weight: Any = LightWeight(LightSettings(run=runs, cgroup_parent=CGROUP_PARENT))
        if self.name == "heavy":
            kits = Kits(kit.KITS, agent.built() / "heft-agent")
            weight = HeavyWeight(HeavySettings(runs, self.templates, CGROUP_PARENT), kits)
        if self.name in ("medium", "medium:xen"):
            kits = Kits(kit.KITS, agent.built() / "heft-agent")
            xen = Xen(self.place / "domains", self.place / "xen-hotplug")
            backend = xen if self.name == "medium:xen" else None
            weight = MediumWeight(MediumSettings(runs, CGROUP_PARENT), kits, backend)
        self.others.append(weight)
        return weight

    def launch(self, *argv: str, process: dict[str, Any] | None = None, **parts: Any) -> Launch:
        """Describe a machine; nothing of it is there yet."""
        identity = secrets.token_hex(32)
        own = self.place / "machines" / identity
        upper = Root(self.layers, own / "upper", base=self.base)
        defaults: dict[str, Any] = {
            "hostname": identity[:12],
            "root": upper,
            "namespaces": Namespaces(network="none", cgroup=CGROUP[self.name]),
            "resources": Resources(),
            "security": Security(masked_paths=("/proc/kcore",), readonly_paths=("/proc/sys",)),
            "init": False,
            "mounts": (),
        }
        if parts.pop("read_only", False):
            defaults["root"] = replace(upper, read_only=True)
        options = {"capabilities": CAPABILITIES} | (process or {})
        made = Launch(
            id=identity,
            name="machine",
            domainname="",
            platform="linux/amd64",
            run=self.place / "run" / identity,
            process=Process(argv, **options),
            endpoint=None,
            log=parts.pop("log", Log(own / "log")),
            shm_size=1 << 20,
            **(defaults | parts),
        )
        own.mkdir(parents=True)
        self.made.append(made)
        return made

    async def prepared(self, *argv: str, **parts: Any) -> Launch:
        """Make a machine that waits before its first instruction."""
        launch = self.launch(*argv, **parts)
        await self.weight.provision(launch)
        await self.weight.prepare(launch)
        return launch

    async def started(self, *argv: str, **parts: Any) -> Launch:
        """Make a machine that runs."""
        launch = await self.prepared(*argv, **parts)
        await self.weight.start(launch.id)
        return launch

    async def ended(self, launch: Launch) -> Exit:
        """Wait for the end of its run."""
        async with asyncio.timeout(SECONDS):
            return await self.weight.wait(launch.id)

    async def output(self, *argv: str, **parts: Any) -> str:
        """Run a machine to its end, and give what it said on standard output."""
        launch = await self.started(*argv, **parts)
        ended = await self.ended(launch)
        lines = logged(launch)
        assert ended.code == 0, lines
        return "".join(text for stream, text in lines if stream == "stdout")

    async def until_logged(self, launch: Launch, text: str) -> None:
        """Wait until a line of its output has a text in it."""
        await eventually(lambda: any(text in line for _, line in logged(launch)))


async def eventually(holds: Callable[[], bool]) -> None:
    """Return when something holds that nobody tells us of."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.01)


def logged(launch: Launch) -> list[tuple[str, str]]:
    """Read a log: stream and text of every piece, with a newline where the line was full."""
    assert launch.log.path is not None
    if not launch.log.path.exists():
        return []
    found = []
    for line in launch.log.path.read_text().splitlines():
        _, stream, tag, text = line.split(" ", 3)
        found.append((stream, text + ("\n" if tag == "F" else "")))
    return found


async def collected(session: Session) -> dict[Stream, bytes]:
    """Read a session to its end."""
    pieces = {Stream.STDOUT: b"", Stream.STDERR: b""}
    async with asyncio.timeout(SECONDS):
        while (piece := await session.read()) is not None:
            pieces[piece[0]] += piece[1]
    return pieces


async def read_until(session: Session, text: bytes) -> bytes:
    """Read a session until a text has come."""
    seen = b""
    async with asyncio.timeout(SECONDS):
        while text not in seen:
            piece = await session.read()
            assert piece is not None, f"the session ended after {seen!r}"
            seen += piece[1]
    return seen


@pytest.fixture(params=[*WEIGHTS, XEN])
async def bench(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    layers: tuple[Path, ...],
    base: Path,
    templates: Path,
    clean_host: None,
) -> AsyncIterator[Bench]:
    """Give a weight; afterwards nothing of its machines may be left."""
    bench = Bench(request.param, tmp_path, layers, base, templates)
    bench.weight = bench.another()
    available = await bench.weight.probe()
    assert available.ok, f"{available.why}: {available.hint}"
    yield bench
    for launch in bench.made:
        await bench.weight.discard(launch)
        assert not launch.run.exists()
    for weight in bench.others:
        await weight.close()
