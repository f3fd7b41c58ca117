"""Packet filter rules of this host, through nft(8)."""

from __future__ import annotations

from heft.host.processes import run


async def apply(text: str) -> None:
    """Do all that the text says, or nothing of it (nft is atomic). Raises `ToolFailed`."""
    if text:
        await run("nft", "-f", "-", stdin=text.encode())
