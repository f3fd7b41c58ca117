"""Which kit a machine is to start with. Nothing is run."""

import pytest

from heft.engine import kit_choice
from heft.engine.kit_choice import NAME
from heft.errors import InvalidArgument
from heft.guest.kits import Kits
from heft.model.config import Config, HostConfig
from heft.weights.heavy.weight import HeavySettings, HeavyWeight
from heft.weights.light.weight import LightSettings, LightWeight
from heft.weights.medium.weight import MediumSettings, MediumWeight


def test_the_annotation_counts_more_than_the_label():
    config = Config(labels={NAME: "debian-cloud"})
    assert kit_choice.of(Config(), HostConfig(), "debian") == "debian"
    assert kit_choice.of(config, HostConfig(), "debian") == "debian-cloud"
    assert kit_choice.of(config, HostConfig(annotations={NAME: "own"}), "debian") == "own"


def test_what_is_usual_is_the_weights_matter(tmp_path):
    kits = Kits(tmp_path, tmp_path / "agent")
    heavy = HeavyWeight(HeavySettings(tmp_path, tmp_path), kits)
    platforms = ("linux/amd64", "linux/386", "linux/arm64/v8", "linux/mips64le")
    found = [heavy.kit(platform) for platform in platforms]
    assert found == ["debian", "debian", "debian-arm64", "debian"]
    medium = MediumWeight(MediumSettings(tmp_path), kits)
    assert medium.kit("linux/amd64") == "uml"
    assert [heavy.takes_kit("uml"), medium.takes_kit("debian")] == [False, False]
    assert heavy.takes_kit("own")
    assert medium.takes_kit("uml")


def test_what_it_cannot_be_is_refused(tmp_path):
    kits = Kits(tmp_path, tmp_path / "agent")
    light = LightWeight(LightSettings(run=tmp_path))
    medium = MediumWeight(MediumSettings(tmp_path), kits)
    heavy = HeavyWeight(HeavySettings(tmp_path, tmp_path), kits)
    config = Config(labels={NAME: "own"})
    with pytest.raises(InvalidArgument, match="unknown or invalid kit name: own"):
        kit_choice.check(config, HostConfig(), heavy, lambda _: False)
    with pytest.raises(InvalidArgument, match="a kernel of its own"):
        kit_choice.check(config, HostConfig(), light, lambda _: True)
    with pytest.raises(InvalidArgument, match="another weight's"):
        kit_choice.check(config, HostConfig(), medium, lambda _: True)
    kit_choice.check(config, HostConfig(), heavy, lambda _: True)
