"""Which guest kit a machine with a kernel of its own starts with. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from heft.model.config import Config, HostConfig
    from heft.weights.abilities import Warming
    from heft.weights.base import Weight

NAME = "heft.kit"
"""A label, or an annotation, which counts more: the name of a kit."""


def check(
    config: Config, host: HostConfig, weight: Weight | Warming, knows: Callable[[str], bool]
) -> None:
    """Raise `InvalidArgument` for a kit that is not there and cannot be made, or of no use."""
    asked = chosen(config, host)
    if not asked:
        return
    if not weight.own_kernel:
        raise InvalidArgument(
            "only a machine with a kernel of its own has a kit", hint="--weight heavy"
        )
    if not knows(asked):
        raise InvalidArgument(f"unknown or invalid kit name: {asked}", hint="`heft kit ls`")
    if not weight.takes_kit(asked):
        raise InvalidArgument(
            f"kit {asked} is of another weight's machines", hint="leave --kit out, or --weight"
        )


def chosen(config: Config, host: HostConfig) -> str:
    """Give the kit that was asked for; empty: none was."""
    return host.annotations.get(NAME) or config.labels.get(NAME, "")


def of(config: Config, host: HostConfig, usual: str) -> str:
    """Give the kit that a machine with a kernel of its own starts with (`usual`: its weight's)."""
    return chosen(config, host) or usual
