"""A client of the Docker API for many requests at once, all in one process."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp

IMAGE = "busybox"
T = TypeVar("T")


class Refused(Exception):
    """An answer that was not the one that was to come."""


class Api:
    """Speaks to a daemon over its socket; a block `async with` long."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._connector = aiohttp.UnixConnector(path=str(socket), limit=0)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=self._connector, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def stream(self, method: str, path: str, body: Any = None) -> AsyncIterator[Any]:
        """Give an answer whose body is still to come."""
        assert self._session is not None
        async with self._session.request(method, f"http://heft{path}", json=body) as answer:
            if answer.status >= 300:
                text = (await answer.read()).decode(errors="replace")
                raise Refused(f"{method} {path}: {answer.status} {text.strip()}")
            yield answer

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Give an answer, decoded. Raises `Refused`."""
        async with self.stream(method, path, body) as answer:
            text = await answer.read()
        return json.loads(text) if text else None

    async def create(self, name: str, *command: str, image: str = IMAGE, **host: Any) -> str:
        """Make a machine, without network unless it asks for one; give its id."""
        body = {
            "Image": image,
            "Cmd": command or ("sleep", "1000000"),
            "HostConfig": {"NetworkMode": "none", **host},
        }
        made = await self.ask("POST", f"/containers/create?name={name}", body)
        return str(made["Id"])

    async def start(self, name: str) -> None:
        """Start it."""
        await self.ask("POST", f"/containers/{name}/start")

    async def wait(self, name: str) -> int:
        """Give its exit code, when it has ended."""
        return int((await self.ask("POST", f"/containers/{name}/wait"))["StatusCode"])

    async def remove(self, name: str) -> None:
        """Remove it, whatever it does."""
        await self.ask("DELETE", f"/containers/{name}?force=1&v=1")

    async def names(self) -> list[str]:
        """Give the ids of all machines."""
        return [row["Id"] for row in await self.ask("GET", "/containers/json?all=1")]


async def spread(work: Callable[[T], Awaitable[None]], items: Iterable[T], at_once: int) -> None:
    """Do something with each item, so many at once."""
    left = iter(items)

    async def one() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one())
