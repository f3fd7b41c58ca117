"""All networks: which there are, and the machines' places on them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HeftError, NotFound
from heft.host import flows, links, rules
from heft.model.network import Endpoint, Network, Plug, Protocol
from heft.networks import firewall, plans
from heft.networks.addresses import AddressPool
from heft.networks.host_ports import HostPorts
from heft.networks.name_server import NameServer
from heft.store.database import Table
from heft.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from heft.model.config import EndpointConfig
    from heft.networks.ports import PortRequest
    from heft.networks.settings import NetworkSettings
    from heft.store.database import Database

log = logging.getLogger(__name__)

DEFAULT = "bridge"
"""The name of the network that machines are on unless they say otherwise."""
LINK_PREFIX = "hv"
"""Of the host's ends of links: `hv` and 12 random digits are 14 of 15 bytes."""


class Networks:
    """The default bridge, and the two that are none: `host` and `none`."""

    def __init__(
        self,
        run: Path,
        database: Database,
        publish: Callable[[str, str, dict[str, str]], None],
        settings: NetworkSettings,
    ) -> None:
        self._publish = publish
        self._settings = settings
        self._pool = AddressPool(settings.subnet)
        self._ports = HostPorts()
        self._names = NameServer(run / DEFAULT, settings.bridge, self._pool.gateway)
        self._endpoints: dict[str, Endpoint] = {}
        self._table = Table(database, "networks", Network)
        self._networks = self._load()

    def _load(self) -> dict[str, Network]:
        """Give the networks by name; the three that always are, are made at the first time."""
        known = {network.name: network for network in self._table}
        bridge = {"bridge": self._settings.bridge, "subnet": self._settings.subnet}
        bridge["gateway"] = self._pool.gateway
        for name, driver in ((DEFAULT, "bridge"), ("host", "host"), ("none", "null")):
            new = known.get(name) or Network(
                id=hashlib.sha256(secrets.token_bytes(32)).hexdigest(),
                name=name,
                created=time.time_ns(),
                driver=driver,
            )
            if name == DEFAULT:
                new = msgspec.structs.replace(new, **bridge)
            if new != known.get(name):
                self._table.put(new.id, new, name=new.name)
            known[name] = new
        return known

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Make the bridge, the rules and the name server, as far as they are not there.

        `endpoints` are those of the machines that run on: their addresses and ports are theirs
        again. Whatever else there is of ours on the host is removed.
        """
        self._endpoints = {endpoint.id: endpoint for endpoint in endpoints}
        await self._make_bridge()
        await self._sweep()
        for endpoint in endpoints:
            self._take_over(endpoint)
        commands = firewall.table(
            self._settings.table, self._settings.bridge, self._settings.subnet
        )
        for endpoint in endpoints:
            commands += firewall.publish(self._settings.table, endpoint.address, endpoint.ports)
        await rules.apply(commands)
        self._names.start(tuple(endpoints))

    async def _make_bridge(self) -> None:
        bridge = self._settings.bridge
        if not links.exists(bridge):
            await links.batch(plans.make_bridge(bridge, self._pool.gateway, self._pool.prefix))
        links.set_sysctl("net/ipv4/ip_forward", "1")
        links.set_sysctl(f"net/ipv4/conf/{bridge}/route_localnet", "1")

    async def _sweep(self) -> None:
        known = {endpoint.namespace.rpartition("/")[2] for endpoint in self._endpoints.values()}
        for name in links.namespaces(self._settings.namespace_prefix):
            if name not in known:
                links.delete_namespace(name)
        interfaces = {endpoint.interface for endpoint in self._endpoints.values()}
        ports = await links.ports_of(self._settings.bridge)
        for name in ports:
            if name in interfaces:
                continue
            try:
                await links.batch([f"link del {name}"])
            except HeftError as error:
                # The namespace it led to is being taken down, and it with it.
                log.debug("cannot delete %s: %s", name, error)

    def _take_over(self, endpoint: Endpoint) -> None:
        try:
            self._pool.reserve(endpoint.address)
        except HeftError as error:
            log.warning("the address %s of a machine that runs: %s", endpoint.address, error)
        for port in endpoint.ports:
            try:
                self._ports.hold(port)
            except HeftError as error:
                log.warning("a port of a machine that runs is lost: %s", error)

    async def close(self) -> None:
        """Let go of ports and of the name server; what is plugged stays plugged."""
        await self._names.close()
        self._ports.close()

    async def teardown(self) -> None:
        """Remove everything that this daemon has made of the host's network."""
        await self._names.end()
        self._endpoints.clear()
        if links.exists(self._settings.bridge):
            await self._sweep()
        table = self._settings.table
        await rules.apply(f"table ip {table}\ndelete table ip {table}\n")
        if links.exists(self._settings.bridge):
            await links.batch([f"link del {self._settings.bridge}"])

    def get(self, reference: str) -> Network:
        """Find a network by name, id, or a prefix of its id. Raises `NotFound`."""
        if (found := self._networks.get(reference)) is not None:
            return found
        matches = [
            network
            for network in self._networks.values()
            if reference and network.id.startswith(reference)
        ]
        if len(matches) != 1:
            raise NotFound(f"network {reference} not found")
        return matches[0]

    def list(self) -> tuple[Network, ...]:
        """Give all networks."""
        return tuple(self._networks.values())

    def users(self, network_id: str) -> tuple[Endpoint, ...]:
        """Give the places that are taken on a network."""
        return tuple(each for each in self._endpoints.values() if each.network_id == network_id)

    def resolver(self, network: str) -> tuple[str, ...]:
        """Give the name servers that machines on a network are to ask."""
        return (self.get(network).gateway,) if self.get(network).gateway else ()

    async def connect(
        self,
        machine_id: str,
        *,
        network: str,
        names: tuple[str, ...],
        ports: tuple[PortRequest, ...],
        asked: EndpointConfig | None = None,
        last: str = "",
        plug: Plug = Plug.NAMESPACE,
        owner: Path | None = None,
    ) -> Endpoint:
        """Plug a machine into a network: a link, an address, names, published ports.

        `last` is the address that it had before: it gets that again, where it is free.
        Its network namespace belongs to the user namespace of the file `owner` (None: the
        host's), so that the machine's root has its rights there.

        Raises `HostError` where a port or an address is not free; then nothing is left of it.
        """
        async with Undo() as undo:
            endpoint = self._address(machine_id, self.get(network), names, asked, last, plug)
            undo.push("release the address", lambda: self._release(endpoint))
            published = self._ports.publish(ports)
            endpoint = msgspec.structs.replace(endpoint, ports=published)
            undo.push("release the ports", lambda: self._release(endpoint))
            undo.push("remove the link", lambda: self._unlink(endpoint))
            await self._link(endpoint, owner)
            table = self._settings.table
            await rules.apply(firewall.publish(table, endpoint.address, endpoint.ports))
            await self._forget_flows(endpoint)
            undo.commit()
        self._names.add(endpoint)
        self._endpoints[endpoint.id] = endpoint
        self._tell("connect", endpoint, machine_id)
        return endpoint

    def _address(
        self,
        machine_id: str,
        network: Network,
        names: tuple[str, ...],
        asked: EndpointConfig | None,
        last: str,
        plug: Plug,
    ) -> Endpoint:
        wanted = asked.ipam_config.ipv4_address if asked and asked.ipam_config else ""
        if wanted:
            self._pool.reserve(wanted)
        address = wanted or self._pool.allocate(last)
        short = machine_id[:12]
        namespace = str(links.NAMESPACES / f"{self._settings.namespace_prefix}{short}")
        return Endpoint(
            id=secrets.token_hex(32),
            network=network.name,
            network_id=network.id,
            plug=plug,
            namespace=namespace if plug is Plug.NAMESPACE else "",
            # Never the same again: the kernel takes a removed one down in its own time.
            interface=f"{LINK_PREFIX}{secrets.token_hex(6)}",
            bridge=self._settings.bridge,
            mac=(asked.mac_address if asked else "") or plans.mac_of(address),
            address=address,
            prefix=self._pool.prefix,
            gateway=self._pool.gateway,
            names=names,
        )

    async def _link(self, endpoint: Endpoint, owner: Path | None) -> None:
        bridge, mtu = self._settings.bridge, links.default_mtu()
        if endpoint.plug is Plug.VIF:
            return None
        if endpoint.plug is Plug.TAP:
            return await links.batch(plans.make_tap(endpoint, bridge, mtu))
        name = endpoint.namespace.rpartition("/")[2]
        plan = plans.make_link(name, endpoint, bridge, mtu)
        if owner is None:
            plan = (*plans.make_namespace(name), *plan)
        else:
            await links.make_namespace(name, owner)
        await links.batch(plan)
        return await links.batch(plans.address_inside(endpoint), namespace=name)

    async def _unlink(self, endpoint: Endpoint) -> None:
        if endpoint.plug is Plug.NAMESPACE:
            links.delete_namespace(endpoint.namespace.rpartition("/")[2])
        elif endpoint.plug is Plug.TAP and links.exists(endpoint.interface):
            await links.batch([f"link del {endpoint.interface}"])

    async def _release(self, endpoint: Endpoint) -> None:
        self._ports.release(endpoint.ports)
        self._pool.release(endpoint.address)

    async def disconnect(self, endpoint: Endpoint) -> None:
        """Unplug a machine; harmless when repeated."""
        self._names.remove(endpoint)
        if self._endpoints.pop(endpoint.id, None) is None:
            await self._forget_flows(endpoint)
            return await self._unlink(endpoint)
        await self._unpublish(endpoint)
        await self._unlink(endpoint)
        await self._release(endpoint)
        return self._tell("disconnect", endpoint, "")

    async def _unpublish(self, endpoint: Endpoint) -> None:
        table = self._settings.table
        try:
            await rules.apply(firewall.unpublish(table, endpoint.address, endpoint.ports))
        except HeftError as error:
            # Somebody flushed the host's rules: then the ports are not published any more.
            log.warning("cannot take back the ports of %s: %s", endpoint.address, error)
        await self._forget_flows(endpoint)

    async def _forget_flows(self, endpoint: Endpoint) -> None:
        """Let what is sent to its UDP ports be led as the rules have it now."""
        for port in endpoint.ports:
            if port.protocol is not Protocol.UDP:
                continue
            try:
                await asyncio.to_thread(flows.forget, port.host_address, port.host_port)
            except OSError as error:
                log.warning("what was sent to %s before goes on there: %s", port, error)

    async def rename(self, endpoint: Endpoint, names: tuple[str, ...]) -> Endpoint:
        """Give a machine other names on its network."""
        renamed = msgspec.structs.replace(endpoint, names=names)
        self._endpoints[endpoint.id] = renamed
        self._names.add(renamed)
        return renamed

    def _tell(self, action: str, endpoint: Endpoint, machine_id: str) -> None:
        about = {"name": endpoint.network, "type": "bridge"}
        if machine_id:
            about["container"] = machine_id
        self._publish(action, endpoint.network_id, about)
