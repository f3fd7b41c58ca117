"""How machines are asked to come up. Nothing is run."""

import pytest

from heft.engine import boots
from heft.engine.boots import NAME
from heft.errors import InvalidArgument
from heft.model.config import Config, HostConfig


def test_a_label_or_an_annotation_asks_for_a_cold_boot():
    assert not boots.is_cold(Config(), HostConfig())
    assert boots.is_cold(Config(labels={NAME: "cold"}), HostConfig())
    assert boots.is_cold(Config(), HostConfig(annotations={NAME: "cold"}))


def test_the_annotation_counts_more_than_an_images_label():
    host = HostConfig(annotations={NAME: "template"})
    assert not boots.is_cold(Config(labels={NAME: "cold"}), host)


def test_what_it_cannot_be_is_refused():
    with pytest.raises(InvalidArgument, match=r'invalid heft\.boot "warm"'):
        boots.check(Config(labels={NAME: "warm"}), HostConfig(), own_kernel=True)
    with pytest.raises(InvalidArgument, match="a kernel of its own"):
        boots.check(Config(labels={NAME: "cold"}), HostConfig(), own_kernel=False)
    boots.check(Config(labels={NAME: "template"}), HostConfig(), own_kernel=True)
