"""Which guest kit a machine with a kernel of its own starts with. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import InvalidArgument, NotSupported
from heft.guest import architectures
from heft.guest.kits import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable

    from heft.model.config import Config, HostConfig

NAME = "heft.kit"
"""A label, or an annotation, which counts more: the name of a kit."""


def check(
    config: Config, host: HostConfig, *, own_kernel: bool, knows: Callable[[str], bool]
) -> None:
    """Raise `InvalidArgument` for a kit that is not there and cannot be made, or of no use."""
    asked = chosen(config, host)
    if not asked:
        return
    if not own_kernel:
        raise InvalidArgument(
            "only a machine with a kernel of its own has a kit", hint="--weight heavy"
        )
    if not knows(asked):
        raise InvalidArgument(f"unknown or invalid kit name: {asked}", hint="`heft kit ls`")


def chosen(config: Config, host: HostConfig) -> str:
    """Give the kit that was asked for; empty: none was."""
    return host.annotations.get(NAME) or config.labels.get(NAME, "")


def of(config: Config, host: HostConfig, platform: str) -> str:
    """Give the kit that a machine with a kernel of its own starts with.

    It is the usual one where guests cannot be of the platform: that is refused by the weight.
    """
    if asked := chosen(config, host):
        return asked
    try:
        return architectures.of_platform(platform).kit
    except NotSupported:
        return DEFAULT
