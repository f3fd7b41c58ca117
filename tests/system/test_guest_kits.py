"""Guest kits of kernels of one's own: made, chosen, exchanged, removed, and never half there."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.errors import ToolFailed
from heft.guest import kernel_packages
from heft.guest.kits import Damaged, Kit, Kits
from heft.host import kept_files
from heft.weights.heavy.templates import BOOT_SECONDS
from tests.harness import kit
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.serving import emptied
from tests.harness.terminal import Terminal
from tests.system.test_daemon_crash import die_at, points

DEBIAN = kit.KITS / "debian"
OWN = "mine"


@pytest.fixture
def daemon(shared_daemon: Daemon) -> Iterator[Daemon]:
    """Give the daemon; afterwards no kit but the tests' own is there, nor a part of one."""
    with emptied(shared_daemon):
        yield shared_daemon
        for name in names(shared_daemon) - {"debian"}:
            for machine in shared_daemon.request("GET", "/containers/json?all=1").json:
                shared_daemon.request("DELETE", f"/containers/{machine['Id']}?force=1")
            assert shared_daemon.request("DELETE", f"/heft/v1/kits/{name}").status == 204
        assert [path.name for path in (shared_daemon.data / "kits").iterdir()] == ["debian"]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a tree of those modules that guests load first, as `make modules_install` has it."""
    release = json.loads((DEBIAN / "kit.json").read_bytes())["release"]
    tree = tmp_path_factory.mktemp("install") / "lib/modules" / release
    (tree / "kernel").mkdir(parents=True)
    for path in (DEBIAN / "modules").iterdir():
        if path.name != "9p.ko":  # so it is another kit than Debian's
            shutil.copy(path, tree / "kernel" if path.suffix == ".ko" else tree)
    return tree


def names(daemon: Daemon) -> set[str]:
    return {each["name"] for each in daemon.request("GET", "/heft/v1/kits").json}


def memories(daemon: Daemon) -> int:
    """Count the memories of templates that the daemon holds."""
    open_files = Path(f"/proc/{daemon.pid}/fd").iterdir()
    return sum("heft-template" in os.readlink(file) for file in open_files)


def body(modules: Path) -> dict[str, str]:
    return {"name": OWN, "kernel": str(DEBIAN / "vmlinux"), "modules": str(modules)}


def pull(client: Client, modules: Path) -> None:
    client("kit", "pull", "-q", "--kernel", DEBIAN / "vmlinux", "--modules", modules, OWN)


def test_a_machine_runs_with_a_kernel_of_ones_own(daemon: Daemon, modules: Path) -> None:
    client = Client("heft", daemon)
    run = ("run", "-d", "--weight", "heavy", "--boot", "cold", "--kit", OWN, "--name", "box")
    refused = client(*run, BUSYBOX, "sleep", "1000", check=False)
    assert (refused.returncode, "unknown or invalid kit name: mine" in refused.stderr) == (
        125,
        True,
    )
    pull(client, modules.parents[2])
    (shown,) = json.loads(client("kit", "inspect", OWN).stdout)
    assert (shown["source"], shown["kernel"]) == (str(DEBIAN / "vmlinux"), modules.name)
    client(*run, BUSYBOX, "sleep", "1000")
    assert client("exec", "box", "uname", "-r").stdout.strip() == modules.name
    label = '{{index .Config.Labels "heft.kit"}}'
    assert client("inspect", "-f", label, "box").stdout.strip() == OWN
    machine = client("inspect", "-f", "{{.Id}}", "box").stdout.strip()
    shared = client("run", "--rm", *run[2:-2], "-v", "/etc:/x", BUSYBOX, "true", check=False)
    assert f"the kernel of kit {OWN} has no 9p" in shared.stderr
    for _ in range(2):  # while it runs, and while it could be started again
        done = client("kit", "rm", OWN, check=False)
        assert f"kit {OWN} is in use by machines - [{machine}]" in done.stderr
        assert done.returncode == 1
        client("kill", "box", check=False)
    client("rm", "-f", "box")
    assert client("kit", "rm", OWN).stdout == f"{OWN}\n"


def test_what_was_made_for_a_kit_goes_with_it(daemon: Daemon, modules: Path) -> None:
    client = Client("heft", daemon)
    pull(client, modules)
    before = templates(daemon)
    client("kit", "warm", "-q", "-m", "128m", OWN)
    run = ("run", "-d", "--weight", "heavy", "-m", "128m", "--annotation", f"heft.kit={OWN}")
    client(*run, "--name", "box", BUSYBOX, "sleep", "1000")
    assert templates(daemon) == before + 1
    shown = json.loads(client("inspect", "box").stdout)[0]["Heft"]
    assert (shown["Kit"], shown["Accelerator"] in ("kvm", "tcg")) == (OWN, True)
    assert shown["AcceleratorReason"]
    daemon.restart()
    assert json.loads(client("inspect", "box").stdout)[0]["Heft"] == shown
    assert templates(daemon) == before + 1
    client("kit", "warm", "-q", "-m", "128m", OWN)
    assert memories(daemon) == 1
    client("rm", "-f", "box")
    client("kit", "rm", OWN)
    assert templates(daemon) == before
    assert memories(daemon) == 0


def test_archives_that_cannot_be_reached_are_not_said_to_have_no_such_package(
    daemon: Daemon,
) -> None:
    before = names(daemon)
    refused = daemon.request("POST", "/heft/v1/kits", {"name": "debian-cloud"})
    told = refused.body.decode()  # tests reach no network
    assert "could not be fetched" in told, told
    assert "Release" in told, told
    assert names(daemon) == before


async def test_a_download_that_fails_is_told_by_the_name_of_what_downloads() -> None:
    apt = kernel_packages._Apt(dict(os.environ))
    with pytest.raises(ToolFailed, match=r"\Aapt-get: E: "):
        await apt.run("apt-get", "download", "heft-has-no-such-package=1")


def test_what_is_no_kernel_for_guests_makes_no_kit(daemon: Daemon, modules: Path) -> None:
    client = Client("heft", daemon)
    for words, said in (
        (("--kernel", "/bin/true", "x"), "it has no entry for PVH guests"),
        (("--kernel", DEBIAN / "kit.json", "x"), "neither a bzImage nor an ELF file"),
        (("--kernel", "/nothing", "x"), "/nothing: no such file"),
        (
            ("--kernel", DEBIAN / "vmlinux", "--modules", "/etc", "x"),
            "has no modules of the kernel",
        ),
        (("--kernel", DEBIAN / "vmlinux", "debian"), "kit debian is made of the package"),
        (("--kernel", DEBIAN / "vmlinux", "../x"), "invalid name of a kit"),
        (("--modules", modules, "x"), "modules without the kernel"),
    ):
        done = client("kit", "pull", *words, check=False)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert names(daemon) == {"debian"}


def test_a_damaged_one_is_named_and_what_can_be_is_mended(daemon: Daemon, modules: Path) -> None:
    client = Client("heft", daemon)
    pull(client, modules)
    place = daemon.data / "kits" / OWN
    whole = (place / "initramfs").read_bytes()
    assert len(whole) <= 6_000_000
    (place / "initramfs").write_bytes(b"")
    client("kit", "pull", OWN)
    assert (place / "initramfs").read_bytes() == whole
    size = (place / "vmlinux").stat().st_size
    (place / "vmlinux").write_bytes(b"")
    done = client("kit", "pull", OWN, check=False)
    assert f"kit {OWN} is damaged" in done.stderr
    assert f"heft kit pull --kernel {DEBIAN / 'vmlinux'} {OWN}" in done.stderr
    shown = client("kit", "ls", "--format", "{{.Name}} {{.Damaged}}").stdout.splitlines()
    assert {"debian ", f"{OWN} vmlinux: it has 0 bytes, not {size}"} <= {*shown}
    pull(client, modules)
    assert client("kit", "ls", "--format", "{{.Damaged}}").stdout.split() == []


def test_something_else_in_the_place_of_its_files(daemon: Daemon, modules: Path) -> None:
    client = Client("heft", daemon)
    pull(client, modules)
    place = daemon.data / "kits" / OWN
    whole = (place / "initramfs").read_bytes()
    kept_files.clear(place / "initramfs")
    (place / "initramfs/in it").mkdir(parents=True)
    client("kit", "pull", OWN)
    assert (place / "initramfs").read_bytes() == whole
    for name, said in (
        ("vmlinux", "vmlinux: not a regular file"),
        ("kit.json", "its kit.json cannot be read"),
    ):
        (place / name).unlink()
        os.mkfifo(place / name)  # whoever opens it waits for good
        done = client("kit", "pull", OWN, check=False)
        assert f"kit {OWN} is damaged" in done.stderr
        shown = client("kit", "ls", "--format", "{{.Name}} {{.Damaged}}").stdout.splitlines()
        assert {"debian ", f"{OWN} {said}"} <= {*shown}
    (daemon.data / "kits/.of-somebody").touch()
    daemon.stop()
    daemon.start()
    pull(client, modules)
    assert client("kit", "ls", "--format", "{{.Damaged}}").stdout.split() == []


@pytest.mark.parametrize("harm", ["cut", "gone", "all gone"])
def test_no_initial_file_system_is_made_of_damaged_modules(
    daemon: Daemon, modules: Path, harm: str
) -> None:
    """It would lack what guests start with, and be taken for whole ever after."""
    client = Client("heft", daemon)
    pull(client, modules)
    place = daemon.data / "kits" / OWN
    if harm == "all gone":
        shutil.rmtree(place / "modules")
    elif harm == "gone":
        (place / "modules/virtio_console.ko").unlink()
    else:
        os.truncate(place / "modules/virtio_console.ko", 4096)
    assert client("kit", "pull", OWN).returncode == 0, "guests need the rest alone"
    (place / "initramfs").write_bytes(b"")
    done = client("kit", "pull", OWN, check=False)
    assert f"kit {OWN} is damaged: initramfs: " in done.stderr, done.stderr
    assert ", modules: " in done.stderr, done.stderr


def test_a_record_that_is_damaged_hides_no_kit(daemon: Daemon, modules: Path) -> None:
    """Nor does it pass for a kit that is not there; the test daemon reaches no archive."""
    client = Client("heft", daemon)
    pull(client, modules)
    for name, todo in ((OWN, f"heft kit pull --kernel PATH {OWN}"), ("debian", "")):
        record = daemon.data / "kits" / name / "kit.json"
        content = record.read_bytes()
        record.unlink()  # it may be a link to the tests' own
        record.write_bytes(content[: len(content) // 2])
        try:
            rows = client("kit", "ls").stdout.splitlines()
            assert [row.split()[1] == "damaged" for row in rows if row.split()[0] == name] == [True]
            (shown,) = json.loads(client("kit", "inspect", name).stdout)
            assert shown["damaged"] == "its kit.json cannot be read"
            run = ("run", "--rm", "--weight", "heavy", "--boot", "cold", "--kit", name)
            done = client(*run, BUSYBOX, "true", check=False)
            assert done.returncode == 125
            assert f"kit {name} is damaged" in done.stderr
            assert todo in done.stderr
        finally:
            record.write_bytes(content)


def test_one_of_an_earlier_heft_is_listed_with_what_it_lacks(tmp_path: Path) -> None:
    shutil.copytree(kit.KITS / "uml", tmp_path / "uml", copy_function=kit.link)
    kits = Kits(tmp_path, agent=kit.KITS / "uml/vmlinux")
    assert isinstance(kits.look("uml"), Kit)
    (tmp_path / "uml/modules/9p.ko").unlink()
    record = tmp_path / "uml/kit.json"
    said = json.loads(record.read_bytes())
    said.pop("kept", None)  # of modules that are kept they had no seal
    record.unlink()  # the file is the harness's
    record.write_text(json.dumps(said))
    found = kits.look("uml")
    assert kits.list() == (found,)
    assert isinstance(found, Damaged)
    assert found.problem == "it was made by an earlier Heft, without 9p"
    assert found.record is not None
    assert found.record.package == "user-mode-linux"


def templates(daemon: Daemon) -> int:
    return len(list((daemon.data / "templates").glob("*/template.json")))


def test_templates_are_made_ahead_and_whoever_waits_is_told(daemon: Daemon) -> None:
    client = Client("heft", daemon)
    before = templates(daemon)
    said = client("kit", "warm", "--memory", "129m", "debian")
    assert said.stdout == "debian\n"
    assert "debian: Starting a guest to be the template" in said.stderr
    run = ("run", "--rm", "--weight", "heavy", "--network", "none")
    with Terminal(
        [*client.program, *run, "-m", "130m", BUSYBOX, "true"], daemon.environment
    ) as shown:
        shown.until("debian: Starting a guest to be the template")
        assert shown.ended(BOOT_SECONDS) == 0
    assert templates(daemon) == before + 2
    again = client("kit", "warm", "--memory", "129m")
    assert (again.stdout, again.stderr) == ("debian\n", "")
    assert client(*run, "-m", "129m", BUSYBOX, "true").stderr == ""
    assert templates(daemon) == before + 2
    done = client("kit", "warm", "nothing", check=False)
    assert "no such kit: nothing" in done.stderr
    done = client("kit", "warm", "-m", "1m", check=False)
    assert "at least 128 MiB" in done.stderr


def test_none_is_made_for_machines_that_are_refused(daemon: Daemon) -> None:
    client = Client("heft", daemon)
    before = templates(daemon)
    for words in (("--cpus", str((os.cpu_count() or 1) + 1)), ("--memory", "1m")):
        done = client("kit", "warm", *words, check=False)
        assert (done.returncode, "template" in done.stderr) == (1, False), done.stderr
    assert templates(daemon) == before


@pytest.mark.parametrize("point", points("kit"))
def test_killed_while_one_is_exchanged(daemon: Daemon, modules: Path, point: str) -> None:
    pull(Client("heft", daemon), modules)
    die_at(daemon, point, "POST", "/heft/v1/kits", body(modules))
    assert names(daemon) == {"debian", OWN}
