"""JSON bodies, read as Go reads them; and whatever else arrives is refused in words."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.api.decode import Body
from heft.api.docker.containers import CreateBody
from heft.api.routes import Routes
from heft.errors import InvalidArgument

BODY = Body(CreateBody)


def read(value: object) -> CreateBody:
    return BODY.decode(json.dumps(value).encode())


def test_as_go_reads_it() -> None:
    body = read(
        {
            "image": "busybox",
            "Cmd": "one string",
            "Env": None,
            "Unknown": {"is": "ignored"},
            "HostConfig": {"Memory": 5, "memoryswap": 7, "CapAdd": "ALL", "Binds": None},
        }
    )
    assert body.image == "busybox"
    assert body.cmd == ["one string"]
    assert body.host_config.memory == 5
    assert body.host_config.memory_swap == 7
    assert body.host_config.cap_add == ["ALL"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"Image": 5}, "Image"),
        ({"HostConfig": {"Memory": "much"}}, "Memory"),
        ({"Env": "A=1"}, "Env"),
        ({"Labels": ["a"]}, "Labels"),
        ([], "object"),
        ({"HostConfig": {"Memory": 1 << 70}}, "Memory"),
    ],
)
def test_the_wrong_field_is_named(value: object, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        read(value)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"Image": }', b"[" * 100_000])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(InvalidArgument):
        BODY.decode(body)


NAMES = st.sampled_from(
    ["Image", "Cmd", "Env", "HostConfig", "Labels", "Memory", "Binds", "PortBindings", "Ulimits"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_request_or_refused(value: object) -> None:
    with contextlib.suppress(InvalidArgument):
        read(value)


def test_a_request_is_read_as_it_is_written() -> None:
    first = read({"Image": "a", "HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 1}]}})
    assert BODY.decode(msgspec.json.encode(first)) == first


async def _handler(_: Any) -> Any:
    raise NotImplementedError


def test_routes() -> None:
    routes = Routes()
    routes.add("GET", "/images/json", _handler)
    routes.add("GET", "/images/{name}/json", _handler)
    routes.add("DELETE", "/images/{name}", _handler)
    assert routes.find("GET", "/images/json") == (_handler, "")
    assert routes.find("GET", "/images/a.example:5/b/c:1/json") == (_handler, "a.example:5/b/c:1")
    assert routes.find("DELETE", "/images/a/b") == (_handler, "a/b")
    assert routes.find("POST", "/images/json") is None
    assert routes.find("GET", "/nowhere") is None
