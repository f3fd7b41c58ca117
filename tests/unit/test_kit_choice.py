"""Which kit a machine is to start with. Nothing is run."""

import pytest

from heft.engine import kit_choice
from heft.engine.kit_choice import NAME
from heft.errors import InvalidArgument
from heft.model.config import Config, HostConfig


def test_the_annotation_counts_more_than_the_label():
    config = Config(labels={NAME: "debian-cloud"})
    assert kit_choice.of(Config(), HostConfig(), "linux/amd64") == "debian"
    assert kit_choice.of(Config(), HostConfig(), "linux/arm64/v8") == "debian-arm64"
    assert kit_choice.of(Config(), HostConfig(), "linux/386") == "debian"
    assert kit_choice.of(config, HostConfig(), "linux/amd64") == "debian-cloud"
    assert kit_choice.of(config, HostConfig(annotations={NAME: "own"}), "linux/arm64") == "own"


def test_what_it_cannot_be_is_refused():
    config = Config(labels={NAME: "own"})
    with pytest.raises(InvalidArgument, match="unknown or invalid kit name: own"):
        kit_choice.check(config, HostConfig(), own_kernel=True, knows=lambda _: False)
    with pytest.raises(InvalidArgument, match="a kernel of its own"):
        kit_choice.check(config, HostConfig(), own_kernel=False, knows=lambda _: True)
    kit_choice.check(config, HostConfig(), own_kernel=True, knows=lambda _: True)
