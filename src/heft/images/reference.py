"""References: the names of images, as Docker's `distribution/reference` reads and shows them.

A reference is `[domain[:port]/]path[:tag][@digest]`. A familiar one leaves out what is the default:
`busybox` is `docker.io/library/busybox:latest`. Grammar, limits and wording of the errors are those
of github.com/distribution/reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from heft.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
LEGACY_DEFAULT_DOMAIN = "index.docker.io"
OFFICIAL = "library/"
DEFAULT_TAG = "latest"
LONGEST_NAME = 255
"""Characters of domain and path together."""

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = rf"(?:{_DOMAIN}/)?{_PATH_PART}(?:/{_PATH_PART})*"
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"({_NAME})(?::({_TAG}))?(?:@({_DIGEST}))?")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_PREFIX = re.compile(r"(?:sha256:)?([a-f0-9]{1,64})")
_SHA256 = re.compile(r"sha256:[a-f0-9]{64}")

INVALID = "invalid reference format"


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of an image in full: `domain` and `path` are never empty, tag and digest can be."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference, familiar or in full. Raises `InvalidArgument`."""
        if _IDENTIFIER.fullmatch(text):
            raise InvalidArgument(
                f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )
        domain, rest = _split(text)
        name = rest.partition("@")[0]
        head, _, last = name.rpartition("/")
        path = f"{head}/{last.partition(':')[0]}" if head else last.partition(":")[0]
        if path.lower() != path:
            raise InvalidArgument(f"{INVALID}: repository name ({path}) must be lowercase")
        match = _REFERENCE.fullmatch(f"{domain}/{rest}")
        if match is None:
            raise InvalidArgument(INVALID)
        full, tag, digest = match[1], match[2] or "", match[3] or ""
        if len(full) > LONGEST_NAME:
            raise InvalidArgument(
                f"{INVALID}: repository name must not be more than {LONGEST_NAME} characters"
            )
        if digest:
            check_digest(digest)
        return cls(domain, full.removeprefix(f"{domain}/"), tag, digest)

    @property
    def name(self) -> str:
        """Give domain and path: the repository."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """Give the repository as Docker shows it."""
        short = self.path.removeprefix(OFFICIAL)
        if "/" in short:
            short = self.path
        # What would be taken for a domain must have one in front of it.
        return self.name if self.domain != DEFAULT_DOMAIN or _domain_in(short) else short

    def with_default_tag(self) -> Reference:
        """Give it with the tag `latest` if it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def familiar(self) -> str:
        """Give it as Docker shows it."""
        return self.familiar_name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix()


def _split(text: str) -> tuple[str, str]:
    """Tell the domain from the rest."""
    first, rest = _domain_in(text), text
    if first:
        rest = text[len(first) + 1 :]
    else:
        first = DEFAULT_DOMAIN
    if first == LEGACY_DEFAULT_DOMAIN:
        first = DEFAULT_DOMAIN
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = OFFICIAL + rest
    return first, rest


def _domain_in(text: str) -> str:
    """Give the first part if it is a domain: with dot, colon or capital, or `localhost`."""
    first, slash, _ = text.partition("/")
    marked = "." in first or ":" in first or first == "localhost" or first.lower() != first
    return first if slash and marked else ""


def check_digest(text: str) -> None:
    """Raise `InvalidArgument` for what is no digest by SHA-256, the one algorithm Heft has."""
    algorithm, _, value = text.partition(":")
    if algorithm != "sha256":
        raise InvalidArgument(f"{INVALID}: unsupported digest algorithm: {algorithm}")
    if not _SHA256.fullmatch(text):
        raise InvalidArgument(f"{INVALID}: invalid checksum digest length: {len(value)}")


def is_digest(text: str) -> bool:
    """Say whether this is a whole digest: `sha256:` and 64 digits."""
    return _SHA256.fullmatch(text) is not None


def id_prefix(text: str) -> str:
    """Give the hexadecimal digits of what may be an image's id, or its beginning; else nothing."""
    match = _PREFIX.fullmatch(text)
    return match[1] if match else ""
