"""Volumes and binds of heavy machines, shared live with the host and with light machines."""

import asyncio
import errno
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from heft.guest import shares
from heft.guest.monitors import user_of
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
from tests.system.test_heavy import process_of

SERVER = Path(shares.PROXY).name[:15]
"""As proc(5) has it in `comm`."""


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return Client("docker", daemon)


def sh(client: Client, script: str, *words: str, weight: str = "heavy", check: bool = True):
    """Run a script in a machine to its end."""
    options = ("--rm", "--runtime", weight, *words)
    return client("run", *options, BUSYBOX, "sh", "-c", script, check=check)


def servers(daemon: Daemon, name: str, program: str = SERVER) -> list[int]:
    """Give the servers in a machine's control group."""
    machine = daemon.request("GET", f"/containers/{name}/json").json["Id"]
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text().strip() == program:
                found += [int(entry.name)] * (machine in (entry / "cgroup").read_text())
        except OSError:
            continue
    return found


# What is shared


def test_a_volume_is_shared_live_between_weights_and_the_host(client, daemon):
    loop = "until [ -e /v/stop ]; do cat /v/ask >/v/answer 2>/dev/null; sleep 0.05; done"
    for name, weight in (("deep", "heavy"), ("flat", "light")):
        options = ("-d", "--name", name, "--runtime", weight, "-v", "shared:/v")
        client("run", *options, BUSYBOX, "sh", "-c", loop if weight == "heavy" else "sleep 600")
    client("exec", "flat", "sh", "-c", "echo first >/v/ask")
    mount = Path(daemon.request("GET", "/volumes/shared").json["Mountpoint"])
    eventually(lambda: (mount / "answer").exists() and (mount / "answer").read_text() == "first\n")
    client("exec", "deep", "sh", "-c", "mkdir -p /v/a/b; echo deep >/v/a/b/c")
    assert client("exec", "flat", "cat", "/v/a/b/c").stdout == "deep\n"
    # From outside: what runs inside a machine that ends may not tell its exit code any more.
    client("exec", "flat", "touch", "/v/stop")
    assert client("wait", "deep").stdout == "0\n"
    assert client("exec", "flat", "cat", "/v/answer").stdout == "first\n"


def test_owners_modes_and_kinds_of_files_are_the_hosts(client, place):
    script = """
        cd /x; echo text >file; echo more >>file; chmod 4751 file; ln file second
        ln -s ../out link; mkfifo pipe
        mkdir -p dir/sub; chown 5:6 dir; chmod 1777 dir; mv second third; touch -d @86400 file
        stat -c '%n %u:%g %a %h %s' file third dir; readlink link; rm -r dir/sub
    """
    seen = sh(client, script, "-v", f"{place}:/x").stdout
    assert seen.splitlines() == [
        *("file 0:0 4751 2 10", "third 0:0 4751 2 10", "dir 5:6 1777 3 4096", "../out"),
    ]
    status = {path.name: path.lstat() for path in place.iterdir()}
    assert stat.S_IMODE(status["file"].st_mode) == 0o4751
    assert status["file"].st_ino == status["third"].st_ino
    assert (status["dir"].st_uid, status["dir"].st_gid) == (5, 6)
    assert stat.S_ISFIFO(status["pipe"].st_mode)
    assert os.readlink(place / "link") == "../out"


def test_another_user_makes_files_of_his_own_and_no_others(client, place):
    place.chmod(0o777)
    (place / "secret").write_text("secret\n")
    (place / "secret").chmod(0o600)
    script = "echo mine >/x/mine; cat /x/mine /x/secret; chown 0 /x/mine; rm -f /x/secret; id -u"
    done = sh(client, script, "-u", "1000:100", "-v", f"{place}:/x")
    assert done.stdout == "mine\n1000\n"
    assert "Permission denied" in done.stderr
    assert "Operation not permitted" in done.stderr
    status = (place / "mine").stat()
    assert (status.st_uid, status.st_gid) == (1000, 100)


PROBE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
int main(void)
{
    char text[16] = "";
    struct stat status;
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
    fd = open("/x/gone", O_RDWR | O_CREAT, 0600);
    if (unlink("/x/gone") < 0 || write(fd, "kept", 4) != 4 || fstat(fd, &status) < 0)
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
    assert sh(client, "/x/probe", "-v", f"{place}:/x", check=False).returncode == 0
    assert os.getxattr(place / "moved", "user.guest") == b"yes"
    assert (place / "moved").read_bytes()[5000:5006] == b"mapped"
    assert not (place / "gone").exists()


def test_what_is_read_only_cannot_be_written_even_by_the_guests_root(client, place):
    (place / "sub").mkdir()
    (place / "file").write_text("host\n")
    script = """
        for at in /ro/new /file; do echo x >$at; done 2>&1
        mount -o remount,rw /ro; mount -o remount,rw /file; touch /ro/new /ro/sub/new
        echo x >/file; chmod 777 /ro /file; rm -r /ro/sub; mount -o remount,rw,bind /ro
        mkdir /all; mount -t 9p -o trans=virtio share0 /all; touch /ro/new; ls /ro; cat /file
    """
    options = ("--privileged", "-v", f"{place}:/ro:ro", "-v", f"{place / 'file'}:/file:ro")
    done = sh(client, script, *options, check=False)
    assert done.stdout.count("Read-only file system") == 2
    assert done.stdout.endswith("file\nsub\nhost\n")
    assert sorted(path.name for path in place.iterdir()) == ["file", "sub"]
    assert (place / "file").read_text() == "host\n"
    assert stat.S_IMODE(place.stat().st_mode) != 0o777


def test_a_file_a_part_of_a_volume_and_both_ways_to_write_a_mount(client, daemon, place):
    (place / "one").write_text("one\n")
    sh(client, "mkdir -p /v/part/deep; echo in >/v/part/file; ln -s /etc /v/out", "-v", "parts:/v")
    body = {
        "Image": BUSYBOX,
        "Cmd": ["sh", "-c", "cat /one /p/file; ls /p; echo two >>/one; touch /b/three /p/new"],
        "HostConfig": {
            "Runtime": "heavy",
            "Binds": [f"{place / 'one'}:/one"],
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "parts",
                    "Target": "/p",
                    "VolumeOptions": {"Subpath": "part"},
                },
                {"Type": "bind", "Source": str(place), "Target": "/b"},
                {"Type": "tmpfs", "Target": "/t"},
            ],
        },
    }
    assert daemon.request("POST", "/containers/create?name=box", body).status == 201
    done = client("start", "-a", "box")
    assert done.stdout == "one\nin\ndeep\nfile\n"
    assert (place / "one").read_text() == "one\ntwo\n"
    assert (place / "three").exists()
    assert sh(client, "ls /v/part", "-v", "parts:/v", weight="light").stdout == "deep\nfile\nnew\n"
    body["HostConfig"]["Mounts"][0]["VolumeOptions"]["Subpath"] = "out/ssl"
    assert daemon.request("POST", "/containers/create?name=bad", body).status == 201
    answer = daemon.request("POST", "/containers/bad/start")
    assert "cannot access path" in answer.message


def test_volumes_of_another_machine_and_anonymous_ones(client, daemon):
    name = client("create", "--name", "first", "-v", "/home", "-v", "named:/bin", BUSYBOX).stdout
    assert name
    script = "ls -d /home/user; ls /bin/sh; echo x >/home/user/x; touch /bin/new"
    done = sh(client, script, "--volumes-from", "first:ro", check=False)
    assert "/home/user\n/bin/sh\n" in done.stdout, "they were filled from the image"
    assert done.stderr.count("Read-only") == 2
    assert sh(client, "touch /home/y", "--volumes-from", "first").returncode == 0
    volumes = daemon.request("GET", "/volumes").json["Volumes"]
    assert len(volumes) == 2
    client("rm", "-v", "first")
    assert [v["Name"] for v in daemon.request("GET", "/volumes").json["Volumes"]] == ["named"]


def test_two_file_systems_of_the_host_stay_two(client, daemon, place):
    options = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "memory")
    client("volume", "create", *options)
    script = "stat -c %d /x /m | sort -u | wc -l; echo m >/m/f; cp /m/f /x/f; ls /m"
    done = sh(client, script, "-v", f"{place}:/x", "-v", "memory:/m")
    assert done.stdout == "2\nf\n"
    assert (place / "f").read_text() == "m\n"
    client("volume", "rm", "memory")


def test_what_leads_nowhere_in_another_kernel_is_refused(client, place):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place / "socket"))
        done = sh(client, "true", "-v", f"{place / 'socket'}:/s", check=False)
    assert done.returncode == 125
    assert "a socket of the host's kernel" in done.stderr
    mount = f"type=bind,src={place},dst=/x,bind-propagation=rshared"
    done = sh(client, "true", "--mount", mount, check=False)
    assert done.returncode == 125
    assert "bind-propagation" in done.stderr
    shutil.rmtree(place)
    client("create", "--name", "box", "--runtime", "heavy", "-v", f"{place}:/x", BUSYBOX, "true")
    shutil.rmtree(place)
    done = client("start", "box", check=False)
    assert f"cannot access path {place}" in done.stderr


# Guests that mean harm


OPEN, RENAME, REMOVE = 2, 15, 16
"""Requests of the server's protocol (QEMU 7.2, hw/9pfs/9p-proxy.h)."""


def asked(server: socket.socket, kind: int, *words: str | int) -> tuple[int, int]:
    """Ask as a QEMU that a guest got hold of would; give an errno and a descriptor."""
    packed = [
        struct.pack("<H", len(word)) + word.encode()
        if isinstance(word, str)
        else struct.pack("<I", word)
        for word in words
    ]
    body = b"".join(packed)
    server.sendall(struct.pack("<II", kind, len(body)) + body)
    answer, descriptors, _, _ = socket.recv_fds(server, 4096, 1)
    if descriptors:
        return 0, descriptors[0]
    return -struct.unpack("<i", answer[-4:])[0], -1


async def test_nothing_but_the_shares_can_be_reached(place, tmp_path, clean_host):
    """What is asked of the server itself, without any guest's kernel in between."""
    (tmp_path / "other").write_text("other\n")
    (place / "up").symlink_to("../../../../../..")
    (place / "out").symlink_to(tmp_path)
    (place / "own").write_text("own\n")
    group = Group(cgroups.detect(), f"{CGROUP_PARENT}/server")
    await asyncio.to_thread(grouping.make, group, Limits())
    launch = SimpleNamespace(
        root=SimpleNamespace(upper=tmp_path / "machine" / "upper"),
        mounts=(
            MountPoint(kind=MountKind.BIND, source=str(place), target="/x"),
            MountPoint(kind=MountKind.BIND, source=str(place), target="/r", read_only=True),
        ),
    )
    server_of = shares.proxy(agent.built() / "heft-served.so")
    async with shares.serve(launch, group, server_of) as shared:
        server = socket.socket(fileno=os.dup(shared.served[0].connection))
    with server:
        server.settimeout(10)
        error, descriptor = asked(server, OPEN, "/0/own", os.O_RDWR)
        assert error == 0
        assert os.pread(descriptor, 10, 0) == b"own\n"
        os.close(descriptor)
        for path in (
            *("/etc/shadow", "/../etc/shadow", "/0/up/etc/shadow", "/0/out/other", "/usr/bin/sh"),
            *("/0/../../etc/shadow", "/proc/1/root/etc/shadow", f"/0/up/{tmp_path}/other", "/dev"),
        ):
            assert asked(server, OPEN, path, os.O_RDONLY) == (errno.ENOENT, -1), path
        for path in ("/new", "/1/own", "/0/up/new"):
            flags = os.O_RDWR | os.O_CREAT
            assert asked(server, OPEN, path, flags)[0] in (errno.EROFS, errno.ENOENT), path
        assert asked(server, RENAME, "/0", "/2")[0] in (errno.EROFS, errno.EBUSY)
        assert asked(server, RENAME, "/0/own", "/1/own2")[0] in (errno.EXDEV, errno.EROFS)
        assert asked(server, REMOVE, "/1/own")[0] == errno.EROFS
        os.mknod(place / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        assert asked(server, OPEN, "/0/null", os.O_RDONLY) == (errno.EACCES, -1)
        os.mkfifo(place / "pipe")
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT):
            assert asked(server, OPEN, "/0/pipe", flags) == (errno.ENXIO, -1), "it waits for nobody"
    assert (place / "own").read_text() == "own\n"
    eventually(lambda: not group.processes())
    await group.remove()


def test_the_server_has_nothing_of_the_host(client, daemon, place):
    options = ("-d", "--name", "box", "--runtime", "heavy", "-v", f"{place}:/x")
    client("run", *options, BUSYBOX, "sleep", "600")
    (server,) = servers(daemon, "box")
    process = Path(f"/proc/{server}")
    lines = (process / "status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    # chown, dac_override, fowner, fsetid, setgid, setuid, mknod (capability.h)
    assert fields["CapEff"] == fields["CapPrm"] == f"{0x80000DB:016x}"
    assert fields["CapBnd"] == fields["CapAmb"] == "0" * 16
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert [path.name for path in (process / "root").iterdir()] == ["0"]
    (mounted,) = (process / "mounts").read_text().splitlines()
    assert {"nosuid", "nodev"} <= set(mounted.split()[3].split(","))
    for space in ("mnt", "pid", "net", "ipc", "uts"):
        assert os.readlink(process / "ns" / space) != os.readlink(f"/proc/self/ns/{space}")
    assert len(list((process / "fd").iterdir())) == 4, "/dev/null twice, its errors, QEMU"
    assert str(place) not in Path("/proc/self/mountinfo").read_text()


# When something is killed


def test_a_killed_server_gives_errors_and_harms_nobody(client, daemon, place):
    options = ("-d", "--name", "box", "--runtime", "heavy", "-v", f"{place}:/x")
    client("run", *options, BUSYBOX, "sleep", "600")
    (server,) = servers(daemon, "box")
    os.kill(server, signal.SIGKILL)
    done = client("exec", "box", "sh", "-c", "echo here; ls /x; echo x >/x/y", check=False)
    assert done.stdout == "here\n"
    assert done.stderr.count("Input/output error") + done.stderr.count("I/O error") == 2
    client("restart", "-t", "0", "box")
    assert client("exec", "box", "touch", "/x/again").returncode == 0
    assert (place / "again").exists()


def test_a_server_that_stands_still_holds_up_its_machine_alone(client, daemon, place):
    for name in ("box", "other"):
        options = ("-d", "--name", name, "--runtime", "heavy", "-v", f"{place}:/x")
        client("run", *options, BUSYBOX, "sleep", "600")
    (server,) = servers(daemon, "box")
    os.kill(server, signal.SIGSTOP)
    waiting = subprocess.Popen(
        [*client.program, "exec", "box", "ls", "/x"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=daemon.environment,
    )
    with waiting:
        assert client("exec", "box", "echo", "here").stdout == "here\n"
        assert client("exec", "other", "ls", "/x").returncode == 0
        assert waiting.poll() is None
        client("kill", "box")
    assert client("wait", "box").stdout == "137\n"


def test_a_pipe_in_the_place_of_an_open_file_holds_up_nothing(client, place):
    """The guest takes it for the file it knows, and asks its server to open it."""
    (place / "file").write_text("text\n")
    options = ("-d", "--name", "box", "--runtime", "heavy", "-v", f"{place}:/x")
    client("run", *options, BUSYBOX, "sh", "-c", "exec 3</x/file; touch /x/open; sleep 600")
    eventually((place / "open").exists)
    os.mkfifo(place / "pipe")
    (place / "pipe").rename(place / "file")
    script = "for i in 1 2 3 4 5 6; do cat /x/file & done; wait; ls /x"
    done = client("exec", "box", "timeout", "20", "sh", "-c", script, check=False)
    assert done.stdout == "file\nopen\n"
    assert done.stderr.count("No such device or address") == 6


def test_a_qemu_that_waits_for_its_server_with_all_its_threads_lives(client, daemon, place):
    """It has up to 64 for that, and would end where it could not have them."""
    for number in range(100):
        (place / str(number)).write_text("x")
    options = ("-d", "--name", "box", "--runtime", "heavy", "-v", f"{place}:/x")
    client("run", *options, BUSYBOX, "sleep", "600")
    (server,) = servers(daemon, "box")
    machine = daemon.request("GET", "/containers/box/json").json["Id"]
    threads = process_of(user_of(machine)) / "task"
    os.kill(server, signal.SIGSTOP)
    client("exec", "-d", "box", "sh", "-c", "for i in $(seq 0 99); do cat /x/$i & done; wait")
    try:
        eventually(lambda: len(list(threads.iterdir())) > 64)
    finally:
        os.kill(server, signal.SIGCONT)
    assert client("exec", "box", "echo", "here").stdout == "here\n"


def test_a_server_ends_with_its_qemu_and_stays_for_another_daemon(client, daemon, place):
    options = ("-d", "--name", "box", "--runtime", "heavy", "-v", f"{place}:/x")
    client("run", *options, BUSYBOX, "sleep", "600")
    daemon.restart()
    client("exec", "box", "touch", "/x/after")
    assert (place / "after").exists()
    (server,) = servers(daemon, "box")
    machine = daemon.request("GET", "/containers/box/json").json["Id"]
    daemon.stop()
    os.kill(int(process_of(user_of(machine)).name), signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{server}").exists())
    daemon.start()
    eventually(lambda: not daemon.request("GET", "/containers/box/json").json["State"]["Running"])
