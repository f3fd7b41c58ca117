"""The process that works on a machine's files: it packs, unpacks, looks, compares.

    python -m MODULE PLAN [< TAR] [> TAR]

PLAN is a `heft.files.plan.Plan` as JSON. What is given goes to standard output: for `status` and
`pack` first a line of JSON, the `FileStatus`. How it ended goes to standard error, one line of
JSON: `{}` or what `verdict` writes of an error. SIGTERM takes an unpacking back.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

from heft.files import place
from heft.files.looking import Place
from heft.files.tasks import Stopped, Task
from heft.host import credentials, tied
from heft.tars.packing import Packer

if TYPE_CHECKING:
    from collections.abc import Callable

    from heft.files.plan import Plan, Tree
    from heft.files.upper import Upper
    from heft.tars.packing import Skip

    LookUp = Callable[[int, str], tuple[int, int]]
    """Gives user and group of `user[:group]` in the tree of a descriptor."""

_OUT = 1
KERNELS_OWN = ("/dev/", "/proc/", "/sys/")
_MISSING = "missing"
_FORBIDDEN = "forbidden"


def main(look_up: LookUp) -> int:
    """Run the process; the plan is the first argument."""
    signal.signal(signal.SIGTERM, _stop)
    tied.end_with_daemon(signal.SIGTERM)
    tied.bound_memory()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(0)
    ending: dict[str, str] = {}
    try:
        _work(_read_plan(sys.argv[1]), look_up)
    except BrokenPipeError:
        return 1  # nobody reads any more
    except Exception as error:
        kind, message = _explain(error)
        ending = {"error": kind, "message": message}
    os.write(2, json.dumps(ending).encode("ascii"))
    return 1 if ending else 0


def _read_plan(text: str) -> Plan:
    """Read what the daemon wrote, without what would check it: importing that takes too long."""
    plan: Plan = json.loads(text, object_hook=lambda values: SimpleNamespace(**values))
    return plan


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped("it was stopped")


def _explain(error: Exception) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError):
        return _MISSING, str(error.filename or "")
    if isinstance(error, PermissionError) and error.errno is None:
        return _FORBIDDEN, str(error)
    from heft.images import verdict  # it knows all that reads tars, which most work does not need

    return verdict.explain(error)


def _work(plan: Plan, look_up: LookUp) -> None:
    if plan.task in (Task.CHANGES, Task.LAYER):
        from heft.files.upper import Upper

        place.settle(plan.tree)
        diff = place.open_upper(plan.tree)
        changed = Upper(diff, place.open_lower(plan.tree), frozenset(plan.skip))
        if plan.task == Task.LAYER:
            changed.pack(Packer(_OUT))
        else:
            _write_changes(changed)
        return
    root = place.open_tree(plan.tree)
    if plan.task == Task.ROOT:
        packer = Packer(_OUT)
        packer.tree(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root), "")
        packer.finish()
    elif plan.task == Task.UNPACK:
        from heft.files.unpacking import unpack

        _enter(plan.tree)
        unpack(root, plan, look_up)
    else:
        _enter(plan.tree)
        _read(root, plan)


def _enter(tree: Tree) -> None:
    """See owners as the machine does, and give it what it could make itself, where it has users.

    All modules must be there by now: the machine's root may not be let to where they are.
    """
    if tree.users < 0:
        return
    from heft.images import verdict  # noqa: F401 - errors need it

    credentials.become_root_of(tree.users)
    tied.end_with_daemon(signal.SIGTERM)  # it is forgotten with the old credentials


def _write_changes(changed: Upper) -> None:
    lines = bytearray()
    for change in changed.changes():
        path = change.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        lines += json.dumps([path, change.kind]).encode("ascii") + b"\n"
    left = memoryview(lines)
    while left:
        left = left[os.write(_OUT, left) :]


# One path


def _read(root: int, plan: Plan) -> None:
    """Say what is at a path, and give it as a tar whose names begin with the path's last part."""
    place = Place(root, plan.path)
    os.write(_OUT, json.dumps(place.tell()).encode("ascii") + b"\n")
    if plan.task != Task.PACK:
        return
    packer = Packer(_OUT, _kernels_own(place) if plan.tree.descriptor >= 0 else None)
    if place.is_directory:
        packer.tree(place.directory, place.shown)
    else:
        packer.add(place.directory, place.name, place.shown)
    packer.finish()


def _kernels_own(place: Place) -> Skip:
    """Leave out what the kernel shows of a running machine, unless it was asked for itself."""
    before = "" if place.clean == "/" else place.clean
    length = len(place.shown.rstrip("/"))
    asked = f"{place.clean}/"

    def skip(shown: str) -> bool:
        path = before + shown[length:]
        return any(path.startswith(own) and not asked.startswith(own) for own in KERNELS_OWN)

    return skip
