"""One request, as handlers see it: its parameters, its body, and the ways to answer it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from aiohttp import web

import heft
from heft.api import filters
from heft.api.versions import NEWEST, Version, version_text
from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from heft.api.decode import Body
    from heft.api.work import Work
    from heft.engine.engine import Engine

T = TypeVar("T")

LARGEST_BODY = 4 << 20
"""Bytes of a JSON body; tars are streams, and have no bound here."""

COMMON_HEADERS = {
    "Api-Version": version_text(NEWEST),
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"Heft/{heft.__version__} (linux)",
}
JSON_HEADERS = {**COMMON_HEADERS, "Content-Type": "application/json"}

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way to a handler; `name` is the part of the path that names a thing."""

    request: web.BaseRequest
    engine: Engine
    work: Work
    version: Version
    name: str

    # What was asked

    def text(self, key: str) -> str:
        """Give a parameter of the query; empty if it is not there."""
        return self.request.query.get(key, "")

    def texts(self, key: str) -> list[str]:
        """Give all values of a parameter."""
        return self.request.query.getall(key, [])

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Read a yes or no as Docker does: all but a few words is a yes."""
        given = self.request.query.get(key)
        if given is None:
            return default
        return given.strip().lower() not in ("", "0", "no", "false", "none")

    def number(self, key: str) -> int | None:
        """Read a whole number; None where it is not given. Raises `InvalidArgument`."""
        given = self.text(key)
        if not given:
            return None
        try:
            return int(given)
        except ValueError:
            raise InvalidArgument(f"invalid {key}: {given!r} is not a number") from None

    def filters(self, known: frozenset[str]) -> filters.Filters:
        """Read the filters of a list."""
        return filters.parse(self.text("filters"), known)

    async def body(self, kind: Body[T]) -> T:
        """Read the JSON body. Raises `InvalidArgument`."""
        self._check_content_type()
        return kind.decode(await self.read())

    def _check_content_type(self) -> None:
        given = self.request.headers.get("Content-Type", "")
        media = given.partition(";")[0].strip().lower()
        if media == "application/json" or not (given or self.request.body_exists):
            return
        if "/" not in media:
            raise InvalidArgument(f"malformed Content-Type header ({given}): mime: no media type")
        raise InvalidArgument(
            f"unsupported Content-Type header ({given}): must be 'application/json'"
        )

    async def read(self) -> bytes:
        """Read the whole body, up to `LARGEST_BODY`."""
        body = bytearray()
        while block := await self.request.content.readany():
            body += block
            if len(body) > LARGEST_BODY:
                raise InvalidArgument(f"the request's body is larger than {LARGEST_BODY} bytes")
        return bytes(body)

    async def blocks(self) -> AsyncIterator[bytes]:
        """Give the body as it comes. Raises `InvalidArgument` if the client breaks it off."""
        try:
            while block := await self.request.content.readany():
                yield block
        except (web.RequestPayloadError, ConnectionError) as error:
            raise InvalidArgument(f"the request's body ended early: {error}") from error

    # Answers

    def json(self, value: Any, status: int = 200) -> web.Response:
        """Answer with a value."""
        return web.Response(body=encode(value) + b"\n", status=status, headers=JSON_HEADERS)

    def nothing(self, status: int = 204) -> web.Response:
        """Answer without a body."""
        return web.Response(status=status, headers=COMMON_HEADERS)

    async def stream(self, content_type: str = "application/json") -> web.StreamResponse:
        """Begin an answer of unknown length: the headers go out now."""
        response = web.StreamResponse(headers={**COMMON_HEADERS, "Content-Type": content_type})
        await response.prepare(self.request)
        return response

    async def give(
        self, blocks: AsyncGenerator[bytes, None], content_type: str
    ) -> web.StreamResponse:
        """Answer with bytes as they come; an error in the midst of them breaks the answer off."""
        response = await self.stream(content_type)
        async with contextlib.aclosing(blocks):
            async for block in blocks:
                await response.write(block)
        await response.write_eof()
        return response
