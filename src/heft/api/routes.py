"""Which handler answers which path.

A path is a literal (`/containers/json`), or a literal with one `{name}` that may hold slashes, with
or without something behind it (`/images/{name}/json`, `/volumes/{name}`). Finding a route takes a
few look-ups in a dictionary, however many there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from heft.api.call import Call

Handler = Callable[[Call], Awaitable[web.StreamResponse]]

_NAME = "{name}"
_EXACT = "="
"""What stands behind a name begins with a slash or is empty; this marks paths without a name."""

_OWN = ("heft", "v1")
"""What Heft's own paths begin with: the kind of thing comes behind it."""


class Routes:
    """A table of routes."""

    def __init__(self) -> None:
        self._table: dict[tuple[str, str, str], Handler] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Let `handler` answer; each route can be added once."""
        before, name, after = path.partition(_NAME)
        key = (method, before.strip("/") if name else path, after if name else _EXACT)
        assert key not in self._table, f"{method} {path} is there already"
        self._table[key] = handler

    def __iter__(self) -> Iterator[tuple[str, str, Handler]]:
        """Give every route: its method, its path as it was added, and its handler."""
        for (method, before, after), handler in self._table.items():
            path = before if after == _EXACT else f"/{before}/{_NAME}{after}"
            yield method, path, handler

    def find(self, method: str, path: str) -> tuple[Handler, str] | None:
        """Give the handler of a path, and what stands there for `{name}`; None if there is none."""
        if (handler := self._table.get((method, path, _EXACT))) is not None:
            return handler, ""
        parts = path[1:].split("/")
        depth = len(_OWN) + 1 if tuple(parts[: len(_OWN)]) == _OWN else 1
        head, parts = "/".join(parts[:depth]), parts[depth:]
        rest = "/".join(parts)
        if not rest:
            return None
        for words in range(min(2, len(parts) - 1), 0, -1):
            after = "/" + "/".join(parts[-words:])
            if (handler := self._table.get((method, head, after))) is not None:
                return handler, "/".join(parts[:-words])
        if (handler := self._table.get((method, head, ""))) is not None:
            return handler, rest
        return None
