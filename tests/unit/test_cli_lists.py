"""Rows of lists: what the daemon answers, as a user sees it."""

import time
from typing import Any

import pytest

from heft import durations
from heft.cli import human, index, published
from heft.cli.commands import events, images, ps, stats, usage
from heft.cli.commands.images_change import split_reference
from heft.cli.tables import Listing


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_980_000, "1.98MB"), (123_456_789, "123MB")],
)
def test_sizes(amount: int, text: str) -> None:
    assert human.size(amount) == text


def test_binary_sizes() -> None:
    assert human.binary_size(64 << 20) == "64MiB"
    assert human.binary_size(1_500_000) == "1.431MiB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (3500, "58 minutes"),
        (3600, "About an hour"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (15 * 86400, "2 weeks"),
        (90 * 86400, "3 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert durations.roughly(seconds) == text


def port(private: int, public: int = 0, address: str = "0.0.0.0", kind: str = "tcp") -> Any:
    if not public:
        return {"PrivatePort": private, "Type": kind}
    return {"IP": address, "PrivatePort": private, "PublicPort": public, "Type": kind}


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([], ""),
        ([port(80)], "80/tcp"),
        ([port(80, 8080)], "0.0.0.0:8080->80/tcp"),
        ([port(81, 8081), port(80, 8080)], "0.0.0.0:8080-8081->80-81/tcp"),
        ([port(80, 8080), port(81, 9000)], "0.0.0.0:8080->80/tcp, 0.0.0.0:9000->81/tcp"),
        (
            [port(80, 8080, "::1"), port(53, 53, kind="udp")],
            "0.0.0.0:53->53/udp, [::1]:8080->80/tcp",
        ),
        ([port(80), port(81), port(82, kind="udp")], "80-81/tcp, 82/udp"),
    ],
)
def test_ports(ports: list[Any], text: str) -> None:
    assert published.shown(ports) == text


def machine(**changed: Any) -> dict[str, Any]:
    return {
        "Id": "0123456789abcdef" * 4,
        "Names": ["/web"],
        "Image": "debian:12",
        "Weight": "light",
        "Command": "sh -c 'echo hello; sleep 1'",
        "Created": time.time() - 120,
        "Ports": [port(80, 8080)],
        "Labels": {"b": "2", "a": "1"},
        "State": "running",
        "Status": "Up 2 minutes",
        "NetworkSettings": {"Networks": {"bridge": {}}},
        "Mounts": [{"Type": "volume", "Name": "a-very-long-volume-name", "Source": "/x"}],
        **changed,
    }


def test_a_machines_row() -> None:
    row = ps.row(machine())
    assert row["ID"] == "0123456789ab"
    assert row["Command"] == '"sh -c \'echo hello; …"'
    assert row["RunningFor"] == "2 minutes ago"
    assert row["Labels"] == "a=1,b=2"
    assert row["Label"]("b") == "2"
    assert row["Mounts"] == "a-very-long-vo…"
    assert row["LocalVolumes"] == "1"
    whole = ps.row(machine(SizeRw=5, SizeRootFs=2000), whole=True)
    assert whole["Mounts"] == "a-very-long-volume-name"
    assert whole["Size"] == "5B (virtual 2kB)"
    assert len(whole["ID"]) == 64
    assert ps.row(machine(Image="sha256:" + "ab" * 32))["Image"] == "abababababab"


def test_the_table_of_machines() -> None:
    head, line = Listing(ps.HEADERS, ps.COLUMNS).text([ps.row(machine())]).splitlines()
    assert head.split("  ")[0] == "CONTAINER ID"
    assert [word for word in head.split("   ") if word.strip()][1].strip() == "IMAGE"
    assert line.endswith("web")
    assert head.index("STATUS") == line.index("Up 2 minutes")


def test_an_images_rows() -> None:
    image = {
        "Id": "sha256:" + "ab" * 32,
        "RepoTags": ["host:5000/a:1", "b:latest"],
        "RepoDigests": ["b@sha256:1"],
        "Created": 0,
        "Size": 1000,
        "SharedSize": -1,
        "Containers": 2,
    }
    first, second = images.rows_of(image, whole=False)
    assert (first["Repository"], first["Tag"], first["Digest"]) == ("host:5000/a", "1", "<none>")
    assert (second["Repository"], second["Tag"], second["Digest"]) == ("b", "latest", "sha256:1")
    assert (first["ID"], first["CreatedSince"], first["Containers"]) == ("abababababab", "N/A", "2")
    (nameless,) = images.rows_of({**image, "RepoTags": []}, whole=False)
    assert (nameless["Repository"], nameless["Tag"]) == ("<none>", "<none>")


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("a", ("a", "")),
        ("a:1", ("a", "1")),
        ("host:5000/a", ("host:5000/a", "")),
        ("host:5000/a:1", ("host:5000/a", "1")),
    ],
)
def test_references_are_split(reference: str, parts: tuple[str, str]) -> None:
    assert split_reference(reference) == parts


def test_statistics() -> None:
    measured = {
        "id": "ab" * 32,
        "name": "/web",
        "cpu_stats": {
            "cpu_usage": {"total_usage": 300},
            "system_cpu_usage": 2000,
            "online_cpus": 2,
        },
        "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
        "memory_stats": {"usage": 3 << 20, "limit": 8 << 20, "stats": {"inactive_file": 1 << 20}},
        "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 20}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"op": "read", "value": 5000},
                {"op": "write", "value": 7},
            ]
        },
        "pids_stats": {"current": 4},
    }
    row = stats.row("web", measured, whole=False)
    assert row["CPUPerc"] == "40.00%"
    assert (row["MemUsage"], row["MemPerc"]) == ("2MiB / 8MiB", "25.00%")
    assert row["HostMem"] == "2MiB", "a container takes what it sees"
    measured["memory_stats"]["stats"]["heft_host_memory"] = 70 << 20
    assert stats.row("web", measured, whole=False)["HostMem"] == "70MiB"
    assert (row["NetIO"], row["BlockIO"], row["PIDs"]) == ("1kB / 20B", "5kB / 7B", "4")
    stopped = {**measured, "memory_stats": {}}
    assert stats.row("web", stopped, whole=False)["CPUPerc"] == "--"
    assert stats.row("web", None, whole=False)["Name"] == "--"


def test_events_as_lines() -> None:
    event = {
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "c0ffee", "Attributes": {"name": "web", "image": "debian"}},
        "timeNano": 1_700_000_000_000_000_005,
    }
    line = events.line(event)
    assert line.endswith(" container start c0ffee (image=debian, name=web)")
    assert ".000000005" in line


def test_what_takes_up_space() -> None:
    rows = usage.rows(
        {
            "LayersSize": 3000,
            "Images": [{"Containers": 1, "Size": 1000}, {"Containers": 0, "Size": 2000}],
            "Containers": [{"State": "running", "SizeRw": 10}, {"State": "exited", "SizeRw": 30}],
            "Volumes": [{"UsageData": {"RefCount": 1, "Size": -1}}],
        }
    )
    assert [row["Reclaimable"] for row in rows] == ["2kB (66%)", "30B (75%)", "0B"]
    assert [row["Active"] for row in rows] == ["1", "1", "1"]


def test_second_names_mean_something() -> None:
    assert set(index.ALIASES.values()) <= set(index.COMMANDS)
    assert set(index.GROUP_ALIASES.values()) <= set(index.GROUPS)
    assert index.path_of(("container", "ls")) == "machine ls"
    assert index.resolve("machine ls") == "ps"
    assert index.resolve("nope") == ""
