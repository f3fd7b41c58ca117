"""What a registry wants to see before it answers, and where that is got.

A registry that refuses says what it wants (RFC 9110, `WWW-Authenticate`): user and password
(`Basic`), or a token (`Bearer`) that another server hands out for user and password, or for an
identity token (distribution's docs/content/spec/auth/token.md and oauth.md). Tokens are kept until
shortly before their end, and one that is refused is not used again.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from yarl import URL

from heft.errors import HostError, Unauthorized
from heft.images.registry.attempts import UNREADABLE, read_bounded, tried
from heft.images.registry.web import through

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import aiohttp

    from heft.images.registry.credentials import Credentials
    from heft.images.registry.web import Web

CLIENT = "heft"
DEFAULT_SECONDS = 60
"""How long a token is good for that does not say."""
MOST_SECONDS = 24 * 3600
MARGIN_SECONDS = 10
LARGEST_TOKEN = 1 << 18
"""Bytes of a token server's answer."""

_PART = re.compile(
    r"(?<![A-Za-z_-])([A-Za-z_-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))|([A-Za-z][A-Za-z0-9_-]*)"
)
"""A parameter, or the name of a scheme. A name is looked for where one can begin and nowhere within
it: else a header of 8 KiB of dashes would hold up the daemon for most of a second."""


def challenges(header: str) -> dict[str, dict[str, str]]:
    """Read what is wanted: parameters by scheme, both in small letters."""
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for name, quoted, bare, scheme in _PART.findall(header):
        if scheme:
            current = found.setdefault(scheme.lower(), {})
        else:
            current[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) or bare
    return found


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    expires_in: int | None = None
    refresh_token: str = ""


@dataclass
class Authorization:
    """One user's, at one registry. `insecure`: the password may go over HTTP."""

    web: Web
    credentials: Credentials
    insecure: bool
    _headers: dict[str, tuple[str, float]] = field(default_factory=dict)
    """What to send for a scope, and until when (monotonic)."""
    identity_token: str = ""
    """One that the token server gave in place of the password."""

    def header(self, scope: str) -> dict[str, str]:
        """Give what is to be sent, as far as it is known."""
        if self.credentials.registry_token:
            return {"Authorization": f"Bearer {self.credentials.registry_token}"}
        value, until = self._headers.get(scope, ("", 0.0))
        return {"Authorization": value} if value and time.monotonic() < until else {}

    async def satisfy(self, said: Iterable[str], scope: str) -> None:
        """Get what a refusal asks for. Raises `Unauthorized`, `HostError`."""
        self._headers.pop(scope, None)
        wanted: dict[str, dict[str, str]] = {}
        for header in said:
            wanted |= challenges(header)
        if "bearer" in wanted and "realm" in wanted["bearer"]:
            value, seconds = await self._token(wanted["bearer"], scope)
            until = time.monotonic() + seconds - min(MARGIN_SECONDS, seconds / 2)
            self._headers[scope] = (f"Bearer {value}", until)
        elif "basic" in wanted and self.credentials.username:
            self._headers[scope] = (self.credentials.basic, float("inf"))
        elif "basic" in wanted:
            raise Unauthorized("no basic auth credentials", hint="log in first")
        else:
            raise Unauthorized("the registry asks for a kind of authentication that Heft has not")

    async def _token(self, wanted: Mapping[str, str], scope: str) -> tuple[str, float]:
        try:
            realm = URL(wanted["realm"])
        except ValueError as error:
            raise HostError(f"invalid realm of the registry's tokens: {error}") from error
        if realm.scheme not in ("http", "https") or not realm.host:
            raise HostError(f"invalid realm of the registry's tokens: {wanted['realm']}")
        known = bool(self.credentials.username or self.credentials.identity_token)
        if known and realm.scheme == "http" and not self.insecure:
            raise Unauthorized(f"the password is not sent to {realm}, which has no encryption")
        scopes = scope or wanted.get("scope", "")
        values = {"service": wanted["service"]} if "service" in wanted else {}
        identity = self.credentials.identity_token or self.identity_token
        if identity:
            form = {"grant_type": "refresh_token", "refresh_token": identity, "scope": scopes}
            answer = await self._ask(
                "POST", realm, "the identity token is not taken any more: log in again",
                form=values | form | {"client_id": CLIENT},
            )  # fmt: skip
        else:
            headers = {"Authorization": self.credentials.basic} if known else {}
            if known:
                values |= {"account": self.credentials.username}
            pairs = [*values.items(), *(("scope", each) for each in scopes.split())]
            refused = "incorrect username or password" if known else "log in first"
            answer = await self._ask("GET", realm.extend_query(pairs), refused, headers=headers)
        if answer.refresh_token:
            self.identity_token = answer.refresh_token
        value = answer.token or answer.access_token
        if not value:
            raise HostError(f"{realm.host} gave an answer without a token")
        if not value.isprintable():
            raise HostError(f"{realm.host} gave a token that no header can have")
        return value, float(min(answer.expires_in or DEFAULT_SECONDS, MOST_SECONDS))

    async def _ask(
        self,
        method: str,
        url: URL,
        refused: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> _Token:
        tls = await self.web.tls(url.authority, insecure=self.insecure)

        async def ask() -> aiohttp.ClientResponse:
            return await self.web.session.request(
                method, url, headers=headers, data=form, ssl=tls, allow_redirects=False,
                **through(url),
            )  # fmt: skip

        answer = await tried(ask, f"ask {url.host} for a token")
        async with answer:
            content = await read_bounded(answer, LARGEST_TOKEN)
            if answer.status in (400, 401, 403):
                raise Unauthorized(f"unauthorized: {refused}")
            if answer.status != 200:
                raise HostError(f"{url.host} gives no token: HTTP status {answer.status}")
        try:
            return msgspec.json.decode(content, type=_Token)
        except UNREADABLE as error:
            raise HostError(f"{url.host} gave an answer that is no token: {error}") from error
