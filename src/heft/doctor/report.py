"""What was found, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heft.doctor.check import BUILDS_ON, WEIGHTS, Result, State

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be said of a weight."""

    weight: str
    results: tuple[Result, ...]
    """Those that concern it."""
    stopping: tuple[Result, ...]
    """Those without which it cannot run; with those of the weight that it builds on."""

    @property
    def runs(self) -> bool:
        """Say whether it is known to run."""
        return not self.stopping

    @property
    def sentence(self) -> str:
        """Say it."""
        if self.runs:
            return "this host has all that they need"
        lacking = [item for item in self.stopping if item.finding.state is State.LACKING]
        names = ", ".join(item.check.name for item in lacking or self.stopping)
        return f"this host lacks {names}" if lacking else f"cannot be told without root: {names}"


def verdict(weight: str, results: tuple[Result, ...]) -> Verdict:
    """Judge one weight."""
    stopping = [item for item in results if item.stops(weight)]
    if base := BUILDS_ON.get(weight):
        stopping += [item for item in results if item.stops(base) and item not in stopping]
    concerned = tuple(item for item in results if item.concerns(weight))
    return Verdict(weight, concerned, tuple(stopping))


def mark(result: Result, weight: str) -> str:
    """Give the word before a line: what it means for the weight."""
    if result.finding.state is State.THERE:
        return "ok"
    if result.finding.state is State.UNKNOWN:
        return "?"
    return "LACKS" if result.stops(weight) else "lacks"


def table(verdicts: tuple[Verdict, ...], *, quiet: bool) -> Iterator[str]:
    """Give the lines for people, grouped by weight; `quiet` leaves out what is there."""
    width = max((len(item.check.name) for one in verdicts for item in one.results), default=0)
    for number, one in enumerate(verdicts):
        shown = [i for i in one.results if not quiet or i.finding.state is not State.THERE]
        if quiet and not shown and one.runs:
            continue
        if number and not quiet:
            yield ""
        yield f"{one.weight}: {WEIGHTS[one.weight]}: {one.sentence}"
        for item in shown:
            yield from _lines(item, one.weight, width)


def _lines(item: Result, weight: str, width: int) -> Iterator[str]:
    check, finding = item.check, item.finding
    lead = f"  {mark(item, weight):<6}{check.kind.value:<7} {check.name:<{width}}"
    yield f"{lead}  {finding.detail}".rstrip()
    if finding.state is State.LACKING:
        yield f"{'':16}  costs: {check.lack}"
        yield f"{'':16}  to do: {check.remedy}"


def document(verdicts: tuple[Verdict, ...]) -> str:
    """Give everything as JSON: one object a weight, one a check."""
    return json.dumps({"weights": {one.weight: _weight(one) for one in verdicts}}, indent=2)


def _weight(one: Verdict) -> dict[str, Any]:
    return {
        "runs": one.runs,
        "verdict": one.sentence,
        "checks": [_check(item, one.weight) for item in one.results],
    }


def _check(item: Result, weight: str) -> dict[str, Any]:
    check, finding = item.check, item.finding
    return {
        "name": check.name,
        "kind": check.kind.value,
        "required": weight in check.required,
        "state": finding.state.value,
        "detail": finding.detail,
        "costs": check.lack,
        "remedy": check.remedy,
    }
