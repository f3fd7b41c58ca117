"""The records of all machines: in memory, and in the store, always both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from heft.engine import lifecycle
from heft.errors import Conflict, InvalidArgument, NotFound
from heft.model.machine import Machine, State
from heft.store.database import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heft.store.database import Database


class Records:
    """Machines by id and by name. A change is in the store when the call returns."""

    def __init__(self, database: Database) -> None:
        self._table = Table(database, "machines", Machine)
        self._by_id: dict[str, Machine] = {machine.id: machine for machine in self._table}
        self._by_name = {machine.name: machine.id for machine in self._by_id.values()}

    def __iter__(self) -> Iterator[Machine]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def ids(self) -> frozenset[str]:
        """Give the ids of all machines, half-made ones too."""
        return frozenset(self._by_id)

    @property
    def names(self) -> frozenset[str]:
        """Give all names that are taken."""
        return frozenset(self._by_name)

    def get(self, machine_id: str) -> Machine | None:
        """Give the machine with this very id."""
        return self._by_id.get(machine_id)

    def find(self, reference: str) -> Machine | None:
        """Find a machine as `resolve` does; None where that would raise."""
        try:
            return self.resolve(reference)
        except (NotFound, InvalidArgument):
            return None

    def resolve(self, reference: str) -> Machine:
        """Find a machine by id, name, or a prefix of its id that no other has.

        Raises `NotFound`, and `InvalidArgument` for an ambiguous prefix, in Docker's words.
        """
        if not reference:
            raise InvalidArgument("a container's name or id is needed: it is empty")
        found = self._by_id.get(reference)
        if found is None and (known := self._by_name.get(reference.removeprefix("/"))):
            found = self._by_id[known]
        if found is None:
            found = self._by_prefix(reference)
        if found is None or found.state is State.CREATING:
            raise NotFound(f"No such container: {reference}")
        return found

    def _by_prefix(self, prefix: str) -> Machine | None:
        matches = [known for known in self._by_id if known.startswith(prefix)]
        if len(matches) > 1:
            raise InvalidArgument(f"Multiple IDs found with provided prefix: {prefix}")
        return self._by_id[matches[0]] if matches else None

    def add(self, machine: Machine) -> None:
        """Record a new machine; `Conflict` if the name is taken."""
        if (holder := self._by_name.get(machine.name)) is not None:
            raise _name_taken(machine.name, holder)
        self._table.put(machine.id, machine, name=machine.name)
        self._by_id[machine.id] = machine
        self._by_name[machine.name] = machine.id

    def change(self, machine_id: str, **fields: Any) -> Machine:
        """Record other values for some fields; checks that the transition of state is legal."""
        old = self._by_id[machine_id]
        lifecycle.check(machine_id, old.state, fields.get("state", old.state))
        new = msgspec.structs.replace(old, **fields)
        if new.name != old.name and (holder := self._by_name.get(new.name)) is not None:
            raise _name_taken(new.name, holder)
        self._table.put(machine_id, new, name=new.name)
        del self._by_name[old.name]
        self._by_name[new.name] = machine_id
        self._by_id[machine_id] = new
        return new

    def forget(self, machine_id: str) -> None:
        """Remove the record; no harm if there is none."""
        self._table.delete(machine_id)
        if (machine := self._by_id.pop(machine_id, None)) is not None:
            del self._by_name[machine.name]


def _name_taken(name: str, holder: str) -> Conflict:
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{holder}".'
        " You have to remove (or rename) that container to be able to reuse that name."
    )
