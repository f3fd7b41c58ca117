"""What `heft weigh` advises, out of what was measured."""

from heft.cli.commands import weigh
from heft.cli.weighing.advice import advise
from heft.cli.weighing.figures import NATIVE, Column


def column(weight: str, platform: str = "", **values: float) -> Column:
    made = Column(weight, platform)
    made.values.update(values)
    return made


NATIVE_COLUMN = column(NATIVE, cpu=100e6, fork=70)


def test_seconds_of_a_command_are_not_compared_with_factors() -> None:
    light = column("light", cpu=98e6, fork=75, command=12.0)
    heavy = column("heavy", cpu=20e6, fork=500)  # where the command was not done in time
    assert advise([NATIVE_COLUMN, heavy, light]) == ("Take light: your command takes 12.0 s there.")


def test_an_image_of_another_platform_is_advised_on_too() -> None:
    said = advise([NATIVE_COLUMN, column("light", "linux/arm64"),
                   column("heavy", "linux/arm64", cpu=10e6, fork=900)])  # fmt: skip
    assert said.startswith("Take heavy: over all kinds of work measured it is 11 times as slow")


def test_platforms_stand_beside_the_images_own() -> None:
    assert weigh._wanted("", [], "amd64") == [""]
    assert weigh._wanted("", ["linux/arm64", "linux/amd64", "linux/arm64"], "amd64") == [
        "",
        "linux/arm64",
    ]
    assert weigh._wanted("linux/arm64", ["linux/arm64"], "amd64") == ["linux/arm64"]
