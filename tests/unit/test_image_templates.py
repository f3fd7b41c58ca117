"""Templates: what they are told, the apt sources of a host, and programs that stand alone."""

import os
import struct
import subprocess
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from heft.errors import InvalidArgument, NotFound, NotSupported
from heft.host import apt_sources, elf, usage
from heft.host.apt_sources import Source
from heft.images import platforms
from heft.images.templates import debian, debian_ports, registry
from heft.images.templates.base import choose

DEB822 = """\
Types: deb deb-src
# a comment in the middle
URIs: http://deb.debian.org/debian https://other.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://source.example
Suites: bookworm
Components: main

Types: deb
Enabled: no
URIs: http://disabled.example
Suites: bookworm
Components: main

Types: deb
URIs: http://inline.example
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
"""
KEY = ("signed-by", "/usr/share/keyrings/debian-archive-keyring.gpg")


def test_paragraphs() -> None:
    found = list(apt_sources.deb822(DEB822))
    assert [(each.uri, each.suite) for each in found] == [
        ("http://deb.debian.org/debian", "bookworm"),
        ("http://deb.debian.org/debian", "bookworm-updates"),
        ("https://other.example/debian", "bookworm"),
        ("https://other.example/debian", "bookworm-updates"),
        ("http://inline.example", "bookworm"),
    ]
    assert found[0] == Source(
        "http://deb.debian.org/debian", "bookworm", ("main", "contrib"), (KEY,)
    )
    assert found[-1].options == ()


def test_lines() -> None:
    text = (
        "# deb http://no.example x main\n"
        "deb http://a.example/debian bookworm main contrib # why\n"
        "deb-src http://a.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg pdiffs=no] http://b.example/ bookworm-security main\n"
        "nonsense\n"
    )
    first, second = apt_sources.one_line(text)
    assert first.line() == "deb http://a.example/debian bookworm main contrib"
    assert second.line() == (
        "deb [signed-by=/k.gpg arch=amd64] http://b.example/ bookworm-security main"
    )


def test_of_a_host(tmp_path: Path) -> None:
    assert apt_sources.of_host(tmp_path) == ()
    (tmp_path / "sources.list").write_text("deb http://a.example x main\n")
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/b.list").write_text("deb http://a.example x main\n")
    (tmp_path / "sources.list.d/c.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/d.disabled").write_text("deb http://d.example x main\n")
    found = apt_sources.of_host(tmp_path)
    assert len(found) == 6
    assert found[0].uri == "http://a.example"


def test_for_a_release() -> None:
    known = [
        Source("http://d", "bookworm", ("main",)),
        Source("http://d", "bookworm-updates", ("main",)),
        Source("http://s", "bookworm-security", ("main",)),
        Source("http://d", "bookworm-backports", ("main",)),
        Source("http://vendor", "nodistro", ("main",)),
        Source("cdrom:[Debian]/", "bookworm", ("main",)),
    ]

    def suites(release: str) -> list[str]:
        return [each.suite for each in apt_sources.for_release(known, "bookworm", release)]

    assert suites("bookworm") == ["bookworm", "bookworm-updates", "bookworm-security"]
    assert suites("trixie") == ["trixie", "trixie-updates", "trixie-security"]
    assert suites("sid") == ["sid"]
    assert apt_sources.for_release(known, "jammy", "bookworm") == ()


def test_options() -> None:
    template = debian.Debian()
    given = {"release": "trixie", "include": ["less,vim", "git"]}
    choices = choose(template, "debian", given)
    assert choices.text("release") == "trixie"
    assert choices.text("variant", "minbase") == "minbase"
    assert choices.texts("include") == ("less", "vim", "git")
    with pytest.raises(InvalidArgument, match="has no option size"):
        choose(template, "debian", {"size": "1"})
    with pytest.raises(InvalidArgument, match="takes one value"):
        choose(template, "debian", {"release": ["a", "b"]})


def test_ports_of_debian() -> None:
    own = debian_ports.choose("")
    assert own == debian_ports.choose(f"linux/{platforms.host_architecture()}")
    assert (own.options, own.release("", "bookworm")) == ((), "bookworm")
    source = Source("http://d", "bookworm", ("main",), (("arch", "amd64"), KEY))
    assert own.source(source) == source
    found = debian_ports.choose("linux/arm")
    assert (found.name, found.platform) == ("armhf", "linux/arm/v7")
    assert found.options[0] == "--architectures=armhf"
    assert found.source(source).options == (KEY,)
    young = debian_ports.choose("linux/riscv64")
    assert [young.release("", own) for own in ("bookworm", "sid")] == ["trixie", "sid"]
    with pytest.raises(InvalidArgument, match="bookworm was not made for riscv64"):
        young.release("bookworm", "sid")
    with pytest.raises(InvalidArgument, match="not made for linux/arm/v9"):
        debian_ports.choose("linux/arm/v9")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"release": "--hook=x"}, "invalid release"),
        ({"release": "Book worm"}, "invalid release"),
        ({"variant": "huge"}, "unknown variant 'huge'"),
        ({"include": "less;rm"}, "invalid name of a package: 'less;rm'"),
        ({"include": "../x"}, "invalid name of a package"),
        ({"mirror": "deb http://x y z"}, "invalid mirror"),
        ({"mirror": "/etc/passwd"}, "invalid mirror"),
    ],
)
async def test_bad_choices(tmp_path: Path, options: dict[str, str], says: str) -> None:
    template = debian.Debian()
    with pytest.raises(InvalidArgument, match=says):
        await template.build(
            choose(template, "debian", {"mirror": "http://m.example", **options}),
            tmp_path,
            lambda _: None,
        )


def test_what_is_small_is_made_in_memory_where_there_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "available_memory", lambda: 4 << 30)
    command = debian._place(tmp_path, "minbase", ())
    assert (command[0], command[-1]) == ("unshare", str(tmp_path))
    assert debian._place(tmp_path, "standard", ()) == ()
    assert debian._place(tmp_path, "minbase", ("texlive-full",)) == ()
    monkeypatch.setattr(usage, "available_memory", lambda: 2 << 30)
    assert debian._place(tmp_path, "minbase", ()) == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_files_in_memory_go_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "available_memory", lambda: 4 << 30)
    command = [*debian._place(tmp_path, "apt", ()), "sh", "-c", 'echo > file; stat -f -c %T "$PWD"']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "tmpfs\n"
    assert list(tmp_path.iterdir()) == []


async def test_without_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    template = debian.Debian()
    with pytest.raises(NotSupported, match="apt install mmdebstrap"):
        await template.build(choose(template, "debian", {}), tmp_path, lambda _: None)


def test_known_templates() -> None:
    assert [each["name"] for each in registry.listing()] == ["busybox", "debian"]
    with pytest.raises(NotFound, match="no such template: plan9"):
        registry.template("plan9")


def test_templates_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is broken is left out; Heft's own cannot be replaced."""

    def points(*, group: str) -> list[EntryPoint]:
        assert group == "heft.templates"
        own = "heft.images.templates.busybox:Busybox"
        return [
            EntryPoint("extra", own, group),
            EntryPoint("broken", "heft.missing:X", group),
            EntryPoint("debian", own, group),
        ]

    monkeypatch.setattr(registry, "entry_points", points)
    registry.templates.cache_clear()
    try:
        known = registry.templates()
        assert sorted(known) == ["busybox", "debian", "extra"]
        assert isinstance(known["debian"], debian.Debian)
    finally:
        registry.templates.cache_clear()


def program(machine: int, *kinds: int) -> bytes:
    """Make the headers of a 64-bit program with these kinds of segments."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, len(kinds), 0, 0, 0)
    return ident + header + b"".join(struct.pack("<I", kind) + bytes(52) for kind in kinds)


def test_programs() -> None:
    assert elf.read(program(62, 1, 2)) == elf.Program("amd64", static=True)
    assert elf.read(program(183, 1, 3)) == elf.Program("arm64", static=False)
    assert elf.read(program(9999)) is None
    assert elf.read(program(62, 1, 1)[:70]) is None
    assert elf.read(b"#!/bin/sh\n") is None
    assert elf.read(b"") is None
