"""The package archives that this host's apt uses, as far as they have one release of it.

Formats: sources.list(5), one line a source or deb822 paragraphs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>.*)"
)
_KEPT = ("signed-by", "trusted", "check-valid-until", "arch")
"""Options of a source that matter to another root file system than the host's."""
_UNREACHABLE = ("cdrom:",)


@dataclass(frozen=True, slots=True)
class Source:
    """One archive, one suite."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    def line(self) -> str:
        """Give it as a line of sources.list."""
        options = " ".join(f"{name}={value}" for name, value in self.options)
        parts = ["deb", f"[{options}]" if options else "", self.uri, self.suite, *self.components]
        return " ".join(part for part in parts if part)


def of_host(apt: Path) -> tuple[Source, ...]:
    """Read the sources under /etc/apt."""
    found: list[Source] = []
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        text = file.read_text(errors="replace")
        if file.suffix == ".list":
            found.extend(one_line(text))
        elif file.suffix == ".sources":
            found.extend(deb822(text))
    return tuple(dict.fromkeys(found))


def one_line(text: str) -> Iterator[Source]:
    """Read the format of one line a source."""
    for line in text.splitlines():
        match = _LINE.fullmatch(line.partition("#")[0].strip())
        if match:
            options = dict(word.partition("=")[::2] for word in (match["options"] or "").split())
            components = tuple(match["rest"].split())
            yield Source(match["uri"], match["suite"], components, _kept(options))


def deb822(text: str) -> Iterator[Source]:
    """Read the format of paragraphs; a key that is part of the paragraph itself is left out."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "") == "no":
            continue
        options = _kept({key.replace("architectures", "arch"): fields[key] for key in fields})
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, tuple(fields.get("components", "").split()), options)


def _kept(options: dict[str, str]) -> tuple[tuple[str, str], ...]:
    values = ((name, ",".join(options.get(name, "").split())) for name in _KEPT)
    return tuple((name, value) for name, value in values if value and "-----BEGIN" not in value)


def for_release(sources: Iterable[Source], own: str, release: str) -> tuple[Source, ...]:
    """Give the sources of the distribution itself (whose release is `own`) for a release.

    Those are the ones with suites like `bookworm` and `bookworm-security`; what else a host has
    (a vendor's packages) is no part of a new root file system. A rolling release has no updates or
    security suites.
    """
    found = []
    for source in sources:
        base, dash, pocket = source.suite.partition("-")
        if base != own or source.uri.startswith(_UNREACHABLE):
            continue
        if release in ROLLING and dash:
            continue
        if pocket in ("backports", "proposed-updates", "backports-sloppy"):
            continue
        found.append(replace(source, suite=f"{release}{dash}{pocket}"))
    return tuple(found)


ROLLING = ("sid", "unstable", "experimental")
