"""Machines whose root is nobody on the host: `--userns-remap` of the daemon, `--userns` of one."""

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.test_confinement import ALLOWED, DENIED, NOT_THERE, REFUSALS, try_all
from tests.clients.test_run import sh
from tests.clients.test_run_flags import inspected, refused, start
from tests.harness import leaks
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.subordinate import subordinate_ids
from tests.harness.terminal import Terminal

FIRST, PIECE = 500000, 65536
MAP = ["0", str(FIRST), str(PIECE)]
SHOW_MAP = "cat /proc/self/uid_map"


@pytest.fixture(scope="module")
def module_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon that remaps, with room for two machines that have users of their own."""
    place = tmp_path_factory.mktemp("remapping")
    with subordinate_ids(place, f"heft:{FIRST}:{3 * PIECE}\n"):
        before = leaks.look()
        daemon = Daemon(place / "daemon", "--userns-remap", "default").start()
        answer = daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
        assert answer.status == 200
        yield daemon
        daemon.clean_up()
        assert not (left := leaks.settle(before)), f"left behind: {left}"


def packed(client: Client, source: str) -> dict[str, tuple[int, int]]:
    """Copy something out of a machine, and give the owners in the tar."""
    done = subprocess.run(
        [*client.program, "cp", source, "-"],
        capture_output=True,
        check=True,
        env=client.environment,
        timeout=60,
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        return {entry.name: (entry.uid, entry.gid) for entry in tar}


def uid_on_host(client: Client, name: str) -> int:
    return os.stat(f"/proc/{inspected(client, name)['State']['Pid']}").st_uid


def test_root_is_somebody_else(client: Client) -> None:
    assert sh(client, SHOW_MAP).split() == MAP
    assert sh(client, "id -u; touch /new /tmp/new; stat -c %u:%g /new /bin/busybox /etc/hosts") == (
        "0\n0:0\n0:0\n0:0"
    )
    start(client, "box")
    assert uid_on_host(client, "box") == FIRST
    assert inspected(client, "box")["HostConfig"]["UsernsMode"] == ""
    assert sh(client, SHOW_MAP, "--userns", "host").split() == ["0", "0", "4294967295"]
    shown = client("info", "--format", "{{.SecurityOptions}}").stdout
    assert "name=userns" in shown


def test_other_users(client: Client) -> None:
    script = (
        "id -u; echo out > /dev/stdout; touch /home/user/file /tmp/file && stat -c %u /tmp/file"
    )
    home = ("-v", "home:/home/user")
    sh(client, "touch /home/user/kept; chown 1000 /home/user", *home)
    assert sh(client, script, "--user", "1000", *home) == "1000\nout\n1000"
    start(client, "box", "--user", "1000")
    assert uid_on_host(client, "box") == FIRST + 1000
    assert client("exec", "box", "id", "-u").stdout == "1000\n"
    assert client("exec", "-u", "0", "box", "id", "-u").stdout == "0\n"


def test_its_rights_are_over_what_is_its_own(client: Client) -> None:
    """Root of the machine has its network; of the host's it has nothing."""
    assert client("run", "--rm", "-p", "8093:80", BUSYBOX, "true").stdout == ""
    link = ("ip", "link", "set", "eth0", "mtu", "1400")
    assert client("run", "--rm", "--cap-add", "NET_ADMIN", BUSYBOX, *link).stdout == ""
    assert "not permitted" in client("run", "--rm", BUSYBOX, *link, check=False).stderr
    assert client("run", "--rm", BUSYBOX, "ping", "-c1", "127.0.0.1").returncode == 0
    # Older kernels hide net.core where a user namespace is not their own first one.
    ttl = "net.ipv4.ip_default_ttl"
    assert sh(client, f"sysctl -n {ttl}", "--sysctl", f"{ttl}=99") == "99"
    every = ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined")
    script = "mknod /tmp/null c 1 3 2>&1; echo 1 2>/dev/null >/proc/sys/kernel/panic || echo no"
    assert sh(client, script, *every) == "mknod: /tmp/null: Operation not permitted\nno"


@pytest.mark.parametrize("flags", [(), ("--tty",), ("--user", "1000")])
def test_its_devices_are_its_own(client: Client, flags: tuple[str, ...]) -> None:
    """A runtime gives standard input, which is the host's /dev/null, to who runs."""
    before = os.stat("/dev/null")
    script = "chmod 600 /dev/null /proc/self/fd/0 2>/dev/null; stat -c '%t %T' /dev/null"
    assert sh(client, script, *flags) == "1 3"
    start(client, "box", *flags)
    client("exec", "box", "sh", "-c", script)
    client("exec", "-d", "box", "true")
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid) == (0, 0)
    assert stat.S_IMODE(after.st_mode) == 0o666


def test_devices_that_are_given(client: Client) -> None:
    assert sh(
        client, "stat -c '%u %t %T' /dev/null /dev/mine", "--device", "/dev/zero:/dev/mine"
    ) == ("0 1 3\n0 1 5")
    assert sh(client, "head -c3 /dev/mine | wc -c", "--device", "/dev/zero:/dev/mine") == "3"
    refused(client, "not under /dev", "--device", "/dev/zero:/zero", status=(125, 127, 128))
    refused(client, "mounted over /dev", "-v", "/dev:/dev", status=(125, 127, 128))


def test_a_terminal(client: Client) -> None:
    command = [*client.program, "run", "--rm", "-it", BUSYBOX, "sh"]
    with Terminal(command, client.environment) as terminal:
        terminal.write("stat -c owner:%u $(tty)\n")
        terminal.until("owner:0")
        terminal.write("exit 3\n")
        assert terminal.ended() == 3


def test_standard_input(client: Client) -> None:
    done = client("run", "--rm", "-i", BUSYBOX, "cat", input="through\n")
    assert done.stdout == "through\n"
    start(client, "box")
    assert client("exec", "-i", "box", "cat", input="again\n").stdout == "again\n"


def test_files_have_the_machines_owners(client: Client, tmp_path: Path) -> None:
    start(client, "box", "-v", "vol:/v")
    script = "mkdir /d; touch /d/root /d/user /v/user; chown 1000:100 /d/user /v/user; rm /etc/mark"
    client("exec", "box", "sh", "-c", script)
    owners = {"d": (0, 0), "d/root": (0, 0), "d/user": (1000, 100)}
    assert packed(client, "box:/d") == owners
    assert packed(client, "box:/v/user") == {"user": (1000, 100)}
    new = tmp_path / "new"
    new.write_text("new\n")
    client("cp", new, "box:/d/new")
    client("cp", new, "box:/v/new")
    shown = client("exec", "box", "stat", "-c", "%u:%g", "/d/new", "/v/new").stdout
    assert shown == "0:0\n0:0\n"
    changed = client("diff", "box").stdout
    assert "A /d/user\n" in changed
    assert "D /etc/mark\n" in changed
    client("commit", "box", "made:1")
    exported = tmp_path / "root.tar"
    client("export", "-o", exported, "box")
    with tarfile.open(exported) as tar:
        assert {n: (tar.getmember(n).uid, tar.getmember(n).gid) for n in owners} == owners
    client("kill", "box")
    assert packed(client, "box:/d") == {**owners, "d/new": (0, 0)}
    assert packed(client, "box:/v/user") == {"user": (1000, 100)}
    assert client("diff", "box").stdout == changed
    for mode in ("", "host"):
        see = ("--userns", mode, "-v", "vol:/v", "made:1")
        done = client("run", "--rm", *see, "stat", "-c", "%u:%g", "/d/user", "/v/user", "/v/new")
        assert done.stdout == "1000:100\n1000:100\n0:0\n"


def test_a_directory_of_the_host_stays_the_hosts(client: Client, place: Path) -> None:
    (place / "file").write_text("mine\n")
    (place / "theirs").write_text("theirs\n")
    os.chown(place / "theirs", FIRST, FIRST)
    script = (
        "stat -c %u /h/file /h/theirs; echo x 2>/dev/null >/h/file || echo no; echo y >/h/theirs"
    )
    assert sh(client, script, "-v", f"{place}:/h") == "65534\n0\nno"
    assert (place / "theirs").read_text() == "y\n"


def test_who_shares_namespaces_shares_users(client: Client) -> None:
    start(client, "donor", "--ipc", "shareable", "--cap-add", "NET_ADMIN")
    own = client("exec", "donor", "readlink", "/proc/self/ns/user").stdout.strip()
    show = "readlink /proc/self/ns/user"
    for flags in (
        ("--network", "container:donor", "--cap-add", "NET_ADMIN"),
        ("--ipc", "container:donor"),
        ("--pid", "container:donor"),
    ):
        done = client("run", "--rm", *flags, BUSYBOX, "sh", "-c", show)
        assert done.stdout.strip() == own, flags
    assert client("run", "--rm", BUSYBOX, "sh", "-c", show).stdout.strip() != own


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--privileged",), "privileged mode is incompatible with user namespaces"),
        (("--network", "host"), "cannot share the host's network namespace when user namespaces"),
        (("--pid", "host"), "cannot share the host PID namespace when user namespaces are enabled"),
    ],
)
def test_what_needs_the_hosts_users(client: Client, flags: tuple[str, ...], words: str) -> None:
    refused(client, words, *flags)
    assert client("run", "--rm", "--userns", "host", *flags, BUSYBOX, "true").returncode == 0


@pytest.mark.parametrize(
    "flags",
    [("--ipc", "host"), ("--uts", "host"), ("--cgroupns", "private"), ("--cgroupns", "host"),
     ("--read-only",), ("--init",), ("--network", "none"), ("--domainname", "example.org"),
     ("--ulimit", "nofile=100:200"), ("--memory", "64m"), ("--workdir", "/made/new"),
     ("--tmpfs", "/t"), ("--mount", "type=volume,dst=/v"), ("--oom-score-adj", "500"),
     ("--storage-opt", "size=24m")],
)  # fmt: skip
def test_with_other_flags(client: Client, flags: tuple[str, ...]) -> None:
    done = client("run", "--rm", *flags, BUSYBOX, "sh", "-c", SHOW_MAP)
    assert done.stdout.split() == MAP


def test_confinement(daemon: Daemon) -> None:
    """No less is denied than with the host's users, and with every right hardly more is allowed."""
    found = try_all(daemon)
    refusals = {name: NOT_THERE.get(name, REFUSALS) for name in DENIED}
    assert {name: found[name] for name in DENIED if found[name] not in refusals[name]} == {}
    unlike = {name: found[name] for name in ALLOWED if found[name] != "ok"}
    assert unlike == {"make a device node": "EPERM"}
    found = try_all(daemon, "--cap-add=ALL", "--security-opt=seccomp=unconfined")
    for name in (
        *("a raw disk", "the kernel's log", "/dev/mem", "/proc/kcore", "/proc/sys", "/proc/sys/vm"),
        *("/sys", "/proc/irq", "bpf", "load a module", "another kernel", "reboot"),
        *("set the clock", "swap", "accounting", "open by handle", "ports of the hardware"),
        *("raise a limit beyond the hard one", "the kernel's log by syslog"),
    ):
        # ENOENT: by then what was mounted is in the way, which it may do.
        assert found[name] in REFUSALS | {"EINVAL", "ENOENT"}, (name, found[name])


def test_docker_itself_knows_two_modes(client: Client) -> None:
    done = client("run", "--rm", "--userns", "keep-id", BUSYBOX, "true", check=False)
    assert done.returncode == 125
    assert "invalid USER mode" in done.stderr


def test_users_of_a_machines_own(daemon: Daemon) -> None:
    heft = Client("heft", daemon)
    refused(heft, "privileged mode is incompatible", "--userns", "auto", "--privileged")
    for name in ("one", "two"):
        start(heft, name, "--userns", "auto")
    uids = {uid_on_host(heft, name) for name in ("one", "two")}
    assert uids == {FIRST + PIECE, FIRST + 2 * PIECE}
    done = heft("run", "--rm", "--userns", "auto", BUSYBOX, "true", check=False)
    assert done.returncode == 125
    assert "no range of ids is left" in done.stderr
    assert "add a line to /etc/subuid, as heft:" in done.stderr
    heft("kill", "one")
    assert sh(heft, SHOW_MAP, "--userns", "auto").split()[1] in map(str, uids)
    heft("start", "one")
    heft("restart", "-t", "0", "two")
    assert {uid_on_host(heft, name) for name in ("one", "two")} == uids
