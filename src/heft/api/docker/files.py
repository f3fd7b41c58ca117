"""Files of machines: copied in and out, compared, exported, made into images."""

from __future__ import annotations

import asyncio
import base64
import stat
from typing import TYPE_CHECKING, Any

from aiohttp import web

from heft.api import times
from heft.api.call import COMMON_HEADERS, encode
from heft.api.decode import Body
from heft.errors import InvalidArgument
from heft.model.config import Config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.model.files import Change, FileStatus

STATUS_HEADER = "X-Docker-Container-Path-Stat"
"""JSON in base64: name, size, mode (Go's), time and target of a symbolic link."""
TAR = "application/x-tar"
ROWS = 2000
"""Changes that are told in one piece: there can be half a million, and others wait meanwhile."""

_CONFIG = Body(Config)
_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def add_routes(routes: Routes) -> None:
    """Take the paths of machines' files."""
    routes.add("HEAD", "/containers/{name}/archive", status)
    routes.add("GET", "/containers/{name}/archive", get)
    routes.add("PUT", "/containers/{name}/archive", put)
    routes.add("GET", "/containers/{name}/changes", changes)
    routes.add("GET", "/containers/{name}/export", export)
    routes.add("POST", "/commit", commit)


def go_mode(mode: int) -> int:
    """Give type and permissions as Go's `fs.FileMode` has them."""
    shown = mode & 0o777 | _GO_TYPES.get(stat.S_IFMT(mode), 0)
    return shown | sum(go for bit, go in _GO_BITS.items() if mode & bit)


def status_header(found: FileStatus) -> dict[str, str]:
    """Give the header that tells what is at a path."""
    value = {
        "name": found.name,
        "size": found.size,
        "mode": go_mode(found.mode),
        "mtime": times.text(found.modified),
        "linkTarget": found.link_target,
    }
    return {STATUS_HEADER: base64.b64encode(encode(value)).decode("ascii")}


async def status(call: Call) -> web.StreamResponse:
    """Say what is at a path, in a header."""
    found = await call.engine.contents.status(call.name, call.text("path"))
    return web.Response(headers={**COMMON_HEADERS, **status_header(found)})


async def get(call: Call) -> web.StreamResponse:
    """Give what is at a path as a tar."""
    async with call.engine.contents.pack(call.name, call.text("path")) as (found, blocks):
        headers = {**COMMON_HEADERS, **status_header(found), "Content-Type": TAR}
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.request)
        return await _send(response, blocks)


async def _send(response: web.StreamResponse, blocks: AsyncIterator[bytes]) -> web.StreamResponse:
    async for block in blocks:
        await response.write(block)
    await response.write_eof()
    return response


async def put(call: Call) -> web.StreamResponse:
    """Put a tar into a directory."""
    await call.engine.contents.unpack(
        call.name,
        call.text("path"),
        call.blocks(),
        same_kind=call.flag("noOverwriteDirNonDir"),
        as_user=call.flag("copyUIDGID"),
    )
    return call.nothing(200)


async def changes(call: Call) -> web.StreamResponse:
    """Say what it has changed of its image."""
    found = await call.engine.contents.changes(call.name)
    if len(found) <= ROWS:
        return call.json(_rows(found) or None)
    response = await call.stream()
    for begin in range(0, len(found), ROWS):
        # Every piece is a list; together they are to be one.
        await response.write(b"," if begin else b"[")
        await response.write(encode(_rows(found[begin : begin + ROWS]))[1:-1])
        await asyncio.sleep(0)
    await response.write(b"]\n")
    await response.write_eof()
    return response


def _rows(found: Sequence[Change]) -> list[dict[str, Any]]:
    return [{"Path": each.path, "Kind": each.kind} for each in found]


async def export(call: Call) -> web.StreamResponse:
    """Give its root as a tar."""
    async with call.engine.contents.export(call.name) as blocks:
        return await _send(await call.stream(TAR), blocks)


async def commit(call: Call) -> web.StreamResponse:
    """Make an image of it."""
    if not (machine := call.text("container")):
        raise InvalidArgument("bad parameter: 'container' cannot be empty")
    given = await call.read()
    config = _CONFIG.decode(given) if given.strip() not in (b"", b"null") else None
    repository, label = call.text("repo"), call.text("tag")
    image = await call.work.finish(
        call.engine.contents.commit(
            machine,
            f"{repository}:{label}" if repository and label else repository,
            config=config if config != Config() else None,
            changes=call.texts("changes"),
            author=call.text("author"),
            comment=call.text("comment"),
            pause=call.flag("pause", default=True),
        )
    )
    return call.json({"Id": image.id}, 201)
