"""Which of a host's package sources a kernel is fetched from: those of the Debian archive. Pure.

Hosts have other sources too, of vendors and of their own; their lists are not needed, and their
keys are not to vouch for a kernel. Both formats of sources.list(5) are read; what comes out is in
the newer one (deb822), with the key ring of the archive where the host says none, and with binary
packages of `main` only. What the host trusts without a signature is left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
"""Of the package debian-archive-keyring."""
_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>.*)"
)
_COMPONENT = "main"
_FALSE = ("no", "false", "without", "off", "disable")


def of_archive(lists: Iterable[str], stanzas: Iterable[str]) -> str:
    """Give the sources of the archive, of files `*.list` and `*.sources`; empty for none."""
    found = [entry for text in lists for entry in _of_lines(text)]
    found += [entry for text in stanzas for entry in _of_stanzas(text)]
    return "\n".join(_written(entry) for entry in found if _is_wanted(entry))


def _of_lines(text: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        if match := _LINE.fullmatch(line.partition("#")[0].strip()):
            options = {
                name: value
                for name, _, value in (
                    each.partition("=") for each in (match["options"] or "").split()
                )
            }
            yield {
                "types": "deb",
                "uris": match["uri"],
                "suites": match["suite"],
                "components": match["rest"],
                **{name.lower(): value for name, value in options.items()},
            }


def _of_stanzas(text: str) -> Iterator[dict[str, str]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        entry: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line[:1].isspace() and last:
                entry[last] += f"\n{line}"
            elif ":" in line:
                name, _, value = line.partition(":")
                last = name.strip().lower()
                entry[last] = value.strip()
        if entry:
            yield entry


def _is_wanted(entry: Mapping[str, str]) -> bool:
    return (
        "deb" in entry.get("types", "").split()
        and _COMPONENT in entry.get("components", "").split()
        and entry.get("enabled", "yes").lower() not in _FALSE
        and entry.get("trusted", "no").lower() in _FALSE
        and entry.get("allow-insecure", "no").lower() in _FALSE
        and _is_archive(entry)
    )


def _is_archive(entry: Mapping[str, str]) -> bool:
    """Say whether it is of the archive: by its key ring, else by what mirrors are called."""
    if signed := entry.get("signed-by", ""):
        return "debian-archive" in signed
    last = [uri.rstrip("/").rpartition("/")[2] for uri in entry.get("uris", "").split()]
    return bool(last) and all(name in ("debian", "debian-security") for name in last)


def _written(entry: Mapping[str, str]) -> str:
    fields = {
        "Types": "deb",
        "URIs": entry["uris"],
        "Suites": entry.get("suites", ""),
        "Components": _COMPONENT,
        "Signed-By": entry.get("signed-by", "") or KEYRING,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items())
