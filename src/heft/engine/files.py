"""The files that Heft writes for each machine: hosts(5), hostname(5), resolv.conf(5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument
from heft.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.model.machine import Machine

HOST_RESOLVER = Path("/etc/resolv.conf")
FALLBACK_RESOLVER = "nameserver 127.0.0.1\n"

LOCAL = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def write(machine: Machine, directory: Path, resolvers: Iterable[str], linked: str = "") -> None:
    """Write all three, whatever is there; `resolvers` is empty to use the host's own.

    `linked` are the lines of /etc/hosts about the machines that it links to.
    """
    texts = {
        "hosts": hosts(machine) + linked,
        "hostname": machine.config.hostname + "\n",
        "resolv.conf": resolver(machine, tuple(resolvers), _host_resolver()),
    }
    for name, text in texts.items():
        path = directory / name
        with translated(f"write {path}"):
            path.write_text(text)


def _host_resolver() -> str:
    try:
        return HOST_RESOLVER.read_text(errors="replace")
    except OSError:
        return FALLBACK_RESOLVER


def hosts(machine: Machine) -> str:
    """Give the text of /etc/hosts: the loopback, what the user added, the machine itself."""
    lines = [LOCAL]
    for extra in machine.host_config.extra_hosts:
        name, address = extra_host(extra)
        if address == "host-gateway":
            address = machine.endpoint.gateway if machine.endpoint else "127.0.0.1"
        lines.append(f"{address}\t{name}\n")
    if machine.endpoint and machine.endpoint.address:
        config = machine.config
        full = f"{config.hostname}.{config.domainname} " if config.domainname else ""
        lines.append(f"{machine.endpoint.address}\t{full}{config.hostname}\n")
    return "".join(lines)


def extra_host(text: str) -> tuple[str, str]:
    """Read `name:address` (`--add-host`)."""
    name, _, address = text.partition(":" if "=" not in text else "=")
    if not name or not address or any(c.isspace() for c in text):
        raise InvalidArgument(f'bad format for add-host: "{text}"')
    return name, address.removeprefix("[").removesuffix("]")


def resolver(machine: Machine, resolvers: tuple[str, ...], host_text: str) -> str:
    """Give the text of /etc/resolv.conf: the user's words over the network's over the host's."""
    host = machine.host_config
    kept = [line for line in host_text.splitlines() if line.strip()]
    servers = [f"nameserver {server}" for server in host.dns or resolvers]
    search = [f"search {' '.join(host.dns_search)}"] if host.dns_search else []
    options = [f"options {' '.join(host.dns_options)}"] if host.dns_options else []
    if host.dns_search == ["."]:
        search = [""]
    lines = (
        (servers or _starting(kept, "nameserver"))
        + (search or _starting(kept, "search"))
        + (options or _starting(kept, "options"))
    )
    return "".join(f"{line}\n" for line in lines if line)


def _starting(lines: list[str], word: str) -> list[str]:
    return [line for line in lines if line.split()[0] == word]
