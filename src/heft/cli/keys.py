"""Detach keys: what a user types at a terminal to let go of a machine that runs on.

The daemon watches for them too and lets go; here they are only recognised, to tell that from the
machine's end.
"""

from __future__ import annotations

from heft.cli.failures import Failure

DEFAULT = "ctrl-p,ctrl-q"
_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def parse(keys: str) -> bytes:
    """Read a sequence: `ctrl-p,ctrl-q`, `ctrl-],a`, `DEL`. Raises `Failure` for what is no key."""
    sequence = bytearray()
    for key in (keys or DEFAULT).split(","):
        if len(key) == 1 and ord(key) < 128:
            sequence.append(ord(key))
        elif key == "DEL":
            sequence.append(127)
        elif key.startswith("ctrl-") and len(key) == 6 and key[5].lower() in _CONTROL:
            sequence.append(_CONTROL.index(key[5].lower()))
        else:
            raise Failure(f"invalid detach keys ({keys}) provided: unknown key: '{key}'")
    return bytes(sequence)


class Watch:
    """Sees whether a sequence was typed, in however many pieces."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._tail = b""
        self.seen = False

    def feed(self, typed: bytes) -> None:
        """Look at what was typed next."""
        data = self._tail + typed
        self.seen = self.seen or self._sequence in data
        most = len(self._sequence) - 1
        self._tail = data[-most:] if most else b""
