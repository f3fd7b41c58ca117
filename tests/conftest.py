"""Fixtures of all tests."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

from tests.harness import isolation, leaks

# How long an example takes is the host's affair, which runs other tests and machines beside it.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ROOTLESS = "needs root: it makes namespaces, mounts and links"


def pytest_configure(config: pytest.Config) -> None:
    """Leave the host's network and mounts before anything is imported that has threads.

    Not in a dom0, where the cards of domains are in the host's network.
    """
    if os.geteuid() == 0 and config.option.markexpr != "xen":
        isolation.isolate()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say why what needs root is not run without it."""
    if os.geteuid() == 0:
        return
    for item in items:
        if "/unit/" not in str(item.path):
            item.add_marker(pytest.mark.skip(reason=ROOTLESS))


@pytest.fixture
def clean_host() -> Iterator[None]:
    """Fail the test if it leaves anything on the host."""
    before = leaks.look()
    yield
    left = leaks.settle(before)
    assert not left, f"left behind: {left}"
