"""How much slower than usual the host of the tests is: `HEFT_TEST_PACE`, 1 where it is not said."""

import os
import time
from collections.abc import Callable

PACE = float(os.environ.get("HEFT_TEST_PACE", "1"))


def patience(seconds: float) -> float:
    """Give how long to wait here for what usually takes no longer than so many seconds."""
    return seconds * PACE


def eventually(holds: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something holds, which it usually does within so many seconds."""
    deadline = time.monotonic() + patience(seconds)
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
