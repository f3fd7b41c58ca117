"""A machine's states: every transition is legal or refused, and none is a dead end."""

import pytest

from heft.engine import lifecycle
from heft.errors import Conflict
from heft.model.machine import State


def test_every_state_has_its_transitions() -> None:
    assert set(lifecycle.TRANSITIONS) == set(State)


@pytest.mark.parametrize("now", State)
def test_a_state_stays_itself(now: State) -> None:
    lifecycle.check("m", now, now)


@pytest.mark.parametrize("now", State)
@pytest.mark.parametrize("then", State)
def test_what_is_not_named_is_refused(now: State, then: State) -> None:
    if then == now or then in lifecycle.TRANSITIONS[now]:
        lifecycle.check("m", now, then)
    else:
        with pytest.raises(Conflict, match=f"container m is {now}"):
            lifecycle.check("m", now, then)


@pytest.mark.parametrize("start", State)
def test_every_state_can_come_to_removal(start: State) -> None:
    seen, todo = set(), [start]
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo += lifecycle.TRANSITIONS[state]
    assert State.REMOVING in seen
