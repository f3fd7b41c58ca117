"""Files in and out of machines, differences, exports, commits: by docker and by heft."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.harness.images import BUSYBOX

FOREVER = ("sleep", "1000")


@pytest.fixture(params=["running", "stopped"])
def box(request: pytest.FixtureRequest, client: Client) -> str:
    """Give a machine with a volume (at medium, which has none, a tmpfs), and some changes."""
    client(
        "run", "-d", "--name", "box", "-v", "data:/data", "--stop-signal", "KILL", BUSYBOX, *FOREVER
    )
    script = (
        "mkdir -p /d/deep; echo file > /d/file; echo in > /d/deep/in; ln /d/file /d/same;"
        "ln -s /d/file /d/link; ln -s /d /dl; echo vol > /data/vol; chown 1000:1000 /d/file;"
        "chmod 4750 /d/file; rm /etc/mark; echo changed >> /etc/passwd; mknod /d/null c 1 3"
    )
    client("exec", "box", "sh", "-c", script)
    if request.param == "stopped":
        client("stop", "box")
    return "box"


def raw(client: Client, *arguments: str, data: bytes = b"") -> bytes:
    command = [*client.program, *arguments]
    done = subprocess.run(
        command, input=data, env=client.environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def inside(client: Client, script: str) -> str:
    """Run a script in the machine, which is started if it has to be."""
    client("start", "box")
    return client("exec", "box", "sh", "-c", script).stdout


def test_out(client: Client, box: str, tmp_path: Path) -> None:
    client("cp", "box:/d/file", tmp_path / "new")
    assert (tmp_path / "new").read_text() == "file\n"
    client("cp", "box:/d", tmp_path)
    assert (tmp_path / "d/deep/in").read_text() == "in\n"
    assert os.readlink(tmp_path / "d/link") == "/d/file"
    assert (tmp_path / "d/same").stat().st_ino == (tmp_path / "d/file").stat().st_ino
    client("cp", "box:/d", tmp_path / "renamed")
    assert (tmp_path / "renamed/deep/in").read_text() == "in\n"
    (tmp_path / "contents").mkdir()
    client("cp", "box:/d/.", tmp_path / "contents")
    assert (tmp_path / "contents/deep/in").read_text() == "in\n"
    client("cp", "box:/data/vol", tmp_path)
    assert (tmp_path / "vol").read_text() == "vol\n"
    client("cp", "box:/d/link", tmp_path / "link")
    assert os.readlink(tmp_path / "link") == "/d/file"
    client("cp", "-L", "box:/d/link", tmp_path / "followed")
    assert (tmp_path / "followed").read_text() == "file\n"
    client("cp", "box:/dl/deep/in", tmp_path / "through")
    assert (tmp_path / "through").read_text() == "in\n"


def test_out_as_a_tar(client: Client, box: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(raw(client, "cp", "box:/d", "-"))) as tar:
        members = {member.name: member for member in tar}
    file = members["d/file"]
    assert (file.uid, file.gid, file.mode) == (1000, 1000, 0o4750)
    assert members["d/same"].islnk()
    assert members["d/same"].linkname == "d/file"
    assert members["d/null"].ischr()
    assert (members["d/null"].devmajor, members["d/null"].devminor) == (1, 3)


def test_out_refused(client: Client, box: str, tmp_path: Path) -> None:
    done = client("cp", "box:/nope", tmp_path, check=False)
    assert done.returncode == 1
    assert "Could not find the file /nope in container box" in done.stderr
    done = client("cp", "nobody:/x", tmp_path, check=False)
    assert "No such container: nobody" in done.stderr
    assert client("cp", "box:/d/file", tmp_path / "no/such", check=False).returncode == 1
    assert client("cp", "box:/d", tmp_path / "no/such/", check=False).returncode == 1
    # It is there for the machine's own processes only.
    client("start", "box")
    assert client("cp", "box:/proc/self", "-", check=False).returncode == 1


def test_in(client: Client, box: str, tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "sub").mkdir(parents=True)
    (source / "sub/f").write_text("one\n")
    (source / "link").symlink_to("sub/f")
    (tmp_path / "file").write_text("two\n")
    client("cp", tmp_path / "file", "box:/etc")
    client("cp", tmp_path / "file", "box:/etc/named")
    client("cp", tmp_path / "file", "box:/data/in-volume")
    client("cp", tmp_path / "file", "box:/d/file")
    client("cp", tmp_path / "file", "box:/d/link")
    client("cp", tmp_path / "file", "box:/dl/through")
    client("cp", source, "box:/etc")
    client("cp", source, "box:/new")
    client("cp", f"{source}/.", "box:/d")
    said = inside(
        client,
        "cat /etc/file /etc/named /data/in-volume /d/file /d/through;"
        "cat /etc/src/sub/f /new/sub/f /d/sub/f; readlink /new/link",
    )
    assert said == "two\n" * 5 + "one\n" * 3 + "sub/f\n"


def test_in_as_a_tar(client: Client, box: str) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        entry = tarfile.TarInfo("a/b")
        entry.size, entry.uid, entry.gid, entry.mode = 2, 7, 8, 0o6711
        tar.addfile(entry, io.BytesIO(b"x\n"))
    raw(client, "cp", "-", "box:/d", data=target.getvalue())
    assert inside(client, "stat -c '%u %g %a' /d/a/b; cat /d/a/b") == "7 8 6711\nx\n"


def test_in_refused(client: Client, box: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dir/d").mkdir(parents=True)
    done = client("cp", tmp_path / "file", "box:/no/such/place", check=False)
    assert "Could not find the file /no/such in container box" in done.stderr
    assert client("cp", tmp_path / "file", "box:/nodir/", check=False).returncode == 1
    assert client("cp", tmp_path / "dir", "box:/d/file", check=False).returncode == 1
    (tmp_path / "over").mkdir()
    (tmp_path / "over/deep").write_text("not a directory")
    done = client("cp", f"{tmp_path}/over/.", "box:/d", check=False)
    assert 'cannot overwrite directory "deep" with non-directory' in done.stderr
    assert client("cp", tmp_path / "none", "box:/d", check=False).returncode == 1


def test_a_running_machines_tmpfs(client: Client, tmp_path: Path) -> None:
    client("run", "-d", "--name", "box", "--tmpfs", "/t", BUSYBOX, *FOREVER)
    (tmp_path / "file").write_text("x\n")
    client("cp", tmp_path / "file", "box:/t/f")
    assert client("exec", "box", "cat", "/t/f").stdout == "x\n"
    client("cp", "box:/t/f", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "x\n"
    client("cp", "box:/", tmp_path / "all")
    assert (tmp_path / "all/t/f").exists()
    assert list((tmp_path / "all/proc").iterdir()) == []


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_read_only(client: Client, tmp_path: Path, state: str) -> None:
    (tmp_path / "file").write_text("x\n")
    volumes = ("-v", "data:/data", "-v", "fixed:/fixed:ro")
    client("run", "-d", "--name", "box", "--read-only", *volumes, BUSYBOX, *FOREVER)
    if state == "stopped":
        client("stop", "-t", "0", "box")
    done = client("cp", tmp_path / "file", "box:/etc/x", check=False)
    assert "container rootfs is marked read-only" in done.stderr
    done = client("cp", tmp_path / "file", "box:/fixed/x", check=False)
    assert "mounted volume is marked read-only" in done.stderr
    client("cp", tmp_path / "file", "box:/data/x")
    client("cp", "box:/data/x", tmp_path / "back")


def test_a_machine_that_never_ran(client: Client, tmp_path: Path) -> None:
    client("create", "--name", "box", "-v", "data:/fresh", BUSYBOX, "cat", "/fresh/f", "/g")
    (tmp_path / "f").write_text("f\n")
    client("cp", tmp_path / "f", "box:/fresh")
    client("cp", tmp_path / "f", "box:/g")
    assert client("start", "-a", "box").stdout == "f\nf\n"


def test_diff(client: Client, box: str) -> None:
    lines = client("diff", "box").stdout.splitlines()
    assert set(lines) == {
        *("A /d", "A /d/deep", "A /d/deep/in", "A /d/file", "A /d/link", "A /d/null", "A /d/same"),
        *("A /data", "A /dl", "C /etc", "C /etc/passwd", "D /etc/mark"),
    }
    inside(client, "rm -rf /home/user /usr/bin; mkdir /usr/bin; touch /usr/bin/x; chmod 700 /root")
    lines = client("diff", "box").stdout.splitlines()
    assert {"C /home", "D /home/user", "C /usr", "C /usr/bin", "A /usr/bin/x", "C /root"} <= set(
        lines
    )


def test_nothing_has_changed(client: Client) -> None:
    client("run", "--name", "box", BUSYBOX, "true")
    assert client("diff", "box").stdout == ""
    client("create", "--name", "other", BUSYBOX, "true")
    assert client("diff", "other").stdout == ""


def test_export(client: Client, box: str, tmp_path: Path) -> None:
    client("export", "-o", tmp_path / "out.tar", "box")
    with tarfile.open(tmp_path / "out.tar") as tar:
        members = {member.name: member for member in tar}
    assert members["bin/busybox"].isreg()
    assert members["d/same"].islnk()
    assert "etc/mark" not in members
    assert "data/vol" not in members
    assert not [name for name in members if name.startswith("proc/")]
    client("import", tmp_path / "out.tar", "again")
    said = client("run", "--rm", "again", "sh", "-c", "cat /d/deep/in; stat -c %u /d/file").stdout
    assert said == "in\n1000\n"


def test_commit(client: Client, box: str) -> None:
    inside(client, "rm -rf /usr/bin; mkdir /usr/bin; touch /usr/bin/x")
    flags = ("-m", "a message", "-a", "An Author", "-c", 'CMD ["cat", "/d/file"]', "-c", "ENV A=b")
    identity = client("commit", *flags, "box", "made:1").stdout.strip()
    form = "{{.Id}} {{.Author}} {{.Comment}} {{.Config.Cmd}} {{len .RootFS.Layers}}"
    assert client("inspect", "-f", form, "made:1").stdout.split() == (
        f"{identity} An Author a message [cat /d/file] 2".split()
    )
    assert client("run", "--rm", "made:1").stdout == "file\n"
    said = client(
        "run", "--rm", "made:1", "sh", "-c",
        "echo $A; ls /usr/bin; stat -c '%u %a %h' /d/file; cat /d/same; ls /data; "
        "tail -n 1 /etc/passwd; test -e /etc/mark || echo gone; ls -l /d/null | cut -c1",
    ).stdout  # fmt: skip
    assert said == "b\nx\n1000 4750 2\nfile\nchanged\ngone\nc\n"
    assert "a message" in client("history", "made:1").stdout
    assert client("exec", "box", "echo", "goes on").stdout == "goes on\n"
    again = client("commit", "--pause=false", "box").stdout.strip()
    assert client("inspect", "-f", "{{.RepoTags}}", again).stdout == "[]\n"
    client("rmi", again)


def test_commit_refused(client: Client) -> None:
    client("create", "--name", "box", BUSYBOX, "true")
    for arguments in (("box", "UPPER"), ("-c", "RUN x", "box"), ("nobody",)):
        assert client("commit", *arguments, check=False).returncode == 1
    assert client("images", "-q").stdout.count("\n") == 1


def test_a_committed_layer_is_a_layer_like_any(client: Client, tmp_path: Path) -> None:
    client("run", "--name", "box", BUSYBOX, "sh", "-c", "echo one > /f; rm /etc/mark")
    client("commit", "box", "one")
    client("rm", "box")
    client("run", "--name", "box", "one", "sh", "-c", "echo two >> /f; echo back > /etc/mark")
    client("commit", "box", "two")
    client("save", "-o", tmp_path / "saved", "two")
    client("rm", "box")
    client("rmi", "two", "one")
    client("load", "-i", tmp_path / "saved")
    assert client("run", "--rm", "two", "cat", "/f", "/etc/mark").stdout == "one\ntwo\nback\n"
