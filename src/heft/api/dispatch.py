"""From a request to its handler, and from what the handler raises to an answer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import web

from heft.api.call import COMMON_HEADERS, JSON_HEADERS, Call, encode
from heft.api.errors import status_of
from heft.api.versions import split
from heft.api.work import Work
from heft.errors import HeftError
from heft.failures import refused

if TYPE_CHECKING:
    from heft.api.routes import Routes
    from heft.engine.engine import Engine

log = logging.getLogger(__name__)

FINISH_SECONDS = 5.0
"""How long changes that were begun may take when the daemon stops."""
NO_BODY = frozenset({204, 304})
BROKEN_OFF = b"broken-off: "
"""What Heft's own command takes for the reason, in JSON, in place of a chunk's length."""
LONGEST_REASON = 4000


class Dispatcher:
    """Answers every request, and knows which are being answered."""

    def __init__(self, engine: Engine, routes: Routes) -> None:
        self._engine = engine
        self._routes = routes
        self._work = Work()
        self._answering: set[asyncio.Task[object]] = set()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            return await self._answer(request)
        except HeftError as error:
            return self._refuse(request, status_of(error), str(error))
        except web.HTTPException:
            raise
        except ConnectionError as error:
            return _break_off(request, str(error))
        except OSError as error:
            log.exception("%s %s", request.method, request.path)
            said = refused(f"do {request.method} {request.path}", error)
            return self._refuse(request, status_of(said), str(said))
        except Exception as error:
            log.exception("%s %s", request.method, request.path)
            return self._refuse(request, 500, f"internal error: {error!r}")
        finally:
            self._answering.discard(task)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        version, path = split(request.path)
        found = self._routes.find(request.method, path)
        if found is None:
            return self._refuse(request, 404, "page not found")
        handler, name = found
        return await handler(Call(request, self._engine, self._work, version, name))

    def _refuse(self, request: web.BaseRequest, status: int, message: str) -> web.StreamResponse:
        if request.writer.output_size > 0:
            # The answer has begun: it can only be broken off, which the client sees.
            return _break_off(request, message, told=True)
        if status in NO_BODY:
            return web.Response(status=status, headers=COMMON_HEADERS)
        body = encode({"message": message}) + b"\n"
        return web.Response(status=status, body=body, headers=JSON_HEADERS)

    async def close(self) -> None:
        """Let changes be finished, then end all answers."""
        await self._work.close(FINISH_SECONDS)
        answering = tuple(self._answering)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)


def _break_off(request: web.BaseRequest, why: str, *, told: bool = False) -> web.StreamResponse:
    """End the connection in the middle of an answer, or note that the client has ended it.

    What comes in chunks ends with one that is none, so that no client takes it for whole; to
    Heft's own command it says why, where that is to be `told` (`heft.cli.connection`).

    The response goes nowhere; with an exception, aiohttp would log a traceback for each client.
    """
    log.info("%s %s broken off: %s", request.method, request.path, why)
    transport = request.transport
    if transport is not None and told and getattr(request.writer, "chunked", False):
        transport.write(BROKEN_OFF + encode(why[:LONGEST_REASON]) + b"\r\n")
        transport.close()
    elif transport is not None:
        transport.abort()
    return web.Response()
