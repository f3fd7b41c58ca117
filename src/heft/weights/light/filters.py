"""Compiled seccomp filters, kept: crun needs some 13 ms to compile the default profile.

crun leaves the filter that it compiled in its state directory (`seccomp.bpf`), and takes one in an
annotation. So the first machine of a kind pays, and the others get the very same bytes. That crun
really took them shows in the same file; if it did not, the start is refused.
"""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING

from heft.errors import HostError

if TYPE_CHECKING:
    import msgspec

    from heft.weights.light.record import RunDirectory
    from heft.weights.light.runtime import Runtime

_FILTERS = 64


class Filters:
    """Filters by the profile they were compiled from; for one runtime."""

    def __init__(self) -> None:
        self._compiled: dict[bytes, str] = {}

    def get(self, profile: msgspec.Raw) -> str:
        """Give the compiled filter in base64; empty if there is none yet."""
        return self._compiled.get(bytes(profile), "")

    def learn(
        self, runtime: Runtime, run: RunDirectory, machine_id: str, profile: msgspec.Raw | None
    ) -> None:
        """Look at the filter of a machine that was just created from a profile.

        Raises `HostError` if it was to have one that is known, and has not.
        """
        if profile is None or not runtime.is_crun:
            return
        content = b""
        with contextlib.suppress(FileNotFoundError):
            content = (run.runtime / machine_id / "seccomp.bpf").read_bytes()
        encoded = base64.b64encode(content).decode()
        known = self.get(profile)
        if known and encoded != known:
            self._compiled.pop(bytes(profile))
            raise HostError(f"{runtime.name} did not take the seccomp filter of {machine_id}")
        if not known and content and len(self._compiled) < _FILTERS:
            self._compiled[bytes(profile)] = encoded
