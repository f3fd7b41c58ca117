"""`login`: whether a registry knows somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import Unauthorized
from heft.images.registry.transport import Transport, failure

if TYPE_CHECKING:
    from heft.images.registry.credentials import Credentials
    from heft.images.registry.web import Web


async def sign_in(web: Web, host: str, credentials: Credentials, *, insecure: bool) -> str:
    """Ask for the registry's root, which everybody may see who is known there.

    Gives the identity token that came in exchange for the password, or nothing. Raises
    `Unauthorized`, `HostError`.
    """
    transport = Transport(web, host, credentials, insecure=insecure)
    async with transport.request("GET", "/v2/") as answer:
        if answer.status == 401:
            raise Unauthorized(
                f"login attempt to {answer.url} failed: unauthorized: incorrect username or"
                " password"
            )
        if answer.status != 200:
            raise await failure(answer, f"login attempt to {answer.url} failed")
    return transport.authorization.identity_token
