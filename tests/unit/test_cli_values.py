"""What users write, and what the API gets."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.cli import address, machine_request
from heft.cli.failures import Failure
from heft.cli.flags import parse
from heft.cli.machine_flags import MACHINE_FLAGS
from heft.cli.program import GLOBAL_FLAGS
from heft.cli.values import environment, hosts, limits, mounts, ports, sizes


def body(*arguments: str) -> dict[str, Any]:
    """Give what `heft create ARGUMENTS` sends."""
    flags, rest = parse(MACHINE_FLAGS, arguments, interspersed=False)
    return machine_request.build(flags, rest).body


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("512", 512),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("64mb", 64 << 20),
        ("64MiB", 64 << 20),
        ("1.5g", 3 << 29),
        ("10 k", 10240),
        ("7b", 7),
    ],
)
def test_sizes(text: str, amount: int) -> None:
    assert sizes.size(text) == amount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zz", "invalid size: 'zz'"),
        ("3q", "invalid suffix: 'q'"),
        ("", "invalid size: ''"),
        ("-5", "invalid size: '-5'"),
        ("nan", "invalid size: 'nan'"),
    ],
)
def test_no_sizes(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sizes.size(text)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    for read in (sizes.size, sizes.swap, sizes.cpus, sizes.duration):
        try:
            assert isinstance(read(text), int)
        except ValueError:
            continue


def test_cpus_are_exact() -> None:
    assert sizes.cpus("0.5") == 500_000_000
    assert sizes.cpus("1.1") == 1_100_000_000
    assert sizes.cpus("3/2") == 1_500_000_000
    assert sizes.cpus(".25") == 250_000_000
    with pytest.raises(ValueError, match="failed to parse x as a rational number"):
        sizes.cpus("x")
    with pytest.raises(ValueError, match="value is too precise"):
        sizes.cpus("0.0000000001")


def test_durations() -> None:
    assert sizes.duration("1h30m") == 5400 * 10**9
    assert sizes.duration("1.5s") == 1_500_000_000
    assert sizes.duration("300ms") == 300_000_000
    assert sizes.duration("-1s") == -(10**9)
    with pytest.raises(ValueError, match='missing unit in duration "5"'):
        sizes.duration("5")


@pytest.mark.parametrize(
    ("text", "bindings"),
    [
        ("80", {"80/tcp": [{"HostIp": "", "HostPort": ""}]}),
        ("8080:80", {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}),
        ("8080:80/udp", {"80/udp": [{"HostIp": "", "HostPort": "8080"}]}),
        ("127.0.0.1:8080:80", {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}),
        ("127.0.0.1::80", {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}),
        ("[::1]:8080:80", {"80/tcp": [{"HostIp": "::1", "HostPort": "8080"}]}),
        ("8000-8010:80", {"80/tcp": [{"HostIp": "", "HostPort": "8000-8010"}]}),
        (
            "90-91:80-81",
            {
                "80/tcp": [{"HostIp": "", "HostPort": "90"}],
                "81/tcp": [{"HostIp": "", "HostPort": "91"}],
            },
        ),
        (
            "target=80,published=8080,protocol=udp",
            {"80/udp": [{"HostIp": "", "HostPort": "8080"}]},
        ),
    ],
)
def test_published_ports(text: str, bindings: dict[str, Any]) -> None:
    assert ports.published([text]) == bindings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc:1", "invalid hostPort: abc"),
        ("99999999:1", "invalid hostPort: 99999999"),
        ("1:abc", "invalid containerPort: abc"),
        ("80/foo", "invalid proto: foo"),
        ("1-3:1-2", "invalid ranges specified for container and host Ports: 1-2 and 1-3"),
        ("1.2.3:80:80", "invalid IP address: 1.2.3"),
        ("80:", "no port specified: 80:<empty>"),
        ("", "no port specified: <empty>"),
    ],
)
def test_no_published_ports(text: str, message: str) -> None:
    with pytest.raises(Failure) as caught:
        ports.published([text])
    assert caught.value.message == message


@given(st.text(alphabet="0123456789.:-/[]tcpud=,", max_size=20))
def test_any_text_is_ports_or_refused(text: str) -> None:
    for read in (ports.published, ports.exposed):
        try:
            read([text])
        except Failure:
            continue


def test_exposed_ports() -> None:
    assert ports.exposed(["80", "53/udp", "1-3"]) == ["80/tcp", "53/udp", "1/tcp", "2/tcp", "3/tcp"]
    with pytest.raises(Failure, match="invalid range format for --expose: abc"):
        ports.exposed(["abc"])


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "yes")
    monkeypatch.delenv("NOT_HERE", raising=False)
    file = tmp_path / "env"
    file.write_text("\ufeff# comment\n\nA=1 2\n  B=x=y\nHERE\nNOT_HERE\n")
    assert environment.variables([str(file)], ["C=3"]) == ["A=1 2", "B=x=y", "HERE=yes", "C=3"]
    assert environment.variable("HERE") == "HERE=yes"
    assert environment.variable("NOT_HERE") == "NOT_HERE"
    with pytest.raises(ValueError, match="invalid environment variable: =3"):
        environment.variable("=3")
    file.write_text("a b=1\n")
    with pytest.raises(Failure, match="variable 'a b' contains whitespaces"):
        environment.variables([str(file)], [])
    file.write_bytes(b"\xff=1\n")
    with pytest.raises(Failure, match="invalid utf8"):
        environment.variables([str(file)], [])
    with pytest.raises(Failure, match="open /nope: no such file or directory"):
        environment.variables(["/nope"], [])


def test_ulimits_and_devices() -> None:
    assert limits.ulimit("nofile=5") == {"Name": "nofile", "Soft": 5, "Hard": 5}
    assert limits.ulimit("core=0:-1") == {"Name": "core", "Soft": 0, "Hard": -1}
    for text, message in (
        ("foo", "invalid ulimit argument: foo"),
        ("foo=1", "invalid ulimit type: foo"),
        ("nofile=5:3", "ulimit soft limit must be less than or equal to hard limit: 5 > 3"),
        ("nofile=-1:3", "soft limit must be less"),
        ("nofile=1:2:3", "too many limit value arguments"),
    ):
        with pytest.raises(ValueError, match=message):
            limits.ulimit(text)
    assert limits.device("/dev/a:/dev/b:rw") == {
        "PathOnHost": "/dev/a",
        "PathInContainer": "/dev/b",
        "CgroupPermissions": "rw",
    }
    assert limits.device("/dev/a:r")["PathInContainer"] == "/dev/a"
    assert limits.device("/dev/a")["CgroupPermissions"] == "rwm"
    for text in ("::", "/dev/a:/dev/b:q", "/dev/a:x"):
        with pytest.raises(Failure):
            limits.device(text)


def test_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bound, anonymous = mounts.binds(["./a:/b:ro", "name:/c", "/only"])
    assert bound == [f"{tmp_path}/a:/b:ro", "name:/c"]
    assert anonymous == {"/only": {}}
    assert mounts.mount("type=bind,src=./a,dst=/b,readonly,bind-propagation=rslave") == {
        "Type": "bind",
        "Source": f"{tmp_path}/a",
        "Target": "/b",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rslave"},
    }
    assert mounts.mount("source=v,target=/v,volume-nocopy,volume-label=a=b,volume-opt=o=p") == {
        "Type": "volume",
        "Source": "v",
        "Target": "/v",
        "VolumeOptions": {
            "NoCopy": True,
            "Labels": {"a": "b"},
            "DriverConfig": {"Options": {"o": "p"}},
        },
    }
    assert mounts.mount('type=tmpfs,"target=/a,b",tmpfs-size=1m,tmpfs-mode=1770') == {
        "Type": "tmpfs",
        "Target": "/a,b",
        "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1770},
    }
    for text, message in (
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("type=foo", "target is required"),
        ("type=bind,dst=/b", "source is required"),
        ("type=bind,src=/a,dst=/b,volume-nocopy", "cannot mix 'volume-\\*' options"),
        ("dst=/b,foo=bar", "unexpected key 'foo' in 'foo=bar'"),
        ("type=tmpfs,dst=/b,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
    ):
        with pytest.raises(ValueError, match=message):
            mounts.mount(text)


def test_hosts() -> None:
    assert hosts.extra_host("db:10.0.0.1") == "db:10.0.0.1"
    assert hosts.extra_host("db=[::1]") == "db:::1"
    assert hosts.extra_host("db:host-gateway") == "db:host-gateway"
    with pytest.raises(ValueError, match='bad format for add-host: "zz"'):
        hosts.extra_host("zz")
    with pytest.raises(ValueError, match="IP address is not correctly formatted: zz"):
        hosts.address("zz")
    with pytest.raises(ValueError, match="sysctl 'foo' is not allowed"):
        hosts.sysctl("foo")
    with pytest.raises(ValueError, match=r"expected name=value"):
        hosts.filter_text("zz")


def test_a_plain_request_is_small() -> None:
    assert body("image", "ls", "-l") == {
        "Image": "image",
        "Cmd": ["ls", "-l"],
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "HostConfig": {},
    }


def test_streams() -> None:
    asked = body("-i", "image")
    assert (asked["AttachStdin"], asked["OpenStdin"], asked["StdinOnce"]) == (True, True, True)
    asked = body("-i", "-a", "stdout", "image")
    assert "StdinOnce" not in asked
    assert not asked["AttachStdin"]
    assert not asked["AttachStderr"]


def test_limits_and_policies() -> None:
    host = body(
        *"-m 64m --memory-swap -1 --cpus 1.5 --pids-limit 9 --restart on-failure:3".split(),
        *"--log-opt max-size=1m --weight heavy --init --memory-swappiness 5 image".split(),
    )["HostConfig"]
    assert host == {
        "Memory": 64 << 20,
        "MemorySwap": -1,
        "NanoCpus": 1_500_000_000,
        "PidsLimit": 9,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "LogConfig": {"Type": "", "Config": {"max-size": "1m"}},
        "Runtime": "heavy",
        "Init": True,
        "MemorySwappiness": 5,
    }
    assert body("--init=false", "image")["HostConfig"] == {"Init": False}


def test_places_on_networks() -> None:
    asked = body("--net", "web", "--network-alias", "a", "--ip", "10.0.0.2", "image")
    assert asked["HostConfig"]["NetworkMode"] == "web"
    assert asked["NetworkingConfig"]["EndpointsConfig"] == {
        "web": {"Aliases": ["a"], "IPAMConfig": {"IPv4Address": "10.0.0.2"}}
    }
    asked = body("--network", "name=web,alias=b,driver-opt=x=y", "image")
    assert asked["NetworkingConfig"]["EndpointsConfig"] == {
        "web": {"Aliases": ["b"], "DriverOpts": {"x": "y"}}
    }
    asked = body("--mac-address", "92:d0:c6:0a:29:33", "image")
    assert "NetworkMode" not in asked["HostConfig"]
    assert asked["NetworkingConfig"]["EndpointsConfig"]["default"]["MacAddress"]


def test_security_options(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text('{ "defaultAction": "SCMP_ACT_ALLOW" }')
    options = ("no-new-privileges", f"seccomp={profile}", "apparmor:x", "systempaths=unconfined")
    host = body(*(f"--security-opt={option}" for option in options), "image")["HostConfig"]
    assert host == {
        "SecurityOpt": [
            "no-new-privileges",
            'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}',
            "apparmor=x",
        ],
        "MaskedPaths": [],
        "ReadonlyPaths": [],
    }


def test_health() -> None:
    health = body("--health-cmd", "true", "--health-interval", "5s", "image")["Healthcheck"]
    assert health == {"Test": ["CMD-SHELL", "true"], "Interval": 5 * 10**9}
    assert body("--no-healthcheck", "image")["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rm --restart always", "conflicting options: cannot specify both --restart and --rm"),
        ("--restart on-failure:x", "maximum retry count must be an integer"),
        ("--no-healthcheck --health-cmd x", "--no-healthcheck conflicts with --health-"),
        ("--health-interval=-1s", "--health-interval cannot be negative"),
        ("--weight light --runtime heavy", "conflicting options: --weight light and --runtime"),
        ("--security-opt zz", 'Invalid --security-opt: "zz"'),
        ("--network=", "no name set for network"),
        ("--mac-address zz", "zz is not a valid mac address"),
        ("--log-driver none --log-opt a=b", "invalid logging opts for driver none"),
        ("--memory-swappiness 101", "Valid memory swappiness range is 0-100"),
    ],
)
def test_refused_on_the_client(arguments: str, message: str) -> None:
    with pytest.raises(Failure) as caught:
        body(*arguments.split(), "image")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("", "unix:///run/heft/heft.sock"),
        ("unix:///a/b", "unix:///a/b"),
        ("/a/b", "unix:///a/b"),
    ],
)
def test_addresses(host: str, shown: str) -> None:
    flags, _ = parse(GLOBAL_FLAGS, ["-H", host])
    assert str(address.find(flags, {})) == shown
    assert str(address.find(parse(GLOBAL_FLAGS, [])[0], {"HEFT_HOST": host})) == shown


@pytest.mark.parametrize(
    ("host", "shown"),
    [("tcp://h:1", "tcp://h:1"), ("tcp://h", "tcp://h:2376"), ("tcp://[::1]:5", "tcp://::1:5")],
)
def test_tcp_addresses_have_files(host: str, shown: str) -> None:
    flags, _ = parse(GLOBAL_FLAGS, ["-H", host])
    found = address.find(flags, {"HEFT_CERT_PATH": "/c", "DOCKER_HOST": "unix:///no"})
    assert str(found) == shown
    assert (found.authority, found.certificate, found.key) == (
        "/c/ca.pem",
        "/c/cert.pem",
        "/c/key.pem",
    )
