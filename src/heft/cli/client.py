"""The daemon's API, as commands use it: paths and JSON in, values or `Refusal` out."""

from __future__ import annotations

from heft.cli import json_text
from heft.cli.connection import Connection, dial
from heft.cli.failures import Failure, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from heft.cli.address import Address
    from heft.cli.connection import Answer

VERSION = "/v1.47"
"""The version of the Docker Engine API that is spoken."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@")


def quote(text: str) -> str:
    """Give text as a part of a URL (RFC 3986, percent-encoding)."""
    return "".join(
        chr(byte) if byte in _PLAIN else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def path(*parts: str) -> str:
    """Give the path of a thing that a user named. Raises `Failure` for an empty name."""
    if not all(parts):
        raise Failure("invalid name: value is empty")
    return "/" + "/".join(map(quote, parts))


def query(values: Mapping[str, Any]) -> str:
    """Give a query; True is 1, lists are repeated, and what is None, False or empty is left out."""
    pairs = []
    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None and item is not False and item != "":
                shown = "1" if item is True else str(item)
                pairs.append(f"{name}={quote(shown)}")
    return f"?{'&'.join(pairs)}" if pairs else ""


class Client:
    """Sends requests; an idle connection is used again."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: Connection | None = None

    def begin(
        self,
        method: str,
        place: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        body: Any = None,
        stream: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Asked:
        """Send a request, and leave its answer for later.

        `body` goes as JSON, `stream` as it is. Paths of Docker's API get their version.
        """
        connection = self._connection()
        sent: bytes | Iterable[bytes] = b""
        types = {}
        if stream is not None:
            sent, types = stream, {"Content-Type": "application/x-tar"}
        elif body is not None:
            sent = json_text.dumps(body).encode()
            types = {"Content-Type": "application/json"}
        target = place if place.startswith("/heft/") else VERSION + place
        target += query(parameters or {})
        connection.send(method, target, {"User-Agent": "heft", **types, **(headers or {})}, sent)
        return Asked(self, connection)

    def open(
        self,
        method: str,
        place: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        body: Any = None,
        stream: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, and give its answer, whose body the caller reads. As `begin` otherwise.

        Raises `Refusal` for an answer that is an error, with what the daemon says.
        """
        asked = self.begin(method, place, parameters, body=body, stream=stream, headers=headers)
        return asked.answer()

    def call(
        self,
        method: str,
        place: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        body: Any = None,
    ) -> Any:
        """Send a request and give the answer's value; None if it has none."""
        return self.begin(method, place, parameters, body=body).value()

    def get(self, place: str, **parameters: Any) -> Any:
        """Ask for a value."""
        return self.call("GET", place, parameters)

    def post(self, place: str, body: Any = None, **parameters: Any) -> Any:
        """Ask for a change."""
        return self.call("POST", place, parameters, body=body)

    def delete(self, place: str, **parameters: Any) -> Any:
        """Ask for a removal."""
        return self.call("DELETE", place, parameters)

    def values(self, place: str, **parameters: Any) -> Iterator[Any]:
        """Give the values of an answer that is a stream of JSON lines, as they come."""
        for line in self.open("GET", place, parameters).lines():
            yield json_text.loads(line)

    def hijack(self, place: str, body: Any = None, **parameters: Any) -> tuple[Connection, Answer]:
        """Send a request that makes its connection a stream; give it, and the answer's head."""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        answer = self.open("POST", place, parameters, body=body, headers=headers)
        return answer.connection, answer

    def _connection(self) -> Connection:
        idle, self._idle = self._idle, None
        if idle is not None:
            if idle.is_idle():
                return idle
            idle.close()
        return Connection(dial(self.address), self.address.host or "heft")

    def finish(self, answer: Answer) -> bytes:
        """Give the answer's body; its connection can then be used again."""
        content = answer.read()
        if answer.keeps and self._idle is None:
            self._idle = answer.connection
        else:
            answer.connection.close()
        return content

    def close(self) -> None:
        """Close what is idle."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None


class Asked:
    """A request that is on its way; its answer can be asked for once."""

    def __init__(self, client: Client, connection: Connection) -> None:
        self._client = client
        self._connection = connection

    def answer(self) -> Answer:
        """Wait for the answer's head. Raises `Refusal`."""
        answer = self._connection.answer()
        if answer.status >= 400:
            message = _message(answer.status, self._client.finish(answer))
            raise Refusal(message, answer.status)
        return answer

    def value(self) -> Any:
        """Wait for the answer's value; None if it has none. Raises `Refusal`."""
        content = self._client.finish(self.answer())
        return json_text.loads(content) if content.strip() else None


def _message(status: int, content: bytes) -> str:
    try:
        message = json_text.loads(content)["message"]
    except (ValueError, KeyError, TypeError):
        message = content.decode("utf-8", "replace").strip()
    return str(message) or f"the daemon answered with HTTP status {status}"
