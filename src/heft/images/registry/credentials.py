"""Who somebody is to a registry, as Docker's clients say it.

The header `X-Registry-Auth` is JSON in base64url (moby, api/types/registry/authconfig.go); `POST
/auth` has the same JSON as its body. `X-Registry-Config` is an object of such, by registry.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from heft.errors import InvalidArgument
from heft.images.reference import DEFAULT_DOMAIN, LEGACY_DEFAULT_DOMAIN

LONGEST = 1 << 16
"""Characters of the header."""
T = TypeVar("T")


class AuthConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: name.replace("_", "")
):
    """What a client sends; `auth` is user and password in one, by base64."""

    username: str | None = None
    password: str | None = None
    auth: str | None = None
    server_address: str | None = None
    identity_token: str | None = None
    registry_token: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A user and a password, or a token that stands for both; all empty: nobody in particular."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    """Exchanged for other tokens (OAuth 2's refresh token)."""
    registry_token: str = ""
    """Sent to the registry as it is."""

    @property
    def basic(self) -> str:
        """Give the value of a header `Authorization` (RFC 7617); empty without a user."""
        if not self.username:
            return ""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"


NOBODY = Credentials()


def read_header(text: str) -> Credentials:
    """Read `X-Registry-Auth`; an empty one is nobody's. Raises `InvalidArgument`."""
    # Clients send this for nobody too: Compose "null", docker-py "{}".
    return of(_decoded(text, "X-Registry-Auth", AuthConfig) or AuthConfig())


def read_all(text: str) -> dict[str, Credentials]:
    """Read `X-Registry-Config`: credentials by the domain of images. Raises `InvalidArgument`."""
    given = _decoded(text, "X-Registry-Config", dict[str, AuthConfig]) or {}
    return {domain_of(server): of(each) for server, each in given.items()}


def domain_of(server: str) -> str:
    """Give the domain of images at a registry that may be called by its address."""
    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return DEFAULT_DOMAIN if host in ("", LEGACY_DEFAULT_DOMAIN) else host


def _decoded(text: str, header: str, kind: type[T]) -> T | None:
    if len(text) > LONGEST:
        raise InvalidArgument(f"invalid {header} header: it is too long")
    try:
        url_safe = text.strip().translate(str.maketrans("+/", "-_")).rstrip("=")
        padded = url_safe + "=" * (-len(url_safe) % 4)
        content = base64.b64decode(padded, altchars=b"-_", validate=True)
        return msgspec.json.decode(content or b"null", type=kind | None)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise InvalidArgument(f"invalid {header} header: {error}") from error


def of(given: AuthConfig) -> Credentials:
    """Give the credentials that a client's JSON holds. Raises `InvalidArgument`."""
    username, password = given.username or "", given.password or ""
    if given.auth and not username:
        try:
            pair = base64.b64decode(given.auth).decode()
        except (binascii.Error, ValueError) as error:
            raise InvalidArgument(f"invalid auth: {error}") from error
        username, _, password = pair.partition(":")
    if not (given.registry_token or "").isprintable():
        raise InvalidArgument("invalid registrytoken: it has line breaks or other such characters")
    return Credentials(
        username, password.rstrip("\0"), given.identity_token or "", given.registry_token or ""
    )
