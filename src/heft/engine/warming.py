"""What machines start from, made ahead, for those who want to see how far it is.

To make a machine makes its base, and to start it its kit and template, too; but whoever waits for
that is told nothing meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heft.engine import boots, kit_choice, launch, validation
from heft.engine.creation import merge, weight_named
from heft.errors import NotSupported
from heft.model.config import Config, HostConfig
from heft.weights.abilities import Warming

if TYPE_CHECKING:
    from collections.abc import Callable

    from heft.engine.parts import Parts
    from heft.images.catalog import Progress


@dataclass(frozen=True, slots=True)
class Coming:
    """A machine that is to be made, as far as it matters to what it starts from."""

    image: str
    weight: str
    """Empty: the default one."""
    labels: dict[str, str] = field(default_factory=dict)
    host: HostConfig = field(default_factory=HostConfig)


class Ahead:
    """Makes things ahead."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def base(self, coming: Coming, progress: Progress) -> bool:
        """Make what machines of an image and a weight share; False if there is nothing to share.

        Raises `NotFound`, `InvalidArgument`, `NoSpace`, `HostError`.
        """
        found = self._parts.images.runnable(coming.image)
        if not self._parts.weights[weight_named(self._parts, coming.weight)].needs_base:
            return False
        await self._parts.images.ensure_base(found.diff_ids, progress)
        return True

    async def guest(self, coming: Coming, progress: Progress) -> None:
        """Make what such a machine's kernel comes up from, if it has one of its own.

        Raises `NotFound`, `InvalidArgument`, `NotSupported`, `NoSpace`, `HostError`.
        """
        image = self._parts.images.runnable(coming.image)
        weight = self._parts.weights[weight_named(self._parts, coming.weight)]
        if not isinstance(weight, Warming):
            return
        config, host = merge(Config(labels=coming.labels), image.config), coming.host
        validation.check_cpu(host)
        kit_choice.check(config, host, weight, self._parts.kits.knows)
        kit = kit_choice.of(config, host, weight.kit(image.platform))
        await weight.warm(
            kit,
            launch.resources(host),
            lambda what: progress(kit, what, 0, 0),
            template=not boots.is_cold(config, host),
        )

    async def kit(self, name: str, host: HostConfig, report: Callable[[str], object]) -> str:
        """Make a kit and the template of machines with it that have these limits.

        Gives why there is no template: machines boot cold then. Raises as `guest`.
        """
        validation.check_cpu(host)
        for weight in self._parts.weights.values():
            if isinstance(weight, Warming) and weight.takes_kit(name):
                return await weight.warm(name, launch.resources(host), report, template=True)
        raise NotSupported("this Heft has no weight whose machines have a kit")
