"""The descriptions of the API name what is served, and Heft's own is whole."""

import json
from pathlib import Path
from typing import Any

import yaml

from heft.api.docker import refusals
from heft.api.native import own
from heft.api.server import routes

DOCKER = Path(__file__).parents[1] / "clients" / "docker.openapi.yaml"


def described(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }


def test_all_of_hefts_own_is_described() -> None:
    served = {(method, path) for method, path, _ in routes() if path.startswith("/heft/")}
    assert described(json.loads(own.document())) == served


def test_what_is_tried_of_dockers_is_served() -> None:
    served = {
        (method, path)
        for method, path, handler in routes()
        if handler.__module__ != refusals.__name__
    }
    found = described(yaml.safe_load(DOCKER.read_text()))
    assert found <= served
    assert len(found) >= 42
