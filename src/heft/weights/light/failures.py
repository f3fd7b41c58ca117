"""Why a process could not be started: the runtime's words made Docker's.

Docker's client tells the shell's exit codes from the message: "no such file or directory" is 127,
"permission denied" and "is a directory" are 126 (docker/cli, run.go, `toStatusError`). crun says
the same in the C library's spelling.
"""

from __future__ import annotations

import re

from heft.errors import StartFailed

NOT_FOUND, NOT_EXECUTABLE, REFUSED = 127, 126, 128
NOT_IN_PATH = "executable file not found in $PATH"

_SPELLING = {
    "No such file or directory": "no such file or directory",
    "Permission denied": "permission denied",
    "Is a directory": "is a directory",
    # crun on a directory in the place of a program. Clients before 23 know only the first words.
    "open executable: Operation not permitted": (
        "open executable: permission denied: is a directory"
    ),
}
_NO_FILE = re.compile(
    r"executable file `([^`]*)` not found in \$PATH(?:: no such file or directory)?"
)
_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+: ", re.MULTILINE)


def start_failed(runtime: str, action: str, message: str) -> StartFailed:
    """Make the error for what a runtime said when it should `create` or `exec`."""
    said = " ".join(_TIMESTAMP.sub("", message).split()) or "it gave no reason"
    for theirs, ours in _SPELLING.items():
        said = said.replace(theirs, ours)
    said = _NO_FILE.sub(_no_file, said)
    return StartFailed(
        f"OCI runtime {action} failed: {runtime}: {said}: unknown", exit_code=_exit_code(said)
    )


def _no_file(found: re.Match[str]) -> str:
    name = found[1]
    why = f"stat {name}: no such file or directory" if "/" in name else NOT_IN_PATH
    return f'exec: "{name}": {why}'


def _exit_code(said: str) -> int:
    if "permission denied" in said or "is a directory" in said:
        return NOT_EXECUTABLE
    if NOT_IN_PATH in said or ("exec" in said and "no such file or directory" in said):
        return NOT_FOUND
    return REFUSED
