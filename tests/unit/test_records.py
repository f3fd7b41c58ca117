"""Machines by id, prefix and name; in memory and in the store alike."""

from pathlib import Path

import pytest

from heft.engine.records import Records
from heft.errors import Conflict, InvalidArgument, NotFound
from heft.model.config import Config, HostConfig
from heft.model.machine import Machine, State
from heft.store.database import Database


def machine(machine_id: str, name: str, state: State = State.CREATED) -> Machine:
    return Machine(
        id=machine_id,
        name=name,
        created=1,
        weight="light",
        platform="linux/amd64",
        image="sha256:0",
        layers=(),
        config=Config(),
        host_config=HostConfig(),
        state=state,
    )


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "store")


def test_found_by_id_prefix_and_name(database: Database) -> None:
    records = Records(database)
    records.add(machine("aabb", "one"))
    records.add(machine("aacc", "two"))
    for reference in ("aabb", "aab", "one", "/one"):
        assert records.resolve(reference).id == "aabb"
    with pytest.raises(InvalidArgument, match="Multiple IDs found with provided prefix: aa"):
        records.resolve("aa")
    with pytest.raises(NotFound, match="No such container: three"):
        records.resolve("three")
    with pytest.raises(InvalidArgument):
        records.resolve("")
    assert records.find("three") is None


def test_a_half_made_machine_is_not_found_but_holds_its_name(database: Database) -> None:
    records = Records(database)
    records.add(machine("aabb", "one", State.CREATING))
    with pytest.raises(NotFound):
        records.resolve("one")
    with pytest.raises(Conflict, match='The container name "/one" is already in use'):
        records.add(machine("aacc", "one"))


def test_changes_are_in_the_store(database: Database) -> None:
    records = Records(database)
    records.add(machine("aabb", "one"))
    records.change("aabb", name="uno", state=State.STARTING)
    records.add(machine("aacc", "one"))
    records.forget("aacc")
    again = Records(database)
    assert [(m.name, m.state) for m in again] == [("uno", State.STARTING)]
    assert again.names == {"uno"}


def test_illegal_change_changes_nothing(database: Database) -> None:
    records = Records(database)
    records.add(machine("aabb", "one"))
    records.add(machine("aacc", "two"))
    with pytest.raises(Conflict):
        records.change("aabb", state=State.PAUSED)
    with pytest.raises(Conflict):
        records.change("aabb", name="two")
    assert records.resolve("aabb") == machine("aabb", "one")
