"""Requests to one registry: authorized, led on by redirects, and tried again.

What is sent to prove who asks goes to the registry alone; where it leads on to (a store of blobs on
another host) gets nothing of it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
from yarl import URL

from heft.errors import (
    Forbidden,
    HeftError,
    HostError,
    InvalidArgument,
    NotFound,
    Unauthorized,
    Unavailable,
    plain,
)
from heft.images.registry.attempts import BROKEN, UNREADABLE, read_bounded, tried
from heft.images.registry.authorization import Authorization
from heft.images.registry.web import through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import aiohttp

    from heft.images.registry.credentials import Credentials
    from heft.images.registry.web import Web

MOST_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
LARGEST_ERROR = 1 << 16
"""Bytes of what a registry says about an error."""
_KINDS: dict[int, type[HeftError]] = {
    400: InvalidArgument,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    429: Unavailable,
    503: Unavailable,
}


class _Error(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct, frozen=True):
    errors: list[_Error] = []
    details: str = ""


class Transport:
    """One user's way to one registry. `insecure` as of `Endpoint`."""

    def __init__(self, web: Web, host: str, credentials: Credentials, *, insecure: bool) -> None:
        self.web = web
        self.host = host
        self._insecure = insecure
        self.authorization = Authorization(web, credentials, insecure)
        self._origin: URL | None = None

    async def origin(self) -> URL:
        """Give scheme and host. An insecure registry is asked first whether it has HTTPS.

        That is not remembered for another time: it may have HTTPS by then, as Docker sees it.
        """
        if self._origin is None:
            scheme = "http" if self._insecure and not await self._has_tls() else "https"
            try:
                self._origin = URL(f"{scheme}://{self.host}")
            except ValueError as error:
                raise InvalidArgument(f"invalid registry {self.host}: {error}") from error
        return self._origin

    async def _has_tls(self) -> bool:
        try:
            async with await self._once("GET", URL(f"https://{self.host}/v2/"), {}, None):
                return True
        except BROKEN:
            return False
        except ValueError as error:
            raise InvalidArgument(f"invalid registry {self.host}: {error}") from error

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        place: str | URL,
        *,
        scope: str = "",
        headers: Mapping[str, str] | None = None,
        body: Callable[[], AsyncIterator[bytes]] | bytes | None = None,
        once: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the answer of a path at the registry, or of an address that it named.

        Raises `HostError` if there is none; `Unauthorized`; `Unavailable`. Any status is given.
        What is to be sent `once` is not tried again: a broken connection raises one of `BROKEN`.
        """
        url = place if isinstance(place, URL) else (await self.origin()).join(URL(place))
        answer = await self._authorized(method, url, scope, dict(headers or {}), body, once)
        for _ in range(MOST_REDIRECTS):
            if answer.status not in REDIRECTS or method not in ("GET", "HEAD"):
                break
            url = self.led_on(answer, answer.headers.get("Location", ""))
            answer.close()
            answer = await self._authorized(method, url, scope, dict(headers or {}), None, once)
        else:
            answer.close()
            raise HostError(f"{self.host} leads on without end")
        try:
            yield answer
        finally:
            # What was not read to its end cannot be used again.
            answer.release() if answer.content.at_eof() else answer.close()

    def led_on(self, answer: aiohttp.ClientResponse, given: str) -> URL:
        """Give the address that an answer leads on to. Raises `HostError` where it must not."""
        try:
            # What is signed of an address must stay as it is, letter by letter.
            url = answer.url.join(URL(given, encoded=True))
            url.origin()
        except ValueError as error:
            raise HostError(f"{self.host} leads on to an invalid address: {error}") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise HostError(f"{self.host} leads on to {url}, which is no address of the web")
        if url.scheme == "http" and answer.url.scheme == "https" and not self._insecure:
            raise HostError(f"{self.host} leads on to {url}, which has no encryption")
        return url

    async def _authorized(
        self,
        method: str,
        url: URL,
        scope: str,
        headers: dict[str, str],
        body: Callable[[], AsyncIterator[bytes]] | bytes | None,
        once: bool,
    ) -> aiohttp.ClientResponse:
        own = url.origin() == await self.origin()
        for asked in (False, True):
            sent = headers | (self.authorization.header(scope) if own else {})

            async def ask(sent: dict[str, str] = sent) -> aiohttp.ClientResponse:
                return await self._once(method, url, sent, body)

            answer = await (ask() if once else tried(ask, f"reach {url.authority}"))
            if answer.status != 401 or not own or asked:
                break
            said = answer.headers.getall("WWW-Authenticate", [])
            answer.close()
            await self.authorization.satisfy(said, scope)
        return answer

    async def _once(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: Callable[[], AsyncIterator[bytes]] | bytes | None,
    ) -> aiohttp.ClientResponse:
        tls = await self.web.tls(url.authority, insecure=self._insecure)
        return await self.web.session.request(
            method,
            url,
            headers=headers,
            data=body() if callable(body) else body,
            ssl=tls,
            allow_redirects=False,
            **through(url),
        )


async def failure(answer: aiohttp.ClientResponse, what: str) -> HeftError:
    """Give the error to raise for an answer that is none of those hoped for."""
    kind = _KINDS.get(answer.status, HostError)
    try:
        content = await read_bounded(answer, LARGEST_ERROR)
        said = msgspec.json.decode(content, type=_Errors, strict=False)
    except (HeftError, *UNREADABLE):
        said = _Errors()
    first = said.errors[0] if said.errors else _Error(message=said.details)
    code = first.code.lower().replace("_", " ")
    why = ": ".join(text for text in map(plain, (code, first.message)) if text)
    if answer.status == 429:
        why = why or "toomanyrequests"
    return kind(f"{what}: {why or f'HTTP status {answer.status} of {answer.url.host}'}")
