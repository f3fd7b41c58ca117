"""How machines with a kernel of their own come up: of a template, or by booting it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from heft.model.config import Config, HostConfig

NAME = "heft.boot"
"""A label, or an annotation, which counts more: `template` (as without it) or `cold`."""


def check(config: Config, host: HostConfig, *, own_kernel: bool) -> None:
    """Raise `InvalidArgument` if it says something else, or asks for what cannot be."""
    asked = _asked(config, host)
    if asked not in ("", "cold", "template"):
        raise InvalidArgument(
            f'invalid {NAME} "{asked}"', hint="it can be cold or template (--boot)"
        )
    if asked and not own_kernel:
        raise InvalidArgument(
            "only a machine with a kernel of its own boots one", hint="--weight heavy"
        )


def is_cold(config: Config, host: HostConfig) -> bool:
    """Say whether the machine's kernel is to be booted at each start."""
    return _asked(config, host) == "cold"


def _asked(config: Config, host: HostConfig) -> str:
    return host.annotations.get(NAME) or config.labels.get(NAME, "")
