"""Which registries are reached how: `registries.conf`, as containers-registries.conf(5) has it.

Read of it are version 2's tables `[[registry]]` (`prefix`, `location`, `insecure`, `blocked`,
`mirror-by-digest-only`) and `[[registry.mirror]]` (`location`, `insecure`, `pull-from-mirror`);
what it says about names without a domain means nothing here, which are Docker Hub's.
"""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from heft.errors import Forbidden, InvalidArgument
from heft.failures import refused
from heft.images.reference import DEFAULT_DOMAIN

if TYPE_CHECKING:
    from pathlib import Path

    from heft.images.reference import Reference

FILE = "registries.conf"
HUB = "registry-1.docker.io"
"""Where Docker Hub's API is."""


class Mirror(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """A place that has copies of a registry's images."""

    location: str
    insecure: bool = False
    pull_from_mirror: Literal["", "all", "digest-only", "tag-only"] = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """What is said of all names that begin with `prefix`; `*.` stands for any subdomain."""

    prefix: str = ""
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirror_by_digest_only: bool = False
    mirror: list[Mirror] = []

    @property
    def matched(self) -> str:
        """Give what names must begin with."""
        return self.prefix or self.location


class _File(msgspec.Struct, frozen=True):
    registry: list[Rule] = []


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A repository at one place. `host` has its port, where it has one of its own.

    `insecure`: certificates that nobody vouches for are taken, and HTTP where there is no HTTPS.
    """

    host: str
    repository: str
    insecure: bool = False

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}"


class Configuration:
    """The rules of one file."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.rules = rules

    def endpoints(self, name: Reference) -> list[Endpoint]:
        """Give where an image may be pulled from, the mirrors first. Raises `Forbidden`."""
        rule = self._rule(name.name)
        if rule is None:
            return [self.primary(name)]
        by_digest = bool(name.digest)
        return [
            *(
                _endpoint(mirror.location + _behind(rule, name), mirror.insecure)
                for mirror in rule.mirror
                if _serves(rule, mirror, by_digest=by_digest)
            ),
            self.primary(name),
        ]

    def primary(self, name: Reference) -> Endpoint:
        """Give the registry itself, which is pushed to. Raises `Forbidden` where it is blocked."""
        rule = self._rule(name.name)
        if rule is None:
            return _endpoint(name.name, insecure=False)
        _check(rule)
        if not rule.location:
            return _endpoint(name.name, rule.insecure)
        return _endpoint(rule.location + _behind(rule, name), rule.insecure)

    def is_insecure(self, host: str) -> bool:
        """Say whether a registry as such is insecure. Raises `Forbidden` where it is blocked."""
        rule = self._rule(host)
        if rule is not None:
            _check(rule)
        return (rule is not None and rule.insecure) or _is_loopback(host)

    def _rule(self, name: str) -> Rule | None:
        fitting = [rule for rule in self.rules if _length(rule, name)]
        return max(fitting, key=lambda rule: len(rule.matched), default=None)


def _check(rule: Rule) -> None:
    if rule.blocked:
        raise Forbidden(f"registry {rule.matched} is blocked", hint=f"{FILE} says so")


def read(directory: Path) -> Configuration:
    """Read the file in a directory; none is an empty one. Raises `InvalidArgument`, `HostError`."""
    path = directory / FILE
    try:
        parsed = msgspec.convert(tomllib.loads(path.read_text()), _File)
    except FileNotFoundError:
        return Configuration()
    except OSError as error:
        raise refused(f"read {path}", error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InvalidArgument(
            f"{path}: {error}", hint="see containers-registries.conf(5)"
        ) from error
    for rule in parsed.registry:
        if not rule.matched:
            raise InvalidArgument(f"{path}: a [[registry]] has neither prefix nor location")
        if rule.prefix.startswith("*.") and (rule.location or rule.mirror):
            raise InvalidArgument(f"{path}: {rule.prefix}: a wildcard stands for no one location")
        for location in (rule.location, *(mirror.location for mirror in rule.mirror)):
            if "://" in location:
                raise InvalidArgument(f"{path}: location {location}: no scheme is to be there")
    return Configuration(tuple(parsed.registry))


def _length(rule: Rule, name: str) -> int:
    """Give how much of a name's beginning a rule is about; 0 if it is not."""
    prefix = rule.matched
    if prefix.startswith("*."):
        domain = name.partition("/")[0].partition(":")[0]
        return len(prefix) if domain.endswith(prefix[1:]) else 0
    if name.startswith(prefix) and name[len(prefix) : len(prefix) + 1] in ("", "/", ":", "@"):
        return len(prefix)
    return 0


def _behind(rule: Rule, name: Reference) -> str:
    return name.name.removeprefix(rule.matched)


def _serves(rule: Rule, mirror: Mirror, *, by_digest: bool) -> bool:
    wanted = mirror.pull_from_mirror
    if rule.mirror_by_digest_only or wanted == "digest-only":
        return by_digest
    return wanted != "tag-only" or not by_digest


def _endpoint(name: str, insecure: bool) -> Endpoint:
    host, _, repository = name.partition("/")
    return Endpoint(
        HUB if host == DEFAULT_DOMAIN else host, repository, insecure or _is_loopback(host)
    )


def _is_loopback(host: str) -> bool:
    """Say whether it is this host itself, where nobody listens in (as Docker has it)."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
