"""Requests of every kind that the descriptions of the API allow, and of kinds that they do not.

schemathesis makes them up; each gets an answer in time, never an internal error, and nothing of
them stays behind, as the end of the module's daemon checks. The whole takes less than a minute.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import requests
import schemathesis
from docker.transport import UnixHTTPAdapter
from hypothesis import HealthCheck
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from heft.api.native import own
from heft.images.archive import MANIFEST_TYPES
from tests.harness import registries
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.registries import Trouble, say

ADDRESS = "http://heft"
REQUESTS = {"heft": 60, "docker": 50}
"""How many are made to each endpoint of the two."""
SECONDS = 2.0
"""How long one endpoint is tried at most, once what it takes to answer is long."""
ANSWER_SECONDS = 10.0
LINES = frozenset(
    f"POST /heft/v1/{path}"
    for path in ("disks", "fsck", "kits", "kits/{name}/warm", "images", "registries/image")
)
"""Answers that are lines of JSON, as Docker's of an import are: schemas have no word for it."""
REGISTRY = "127.0.0.1:5009"
REFUSALS = (501, 503)
"""What is not supported, by Heft or by this host, says so with these."""

schemathesis.serializer.alias("application/x-tar", "application/octet-stream")
SCHEMAS = {
    "heft": schemathesis.openapi.from_path(str(Path(own.__file__).with_name("openapi.json"))),
    "docker": schemathesis.openapi.from_path(str(Path(__file__).with_name("docker.openapi.yaml"))),
}
OPERATIONS = [
    pytest.param(kind, operation.ok(), id=operation.ok().label)
    for kind, schema in SCHEMAS.items()
    for operation in schema.get_all_operations()
]
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def session(module_daemon: Daemon) -> Iterator[requests.Session]:
    """Give a connection."""
    with requests.Session() as session:
        session.mount(ADDRESS, UnixHTTPAdapter(f"http+unix://{module_daemon.socket}"))
        yield session


@pytest.fixture(autouse=True)
def machines(module_daemon: Daemon) -> None:
    """Have a running, a stopped and a created machine to try things on, whatever was tried."""
    for name, command in (("running", "sleep 1000"), ("stopped", "true"), ("created", "true")):
        body = {"Image": BUSYBOX, "Cmd": ["sh", "-c", command], "HostConfig": {"Init": True}}
        status = module_daemon.request("POST", f"/containers/create?name={name}", body).status
        assert status in (201, 409)
        if name != "created":
            status = module_daemon.request("POST", f"/containers/{name}/start").status
            assert status in (204, 304) or name == "running"
            module_daemon.request("POST", f"/containers/{name}/unpause")


@pytest.fixture(scope="module", autouse=True)
def registry(module_daemon: Daemon) -> Iterator[None]:
    """Have a registry that knows hardly anything, and an image with its name."""
    place = f"/images/busybox/tag?repo={REGISTRY}/box&tag=1"
    assert module_daemon.request("POST", place).status == 201
    with registries.proxy("", 5009) as proxy:
        for pattern, act in (
            ("GET /v2/$", say(b"{}")),
            ("/v1/search", say(b'{"results": [{"name": "box"}]}')),
            ("/manifests/", say(b'{"schemaVersion": 2, "layers": 5}', MANIFEST_TYPES[0])),
            ("/odd/tags/", say(b'{"tags": ["1", "a/b", 7]}')),
        ):
            proxy.troubles.append(Trouble(pattern, act, times=1 << 20))
        yield


@pytest.mark.parametrize(("kind", "operation"), OPERATIONS)
def test_any_request(
    kind: str,
    operation: schemathesis.APIOperation,
    session: requests.Session,
    module_daemon: Daemon,
) -> None:
    until = time.monotonic() + SECONDS

    @hypothesis.settings(
        max_examples=REQUESTS[kind],
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        report_multiple_bugs=False,
    )
    @hypothesis.given(case=operation.as_strategy())
    def each(case: schemathesis.Case) -> None:
        if time.monotonic() > until:
            return
        if "/registries/" in operation.label and "name" in case.query:
            case.query["name"] = f"{REGISTRY}/{case.query['name']}"  # others cannot be reached
        response = case.call(base_url=ADDRESS, session=session, timeout=ANSWER_SECONDS)
        if response.status_code >= 400:
            assert response.json()["message"], "an error says what is wrong"
        if response.status_code in REFUSALS:
            return
        checks = [not_a_server_error]
        if kind == "heft":
            checks += [content_type_conformance, status_code_conformance]
        if operation.label in LINES:
            assert all(map(json.loads, response.content.splitlines())), response.text
        elif kind == "heft":
            checks.append(response_schema_conformance)
        case.validate_response(response, checks=checks)

    each()
    assert module_daemon.request("GET", "/_ping", timeout=5).body == b"OK"
    assert "Traceback" not in module_daemon.log.read_text(errors="replace")
