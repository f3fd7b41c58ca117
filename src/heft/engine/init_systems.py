"""Machines whose workload boots a whole system, as Podman's `--systemd` has them. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from heft.model.config import Config
    from heft.model.machine import Machine

LABEL = "heft.systemd"
"""Says `auto` (as the command looks), `always` or `false`."""
STOP_SIGNAL = "SIGRTMIN+3"
"""What lets systemd halt (systemd(1), Signals)."""
STOP_SECONDS = 60
"""How long it has to halt: units are stopped, file systems unmounted, under translation maybe."""
_PROGRAMS = re.compile(r"(/usr(/local)?)?/s?bin/init|/init|init|(.*/)?systemd")
"""Commands that are taken for init systems (podman-run(1), `--systemd`)."""


def settle(config: Config, *, own_kernel: bool) -> Config:
    """Give the settings with what such a machine wants besides.

    Raises `InvalidArgument` for a label that says something else, or asks for what cannot be.
    """
    asked = config.labels.get(LABEL, "auto")
    if asked not in ("auto", "always", "true", "false"):
        raise InvalidArgument(
            f'invalid {LABEL} "{asked}"', hint="it can be auto, always or false (--systemd)"
        )
    if asked in ("always", "true") and not own_kernel:
        raise InvalidArgument(
            "a whole system can only be booted by a machine with a kernel of its own",
            hint="--weight heavy",
        )
    if not (own_kernel and _is_wanted(config)) or config.stop_signal:
        return config
    return msgspec.structs.replace(config, stop_signal=STOP_SIGNAL)


def boots(machine: Machine) -> bool:
    """Say whether a machine with a kernel of its own boots a whole system."""
    return _is_wanted(machine.config)


def _is_wanted(config: Config) -> bool:
    asked = config.labels.get(LABEL, "auto")
    if asked != "auto":
        return asked != "false"
    argv = (*(config.entrypoint or ()), *(config.cmd or ()))
    return bool(argv) and _PROGRAMS.fullmatch(argv[0]) is not None
