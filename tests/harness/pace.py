"""How much slower than usual the host of the tests is: `HEFT_TEST_PACE`, 1 where it is not said."""

import os

PACE = float(os.environ.get("HEFT_TEST_PACE", "1"))


def patience(seconds: float) -> float:
    """Give how long to wait here for what usually takes no longer than so many seconds."""
    return seconds * PACE
