"""The tokens by which a guest's agent knows a new session, kept for the daemons to come.

The agent expects one token, and each session names the next. What a killed daemon has named may or
may not have arrived, so every token that the agent may expect is kept, in order, until it has
answered. The file is of this boot, and needs no fsync; it is root's alone, as who knows a token can
hide a session of his own in what somebody sends to a machine.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.failures import translated
from heft.guest import frames
from heft.guest.protocol import FIRST_TOKEN, NONCE_SIZE, TOKEN_SIZE
from heft.host import whole_files

if TYPE_CHECKING:
    from pathlib import Path

MOST_OPEN = 256
"""How many tokens may be kept: an agent that has answered none of so many never will."""


class Tokens:
    """The tokens that the agent may expect; one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = self._read()

    def opening(self) -> tuple[bytes, bytes]:
        """Give the bytes that open a session, and the nonce that answers the last HELLO in them.

        The token that is named there is kept before. Raises `HostError`.
        """
        if len(self._open) > MOST_OPEN:
            raise HostError(f"the guest has not answered {MOST_OPEN} times, and is given up")
        self._write([*self._open, secrets.token_bytes(TOKEN_SIZE)])
        nonces = [secrets.token_bytes(NONCE_SIZE) for _ in self._open[1:]]
        opening = b"".join(map(frames.hello, self._open, nonces, self._open[1:]))
        return opening, nonces[-1]

    def settle(self) -> None:
        """Forget all but the last: the agent has answered."""
        self._write(self._open[-1:])

    def _read(self) -> list[bytes]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return [FIRST_TOKEN]
        size = TOKEN_SIZE
        return [content[at : at + size] for at in range(0, len(content), size)]

    def _write(self, tokens: list[bytes]) -> None:
        with translated(f"write {self._path}"):
            whole_files.put(self._path, b"".join(tokens), 0o600)
        self._open = tokens
