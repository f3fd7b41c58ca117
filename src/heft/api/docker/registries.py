"""What concerns registries: pulling, pushing, logging in, searching."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from heft.api import filters as f
from heft.api.decode import Body
from heft.api.docker.progress import Reporter
from heft.errors import InvalidArgument
from heft.images import platforms
from heft.images.registry import credentials

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.images.registry.credentials import Credentials
    from heft.images.remote import Found, Pulled, Pushed

SEARCH_KNOWN = frozenset({"is-automated", "is-official", "stars"})
DEFAULT_LIMIT = 25
_AUTH = Body(credentials.AuthConfig)


def add_routes(routes: Routes) -> None:
    """Take the paths that registries answer behind."""
    routes.add("GET", "/images/search", search)
    routes.add("POST", "/images/{name}/push", push)
    routes.add("GET", "/distribution/{name}/json", distribution)
    routes.add("POST", "/auth", auth)


def credentials_of(call: Call) -> Credentials:
    """Give who a request says that it asks for. Raises `InvalidArgument`."""
    return credentials.read_header(call.request.headers.get("X-Registry-Auth", ""))


async def pull(call: Call) -> web.StreamResponse:
    """Pull an image; without a tag, all of its repository's."""
    name, tag = call.text("fromImage"), call.text("tag")
    if tag:
        name = f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"
    remote, reporter = call.engine.images.remote, Reporter(call)
    arguments = (name, call.text("platform"), credentials_of(call), reporter)

    async def one() -> list[Pulled]:
        return [await remote.pull(*arguments)]

    whole = not tag and "@" not in name and ":" not in name.rpartition("/")[2]
    pulling: Awaitable[Sequence[Pulled]] = remote.pull_all(*arguments) if whole else one()
    return await reporter.run(pulling, _pulled)


def _pulled(pulled: Sequence[Pulled]) -> list[dict[str, Any]]:
    lines = []
    for each in pulled:
        said = "Downloaded newer image for" if each.newer else "Image is up to date for"
        lines.append({"status": f"Digest: {each.digest}"})
        lines.append({"status": f"Status: {said} {each.name.familiar()}"})
    return lines


async def push(call: Call) -> web.StreamResponse:
    """Push an image under a name; without a tag, all names in its repository."""
    name, tag = call.name, call.text("tag")
    remote, reporter, given = call.engine.images.remote, Reporter(call), credentials_of(call)
    platform = _platform(call)
    names = [f"{name}:{tag}"] if tag else remote.tags(name)

    async def pushing() -> list[Pushed]:
        return [await remote.push(each, given, reporter, platform) for each in names]

    return await reporter.run(pushing(), _pushed)


class _Platform(msgspec.Struct, frozen=True):
    os: str = ""
    architecture: str = ""
    variant: str = ""


def _platform(call: Call) -> str:
    """Read which platform's image is meant: JSON as of OCI's descriptors, since version 1.46."""
    if call.version < (1, 46) or not (text := call.text("platform")):
        return ""
    try:
        read = msgspec.json.decode(text, type=_Platform)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"failed to parse platform: {error}") from error
    if not read.os or not read.architecture:
        raise InvalidArgument(f"platform {text} has no os or no architecture")
    found = "/".join(part for part in (read.os, read.architecture, read.variant) if part)
    platforms.parse(found)
    return found


def _pushed(pushed: Sequence[Pushed]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for each in pushed:
        said = f"{each.tag}: digest: {each.digest} size: {each.size}"
        about = {"Tag": each.tag, "Digest": each.digest, "Size": each.size}
        lines += [{"status": said}, {"progressDetail": {}, "aux": about}]
    return lines


async def auth(call: Call) -> web.StreamResponse:
    """Say whether a registry knows somebody."""
    body = await call.body(_AUTH)
    given = credentials.of(body)
    token = await call.engine.images.remote.sign_in(body.server_address or "", given)
    return call.json({"Status": "Login Succeeded", "IdentityToken": token})


async def distribution(call: Call) -> web.StreamResponse:
    """Say what a registry has under a name."""
    remote = call.engine.images.remote
    document, available = await remote.distribution(call.name, credentials_of(call))
    descriptor = document.descriptor()
    return call.json(
        {
            "Descriptor": {
                "mediaType": descriptor.media_type,
                "digest": descriptor.digest,
                "size": descriptor.size,
            },
            "Platforms": available,
        }
    )


async def search(call: Call) -> web.StreamResponse:
    """Look for repositories in an index."""
    wanted = call.filters(SEARCH_KNOWN)
    limit = call.number("limit") or DEFAULT_LIMIT
    found = await call.engine.images.remote.search(call.text("term"), limit, credentials_of(call))
    official, automated = f.flag(wanted, "is-official"), f.flag(wanted, "is-automated")
    stars = [_stars(each) for each in wanted.get("stars", [])]
    return call.json(
        [
            _row(each)
            for each in found
            if (official is None or official == each.official)
            and (automated is None or automated == each.automated)
            and all(each.stars >= least for least in stars)
        ]
    )


def _stars(text: str) -> int:
    if not text.isdecimal():
        raise InvalidArgument(f"invalid filter 'stars={text}'")
    return int(text)


def _row(found: Found) -> dict[str, Any]:
    return {
        "name": found.name,
        "description": found.description or "",
        "star_count": found.stars,
        "is_official": found.official,
        "is_automated": found.automated,
    }
