"""docs/docker-api.md says of every endpoint what the routes do."""

import re
from pathlib import Path

import pytest

from heft.api.docker import refusals
from heft.api.server import routes
from heft.api.versions import NEWEST, OLDEST, version_text

PAGE = (Path(__file__).parents[2] / "docs" / "docker-api.md").read_text()
LINE = re.compile(
    r"\| (?P<method>[A-Z]+) \| `(?P<path>/\S+)` \| (?P<state>\w+) \| ?(?P<note>.*?) ?\|"
)
ROWS = {(row["method"], row["path"]): row for row in LINE.finditer(PAGE)}
SERVED = {
    (method, path): handler for method, path, handler in routes() if not path.startswith("/heft/")
}
CHAPTERS = (
    "Containers Images Networks Volumes Exec Swarm Nodes Services Tasks Secrets Configs Plugins"
    " System Distribution Session"
)


def test_the_page_has_every_route_and_no_other() -> None:
    listed = {(method, _generic(path)) for method, path in ROWS}
    assert listed == {(method, _generic(path)) for method, path in SERVED}
    assert len(listed) == len(ROWS) == len(re.findall(r"^\| [A-Z]+ \|", PAGE, re.MULTILINE))


def _generic(path: str) -> str:
    """Leave out what stands behind a second name: the table of routes has one."""
    return re.sub(r"/checkpoints/\{\w+\}$", "/checkpoints", path)


@pytest.mark.parametrize("endpoint", ROWS, ids=" ".join)
def test_what_is_refused_is_not_done_and_what_is_not_refused_is(endpoint: tuple[str, str]) -> None:
    row = ROWS[endpoint]
    handler = SERVED[endpoint[0], _generic(endpoint[1])]
    refused = handler.__module__ == refusals.__name__
    assert row["state"] in (["not"] if refused else ["done", "partly"])
    assert bool(row["note"]) == (row["state"] != "done"), "a reason where it lacks something"


def test_chapters_and_versions() -> None:
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == CHAPTERS.split()
    assert f"versions {version_text(OLDEST)} to {version_text(NEWEST)} " in PAGE
