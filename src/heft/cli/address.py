"""Where the daemon is: what the flags say, or the environment, or the usual place."""

from __future__ import annotations

from heft.cli.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from heft.cli.flags import Given

DEFAULT_SOCKET = "/run/heft/heft.sock"
TLS_PORT = 2376
"""Docker's port for TLS."""
FORMS = "as unix:///run/heft/heft.sock or tcp://host:2376"


class Address:
    """A Unix socket's `path`; or a `host` and `port`, with the files of mutual TLS."""

    __slots__ = ("authority", "certificate", "host", "key", "path", "port")

    def __init__(
        self,
        *,
        path: str = "",
        host: str = "",
        port: int = 0,
        authority: str = "",
        certificate: str = "",
        key: str = "",
    ) -> None:
        self.path = path
        self.host = host
        self.port = port
        self.authority = authority
        self.certificate = certificate
        self.key = key

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


def find(flags: Given, environment: Mapping[str, str]) -> Address:
    """Give the daemon's address: `-H`, else `HEFT_HOST`, else the default socket.

    Raises `Failure` for what is no address, or lacks the files that TLS needs.
    """
    given = flags.text("host") or environment.get("HEFT_HOST", "")
    if not given:
        return Address(path=DEFAULT_SOCKET)
    scheme, separator, rest = given.partition("://")
    if not separator:
        scheme, rest = ("unix", given) if given.startswith("/") else ("tcp", given)
    if scheme == "unix" and rest:
        return Address(path=rest)
    if scheme == "tcp" and rest:
        return _tcp(given, rest.rstrip("/"), flags, environment)
    raise Failure(f"unable to parse host: {given} (give it {FORMS})")


def _tcp(given: str, rest: str, flags: Given, environment: Mapping[str, str]) -> Address:
    host, port = _split(rest)
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise Failure(f"unable to parse host: {given} (give it {FORMS})")
    directory = environment.get("HEFT_CERT_PATH", "")
    files = {}
    for flag, name in (("tlscacert", "ca"), ("tlscert", "cert"), ("tlskey", "key")):
        path = flags.text(flag) or (f"{directory}/{name}.pem" if directory else "")
        if not path:
            raise Failure(
                f"cannot connect to {given} without --{flag}: heftd speaks on TCP only with mutual"
                " TLS (give --tlscacert, --tlscert and --tlskey, or a directory with ca.pem,"
                " cert.pem and key.pem in HEFT_CERT_PATH)"
            )
        files[flag] = path
    return Address(
        host=host,
        port=int(port),
        authority=files["tlscacert"],
        certificate=files["tlscert"],
        key=files["tlskey"],
    )


def _split(rest: str) -> tuple[str, str]:
    """Split a host and a port; an IPv6 address is in brackets where a port follows."""
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        return host, port.removeprefix(":") or str(TLS_PORT)
    host, colon, port = rest.rpartition(":")
    return (host, port) if colon else (port, str(TLS_PORT))
