"""Which machines boot a whole system, and what they get for it. Nothing is run."""

import pytest

from heft.engine import init_systems
from heft.engine.init_systems import LABEL, STOP_SIGNAL
from heft.errors import InvalidArgument
from heft.model.config import Config

SYSTEMS = ("/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd")


def settled(*argv: str, label: str = "", own_kernel: bool = True, **more: str) -> Config:
    labels = {LABEL: label} if label else {}
    return init_systems.settle(Config(cmd=list(argv), labels=labels, **more), own_kernel=own_kernel)


@pytest.mark.parametrize("command", SYSTEMS)
def test_a_command_says_that_it_is_one(command):
    assert settled(command).stop_signal == STOP_SIGNAL
    assert settled(command, "systemd.unit=rescue.target").stop_signal == STOP_SIGNAL


@pytest.mark.parametrize("command", ["sh", "/bin/sh", "/usr/bin/initdb", "/opt/init/run", "/sbin"])
def test_others_are_none(command):
    assert settled(command).stop_signal == ""
    assert settled("sh", "/sbin/init").stop_signal == ""


def test_the_label_decides_before_the_command():
    assert settled("/start-it", label="always").stop_signal == STOP_SIGNAL
    assert settled("/sbin/init", label="false").stop_signal == ""
    with pytest.raises(InvalidArgument, match=r"invalid heft\.systemd"):
        settled("/sbin/init", label="perhaps")


def test_what_a_user_or_an_image_says_of_stopping_stays():
    assert settled("/sbin/init", stop_signal="SIGUSR2").stop_signal == "SIGUSR2"


def test_the_hosts_kernel_boots_no_system():
    assert settled("/sbin/init", own_kernel=False).stop_signal == ""
    with pytest.raises(InvalidArgument, match=r"a kernel of its own"):
        settled("/sbin/init", label="always", own_kernel=False)
