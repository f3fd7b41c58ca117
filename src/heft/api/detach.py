"""Detach keys: what a user types at a terminal to let go of a machine that runs on."""

from __future__ import annotations

from heft.errors import InvalidArgument

DEFAULT_KEYS = "ctrl-p,ctrl-q"

_CONTROL = {
    f"ctrl-{letter.lower()}": ord(letter) - 64 for letter in "@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_"
}
_NAMED = {**_CONTROL, "DEL": 127}


def parse(keys: str) -> bytes:
    """Read a sequence as `--detach-keys` takes it: `ctrl-p,ctrl-q`, `ctrl-],a`, `DEL`.

    Empty is Docker's own. Raises `InvalidArgument` for what is no key (moby/term, ascii.go).
    """
    sequence = bytearray()
    for key in (keys or DEFAULT_KEYS).split(","):
        code = ord(key) if len(key) == 1 else _NAMED.get(key)
        if code is None or code > 127:
            raise InvalidArgument(
                f"Invalid detach keys ({keys}) provided", hint=f"unknown character: '{key}'"
            )
        sequence.append(code)
    return bytes(sequence)


class DetachKeys:
    """Watches what is typed for a sequence.

    What could be its beginning is held back until it is certain that it is not.
    """

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """Give what goes to the machine, and whether the sequence was typed.

        What follows the sequence is dropped.
        """
        data = self._held + typed
        at = data.find(self._sequence)
        if at >= 0:
            self._held = b""
            return data[:at], True
        for size in range(min(len(self._sequence) - 1, len(data)), 0, -1):
            if data.endswith(self._sequence[:size]):
                self._held = data[-size:]
                return data[:-size], False
        self._held = b""
        return data, False
