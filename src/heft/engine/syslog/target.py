"""Where a machine's lines are sent, as its log options say: Docker's names, defaults and wording.

moby, daemon/logger/syslog/syslog.go (`parseAddress`, `parseFacility`, `parseLogFormat`). Pure, but
for the look whether a socket is there.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT = 514
FACILITIES = (
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp"
    " 12 13 14 15 local0 local1 local2 local3 local4 local5 local6 local7"
).split()
"""By number; those from 12 to 15 have no name in Docker (RFC 5424, 6.2.1)."""
_DAEMON = FACILITIES.index("daemon")
_TLS_OPTIONS = ("syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key")


class Transport(enum.StrEnum):
    """How lines get there; beside each, what is between two of them."""

    LOCAL = ""
    """The host's own receiver, on the first socket of `channel.LOCAL` that there is."""
    UNIX = "unix"
    UNIXGRAM = "unixgram"
    UDP = "udp"
    TCP = "tcp"
    TLS = "tcp+tls"


class Format(enum.StrEnum):
    """How a line is written; `heft.engine.syslog.formats`."""

    UNIX = ""
    RFC3164 = "rfc3164"
    RFC5424 = "rfc5424"
    RFC5424_MICRO = "rfc5424micro"


@dataclass(frozen=True, slots=True)
class Target:
    """A receiver, and what it is told of every line."""

    transport: Transport = Transport.LOCAL
    address: str = ""
    """A path, or the name or address of a host."""
    port: int = PORT
    facility: int = _DAEMON
    format: Format = Format.UNIX
    ca: str = ""
    certificate: str = ""
    key: str = ""
    """Files of TLS; empty: the host's own authorities, no certificate."""
    verify: bool = True

    @property
    def name(self) -> str:
        """Give the receiver's name as Go's errors have it: `tcp 127.0.0.1:514`."""
        if self.transport in (Transport.UNIX, Transport.UNIXGRAM):
            return f"{self.transport} {self.address}"
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.transport.removesuffix('+tls')} {host}:{self.port}"


def read(options: Mapping[str, str]) -> Target:
    """Give what the options say. Raises `InvalidArgument`."""
    transport, address, port = _address(options.get("syslog-address", ""))
    ca, certificate, key = (options.get(name, "") for name in _TLS_OPTIONS)
    if bool(certificate) != bool(key):
        raise InvalidArgument("syslog-tls-cert and syslog-tls-key belong together")
    return Target(
        transport=transport,
        address=address,
        port=port,
        facility=_facility(options.get("syslog-facility", "")),
        format=_format(options.get("syslog-format", "")),
        ca=ca,
        certificate=certificate,
        key=key,
        verify=not options.get("syslog-tls-skip-verify"),
    )


def check_socket(target: Target) -> None:
    """Raise `InvalidArgument` where the target is a socket of this host that is not there."""
    if target.transport in (Transport.UNIX, Transport.UNIXGRAM):
        try:
            os.stat(target.address)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise InvalidArgument(f"stat {target.address}: {why}") from error


def _address(text: str) -> tuple[Transport, str, int]:
    if not text:
        return Transport.LOCAL, "", PORT
    try:
        url = urlsplit(text)
        transport = Transport(url.scheme)
        if transport in (Transport.UNIX, Transport.UNIXGRAM):
            return transport, url.path, PORT
        host, port = url.hostname, url.port or PORT
    except ValueError as error:
        if "://" in text and not _is_known(text):
            raise InvalidArgument(f"unsupported scheme: '{text.partition(':')[0]}'") from error
        raise InvalidArgument(f"invalid syslog-address: '{text}': {error}") from error
    if transport is Transport.LOCAL or not host:
        raise InvalidArgument(f"unsupported scheme: '{url.scheme}'", hint="tcp://HOST:514")
    return transport, host, port


def _is_known(text: str) -> bool:
    return text.partition("://")[0] in set(Transport)


def _facility(text: str) -> int:
    if not text:
        return _DAEMON
    if text in FACILITIES and not text.isdecimal():
        return FACILITIES.index(text)
    if text.isdecimal() and int(text) < len(FACILITIES):
        return int(text)
    raise InvalidArgument(f"invalid syslog facility: {text}")


def _format(text: str) -> Format:
    try:
        return Format(text)
    except ValueError:
        raise InvalidArgument(
            f"Invalid syslog format: {text}", hint="rfc3164, rfc5424 or rfc5424micro"
        ) from None
