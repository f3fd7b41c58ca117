"""Volumes and binds of medium machines, shared live with the host and with light machines."""

import asyncio
import errno
import os
import signal
import socket
import stat
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from heft.guest import shares
from heft.host import cgroups, grouping
from heft.host.cgroups import Group
from heft.host.grouping import Limits
from heft.model.machine import MountKind, MountPoint
from tests.harness import agent
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.isolation import CGROUP_PARENT
from tests.harness.pace import eventually
from tests.system.test_heavy_volumes import servers, sh

MEDIUM = {"weight": "medium"}


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return Client("docker", daemon)


def run(client: Client, place: Path, name: str = "box") -> None:
    options = ("-d", "--name", name, "--runtime", "medium", "-v", f"{place}:/x")
    client("run", *options, BUSYBOX, "sleep", "600")


def test_a_volume_is_shared_live_with_a_light_machine_and_the_host(client, daemon):
    for name, weight in (("deep", "medium"), ("flat", "light")):
        options = ("-d", "--name", name, "--runtime", weight, "-v", "shared:/v")
        client("run", *options, BUSYBOX, "sleep", "600")
    mount = Path(daemon.request("GET", "/volumes/shared").json["Mountpoint"])
    for number in range(3):  # the same file, other contents: nothing of it is kept
        client("exec", "flat", "sh", "-c", f"echo {number} >/v/file")
        assert client("exec", "deep", "cat", "/v/file").stdout == f"{number}\n"
    client("exec", "deep", "sh", "-c", "mkdir -p /v/a/b; echo deep >/v/a/b/c")
    assert client("exec", "flat", "cat", "/v/a/b/c").stdout == "deep\n"
    (mount / "a/b/c").unlink()
    assert client("exec", "deep", "ls", "/v/a/b").stdout == ""


def test_owners_modes_and_kinds_of_files_are_the_hosts(client, place):
    script = """
        cd /x; echo text >file; echo more >>file; chmod 4751 file; ln file second
        ln -s ../out link; mkfifo pipe
        mkdir -p dir/sub; chown 5:6 dir; chmod 1777 dir; mv second third; touch -d @86400 file
        stat -c '%n %u:%g %a %h %s' file third dir; readlink link; rm -r dir/sub
    """
    seen = sh(client, script, "-v", f"{place}:/x", **MEDIUM).stdout
    assert seen.splitlines() == [
        *("file 0:0 4751 2 10", "third 0:0 4751 2 10", "dir 5:6 1777 3 4096", "../out"),
    ]
    status = {path.name: path.lstat() for path in place.iterdir()}
    assert stat.S_IMODE(status["file"].st_mode) == 0o4751
    assert status["file"].st_ino == status["third"].st_ino
    assert (status["dir"].st_uid, status["dir"].st_gid) == (5, 6)
    assert stat.S_ISFIFO(status["pipe"].st_mode)
    assert os.readlink(place / "link") == "../out"


def test_who_may_do_what_goes_by_the_guests_users_and_groups(client, place):
    """The server is told a user's id alone: his groups are known to the guest's kernel."""
    place.chmod(0o777)
    for name, mode, group in (("secret", 0o600, 0), ("first", 0o640, 100), ("further", 0o640, 50)):
        (place / name).write_text(f"{name}\n")
        (place / name).chmod(mode)
        os.chown(place / name, 0, group)
    script = """
        cd /x; echo mine >mine; mkdir own; ln -s a own/link; cat mine first further secret
        chown 0 mine; echo x >>first; chmod 600 mine
    """
    options = ("-u", "1000:100", "--group-add", "50", "-v", f"{place}:/x")
    done = sh(client, script, *options, **MEDIUM)
    assert done.stdout == "mine\nfirst\nfurther\n"
    assert done.stderr.lower().count("permission denied") == 2, "to read `secret`, to write `first`"
    assert "Operation not permitted" in done.stderr
    for name in ("mine", "own", "own/link"):
        status = (place / name).lstat()
        assert (status.st_uid, status.st_gid) == (1000, 100), name
    assert stat.S_IMODE((place / "mine").stat().st_mode) == 0o600


PROBE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
int main(void)
{
    char text[16] = "";
    int fd = open("/x/mapped", O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, 8192) < 0)
        return 1;
    char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return 2;
    strcpy(at + 5000, "mapped");
    if (fsetxattr(fd, "user.guest", "yes", 3, 0) < 0)
        return 4;
    if (getxattr("/x/host", "user.host", text, sizeof text) != 2 || memcmp(text, "ok", 2) != 0)
        return 5;
    struct flock lock = { .l_type = F_WRLCK };
    if (fcntl(fd, F_SETLK, &lock) < 0)
        return 6;
    int status;
    if (fork() == 0)
        _exit(fcntl(fd, F_SETLK, &lock) < 0 ? 0 : 1);
    if (wait(&status) < 0 || status != 0)
        return 10;
    fd = open("/x/gone", O_RDWR | O_CREAT, 0600);
    if (unlink("/x/gone") < 0 || write(fd, "kept", 4) != 4)
        return 7;
    if (pread(fd, text, 4, 0) != 4 || memcmp(text, "kept", 4) != 0)
        return 8;
    return rename("/x/mapped", "/x/moved") < 0 ? 9 : 0;
}
"""


def test_attributes_maps_locks_and_files_without_a_name(client, place, tmp_path):
    (tmp_path / "probe.c").write_text(PROBE)
    built = ("musl-gcc", "-static", "-o", place / "probe", tmp_path / "probe.c")
    subprocess.run(built, check=True, capture_output=True)
    (place / "host").touch()
    os.setxattr(place / "host", "user.host", b"ok")
    done = sh(client, "/x/probe", "-v", f"{place}:/x", check=False, **MEDIUM)
    assert done.returncode == 0
    assert os.getxattr(place / "moved", "user.guest") == b"yes"
    assert (place / "moved").read_bytes()[5000:5006] == b"mapped"
    assert not (place / "gone").exists()


def test_many_at_once_and_two_file_systems_of_the_host(client, daemon, place):
    options = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "memory")
    client("volume", "create", *options)
    script = """
        stat -c %d /x /m | sort -u | wc -l
        for at in $(seq 20); do (head -c 300000 /dev/urandom >/m/$at; cp /m/$at /x/$at) & done
        wait; cd /m; sha256sum * | sort; cd /x; sha256sum * | sort
    """
    done = sh(client, script, "-v", f"{place}:/x", "-v", "memory:/m", **MEDIUM)
    count, *sums = done.stdout.splitlines()
    assert count == "2"
    assert len(sums) == 40
    assert sums[:20] == sums[20:]
    client("volume", "rm", "memory")


def test_what_is_read_only_cannot_be_written_even_by_the_guests_root(client, place):
    (place / "sub").mkdir()
    (place / "file").write_text("host\n")
    script = """
        for at in /ro/new /file; do echo x >$at; done 2>&1
        mount -o remount,rw /ro; mount -o remount,rw /file; touch /ro/new /ro/sub/new
        echo x >/file; chmod 777 /ro /file; rm -r /ro/sub; mount -o remount,rw,bind /ro
        touch /ro/new; ls /ro; cat /file
    """
    options = ("--privileged", "-v", f"{place}:/ro:ro", "-v", f"{place / 'file'}:/file:ro")
    done = sh(client, script, *options, check=False, **MEDIUM)
    assert done.stdout.count("Read-only file system") == 2
    assert done.stdout.endswith("file\nsub\nhost\n")
    assert sorted(path.name for path in place.iterdir()) == ["file", "sub"]
    assert (place / "file").read_text() == "host\n"
    assert stat.S_IMODE(place.stat().st_mode) != 0o777


# Guests that mean harm


ERROR, VERSION, ATTACH, WALK, OPEN, READ = 7, 100, 104, 110, 12, 116
RENAME, REMOVE = 20, 122
"""Requests of 9P2000.L."""
NO_FID = 0xFFFFFFFF


class Hostile:
    """A guest's kernel that says what no guest's does."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(10)
        self._fid = 1
        assert self.ask(VERSION, struct.pack("<I", 65536) + _text("9P2000.L"))[0] == 0
        assert self.attach("/") == 0

    def ask(self, kind: int, body: bytes) -> tuple[int, bytes]:
        """Give an errno, and the answer."""
        self._connection.sendall(struct.pack("<IBH", 7 + len(body), kind, 1) + body)
        size, answered, _ = struct.unpack("<IBH", self._exactly(7))
        answer = self._exactly(size - 7)
        return (struct.unpack("<I", answer)[0], b"") if answered == ERROR else (0, answer)

    def _exactly(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            piece = self._connection.recv(size - len(read))
            assert piece, "it ended"
            read += piece
        return read

    def attach(self, name: str, fid: int = 0) -> int:
        user = struct.pack("<I", 0)
        return self.ask(ATTACH, struct.pack("<II", fid, NO_FID) + _text("") + _text(name) + user)[0]

    def walk(self, *names: str) -> int:
        """Give the fid of what is there; 0: nothing is."""
        self._fid += 1
        body = struct.pack("<IIH", 0, self._fid, len(names)) + b"".join(map(_text, names))
        error, answer = self.ask(WALK, body)
        whole = not error and struct.unpack_from("<H", answer)[0] == len(names)
        return self._fid if whole else 0

    def open(self, flags: int, *names: str) -> int:
        fid = self.walk(*names)
        return self.ask(OPEN, struct.pack("<II", fid, flags))[0] if fid else errno.ENOENT

    def read(self) -> bytes:
        """Give what was opened last."""
        error, answer = self.ask(READ, struct.pack("<IQI", self._fid, 0, 100))
        assert not error
        return answer[4:]


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode()


async def test_nothing_but_the_shares_can_be_reached(place, tmp_path, clean_host):
    """What is asked of the server itself, without any guest's kernel in between."""
    (tmp_path / "other").write_text("other\n")
    (place / "up").symlink_to("../../../../../..")
    (place / "out").symlink_to(tmp_path)
    (place / "own").write_text("own\n")
    os.mknod(place / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    group = Group(cgroups.detect(), f"{CGROUP_PARENT}/server")
    await asyncio.to_thread(grouping.make, group, Limits())
    launch = SimpleNamespace(
        root=SimpleNamespace(upper=tmp_path / "machine" / "upper"),
        mounts=(
            MountPoint(kind=MountKind.BIND, source=str(place), target="/x"),
            MountPoint(kind=MountKind.BIND, source=str(place), target="/r", read_only=True),
        ),
    )
    server = shares.diod(agent.built() / "heft-diod.so", 2)
    async with shares.serve(launch, group, server) as shared:
        connection = socket.socket(fileno=os.dup(shared.served[0].connection))
    with connection:
        guest = Hostile(connection)
        assert guest.open(os.O_RDWR, "0", "own") == 0
        assert guest.read() == b"own\n"
        for names in (
            *(("etc", "shadow"), ("..", "etc", "shadow"), ("0", "up", "etc", "shadow"), ("usr",)),
            *(("0/../../etc/shadow",), ("0", "out", "other"), ("0", "up", "usr", "bin", "env")),
            *(("0", "..", "..", "..", "usr", "bin", "env"), ("proc",), ("beside",), ("bin",)),
            (f"0/up/{tmp_path}/other",),
        ):
            assert guest.open(os.O_RDONLY, *names) == errno.ENOENT, names
        for name in ("/etc", "/../usr", "/0/up/usr", str(tmp_path), "/proc"):
            assert guest.attach(name, 1000) != 0, name
        assert guest.open(os.O_RDWR, "1", "own") == errno.EROFS
        assert guest.open(os.O_RDONLY, "0", "null") in (errno.EACCES, errno.EPERM)
        os.mkfifo(place / "pipe")
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            assert guest.open(flags, "0", "pipe") == errno.ENXIO, "it waits for nobody"
        for names, why in ((("1", "own"), (errno.EROFS,)), (("0",), (errno.EROFS, errno.EBUSY))):
            error, _ = guest.ask(REMOVE, struct.pack("<I", guest.walk(*names)))
            assert error in why, names
        for target in ("own2", "../../tmp/own2"):
            words = struct.pack("<II", guest.walk("0", "own"), guest.walk("1")) + _text(target)
            error, _ = guest.ask(RENAME, words)
            assert error in (errno.EXDEV, errno.EROFS, errno.ENOENT), target
        connection.sendall(os.urandom(4096))  # it may end; no more
    assert (place / "own").read_text() == "own\n"
    await group.end()
    await group.remove()


def test_the_server_has_nothing_of_the_host(client, daemon, place):
    run(client, place)
    (server,) = servers(daemon, "box", "diod")
    process = Path(f"/proc/{server}")
    for task in (process / "task").iterdir():
        lines = (task / "status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        # chown, dac_override, fowner, fsetid, setgid, setuid, mknod (capability.h)
        assert fields["CapPrm"] == f"{0x80000DB:016x}"
        assert fields["CapBnd"] == fields["CapAmb"] == fields["CapInh"] == "0" * 16
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"
    assert [path.name for path in (process / "root").iterdir()] == ["0"]
    (mounted,) = (process / "mounts").read_text().splitlines()
    assert {"nosuid", "nodev"} <= set(mounted.split()[3].split(","))
    for space in ("mnt", "pid", "net", "ipc", "uts"):
        assert os.readlink(process / "ns" / space) != os.readlink(f"/proc/self/ns/{space}")
    assert str(place) not in Path("/proc/self/mountinfo").read_text()


# When something is killed


def test_a_killed_server_gives_errors_and_harms_nobody(client, daemon, place):
    run(client, place)
    (server,) = servers(daemon, "box", "diod")
    os.kill(server, signal.SIGKILL)
    done = client("exec", "box", "sh", "-c", "echo here; ls /x; echo x >/x/y", check=False)
    assert done.stdout == "here\n"
    assert done.stderr.count("Input/output error") + done.stderr.count("I/O error") == 2
    client("restart", "-t", "0", "box")
    assert client("exec", "box", "touch", "/x/again").returncode == 0
    assert (place / "again").exists()


def test_a_server_stays_for_another_daemon_and_ends_with_its_machine(client, daemon, place):
    run(client, place)
    daemon.restart()
    client("exec", "box", "touch", "/x/after")
    assert (place / "after").exists()
    (server,) = servers(daemon, "box", "diod")
    client("kill", "box")
    eventually(lambda: not Path(f"/proc/{server}").exists())
