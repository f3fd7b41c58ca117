"""Who somebody is to a registry, as Docker's clients say it.

The header `X-Registry-Auth` is JSON in base64url (moby, api/types/registry/authconfig.go); `POST
/auth` has the same JSON as its body.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import msgspec

from heft.errors import InvalidArgument

LONGEST = 1 << 16
"""Characters of the header."""


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
    if not text:
        return NOBODY
    if len(text) > LONGEST:
        raise InvalidArgument("invalid X-Registry-Auth header: it is too long")
    try:
        url_safe = text.strip().translate(str.maketrans("+/", "-_")).rstrip("=")
        padded = url_safe + "=" * (-len(url_safe) % 4)
        content = base64.b64decode(padded, altchars=b"-_", validate=True)
        # Clients send this for nobody too: Compose "null", docker-py "{}".
        given = msgspec.json.decode(content or b"{}", type=AuthConfig | None)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise InvalidArgument(f"invalid X-Registry-Auth header: {error}") from error
    return of(given or AuthConfig())


def of(given: AuthConfig) -> Credentials:
    """Give the credentials that a client's JSON holds. Raises `InvalidArgument`."""
    username, password = given.username or "", given.password or ""
    if given.auth and not username:
        try:
            pair = base64.b64decode(given.auth).decode()
        except (binascii.Error, ValueError) as error:
            raise InvalidArgument(f"invalid auth: {error}") from error
        username, _, password = pair.partition(":")
    return Credentials(
        username, password.rstrip("\0"), given.identity_token or "", given.registry_token or ""
    )
