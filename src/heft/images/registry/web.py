"""How the daemon reaches others by HTTP: connections, certificates, proxies.

Certificates of authorities are the system's (`SSL_CERT_FILE` and `SSL_CERT_DIR` in their place,
SSL_CTX_set_default_verify_paths(3)), and those in `certs.d/HOST[:PORT]/*.crt`, beside which a
client's own can be (`NAME.cert` and `NAME.key`), as Docker has them.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from urllib.request import getproxies_environment

import aiohttp
from yarl import URL

import heft
from heft.errors import HostError, InvalidArgument
from heft.images.registry import configuration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from heft.images.registry.configuration import Configuration

CONNECT_SECONDS = 15.0
SILENCE_SECONDS = 60.0
"""How long nothing may come before a connection counts as broken."""
BUFFER = 1 << 19
"""Bytes that wait to be read, a connection."""
SHARED_CERTIFICATES = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))
_PROXY_HINT = "HTTPS_PROXY and HTTP_PROXY of the daemon: http://[USER:PASSWORD@]HOST[:PORT]"
USER_AGENT = f"heft/{heft.__version__}"


class Web:
    """One daemon's HTTP client; `directory` has `registries.conf` and `certs.d`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[tuple[object, bool], ssl.SSLContext] = {}
        """By the certificates' files: hosts without own ones share one, however many there are."""

    def configuration(self) -> Configuration:
        """Read which registries are reached how. Raises `InvalidArgument`, `HostError`."""
        return configuration.read(self._directory)

    @property
    def session(self) -> aiohttp.ClientSession:
        """Give the session, which knows nothing of any registry."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=BUFFER,
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
                ),
            )
        return self._session

    async def tls(self, host: str, *, insecure: bool) -> ssl.SSLContext:
        """Give what is to be thought of a host's certificate. Raises `InvalidArgument`."""
        files = sorted(self._files(host))
        state = tuple((path, path.stat().st_mtime_ns) for path in files)
        if (state, insecure) not in self._contexts:
            # In a thread: to read the system's certificates takes tens of milliseconds.
            context = await asyncio.to_thread(_context, files, insecure=insecure)
            self._contexts[state, insecure] = context
        return self._contexts[state, insecure]

    def _files(self, host: str) -> Iterator[Path]:
        """Give what concerns `HOST:PORT`; the port of HTTPS itself need not be in the name."""
        for directory in (self._directory / "certs.d", *SHARED_CERTIFICATES):
            for name in {host, host.removesuffix(":443")}:
                place = directory / name
                if "/" not in name and place.is_dir():
                    yield from place.iterdir()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


def _context(files: list[Path], *, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for path in files:
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                context.load_cert_chain(path, path.with_suffix(".key"))
        except (OSError, ssl.SSLError) as error:
            raise InvalidArgument(f"cannot use certificate {path}: {error}") from error
    return context


def proxy_for(url: URL, environment: Mapping[str, str] = os.environ) -> str | None:
    """Give the proxy that leads to an address (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).

    As Go's golang.org/x/net/http/httpproxy: this host itself is always reached directly; what
    `NO_PROXY` names are domains with all below them, addresses, and networks.
    """
    proxies = getproxies_environment() if environment is os.environ else _proxies(environment)
    proxy = proxies.get(url.scheme) or proxies.get("all")
    host = url.host or ""
    if not proxy or host == "localhost":
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is not None and address.is_loopback:
        return None
    for each in proxies.get("no", "").replace(" ", "").lower().split(","):
        if each and _spared(each, host.lower(), url.port, address):
            return None
    return proxy if "://" in proxy else f"http://{proxy}"


class Through(TypedDict):
    """What a request is given of a proxy; the address has no user and no password in it.

    So they are in no message about it either.
    """

    proxy: URL | None
    proxy_headers: dict[str, str]


def through(url: URL) -> Through:
    """Say by which proxy an address is reached. Raises `HostError` for one that cannot be used."""
    text = proxy_for(url)
    if text is None:
        return {"proxy": None, "proxy_headers": {}}
    try:
        proxy = URL(text)
        proxy.origin()
    except ValueError:
        raise HostError(f"the proxy for {url.scheme} is no address", hint=_PROXY_HINT) from None
    if proxy.scheme not in ("http", "https"):
        raise HostError(
            f"a proxy that speaks {proxy.scheme} cannot be used: {proxy.host}", hint=_PROXY_HINT
        )
    # aiohttp makes `Proxy-Authorization` of it, of CONNECT or of the request itself.
    known = base64.b64encode(f"{proxy.user or ''}:{proxy.password or ''}".encode()).decode()
    headers = {"Authorization": f"Basic {known}"} if proxy.user else {}
    return {"proxy": proxy.with_user(None), "proxy_headers": headers}


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    found = {name.lower(): value for name, value in environment.items()}
    return {name[:-6]: value for name, value in found.items() if name.endswith("_proxy") and value}


def _spared(
    pattern: str,
    host: str,
    port: int | None,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None,
) -> bool:
    if pattern == "*":
        return True
    if address is not None and "/" in pattern:
        try:
            return address in ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            return False
    name, _, wanted = pattern.rpartition(":")
    if name and wanted.isdecimal() and ":" not in name:
        if int(wanted) != port:
            return False
        pattern = name
    if pattern.startswith((".", "*.")):
        return host.endswith(pattern.removeprefix("*"))
    return host == pattern or host.endswith(f".{pattern}")
