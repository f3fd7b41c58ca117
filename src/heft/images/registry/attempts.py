"""How often something is asked of a server that is busy, or cannot be reached."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from heft.errors import HostError, InvalidArgument, Unavailable, plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MOST = 6
"""Attempts, the first one included."""
FIRST_PAUSE = 0.25
"""Seconds, doubled every time."""
LONGEST_WAIT = 60.0
"""Seconds that a server may ask to wait; one that wants more is not waited for."""
BUSY = frozenset({429, 500, 502, 503, 504})
BROKEN = (aiohttp.ClientError, TimeoutError, OSError)
"""What a connection that fails raises."""
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What JSON that is none raises, or text in it that is none, or JSON that is too deep."""


class Attempts:
    """Counts the failures of one thing, and waits between them; `what` completes "cannot …"."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failed = 0

    async def failed(self, error: Exception | str) -> None:
        """Wait until the next attempt. Raises `HostError` if there is to be none."""
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            raise HostError(
                f"cannot {self._what}: {error.certificate_error}",
                hint="the certificate of an authority of your own belongs in"
                " /etc/heft/certs.d/HOST/ca.crt",
            )
        if isinstance(error, aiohttp.ClientConnectorSSLError):
            raise HostError(
                f"cannot {self._what}: {_said(error)}",
                hint="where it speaks HTTP without TLS, `insecure = true` belongs into its"
                " [[registry]] in /etc/heft/registries.conf",
            )
        self._failed += 1
        if self._failed >= MOST or is_lasting(error):
            cause = error if isinstance(error, Exception) else None
            raise HostError(f"cannot {self._what}: {_said(error)}") from cause
        await asyncio.sleep(self._pause())

    async def busy(self, answer: aiohttp.ClientResponse) -> bool:
        """Wait as long as a busy server asks for; False if there is to be no other attempt.

        Raises `Unavailable` where it asks for more than is bearable.
        """
        self._failed += 1
        wished = retry_after(answer.headers.get("Retry-After", ""))
        if wished > LONGEST_WAIT:
            raise Unavailable(
                f"cannot {self._what}: too many requests",
                hint=f"the registry asks to come again in {wished:.0f} seconds",
            )
        if self._failed >= MOST:
            return False
        await asyncio.sleep(max(wished, self._pause()))
        return True

    def _pause(self) -> float:
        return FIRST_PAUSE * 2.0 ** (self._failed - 1) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret


def is_lasting(error: Exception | str) -> bool:
    """Say whether a connection would fail the same way again."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status not in BUSY
    return isinstance(error, (aiohttp.ClientConnectorDNSError, aiohttp.InvalidURL))


def retry_after(text: str) -> float:
    """Read `Retry-After` (RFC 9110): seconds, or a date. What cannot be read is 0."""
    if text.strip().isdecimal():
        return float(text.strip())
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return float(max(0.0, moment - time.time()))


async def tried(
    ask: Callable[[], Awaitable[aiohttp.ClientResponse]], what: str
) -> aiohttp.ClientResponse:
    """Ask until there is an answer; one of `BUSY` is given when it was asked for often enough.

    Raises `HostError` if there is none, `Unavailable` for a server that wants to be left alone.
    """
    attempts = Attempts(what)
    while True:
        try:
            answer = await ask()
        except BROKEN as error:
            await attempts.failed(error)
            continue
        if answer.status not in BUSY:
            return answer
        try:
            again = await attempts.busy(answer)
        except BaseException:
            answer.close()
            raise
        if not again:
            return answer
        answer.close()


async def read_bounded(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """Give the body of an answer. Raises `InvalidArgument` if it is larger, `HostError`."""
    content = bytearray()
    try:
        async for block in answer.content.iter_any():
            content += block
            if len(content) > most:
                raise InvalidArgument(f"{answer.url}: the answer is larger than {most} bytes")
    except BROKEN as error:
        raise HostError(f"{answer.url}: {_said(error)}") from error
    return bytes(content)


def _said(error: Exception | str) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refuses: HTTP status {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, aiohttp.ClientResponseError):
        first, *_ = error.message.splitlines() or [""]
        return f"it gave an answer that is no HTTP: {plain(first, 200)}"
    return str(error) or type(error).__name__
