"""Systems restored from one template that come up for the first time: what is each one's own.

Of many machines without a system `test_heavy_hostile.py` looks at less, in a fraction of the time.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness import whole_system
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.pace import patience
from tests.harness.serving import emptied, serving

MANY = 50
AT_ONCE = 4
SECONDS = patience(300)
IMAGE = "debian-keys"
FIRST_BOOT = """
cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid
head -c 32 /dev/urandom | sha256sum | cut -c1-64
mktemp -u /XXXXXXXXXXXX
systemd-machine-id-setup --print 2>/dev/null
openssl genpkey -algorithm ED25519 | sha256sum | cut -c1-64
hostname
cat /sys/class/net/eth0/address
date +%s
"""
"""What systems do when they are first booted: a machine id, the keys of the host, and more."""


@pytest.fixture(scope="module")
def heavy_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon that has a Debian that was not booted so far."""
    with serving(tmp_path_factory.mktemp("heavy"), "--default-weight", "heavy") as daemon:
        words = ("import", "-q", whole_system.path(), IMAGE)
        Client("heft", daemon)(*words, timeout=patience(120))
        yield daemon


@pytest.mark.long
def test_nothing_of_fifty_systems_is_the_same(heavy_daemon: Daemon) -> None:
    client = Client("docker", heavy_daemon)

    def one(_: int) -> list[str]:
        done = client("run", "--rm", IMAGE, "sh", "-ec", FIRST_BOOT, timeout=SECONDS)
        return done.stdout.split()

    with emptied(heavy_daemon), ThreadPoolExecutor(AT_ONCE) as pool:
        one(-1)
        begin = time.time()
        found = list(pool.map(one, range(MANY)))
        end = time.time()
    *unique, times = zip(*found, strict=True)
    assert [len(set(each)) for each in unique] == [MANY] * 8
    assert all(begin - 1 <= int(each) <= end for each in times)
