"""Images and registries: pulled from them, pushed to them, looked for in them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument, NotFound
from heft.images import relaying
from heft.images.disks import artifact
from heft.images.pulling import Pulled, Pulling, explaining
from heft.images.pushing import Pushed, Pushing
from heft.images.reference import DEFAULT_DOMAIN, Reference
from heft.images.registry import manifests
from heft.images.registry.client import Registry
from heft.images.registry.configuration import HUB
from heft.images.registry.credentials import NOBODY, domain_of
from heft.images.registry.search import Found, search
from heft.images.registry.signing_in import sign_in
from heft.images.registry.web import Web

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from heft.images.importing import Progress
    from heft.images.registry.credentials import Credentials
    from heft.images.registry.manifests import Document
    from heft.images.store import Store
    from heft.model.image import Image

__all__ = ["Found", "Pulled", "Pushed", "Remote"]


class Remote:
    """The registries, as one daemon's store has to do with them."""

    def __init__(self, store: Store, configuration: Path) -> None:
        self._store = store
        self.web = Web(configuration)
        self._pulling = Pulling(store, self.web)
        self._pushing = Pushing(store, self.web)

    def start(self) -> None:
        """Throw away what nobody went on with."""
        self._pulling.downloads.start()

    async def close(self) -> None:
        """Close all connections."""
        await self.web.close()

    async def pull(
        self, reference: str, platform: str, credentials: Credentials, progress: Progress
    ) -> Pulled:
        """Pull an image, `latest` unless it has a tag or a digest. Raises as `Pulling.pull`."""
        name = Reference.parse(reference).with_default_tag()
        if name.digest:
            name = replace(name, tag="")
        return await self._pulling.pull(name, platform, credentials, progress)

    async def pull_all(
        self, repository: str, platform: str, credentials: Credentials, progress: Progress
    ) -> list[Pulled]:
        """Pull all tags of a repository. Raises as `Pulling.pull`."""
        name = _only_name(repository)
        registry = Registry(self.web, self.web.configuration().primary(name), credentials)
        with explaining(name):
            tags = await registry.tags()
        names = [replace(name, tag=tag) for tag in tags]
        for tag in tags:
            try:
                Reference.parse(f"{name}:{tag}")
            except InvalidArgument as error:
                raise InvalidArgument(
                    f"{name.familiar_name}: the registry lists a tag that is none: {tag[:200]!r}"
                ) from error
        return [await self._pulling.pull(n, platform, credentials, progress) for n in names]

    async def restore(
        self,
        name: Reference,
        image: Image,
        known: Mapping[str, Credentials],
        progress: Progress,
    ) -> None:
        """Fetch what is missing of an image that a registry has under a name with a digest.

        `known` are credentials by registry. Raises as `Pulling.pull`.
        """
        await self._pulling.pull(name, image.platform, known.get(name.domain, NOBODY), progress)

    async def push(
        self, reference: str, credentials: Credentials, progress: Progress, platform: str = ""
    ) -> Pushed:
        """Push an image under the name that it has, for a platform if one is given.

        Raises `NotFound`, `InvalidArgument`, else as `Registry`.
        """
        name = Reference.parse(reference).with_default_tag()
        if name.digest:
            raise InvalidArgument("cannot push a digest reference")
        return await self._pushing.push(name, credentials, progress, platform)

    async def fetch(self, reference: str, credentials: Credentials) -> AsyncGenerator[bytes, None]:
        """Give an image of a registry as an archive, past the store. Raises as `pull`."""
        name = Reference.parse(reference).with_default_tag()
        return await relaying.fetch(self._pulling, name, credentials)

    async def send(
        self,
        source: AsyncIterator[bytes],
        reference: str,
        credentials: Credentials,
        progress: Progress,
    ) -> str:
        """Bring the image of an archive to a registry, past the store; give its digest.

        Raises `InvalidArgument` for what is no such archive, else as `push`.
        """
        name = Reference.parse(reference).with_default_tag()
        if name.digest:
            raise InvalidArgument("cannot push a digest reference")
        return await relaying.send(self._store, self.web, source, name, credentials, progress)

    def tags(self, repository: str) -> list[str]:
        """Give the names with a tag that images here have in a repository. Raises `NotFound`."""
        wanted = _only_name(repository)
        names = map(Reference.parse, sorted(self._store.names))
        found = [each.familiar() for each in names if each.tag and each.name == wanted.name]
        if not found:
            raise NotFound(f"An image does not exist locally with the tag: {wanted.familiar_name}")
        return found

    async def distribution(
        self, reference: str, credentials: Credentials
    ) -> tuple[Document, Sequence[dict[str, object]]]:
        """Give what a registry has under a name, and for which platforms. Raises as `pull`."""
        name = Reference.parse(reference).with_default_tag()
        registry, document = await self._pulling.find(name, credentials)
        if document.is_index:
            index = await asyncio.to_thread(manifests.index, document)
            return document, manifests.platforms_of(index)
        manifest = await asyncio.to_thread(manifests.manifest, document)
        if manifest.config.media_type == artifact.CONFIG_TYPE:
            return document, []
        config = await registry.config(manifest)
        platform: dict[str, object] = {"architecture": config.architecture, "os": config.os}
        return document, [platform | ({"variant": config.variant} if config.variant else {})]

    async def sign_in(self, server: str, credentials: Credentials) -> str:
        """Try credentials; give the token that is to be kept in place of the password, if any.

        Raises `Unauthorized`, `HostError`.
        """
        domain = domain_of(server)
        host = HUB if domain == DEFAULT_DOMAIN else domain
        insecure = self.web.configuration().is_insecure(domain)
        return await sign_in(self.web, host, credentials, insecure=insecure)

    async def search(self, term: str, limit: int, credentials: Credentials) -> list[Found]:
        """Look for repositories. Raises `NotSupported` where the registry has no search."""
        return await search(self.web, term, limit, credentials)


def _only_name(text: str) -> Reference:
    name = Reference.parse(text)
    if name.tag or name.digest:
        raise InvalidArgument("tag can't be used with --all-tags/-a")
    return name
