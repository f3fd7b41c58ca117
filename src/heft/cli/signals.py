"""What the user's signals mean while a machine runs in the foreground.

Handlers talk to the daemon on connections of their own, so that whatever the main thread is doing
is not disturbed.
"""

from __future__ import annotations

import signal

from heft.cli.client import Client
from heft.cli.failures import Failure
from heft.cli.terminal import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.address import Address

FORWARDED = tuple(
    getattr(signal, f"SIG{name}") for name in "HUP INT QUIT TERM USR1 USR2 ALRM CONT".split()
)
"""All that a shell or a user sends; job control (SIGTSTP and its kind) stays this process's own."""


def forward(address: Address, machine: str) -> None:
    """Send the signals that this process gets from now on to the machine instead."""

    def pass_on(number: int, _: object) -> None:
        name = signal.Signals(number).name
        _try(address, f"/containers/{machine}/kill", signal=name)

    for number in FORWARDED:
        signal.signal(number, pass_on)


def follow_size(address: Address, path: str) -> None:
    """Tell the machine or exec under `path` the terminal's size, whenever it changes."""

    def resize(*_: object) -> None:
        rows, columns = size()
        if rows and columns:
            _try(address, f"{path}/resize", h=rows, w=columns)

    signal.signal(signal.SIGWINCH, resize)


def tell_size(address: Address, path: str) -> None:
    """Tell it the size now."""
    rows, columns = size()
    if rows and columns:
        _try(address, f"{path}/resize", h=rows, w=columns)


def _try(address: Address, path: str, **parameters: object) -> None:
    """Ask for it; where the machine has ended meanwhile there is nothing to be told."""
    client = Client(address)
    try:
        client.post(path, **parameters)
    except Failure:
        pass
    finally:
        client.close()
