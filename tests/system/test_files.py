"""Files of machines under attack, and with the daemon killed: nothing gets out, nothing is left."""

import gzip
import io
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from heft.tars import headers
from tests.harness.client import Client
from tests.harness.daemon import Answer, Daemon
from tests.harness.images import BUSYBOX, busybox_tar

pytestmark = pytest.mark.usefixtures("clean_host")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "daemon").start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()


def machine(daemon: Daemon, *, run: bool = True, cmd: str = "sleep 1000", **host: Any) -> None:
    body = {
        "Image": BUSYBOX,
        "Cmd": ["sh", "-c", cmd],
        "StopSignal": "SIGKILL",
        "HostConfig": {"NetworkMode": "none", **host},
    }
    answer = daemon.request("POST", "/containers/create?name=box", body)
    assert answer.status == 201, answer.body
    if run:
        assert daemon.request("POST", "/containers/box/start").status == 204


def put(daemon: Daemon, content: bytes, path: str = "/tmp", **options: Any) -> Answer:
    return daemon.request("PUT", f"/containers/box/archive?path={path}", content, **options)


def listing(daemon: Daemon, path: str = "/") -> set[str]:
    """Give the names of everything at a path of the machine."""
    answer = daemon.request("GET", f"/containers/box/archive?path={path}")
    assert answer.status == 200, answer.body
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        return set(tar.getnames())


def entry(name: bytes, content: bytes = b"", **fields: Any) -> bytes:
    head = headers.encode(name, size=len(content), mode=0o644, **fields)
    return head + content + headers.padding(len(content))


GOOD = (
    entry(b"good", b"x")
    + entry(b"dir/", kind=headers.DIRECTORY)
    + entry(b"dir/in", b"y" * 100_000)
    + entry(b"missing/parents/f", b"z")
)
DEVICES = b"".join(
    entry(b"d%d" % number, kind=headers.DEVICE, device=(8, number)) for number in range(500)
)
HOSTILE = {
    "dots": GOOD + entry(b"../out", b"x") + headers.END,
    "inner dots": GOOD + entry(b"a/../../out", b"x") + headers.END,
    "hard link out": GOOD + entry(b"l", kind=headers.LINK, link=b"../etc/passwd") + headers.END,
    "hard link to nothing": GOOD + entry(b"l", kind=headers.LINK, link=b"nope") + headers.END,
    "device bomb": GOOD
    + DEVICES
    + entry(b"w", kind=headers.CHARACTER, device=(0, 0))
    + headers.END,
    "device out of range": entry(b"w", kind=headers.DEVICE, device=(1 << 20, 0)) + headers.END,
    "truncated": (GOOD + entry(b"f", b"x" * 5000))[:-3000],
    "truncated in a header": (GOOD + entry(b"f", b"x"))[:-700],
    "truncated gzip": gzip.compress(GOOD + os.urandom(100_000))[:-50_000],
    "no tar": b"this is no tar at all" * 100,
    "damaged": GOOD + b"\1" * 512,
    "unknown kind": GOOD + entry(b"f", kind=b"Z") + headers.END,
    "file below a file": GOOD + entry(b"good/below", b"x") + headers.END,
    "endless name": GOOD + headers.encode(b"n", kind=b"L", size=1 << 40) + bytes(512),
    "more than it says": GOOD + headers.encode(b"n", size=1 << 60) + bytes(512),
}  # fmt: skip


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_hostile_tars_are_refused_and_leave_nothing(daemon: Daemon, state: str) -> None:
    machine(daemon, run=state == "running")
    before = listing(daemon)
    for what, content in HOSTILE.items():
        answer = put(daemon, content)
        assert answer.status == 400, (what, answer.status, answer.body)
        assert answer.message, what
        assert listing(daemon) == before, what
    assert put(daemon, GOOD + headers.END).status == 200
    assert "tmp/missing/parents/f" in {name.lstrip("/") for name in listing(daemon)}


def test_absolute_names_stay_in_the_directory(daemon: Daemon) -> None:
    machine(daemon)
    assert put(daemon, entry(b"/etc/new", b"x") + headers.END).status == 200
    names = listing(daemon, "/tmp")
    assert "tmp/etc/new" in names
    assert "etc/new" not in listing(daemon, "/etc")


def test_a_link_of_the_tar_leads_into_the_machine_only(daemon: Daemon, tmp_path: Path) -> None:
    machine(daemon)
    (tmp_path / "outside").mkdir()
    target = os.fsencode(tmp_path / "outside")
    link = entry(b"l", kind=headers.SYMLINK, link=target)
    assert put(daemon, link + headers.END).status == 200
    # There is no such path in the machine, and the file's directory cannot be made of a link.
    assert put(daemon, entry(b"l/file", b"x") + headers.END).status == 400
    for up in (b"..", b"../../../../../../../.."):
        link = entry(b"u", kind=headers.SYMLINK, link=up + b"/etc")
        assert put(daemon, link + entry(b"u/file", b"x") + headers.END).status == 200
        assert "etc/file" in listing(daemon, "/etc")
    assert list((tmp_path / "outside").iterdir()) == []
    assert not Path("/etc/file").exists()


def test_ten_terabytes_of_nothing(daemon: Daemon) -> None:
    size = 10 << 40
    name, records, table = headers.sparse(b"holes", size, [(1 << 40, 3), (size, 0)])
    head = headers.encode(name, size=len(table) + 3, mode=0o644, records=records)
    machine(daemon)
    began = time.monotonic()
    answer = put(daemon, head + table + b"end".ljust(512, b"\0") + headers.END)
    if answer.status == 200:  # where the file system can have it, it takes no room
        back = daemon.request("GET", "/containers/box/archive?path=/tmp/holes")
        assert len(back.body) < 1 << 20
    else:
        assert answer.status == 400, answer.body
        assert "tmp/holes" not in listing(daemon, "/tmp")
    assert time.monotonic() - began < 20


def test_statuses(daemon: Daemon) -> None:
    machine(daemon, ReadonlyRootfs=True, Binds=["data:/data", "fixed:/fixed:ro"])
    good = entry(b"f", b"x") + headers.END
    answer = put(daemon, good, "/nope")
    assert (answer.status, answer.message) == (
        404,
        "Could not find the file /nope in container box",
    )
    assert put(daemon, good, "/bin/busybox").status == 400
    assert put(daemon, good, "").status == 400
    assert put(daemon, good, "/etc").status == 403
    assert put(daemon, good, "/fixed").status == 403
    assert put(daemon, good, "/data").status == 200
    for method in ("GET", "HEAD"):
        for path, status in (("/nope", 404), ("/etc/passwd/x", 400), ("", 400), ("/etc", 200)):
            answer = daemon.request(method, f"/containers/box/archive?path={path}")
            assert answer.status == status, (method, path, answer.body)
    for method, path in (("GET", "changes"), ("GET", "export"), ("GET", "archive?path=/")):
        assert daemon.request(method, f"/containers/nobody/{path}").status == 404
    assert daemon.request("POST", "/commit?container=nobody").status == 404
    assert daemon.request("POST", "/commit").status == 400


def test_names_in_errors_do_nothing_to_a_terminal(daemon: Daemon) -> None:
    machine(daemon)
    name = b"\x1b]0;title\x07"
    for tar in (entry(name + b"/../../out"), entry(name) + entry(name + b"/below", b"x")):
        answer = put(daemon, tar + headers.END)
        assert answer.status == 400
        assert r"\x1b]0;title\x07" in answer.message
    answer = daemon.request("GET", "/containers/box/archive?path=/%1b[31mred")
    assert r"/\x1b[31mred" in answer.message


MANY = """
name=$(printf %0200d 0)
while [ ${#PWD} -lt 3500 ]; do mkdir $name && cd $name; done
i=0; while [ $i -lt 20000 ]; do : > $i; i=$((i + 1)); done
"""


def test_more_changes_than_a_daemon_has_memory_for(daemon: Daemon) -> None:
    machine(daemon, cmd=MANY)
    assert daemon.request("POST", "/containers/box/wait").json["StatusCode"] == 0
    answer = daemon.request("GET", "/containers/box/changes")
    assert answer.status == 500
    assert answer.message.startswith("container box has changed too many files to list")


RACE = """
mkdir -p /r/real; echo mine > /r/real/secret
while true; do
  ln -s {target} /r/n; mv -T /r/n /r/x; rm /r/x; mkdir /r/x; echo mine > /r/x/secret; rm -r /r/x
done
"""


@pytest.mark.parametrize("through", ["plain", "dots", "magic"])
def test_raced_links_never_lead_to_the_host(daemon: Daemon, tmp_path: Path, through: str) -> None:
    """A running machine swaps a directory for links to the host while files are copied."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("the host's")
    target = {
        "plain": str(outside),
        "dots": "../../../../../../.." + str(outside),
        # With the host's processes in sight, this is the host's root by a link of the kernel's.
        "magic": f"/proc/1/root{outside}",
    }[through]
    host = {"PidMode": "host", "Privileged": True} if through == "magic" else {}
    machine(daemon, cmd=RACE.format(target=target), **host)
    content = entry(b"x/new", b"written") + entry(b"x/deep/new", b"w") + headers.END
    statuses: set[int] = set()
    deadline = time.monotonic() + 6

    def attack(act: Callable[[], Answer]) -> None:
        while time.monotonic() < deadline:
            answer = act()
            statuses.add(answer.status)
            assert b"the host's" not in answer.body

    def read() -> Answer:
        return daemon.request("GET", "/containers/box/archive?path=/r/x/secret")

    def write() -> Answer:
        return put(daemon, content, "/r")

    def whole() -> Answer:
        return daemon.request("GET", "/containers/box/archive?path=/r/x/")

    errors: list[BaseException] = []

    def guarded(act: Callable[[], Answer]) -> None:
        try:
            attack(act)
        except BaseException as error:  # of a thread: raised again below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(act,)) for act in (read, write, whole)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [error for error in errors if not isinstance(error, (OSError, HTTPException))]
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "the host's"
    assert statuses & {200, 404, 400}


def test_a_hostile_tar_of_a_machine_stays_where_it_is_put(daemon: Daemon, tmp_path: Path) -> None:
    machine(daemon, run=False)
    outside = tmp_path / "outside"
    outside.mkdir()
    link = entry(b"d/l", kind=headers.SYMLINK, link=os.fsencode(outside))
    assert put(daemon, link + headers.END).status == 200
    for name in ("docker", "heft"):
        client = Client(name, daemon)
        place = tmp_path / name
        place.mkdir()
        client("cp", "box:/tmp/d", place)
        assert (place / "d/l").is_symlink()
    assert list(outside.iterdir()) == []


def test_a_client_that_goes_leaves_nothing(daemon: Daemon) -> None:
    import socket

    machine(daemon)
    before = listing(daemon, "/tmp")
    for content in (GOOD, GOOD + headers.encode(b"big", size=1 << 30) + bytes(1 << 20)):
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(str(daemon.socket))
            head = b"PUT /containers/box/archive?path=/tmp HTTP/1.1\r\nHost: h\r\n"
            plain.sendall(head + b"Content-Length: 2000000000\r\n\r\n" + content)
            time.sleep(0.5)
        deadline = time.monotonic() + 5
        while listing(daemon, "/tmp") != before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert listing(daemon, "/tmp") == before


def test_a_daemon_killed_while_copying_leaves_nothing(daemon: Daemon) -> None:
    import socket

    machine(daemon, run=False)
    before = listing(daemon, "/tmp")
    with socket.socket(socket.AF_UNIX) as plain:
        plain.connect(str(daemon.socket))
        head = b"PUT /containers/box/archive?path=/tmp HTTP/1.1\r\nHost: h\r\n"
        # All but its end: a whole one may land whole, though nobody was told.
        begun = GOOD.rstrip(b"\0")[:-1]
        plain.sendall(head + b"Content-Length: 2000000000\r\n\r\n" + begun)
        time.sleep(0.5)
        daemon.kill()
    daemon.start()
    deadline = time.monotonic() + 5
    while listing(daemon, "/tmp") != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert listing(daemon, "/tmp") == before
    assert daemon.request("POST", "/containers/box/start").status == 204


@pytest.mark.parametrize(
    "point", ["import.blob", "import.layer", "commit.layer", "commit.recorded"]
)
def test_commit_is_whole_or_not_there(daemon: Daemon, point: str) -> None:
    machine(daemon, cmd="echo made > /made; sleep 1000")
    time.sleep(0.3)
    daemon.restart(HEFT_FAULT=point)
    with pytest.raises((OSError, HTTPException)):
        daemon.request("POST", "/commit?container=box&repo=made")
    daemon.wait_dead()
    daemon.start()
    images = daemon.request("GET", "/images/json").json
    names = {name for image in images for name in image["RepoTags"]}
    assert ("made:latest" in names) == (point == "commit.recorded")
    assert len(list((daemon.data / "images/layers").iterdir())) == len(names)
    assert list((daemon.data / "images/tmp").iterdir()) == []
    # What was paused for it goes on.
    body = {"Cmd": ["cat", "/made"], "AttachStdout": True}
    made = daemon.request("POST", "/containers/box/exec", body).json["Id"]
    answer = daemon.request("POST", f"/exec/{made}/start", {"Detach": False}, timeout=10)
    assert b"made" in answer.body
    assert daemon.request("POST", "/commit?container=box&repo=again").status == 201


def test_a_start_waits_for_a_copy_into_a_stopped_machine(daemon: Daemon) -> None:
    machine(daemon, run=False, cmd="cat /tmp/dir/in | wc -c; sleep 1000")
    content = GOOD + b"".join(entry(b"f%d" % n, b"x") for n in range(5000)) + headers.END
    copying = threading.Thread(target=put, args=(daemon, content))
    copying.start()
    time.sleep(0.1)
    assert daemon.request("POST", "/containers/box/start").status == 204
    assert "tmp/f4999" in listing(daemon, "/tmp")
    copying.join()


def test_the_machines_user_owns_what_is_copied_for_it(daemon: Daemon) -> None:
    body = {"Image": BUSYBOX, "Cmd": ["true"], "User": "user"}
    assert daemon.request("POST", "/containers/create?name=box", body).status == 201
    content = entry(b"f", b"x", uid=5, gid=6) + headers.END
    path = "/containers/box/archive?path=/tmp"
    assert daemon.request("PUT", path, content).status == 200
    assert daemon.request("PUT", f"{path}/&copyUIDGID=1", entry(b"g", uid=5) + headers.END)
    answer = daemon.request("GET", path)
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        owners = {member.name: (member.uid, member.gid) for member in tar}
    assert owners["tmp/f"] == (5, 6)
    assert owners["tmp/g"] == (1000, 1000)
