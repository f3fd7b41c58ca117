"""The legal transitions of a machine's state, in one place."""

from __future__ import annotations

from heft.errors import Conflict
from heft.model.machine import State

_UP = {State.EXITED, State.RESTARTING}

TRANSITIONS: dict[State, frozenset[State]] = {
    State.CREATING: frozenset({State.CREATED, State.REMOVING}),
    State.CREATED: frozenset({State.STARTING, State.REMOVING}),
    # Removed: its start failed on a disk so full that not even that could be recorded.
    State.STARTING: frozenset({State.RUNNING, State.CREATED, State.REMOVING, *_UP}),
    State.RUNNING: frozenset({State.PAUSED, *_UP}),
    State.PAUSED: frozenset({State.RUNNING, *_UP}),
    State.RESTARTING: frozenset({State.STARTING, State.EXITED, State.REMOVING}),
    State.EXITED: frozenset({State.STARTING, State.RESTARTING, State.REMOVING}),
    State.REMOVING: frozenset({State.DEAD}),
    State.DEAD: frozenset({State.REMOVING}),
}


def check(machine_id: str, now: State, then: State) -> None:
    """Raise `Conflict` where a machine in state `now` can never be in state `then` next."""
    if then != now and then not in TRANSITIONS[now]:
        allowed = ", ".join(sorted(TRANSITIONS[now]))
        raise Conflict(f"container {machine_id} is {now}: it can become {allowed}, not {then}")
