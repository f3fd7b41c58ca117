"""`search`: what a registry's index says of a word (Docker's `/v1/search`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from yarl import URL

from heft.errors import HostError, InvalidArgument, NotSupported, plain
from heft.images.reference import DEFAULT_DOMAIN, LEGACY_DEFAULT_DOMAIN
from heft.images.registry.attempts import UNREADABLE, read_bounded
from heft.images.registry.transport import Transport, failure

if TYPE_CHECKING:
    from heft.images.registry.credentials import Credentials
    from heft.images.registry.web import Web

MOST = 100
LARGEST = 4 << 20
"""Bytes of an answer."""


class Found(msgspec.Struct, frozen=True, rename={"stars": "star_count", "official": "is_official",
                                                 "automated": "is_automated"}):  # fmt: skip
    """A repository."""

    name: str
    description: str | None = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


class _Answer(msgspec.Struct, frozen=True):
    results: list[Found] | None = None


async def search(web: Web, term: str, limit: int, credentials: Credentials) -> list[Found]:
    """Ask the registry that the term begins with, or Docker Hub.

    Raises `InvalidArgument`, `NotSupported` where it has no index, `HostError`.
    """
    if not term or "://" in term:
        raise InvalidArgument(f"invalid search term: {term!r}")
    if not 1 <= limit <= MOST:
        raise InvalidArgument(f"Limit {limit} is outside the range of [1, {MOST}]")
    first, slash, rest = term.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    host, word = (first, rest) if named else (DEFAULT_DOMAIN, term)
    insecure = web.configuration().is_insecure(host)
    if host == DEFAULT_DOMAIN:
        host = LEGACY_DEFAULT_DOMAIN
    transport = Transport(web, host, credentials, insecure=insecure)
    place = URL("/v1/search").with_query(q=word, n=limit)
    async with transport.request("GET", str(place)) as answer:
        if answer.status == 404:
            raise NotSupported(f"{host} has no search", hint="its own pages may have")
        if answer.status != 200:
            raise await failure(answer, f"cannot search {host}")
        content = await read_bounded(answer, LARGEST)
    try:
        found = msgspec.json.decode(content, type=_Answer).results or []
    except UNREADABLE as error:
        raise HostError(f"{host} gave no list of repositories: {error}") from error
    return [
        msgspec.structs.replace(
            each, name=plain(each.name), description=plain(each.description or "")
        )
        for each in found[:limit]
    ]
