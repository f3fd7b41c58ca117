"""The filters that Docker's documentation names are those that are read, and no others."""

import pytest

from heft.api.docker import events, image_views, listing, networks, system, volumes
from heft.engine.events import matches
from heft.model.event import Event

# docs.docker.com/reference/cli/docker: the section "Filtering" of each command; the last of the
# lists by API 1.56 (`annotation`). `label!` is documented for prune alone, and read everywhere.
DOCUMENTED = {
    "ps": (
        listing.KNOWN,
        "id name label exited status ancestor before since volume network publish expose health"
        " isolation is-task annotation",
    ),
    "container prune": (listing.PRUNE_KNOWN, "until label label!"),
    "images": (image_views.KNOWN, "dangling label before since until reference"),
    "image prune": (image_views.PRUNE_KNOWN, "dangling until label label!"),
    "volume ls": (volumes.KNOWN, "dangling driver label name"),
    "volume prune": (volumes.PRUNE_KNOWN, "all label label!"),
    "network ls": (networks.KNOWN, "dangling driver id label name scope type"),
    "network prune": (networks.PRUNE_KNOWN, "until label label!"),
    "builder prune": (
        system.BUILD_PRUNE_KNOWN,
        "until unused-for id parent type description inuse shared private",
    ),
    "events": (
        events.KNOWN,
        "config container daemon event image label network node plugin scope secret service type"
        " volume",
    ),
}
BESIDES = {"label!", "builder"}
"""`builder` is a type of events that Docker's daemon knows and its documentation does not."""


@pytest.mark.parametrize("command", DOCUMENTED)
def test_names(command: str) -> None:
    known, documented = DOCUMENTED[command]
    assert known - BESIDES == set(documented.split()) - BESIDES
    if "prune" in command and command != "builder prune":
        assert "label!" in known


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ("debian", True),
        ("debian:12", True),
        ("host:5000/debian", False),
        ("deb", False),
    ],
)
def test_events_of_an_image_by_its_name_without_the_tag(wanted: str, fits: bool) -> None:
    event = Event(
        type="container",
        action="start",
        actor="0" * 64,
        attributes={"image": "debian:12"},
        time=1,
    )
    assert matches(event, {"image": [wanted]}) is fits


def test_the_port_of_a_registry_is_no_tag() -> None:
    event = Event(
        type="container",
        action="start",
        actor="0" * 64,
        attributes={"image": "host:5000/debian"},
        time=1,
    )
    assert matches(event, {"image": ["host:5000/debian"]})
    assert not matches(event, {"image": ["host"]})
