"""The log driver `syslog`: what a machine writes is sent to a receiver, and `logs` shows it too."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.engine.syslog import channel
from tests.clients.test_run_flags import inspected, refused
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.receiver import Receiver

KINDS = ("udp", "tcp", "unix", "unixgram")


@pytest.fixture(params=KINDS)
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    place = tmp_path / "socket" if request.param.startswith("unix") else 0
    with Receiver(request.param, place) as receiver:
        yield receiver


@pytest.fixture
def tcp() -> Iterator[Receiver]:
    with Receiver("tcp") as receiver:
        yield receiver


def flags(receiver: Receiver, **options: str) -> list[str]:
    given = {"syslog-address": receiver.address}
    given |= {name.replace("_", "-"): value for name, value in options.items()}
    every = [("--log-opt", f"{name}={value}") for name, value in given.items()]
    return ["--log-driver", "syslog", *(word for pair in every for word in pair)]


def logged(client: Client, receiver: Receiver, script: str, **options: str) -> str:
    """Run a machine to its end, and give its id; what it wrote is on its way."""
    arguments = ("run", "-d", "--name", "box", *flags(receiver, **options))
    identity = client(*arguments, BUSYBOX, "sh", "-c", script).stdout.strip()
    client("wait", "box")
    return identity


def test_every_transport(client: Client, receiver: Receiver) -> None:
    script = "echo out; sleep 0.1; echo err >&2; sleep 0.1; printf 'no end'"
    identity = logged(client, receiver, script)
    out, err, rest = receiver.until(3)
    pid = client.daemon.pid
    assert re.fullmatch(rf"<30>\w{{3}} [ \d]\d [\d:]{{8}} {identity[:12]}\[{pid}\]: out", out)
    assert err.startswith("<27>")
    assert err.endswith(": err")
    assert rest.endswith(": no end")
    shown = client("logs", "box")
    assert (shown.stdout, shown.stderr) == ("out\nno end", "err\n")
    config = inspected(client, "box")["HostConfig"]["LogConfig"]
    assert config == {"Type": "syslog", "Config": {"syslog-address": receiver.address}}


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("rfc3164", r"<158>\w{3} [ \d]\d [\d:]{8} HOST busybox/box\[\d+\]: hello"),
        ("rfc5424", r"<158>1 [\d-]{10}T[\d:]{8}\S+ HOST busybox/box \d+ busybox/box - hello"),
        (
            "rfc5424micro",
            r"<158>1 \S{10}T[\d:]{8}\.\d{6}\S+ HOST busybox/box \d+ busybox/box - hello",
        ),
    ],
)
def test_formats_tag_and_facility(client: Client, tcp: Receiver, kind: str, pattern: str) -> None:
    options = {
        "syslog_format": kind,
        "syslog_facility": "local3",
        "tag": "{{.ImageName}}/{{.Name}}",
    }
    logged(client, tcp, "echo hello", **options)
    (found,) = tcp.until(1)
    assert re.fullmatch(pattern.replace("HOST", os.uname().nodename), found), found


def test_the_hosts_own_receiver(client: Client) -> None:
    """With no address it is the first of a few sockets that there is."""
    if any(Path(path).is_socket() for path in channel.LOCAL):
        pytest.skip("the host's receiver runs: it is not the test's to read")
    refused(client, "Unix syslog delivery error", "--log-driver", "syslog")
    log = Path(channel.LOCAL[1])
    with Receiver("unixgram", log) as receiver:
        try:
            client("run", "--rm", "--log-driver", "syslog", BUSYBOX, "echo", "hello")
            assert receiver.until(1)[0].endswith(": hello")
        finally:
            log.unlink()


def test_nothing_is_left_out_of_a_machine_that_goes_with_its_end(
    client: Client, receiver: Receiver
) -> None:
    script = "for i in $(seq 500); do echo $i; done"
    client("run", "--rm", *flags(receiver), BUSYBOX, "sh", "-c", script)
    found = [int(line.rpartition(": ")[2]) for line in receiver.until(500)]
    assert found == list(range(1, 501))


def test_a_receiver_that_is_not_there(client: Client, tmp_path: Path) -> None:
    with Receiver("tcp") as receiver:
        gone = flags(receiver)
    words = "failed to initialize logging driver: dial tcp 127.0.0.1"
    refused(client, words, *gone, status=(125,))
    missing = tmp_path / "nothing"
    address = ("--log-driver", "syslog", "--log-opt", f"syslog-address=unix://{missing}")
    done = client("create", *address, BUSYBOX, "true", check=False)
    assert done.returncode != 0
    assert f"stat {missing}: no such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("syslog-address=http://x", "unsupported scheme: 'http'"),
        ("syslog-facility=music", "invalid syslog facility: music"),
        ("syslog-format=rfc1", "Invalid syslog format"),
        ("max-size=1m", "unknown log opt 'max-size' for syslog log driver"),
        ("tag={{if}}", "invalid log tag"),
    ],
)
def test_options_that_are_refused(client: Client, option: str, words: str) -> None:
    refused(client, words, "--log-driver", "syslog", "--log-opt", option)


def test_a_log_without_a_cache(client: Client, tcp: Receiver) -> None:
    logged(client, tcp, "echo hello", cache_disabled="true")
    tcp.until(1)
    done = client("logs", "box", check=False)
    assert "configured logging driver does not support reading" in done.stderr


def test_tls(client: Client, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=receiver", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Receiver("tcp+tls", tls=context) as receiver:
        trusted = {"syslog_tls_ca_cert": str(certificate), "syslog_format": "rfc5424"}
        logged(client, receiver, "echo hello", **trusted)
        (found,) = receiver.until(1)
        length, _, rest = found.partition(" ")
        assert int(length) == len(rest) + 1
        assert rest.endswith(" - hello")
        client("rm", "box")
        refused(client, "certificate verify failed", *flags(receiver), status=(125,))
        logged(client, receiver, "echo again", syslog_tls_skip_verify="true")
        assert receiver.until(2)[1].endswith(": again")


RSYSLOG = """
global(workDirectory="{place}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{place}/socket" UseSysTimeStamp="off")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="5514")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="5514")
template(name="fields" type="string" string="%pri-text%|%hostname%|%programname%|%procid%|%msg%\\n")
*.* action(type="omfile" file="{place}/received" template="fields")
"""


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Path]:
    """A receiver as many hosts have it; give its directory."""
    (tmp_path / "conf").write_text(RSYSLOG.format(place=tmp_path))
    program = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    command = [program, "-n", "-f", tmp_path / "conf", "-i", tmp_path / "pid"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "socket").exists() or not _listens(5514):
            assert process.poll() is None
            time.sleep(0.01)
        yield tmp_path
        process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        # On its local socket it expects what is local: no name of a host.
        ("unixgram://PLACE/socket", ""),
        *(
            (f"{scheme}://127.0.0.1:5514", kind)
            for scheme in ("udp", "tcp")
            for kind in ("", "rfc3164", "rfc5424", "rfc5424micro")
        ),
    ],
)
def test_rsyslog_reads_it(daemon: Daemon, rsyslog: Path, address: str, kind: str) -> None:
    client = Client("heft", daemon)
    where = f"syslog-address={address.replace('PLACE', str(rsyslog))}"
    options = ("--log-opt", where, "--log-opt", f"syslog-format={kind}", "--log-opt", "tag=web")
    client("run", "--rm", "--log-driver", "syslog", *options, BUSYBOX, "echo", "hello there")
    received = rsyslog / "received"
    for _ in range(500):
        if received.exists() and received.read_text():
            break
        time.sleep(0.01)
    (line,) = received.read_text().splitlines()
    priority, _, program, pid, text = line.split("|")
    assert (priority, program, text.strip()) == ("daemon.info", "web", "hello there")
    assert pid == str(daemon.pid)


def test_it_is_among_the_drivers(client: Client) -> None:
    shown = client("info", "--format", "{{.Plugins.Log}}").stdout
    assert "syslog" in shown
    assert "journald" in shown
