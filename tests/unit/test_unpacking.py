"""What was landed is taken back, whenever the work is stopped."""

from typing import TYPE_CHECKING, cast

import pytest

from heft.files.tasks import Stopped
from heft.files.unpacking import take_back

if TYPE_CHECKING:
    from heft.tars.landing import Landing


class StoppedMeanwhile:
    """Is stopped the first time."""

    def __init__(self) -> None:
        self.left = 2

    def undo(self) -> None:
        self.left -= 1
        if self.left:
            raise Stopped


def test_stopped_while_it_takes_back() -> None:
    landing = StoppedMeanwhile()
    with pytest.raises(Stopped):
        take_back(cast("Landing", landing))
    assert landing.left == 0
