"""heftd: the daemon. It opens the engine, serves the API, and ends when it is told to.

Machines run on when it ends, however it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvloop

from heft import __version__
from heft.api.server import Server, ServerSettings
from heft.api.tls import TLSFiles
from heft.engine.engine import Engine
from heft.engine.settings import Settings
from heft.engine.user_ranges import Remap
from heft.errors import HeftError, InvalidArgument
from heft.failures import refused
from heft.host import cgroups
from heft.host.lock import DirectoryLock
from heft.layout import DEFAULT_CONFIGURATION, DEFAULT_DATA, DEFAULT_RUN, Layout
from heft.networks.settings import NetworkSettings

log = logging.getLogger("heft")

_REMAP = "give machines users of their own, with ids from /etc/subuid and /etc/subgid"
_CONFIGURATION = "where registries.conf and certs.d are (%(default)s)"
_SPARE = "keep a guest ready for the next heavy machine for so long; 0: none (%(default)g)"
FIRST_PASSED_DESCRIPTOR = 3
"""Where systemd puts the sockets it opened (sd_listen_fds(3))."""


def parser() -> argparse.ArgumentParser:
    """Give the parser of heftd's command line."""
    network = NetworkSettings()
    result = argparse.ArgumentParser(prog="heftd", description="The daemon of Heft.")
    add = result.add_argument
    add("--version", action="version", version=f"heftd {__version__}")
    add("--data", type=Path, default=DEFAULT_DATA, help="what outlives a boot (%(default)s)")
    add("--run", type=Path, default=DEFAULT_RUN, help="what this boot knows (%(default)s)")
    add("--config", type=Path, default=DEFAULT_CONFIGURATION, help=_CONFIGURATION)
    add("--socket", type=Path, help="the API's Unix socket (RUN/heft.sock)")
    add("--group", default="heft", help="the group that may use the socket (%(default)s)")
    add("-H", "--host", help="serve on TCP too: tcp://ADDRESS:PORT, with mutual TLS only")
    add("--tlsverify", action="store_true", help="accepted for likeness to dockerd; always on")
    add("--tlscacert", type=Path, help="clients' certificates must be signed by this")
    add("--tlscert", type=Path, help="the server's certificate")
    add("--tlskey", type=Path, help="the server's key")
    add("--cgroup-parent", default="/heft", help="where machines' cgroups are (%(default)s)")
    add("--agent", type=Path, help="the agent of guests (PREFIX/libexec/heft-agent)")
    add("--bridge", default=network.bridge, help="the default network's bridge (%(default)s)")
    add("--subnet", default=network.subnet, help="the default network's subnet (%(default)s)")
    add("--table", default=network.table, help="the nftables table (%(default)s)")
    add("--namespace-prefix", default=network.namespace_prefix, help="of network namespaces")
    add("--default-weight", default="light", help="of machines that name none (%(default)s)")
    add("--runtime", default="crun", help="the OCI runtime of light machines (%(default)s)")
    add("--spare-seconds", type=float, default=120.0, metavar="SECONDS", help=_SPARE)
    add("--userns-remap", default="", metavar="default|USER[:GROUP]", help=_REMAP)
    add("--teardown", action="store_true", help="stop all machines, remove the networks, and end")
    add("--pid-file", type=Path, help="write the process id here")
    add("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return result


def engine_settings(arguments: argparse.Namespace) -> Settings:
    """Give what the command line says about the engine."""
    return Settings(
        layout=Layout(data=arguments.data, run=arguments.run),
        cgroup_parent=arguments.cgroup_parent,
        default_weight=arguments.default_weight,
        runtime=arguments.runtime,
        spare_seconds=arguments.spare_seconds,
        configuration=arguments.config,
        **({"agent": arguments.agent} if arguments.agent else {}),
        remap=Remap.read(arguments.userns_remap),
        network=NetworkSettings(
            bridge=arguments.bridge,
            subnet=arguments.subnet,
            table=arguments.table,
            namespace_prefix=arguments.namespace_prefix,
        ),
    )


def server_settings(arguments: argparse.Namespace) -> ServerSettings:
    """Give what the command line, and systemd, say about where to serve.

    Raises `InvalidArgument` for TCP without all three files of mutual TLS.
    """
    passed = passed_descriptors()
    files = (arguments.tlscacert, arguments.tlscert, arguments.tlskey)
    tcp = None
    if arguments.host:
        tcp = tcp_address(arguments.host)
        if None in files:
            raise InvalidArgument(
                f"cannot serve on {arguments.host} without mutual TLS",
                hint="give --tlscacert, --tlscert and --tlskey",
            )
    return ServerSettings(
        socket=None if passed else arguments.socket or Layout(run=arguments.run).socket,
        listen_fds=passed,
        group=arguments.group,
        tcp=tcp,
        tls=TLSFiles(*files) if tcp else None,
    )


def tcp_address(text: str) -> tuple[str, int]:
    """Read `tcp://ADDRESS:PORT`."""
    scheme, _, rest = text.partition("://")
    address, _, port = rest.rpartition(":")
    if scheme != "tcp" or not address or not port.isdecimal() or int(port) > 65535:
        raise InvalidArgument(f"invalid address to serve on: {text}", hint="as tcp://0.0.0.0:2376")
    return address.strip("[]"), int(port)


def passed_descriptors() -> tuple[int, ...]:
    """Give the sockets that systemd opened for this process (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return ()
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return tuple(range(FIRST_PASSED_DESCRIPTOR, FIRST_PASSED_DESCRIPTOR + count))


def notify(state: str) -> None:
    """Tell the service manager how it goes (sd_notify(3)); nothing where there is none."""
    if not (path := os.environ.get("NOTIFY_SOCKET")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(state.encode(), address)


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    addresses = server_settings(arguments)
    arguments.run.mkdir(mode=0o711, parents=True, exist_ok=True)
    lock = DirectoryLock(engine_settings(arguments).layout.lock)
    if arguments.pid_file:
        arguments.pid_file.write_text(f"{os.getpid()}\n")
    engine = await Engine.open(engine_settings(arguments))
    if arguments.teardown:
        await engine.tear_down()
        await engine.close()
        return cgroups.remove_empty(cgroups.detect(), arguments.cgroup_parent)
    server = Server(engine, addresses)
    await server.start()
    log.info("heftd %s serves on %s", __version__, addresses.socket or "the passed socket")
    notify("READY=1")
    await told.wait()
    notify("STOPPING=1")
    await server.close()
    await engine.close()
    lock.release()
    return None


def main() -> None:
    """Run the daemon; the exit status is 1 if it cannot be."""
    arguments = parser().parse_args()
    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        uvloop.run(serve(arguments))
    except HeftError as error:
        sys.exit(f"heftd: {error}")
    except OSError as error:
        logging.exception("heftd cannot go on")
        sys.exit(f"heftd: {refused(f'use {error.filename}', error)}")


if __name__ == "__main__":
    main()
