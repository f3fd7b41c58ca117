"""One repository at one registry, as the OCI distribution specification and Docker's v2 have it.

What comes is not to be trusted: manifests are checked against their digest here, blobs by whoever
takes them in (a layer is hashed where it is unpacked).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING

import msgspec
from yarl import URL

from heft.errors import (
    Forbidden,
    HostError,
    InvalidArgument,
    NotFound,
    Unauthorized,
    Unavailable,
)
from heft.images import configs
from heft.images.registry import manifests
from heft.images.registry.attempts import BROKEN, BUSY, UNREADABLE, Attempts, read_bounded
from heft.images.registry.manifests import Document
from heft.images.registry.transport import Transport, failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    import aiohttp

    from heft.images.archive import Manifest
    from heft.images.configs import ImageConfig
    from heft.images.registry.configuration import Endpoint
    from heft.images.registry.credentials import Credentials
    from heft.images.registry.web import Web

    Read = Callable[[int, int], AsyncGenerator[bytes, None]]
    """Gives the bytes of a blob: so many, from a position on."""

CHUNK = 256 << 20
"""Bytes of a blob that are sent in one request; what stands between has bounds."""
MOST_TAGS = 100_000
MOST_PAGES = 1000
LARGEST_LIST = 16 << 20
"""Bytes of all pages of tags."""
MOST_DIGITS = 18
"""Of a number of bytes that a registry names."""


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class Registry:
    """A repository; `push` asks for the right to write as well."""

    def __init__(
        self, web: Web, endpoint: Endpoint, credentials: Credentials, *, push: bool = False
    ) -> None:
        self.endpoint = endpoint
        self._transport = Transport(web, endpoint.host, credentials, insecure=endpoint.insecure)
        self._root = f"/v2/{endpoint.repository}"
        self._scope = f"repository:{endpoint.repository}:{'pull,push' if push else 'pull'}"

    @contextlib.asynccontextmanager
    async def _ask(
        self,
        method: str,
        place: str | URL,
        *,
        headers: dict[str, str] | None = None,
        body: Callable[[], AsyncIterator[bytes]] | bytes | None = None,
        scope: str = "",
        once: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        place = place if isinstance(place, URL) else f"{self._root}/{place}"
        async with self._transport.request(
            method, place, scope=scope or self._scope, headers=headers, body=body, once=once
        ) as answer:
            yield answer

    # Looking

    async def manifest(self, reference: str) -> Document:
        """Fetch a manifest or an index by tag or digest; it has the digest, where one was given.

        Raises `NotFound`, `Unauthorized`, `Forbidden`, `InvalidArgument`, `NotSupported`,
        `HostError`.
        """
        headers = {"Accept": ", ".join(manifests.ACCEPTED)}
        async with self._ask("GET", f"manifests/{reference}", headers=headers) as answer:
            if answer.status != 200:
                raise await failure(answer, f"manifest for {reference} at {self.endpoint}")
            content = await read_bounded(answer, manifests.LARGEST)
            media_type = manifests.media_type_of(content, answer.headers.get("Content-Type", ""))
            said = answer.headers.get("Docker-Content-Digest", "")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        expected = reference if ":" in reference else said
        if expected.startswith("sha256:") and digest != expected:
            raise InvalidArgument(
                f"{self.endpoint}: the manifest has the digest {digest}, not {expected}"
            )
        return Document(content, media_type, digest)

    async def tags(self) -> list[str]:
        """Give all tags. Raises as `manifest`."""
        found: list[str] = []
        left = LARGEST_LIST
        place: str | URL = "tags/list?n=1000"
        for _ in range(MOST_PAGES):
            async with self._ask("GET", place) as answer:
                if answer.status != 200:
                    raise await failure(answer, f"tags of {self.endpoint}")
                content = await read_bounded(answer, left)
                left -= len(content)
                link = answer.links.get("next")
                place = self._transport.led_on(answer, str(link["url"])) if link else ""
            try:
                found += msgspec.json.decode(content, type=_Tags).tags or ()
            except UNREADABLE as error:
                raise HostError(f"{self.endpoint} gave no list of tags: {error}") from error
            if len(found) > MOST_TAGS:
                raise InvalidArgument(f"{self.endpoint} has more than {MOST_TAGS} tags")
            if not place:
                return found
        raise InvalidArgument(f"{self.endpoint} has more than {MOST_PAGES} pages of tags")

    # Fetching

    async def config(self, manifest: Manifest) -> ImageConfig:
        """Fetch the configuration of an image. Raises as `manifest`."""
        content = await self.small_blob(manifest.config.digest, manifest.config.size)
        return await asyncio.to_thread(configs.decode, content)

    async def small_blob(self, digest: str, size: int) -> bytes:
        """Fetch a blob that is a document. Raises `InvalidArgument` if it has another digest."""
        content = b""
        async with contextlib.aclosing(self.blob(digest, size)) as blocks:
            async for block in blocks:
                content += block
        if (came := f"sha256:{hashlib.sha256(content).hexdigest()}") != digest:
            raise wrong_digest(self.endpoint, digest, came)
        return content

    async def blob(self, digest: str, size: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """Fetch a blob from byte `start` on, however often the connection breaks; not checked.

        It has exactly `size` bytes. Raises `InvalidArgument` if the registry has another number of
        them, else as `manifest`.
        """
        at = start
        attempts = Attempts(f"fetch {digest} from {self.endpoint.host}")
        while at < size:
            before = at
            why: Exception | str = "the answer ended early"
            headers = {"Range": f"bytes={at}-"} if at else {}
            async with self._ask("GET", f"blobs/{digest}", headers=headers) as answer:
                skipped = await self._position(answer, digest, size, at)
                try:
                    async for block in answer.content.iter_any():
                        wanted = block[skipped:]
                        skipped -= len(block) - len(wanted)
                        at += len(wanted)
                        if at > size:
                            raise self._lies(digest, size)
                        if wanted:
                            yield wanted
                except BROKEN as error:
                    why = error
            if at == size:
                return
            if at > before:
                attempts = Attempts(f"fetch {digest} from {self.endpoint.host}")
            await attempts.failed(why)

    async def _position(
        self, answer: aiohttp.ClientResponse, digest: str, size: int, at: int
    ) -> int:
        """Check that an answer is the rest of a blob; give how many bytes too early it begins."""
        if answer.status == 416:
            raise self._lies(digest, size)
        if answer.status not in (200, 206):
            raise await failure(answer, f"blob {digest} at {self.endpoint}")
        begin = 0
        if answer.status == 206:
            unit, _, shown = answer.headers.get("Content-Range", "").partition(" ")
            first = _number(shown.partition("-")[0])
            if unit != "bytes" or first is None or first > at:
                raise HostError(f"{self.endpoint.host} gives another part of {digest} than asked")
            begin = first
        length = answer.content_length
        if length is not None and begin + length != size:
            raise self._lies(digest, size)
        return at - begin

    def _lies(self, digest: str, size: int) -> InvalidArgument:
        return InvalidArgument(
            f"{self.endpoint}: blob {digest} has not the {size} bytes that the manifest says"
        )

    # Pushing

    async def has_blob(self, digest: str) -> bool:
        """Say whether a blob is there. Raises as `manifest`."""
        async with self._ask("HEAD", f"blobs/{digest}") as answer:
            if answer.status in (200, 404):
                return answer.status == 200
            raise await failure(answer, f"blob {digest} at {self.endpoint}")

    async def push_blob(
        self, digest: str, size: int, read: Read, told: Callable[[int], None], mount: str = ""
    ) -> bool:
        """Bring a blob there; True if the registry took it from its repository `mount`.

        `told` is called with the bytes that have gone. Raises as `manifest`.
        """
        location = await self._begin_somehow(digest, mount)
        if location is None:
            return True
        attempts = Attempts(f"push {digest} to {self.endpoint.host}")
        at = 0
        while at < size:
            before = at
            try:
                location, at = await self._send(location, at, min(CHUNK, size - at), read, told)
                if at <= before:
                    await attempts.failed("what is sent does not arrive")
            except (*BROKEN, Unavailable) as error:
                await attempts.failed(error)
                location, at = await self._where(location)
                if location is None:
                    location, at = await self._begin(digest, ""), 0
                    if location is None:
                        return True
            if at > before:
                attempts = Attempts(f"push {digest} to {self.endpoint.host}")
        behind = "&" if location.raw_query_string else "?"
        end = URL(f"{location}{behind}digest={digest}", encoded=True)
        async with self._ask("PUT", end, headers={"Content-Length": "0"}) as answer:
            if answer.status != 201:
                raise await failure(answer, f"cannot push {digest} to {self.endpoint}")
        return False

    async def _begin_somehow(self, digest: str, mount: str) -> URL | None:
        """Begin an upload as `_begin`; without the mount, where the registry does not let one.

        Who may push here need not be known in the other repository.
        """
        if mount:
            with contextlib.suppress(Unauthorized, Forbidden, NotFound, InvalidArgument):
                return await self._begin(digest, mount)
        return await self._begin(digest, "")

    async def _begin(self, digest: str, mount: str) -> URL | None:
        """Begin an upload; None if the blob was there to be mounted."""
        place, scope = "blobs/uploads/", ""
        if mount:
            place += f"?mount={digest}&from={mount}"
            scope = f"{self._scope} repository:{mount}:pull"
        async with self._ask("POST", place, headers={"Content-Length": "0"}, scope=scope) as answer:
            if answer.status == 201:
                return None
            if answer.status != 202:
                raise await failure(answer, f"cannot push to {self.endpoint}")
            return self._location(answer)

    async def _send(
        self, location: URL, at: int, count: int, read: Read, told: Callable[[int], None]
    ) -> tuple[URL, int]:
        """Send one chunk; give where the next goes, and how far the upload is."""

        async def body() -> AsyncGenerator[bytes, None]:
            sent = at
            async with contextlib.aclosing(read(at, count)) as blocks:
                async for block in blocks:
                    yield block
                    sent += len(block)
                    told(sent)

        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(count),
            "Content-Range": f"{at}-{at + count - 1}",
        }
        async with self._ask("PATCH", location, headers=headers, body=body, once=True) as answer:
            if answer.status in BUSY:
                raise Unavailable(f"HTTP status {answer.status}")
            if answer.status not in (202, 204):
                raise await failure(answer, f"cannot push to {self.endpoint}")
            return self._location(answer), _received(answer, at + count)

    async def _where(self, location: URL) -> tuple[URL | None, int]:
        """Ask how far an upload is that broke; None if it is no more."""
        async with self._ask("GET", location) as answer:
            if answer.status != 204:
                return None, 0
            return self._location(answer), _received(answer, 0)

    def _location(self, answer: aiohttp.ClientResponse) -> URL:
        given = answer.headers.get("Location", "")
        if not given:
            raise HostError(f"{answer.url.host} does not say where to upload to")
        return self._transport.led_on(answer, given)

    async def put_manifest(self, reference: str, content: bytes, media_type: str) -> str:
        """Put a manifest there under a tag or its digest; give its digest. Raises as `manifest`."""
        headers = {"Content-Type": media_type}
        async with self._ask(
            "PUT", f"manifests/{reference}", headers=headers, body=content
        ) as answer:
            if answer.status != 201:
                raise await failure(answer, f"cannot push {reference} to {self.endpoint}")
        return f"sha256:{hashlib.sha256(content).hexdigest()}"


def wrong_digest(endpoint: Endpoint, digest: str, came: str) -> InvalidArgument:
    """Give the error for a blob that is not what was asked for."""
    return InvalidArgument(f"{endpoint}: what came as blob {digest} has the digest {came}")


def _received(answer: aiohttp.ClientResponse, otherwise: int) -> int:
    """Give how many bytes of an upload are there (`Range: 0-LAST`)."""
    first, _, last = answer.headers.get("Range", "").rpartition("=")[2].partition("-")
    end = _number(last)
    if _number(first) is None or end is None:
        return otherwise
    # An upload of nothing yet is "0-0" to many, which could be one byte too.
    return end + 1 if end else 0


def _number(text: str) -> int | None:
    """Read a number of bytes; None if it is none, or more than anything has."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None
