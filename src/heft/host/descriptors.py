"""Waiting for descriptors that do not block."""

from __future__ import annotations

import asyncio


async def readable(descriptor: int) -> None:
    """Return when something can be read from it, or its other end is closed."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.add_reader(descriptor, _settle, future)
    try:
        await future
    finally:
        loop.remove_reader(descriptor)


async def writable(descriptor: int) -> None:
    """Return when something can be written to it, or its other end is closed."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.add_writer(descriptor, _settle, future)
    try:
        await future
    finally:
        loop.remove_writer(descriptor)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
