"""How heavy machines come up: of a template, whole or damaged, and by booting a kernel."""

import gc
import os
from pathlib import Path

import pytest

from heft.errors import HostError, NoSpace
from heft.guest.kits import DEFAULT, Kits
from heft.guest.shaping import Shape
from heft.host import kept_files
from heft.host.processes import run
from heft.weights.heavy import facts
from heft.weights.heavy import templates as heavy_templates
from heft.weights.heavy.templates import Templates
from tests.harness import agent, kit
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar

SHAPE = Shape(128 << 20, 1, "tcg")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Turn the bits of a byte in its data, behind what the quick check reads."""
    with path.open("r+b") as file:
        place = os.lseek(file.fileno(), 8192, os.SEEK_DATA) + 17
        was = os.pread(file.fileno(), 1, place)
        os.pwrite(file.fileno(), bytes((was[0] ^ 0xFF,)), place)


def a_pipe(path: Path) -> None:
    """Whoever opens it waits for good."""
    kept_files.clear(path)
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    kept_files.clear(path)
    (path / "in it").mkdir(parents=True)


async def test_damaged_templates_are_named_and_made_again(tmp_path, caplog, clean_host):
    programs = agent.built()
    ready = await Kits(kit.KITS, programs / "heft-agent").ensure(DEFAULT, print)
    host = await facts.look(programs)
    said: list[str] = []

    async def ensured(templates: Templates) -> int:
        said.clear()
        caplog.clear()
        await templates.ensure(ready, SHAPE, said.append)
        return len(said)

    templates = Templates(tmp_path, host.version, host.tsc_khz)
    templates.start()
    directory = tmp_path / templates.key(ready, SHAPE)
    try:
        assert await ensured(templates) == 1
        assert await ensured(templates) == 0
        flip(directory / "state")
        assert await ensured(templates) == 1, "its state is read at each start"
        assert f"{directory / 'state'} is damaged" in caplog.text
    finally:
        templates.close()
    for harm, name in (
        *((cut, "memory"), (flip, "memory"), (cut, "template.json")),
        *((a_pipe, "template.json"), (a_pipe, "state"), (a_directory, "memory"), (a_pipe, "")),
    ):
        harm(directory / name)
        again = Templates(tmp_path, host.version, host.tsc_khz)
        try:
            assert await ensured(again) == 1
            assert str(directory / name) in caplog.text
            assert "is damaged and made again" in caplog.text
            assert await ensured(again) == 0
        finally:
            again.close()


async def test_a_clock_that_is_measured_anew_costs_no_template(tmp_path, clean_host):
    """Each daemon finds the counter to be a little faster or slower than the one before."""
    programs = agent.built()
    ready = await Kits(kit.KITS, programs / "heft-agent").ensure(DEFAULT, print)
    version = (await facts.look(programs)).version
    made: list[int] = []
    for speed, times in ((2_600_000, 1), (2_599_999, 0), (2_600_003, 0), (2_700_000, 1)):
        templates = Templates(tmp_path, version, speed)
        try:
            if times == 0:
                await templates.collect({ready.fingerprint})
            said: list[str] = []
            await templates.ensure(ready, SHAPE, said.append)
            made.append(len(said) - times)
            assert len(list(tmp_path.glob("*/template.json"))) == 1
        finally:
            templates.close()
    assert made == [0, 0, 0, 0]
    slow = Templates(tmp_path, version, 2_600_000)
    await slow.collect({ready.fingerprint})
    assert not list(tmp_path.iterdir())


async def test_a_full_disk_is_named(tmp_path, clean_host):
    """QEMU only dies of it, as the memory of its guest is a file that has no room to grow."""
    programs = agent.built()
    ready = await Kits(kit.KITS, programs / "heft-agent").ensure(DEFAULT, print)
    host = await facts.look(programs)
    await run("mount", "-t", "tmpfs", "-o", "size=30m", "none", str(tmp_path))
    try:
        templates = Templates(tmp_path, host.version, host.tsc_khz)
        with pytest.raises(NoSpace, match=f"{tmp_path} is full"):
            await templates.ensure(ready, SHAPE, print)
        assert not list(tmp_path.iterdir())
    finally:
        await run("umount", str(tmp_path))


async def test_one_that_does_not_come_up_is_not_waited_for_again(tmp_path, monkeypatch, clean_host):
    """Machines like it boot cold meanwhile; in a minute, or by `kit warm`, it is tried again."""
    programs = agent.built()
    ready = await Kits(kit.KITS, programs / "heft-agent").ensure(DEFAULT, print)
    host = await facts.look(programs)
    templates = Templates(tmp_path, host.version, host.tsc_khz)
    said: list[str] = []
    try:
        monkeypatch.setattr(heavy_templates, "BOOT_SECONDS", 0.1)
        for retry, tries in ((False, 1), (False, 1), (True, 2)):
            with pytest.raises(HostError, match="was not ready"):
                await templates.ensure(ready, SHAPE, said.append, retry=retry)
            assert len(said) == tries
        monkeypatch.undo()
        monkeypatch.setattr(heavy_templates, "RETRY_SECONDS", 0.0)
        await templates.ensure(ready, SHAPE, said.append, retry=False)
        assert len(said) == 3
    finally:
        templates.close()


def held() -> int:
    """Count the memories of templates that this process holds."""
    files = Path("/proc/self/fd").iterdir()
    return sum("heft-template" in os.readlink(file) for file in files if file.is_symlink())


async def test_only_those_used_last_are_kept(tmp_path, monkeypatch, clean_host):
    """Each size of machine has one, and each takes 100 MB of memory and of the disk."""
    monkeypatch.setattr(heavy_templates, "MOST_OPEN", 1)
    monkeypatch.setattr(heavy_templates, "MOST_KEPT", 2)
    programs = agent.built()
    ready = await Kits(kit.KITS, programs / "heft-agent").ensure(DEFAULT, print)
    host = await facts.look(programs)
    shapes = [Shape(size << 20, 1, "tcg") for size in (128, 129, 130)]
    templates = Templates(tmp_path, host.version, host.tsc_khz)
    keys = [templates.key(ready, shape) for shape in shapes]
    before = held()

    async def made(number: int) -> bool:
        said: list[str] = []
        await templates.ensure(ready, shapes[number], said.append)
        gc.collect()
        assert held() == before + 1
        return bool(said)

    try:
        assert [await made(number) for number in (0, 1, 0, 2)] == [True, True, False, True]
        assert {path.name for path in tmp_path.iterdir()} == {keys[0], keys[2]}
        assert not await made(0)
    finally:
        templates.close()


@pytest.mark.parametrize(
    "asked", [("heft", "--boot", "cold"), ("docker", "--annotation", "heft.boot=cold")]
)
def test_a_cold_boot_needs_no_template(tmp_path, clean_host, asked):
    name, *words = asked
    daemon = Daemon(tmp_path).start()
    try:
        path = f"/images/create?fromSrc=-&repo={BUSYBOX}&changes=CMD%20%5B%22sh%22%5D"
        assert daemon.request("POST", path, busybox_tar()).status == 200
        ran = Client(name, daemon)(
            *("run", "--rm", "--runtime", "heavy", *words, BUSYBOX, "cat", "/proc/uptime"),
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert not list(tmp_path.rglob("template.json"))
    finally:
        daemon.clean_up()
